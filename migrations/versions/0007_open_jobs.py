"""Indexes of open jobs in an order that lets a look stop after a few, however many of a schedule are open.

Revision ID: 0007_open_jobs
Revises: 0006_audit_sealed
"""

from alembic import op

revision = "0007_open_jobs"
down_revision = "0006_audit_sealed"
branch_labels = None
depends_on = None

# Workers, or health, may be away for a day while a schedule goes on every second.
INDEXES = """
DROP INDEX jobs_open;
CREATE INDEX jobs_open ON jobs (schedule_id, held, scheduled_for) WHERE status IN ('queued', 'running', 'retrying');
DROP INDEX jobs_held;
CREATE INDEX jobs_held ON jobs (schedule_id, scheduled_for) WHERE held AND status = 'queued';
CREATE INDEX jobs_never_started ON jobs (never_started_at) WHERE status = 'queued' AND NOT held;
"""
BEFORE = """
DROP INDEX jobs_never_started;
DROP INDEX jobs_held;
CREATE INDEX jobs_held ON jobs (schedule_id, scheduled_for) WHERE held;
DROP INDEX jobs_open;
CREATE INDEX jobs_open ON jobs (schedule_id) WHERE status IN ('queued', 'running', 'retrying');
"""


def upgrade() -> None:
    """Replace two and add one."""
    op.execute(INDEXES)


def downgrade() -> None:
    """As they were."""
    op.execute(BEFORE)
