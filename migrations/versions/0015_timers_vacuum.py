"""Large tables of timers are vacuumed by a fifth of their rows, not by a fiftieth.

A vacuum reads the indexes of all timers, and an analyze thirty thousand rows, however few have moved. With autovacuum
looking every five seconds, a million timers would be read every five seconds; a tenth of the dispatches was lost to it.
Small tables, whose indexes are as large as what waits for vacuum, reach the fifth between two looks anyway.

Revision ID: 0015_timers_vacuum
Revises: 0014_timers_room
"""

from alembic import op

revision = "0015_timers_vacuum"
down_revision = "0014_timers_room"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A fifth for vacuum, half for the statistics: the dispatcher's plans are pinned."""
    op.execute(
        "ALTER TABLE schedule_timers SET (autovacuum_vacuum_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.5)"
    )


def downgrade() -> None:
    """A fiftieth, and PostgreSQL's tenth."""
    op.execute(
        "ALTER TABLE schedule_timers SET (autovacuum_vacuum_scale_factor = 0.02),"
        " RESET (autovacuum_analyze_scale_factor)"
    )
