"""Indexes in the order in which jobs and audit entries are listed, and counts of them by day for long lists' totals.

Revision ID: 0009_lists
Revises: 0008_dead_letters
"""

from alembic import op

revision = "0009_lists"
down_revision = "0008_dead_letters"
branch_labels = None
depends_on = None

# Lists are ordered by the partition key, newest first: PostgreSQL then reads one partition after the other and stops
# when the page is full. A rare value needs an index of its own, or a page of it is looked for among millions; the task
# type has none: it would cost every dispatch and every result (recording a thousand: 2.6 ms), for a rare type's list.
INDEXES = """
DROP INDEX jobs_project;
CREATE INDEX jobs_newest ON jobs (scheduled_for, id);
CREATE INDEX jobs_project ON jobs (project_id, scheduled_for, id);
CREATE INDEX jobs_status ON jobs (status, scheduled_for, id) WHERE status NOT IN ('queued', 'succeeded');
CREATE INDEX jobs_trigger ON jobs (trigger, scheduled_for, id) WHERE trigger <> 'schedule';
CREATE INDEX audit_log_newest ON audit_log (at, id);
CREATE INDEX audit_log_action ON audit_log (action, at, id) WHERE action <> 'run.succeeded';
CREATE INDEX audit_log_actor ON audit_log (actor, at, id);
"""

# Kept by health, partition by partition (shared/storage/counts.py). Project 0 stands for all projects together.
COUNTS = """
CREATE TABLE job_counts (
    partition text NOT NULL,
    day date NOT NULL,
    project_id bigint NOT NULL,
    task_type text NOT NULL,
    trigger text NOT NULL,
    status text NOT NULL,
    number bigint NOT NULL
);
CREATE INDEX job_counts_project ON job_counts (project_id, day);
CREATE INDEX job_counts_partition ON job_counts (partition);
CREATE TABLE audit_counts (
    partition text NOT NULL,
    day date NOT NULL,
    project_id bigint,
    actor text,
    action text NOT NULL,
    number bigint NOT NULL
);
CREATE INDEX audit_counts_project ON audit_counts (project_id, day);
CREATE INDEX audit_counts_partition ON audit_counts (partition);

-- How far a partition had changed when it was counted (rows inserted, updated and deleted), when, and how long it took.
CREATE TABLE counted_partitions (
    partition text PRIMARY KEY,
    changes bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    seconds double precision NOT NULL
);
"""


def upgrade() -> None:
    """Add them; health counts what is stored within its first minute."""
    op.execute(INDEXES)
    op.execute(COUNTS)


def downgrade() -> None:
    """Take them back."""
    op.execute("DROP TABLE counted_partitions, audit_counts, job_counts")
    op.execute("DROP INDEX audit_log_actor, audit_log_action, audit_log_newest")
    op.execute("DROP INDEX jobs_trigger, jobs_status, jobs_newest, jobs_project")
    op.execute("CREATE INDEX jobs_project ON jobs (project_id, id)")
