"""How far each batch has come, so that its next attempt goes on from there.

Revision ID: 0005_batch_progress
Revises: 0004_deliveries_mirrors
"""

from alembic import op

revision = "0005_batch_progress"
down_revision = "0004_deliveries_mirrors"
branch_labels = None
depends_on = None

# A row an operation that has ended, written before the next one begins. `place` counts from 1. A failure that may
# pass (permanent false) is replaced when a later attempt tries the operation again.
PROGRESS = """
CREATE TABLE batch_progress (
    job_id bigint NOT NULL,
    place smallint NOT NULL,
    attempt smallint NOT NULL,
    status text NOT NULL CHECK (status IN ('succeeded', 'failed')),
    permanent boolean NOT NULL,
    result jsonb,
    error text,
    reason text,
    artifacts jsonb NOT NULL DEFAULT '[]',
    duration_seconds double precision NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, place)
);
CREATE INDEX batch_progress_age ON batch_progress (ended_at);
"""


def upgrade() -> None:
    """Add the table."""
    op.execute(PROGRESS)


def downgrade() -> None:
    """Take it back: open batches begin anew."""
    op.execute("DROP TABLE batch_progress")
