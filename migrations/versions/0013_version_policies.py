"""A version of a schedule keeps the policies by which its jobs' attempts run: a later edit is not theirs.

Null in versions from before: the schedule's own count then.

Revision ID: 0013_version_policies
Revises: 0012_audit_default
"""

from alembic import op

revision = "0013_version_policies"
down_revision = "0012_audit_default"
branch_labels = None
depends_on = None

# Nullable, without a default: the catalogue alone changes, and nobody waits for a table to be rewritten.
COLUMNS = """
ALTER TABLE schedule_versions
    ADD COLUMN retry_first_seconds double precision,
    ADD COLUMN retry_cap_seconds double precision,
    ADD COLUMN timeout_seconds integer,
    ADD COLUMN start_deadline_seconds integer,
    ADD COLUMN queue_timeout_seconds integer
"""


def upgrade() -> None:
    """Add them."""
    op.execute(COLUMNS)


def downgrade() -> None:
    """Take them back."""
    op.execute(
        "ALTER TABLE schedule_versions DROP COLUMN retry_first_seconds, DROP COLUMN retry_cap_seconds,"
        " DROP COLUMN timeout_seconds, DROP COLUMN start_deadline_seconds, DROP COLUMN queue_timeout_seconds"
    )
