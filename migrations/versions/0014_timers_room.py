"""Room in the timers' primary key for the versions that updates leave until the next vacuum.

A timer's every update adds an entry here. Full pages took them only while PostgreSQL could remove the older ones at
once; the first long snapshot (an ANALYZE of millions of jobs is one) split every page, and the index was twice as large
for ever. With half of each page free it begins at that size and stays there. An index that is there already grows into
it as it did before.

Revision ID: 0014_timers_room
Revises: 0013_version_policies
"""

from alembic import op

revision = "0014_timers_room"
down_revision = "0013_version_policies"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """For pages filled from now on."""
    op.execute("ALTER INDEX schedule_timers_pkey SET (fillfactor = 50)")


def downgrade() -> None:
    """As PostgreSQL does it by itself."""
    op.execute("ALTER INDEX schedule_timers_pkey RESET (fillfactor)")
