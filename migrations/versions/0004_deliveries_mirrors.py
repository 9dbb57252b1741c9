"""What the tasks webhook_delivery and sync remember: each attempt to deliver, and what each mirror last held.

Revision ID: 0004_deliveries_mirrors
Revises: 0003_api
"""

from alembic import op

revision = "0004_deliveries_mirrors"
down_revision = "0003_api"
branch_labels = None
depends_on = None

TABLES = """
-- One row per attempt to deliver. Written as `sending` before anything is sent, so that a lost worker leaves a trace.
-- The writer removes a webhook's old rows.
CREATE TABLE webhook_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id bigint NOT NULL,
    project_id bigint NOT NULL,
    schedule_id bigint NOT NULL,
    job_id bigint NOT NULL,
    attempt smallint NOT NULL,
    message_id text NOT NULL,
    event text NOT NULL,
    url text NOT NULL,
    sent_at timestamptz NOT NULL,
    outcome text NOT NULL DEFAULT 'sending'
        CHECK (outcome IN ('sending', 'delivered', 'failed', 'rejected', 'gone', 'refused')),
    status_code smallint,
    duration_seconds double precision,
    address text,
    response_body text,
    response_cut boolean,
    error text
);
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, sent_at);
CREATE INDEX webhook_deliveries_job ON webhook_deliveries (job_id);

-- What the last successful sync of a repository saw: branch names and their commits, as one JSON object. `previous` is
-- what the job before had seen (null: there was none), so that a retried job still tells all that is new.
CREATE TABLE mirrors (
    repository_id bigint PRIMARY KEY,
    url text NOT NULL,
    branches jsonb NOT NULL,
    previous jsonb,
    size_bytes bigint NOT NULL,
    job_id bigint NOT NULL,
    synced_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    """Add them."""
    op.execute(TABLES)


def downgrade() -> None:
    """Take them back, and what they remember with them."""
    op.execute("DROP TABLE mirrors, webhook_deliveries")
