"""The audit log as a chain of hashes, one chain for each topic partition, and what the health service remembers.

Revision ID: 0002_health_audit_chain
Revises: 0001
"""

from alembic import op

revision = "0002_health_audit_chain"
down_revision = "0001"
branch_labels = None
depends_on = None

# Every entry carries the hash of the one before it in its chain. `place` counts a chain's entries from 1.
CHAIN = """
ALTER TABLE audit_log
    ADD COLUMN chain text NOT NULL,
    ADD COLUMN place bigint NOT NULL,
    ADD COLUMN previous_hash bytea NOT NULL,
    ADD COLUMN hash bytea NOT NULL;
CREATE INDEX audit_log_chain ON audit_log (chain, place);

-- The end of each chain. Its row lock makes one writer a chain, whoever holds the partition in Kafka.
CREATE TABLE audit_chains (
    chain text PRIMARY KEY,
    place bigint NOT NULL,
    hash bytea NOT NULL
) WITH (fillfactor = 50);

-- Entries that left with a dropped partition: the only gaps that a verification accepts.
CREATE TABLE audit_gaps (
    chain text NOT NULL,
    first_place bigint NOT NULL,
    last_place bigint NOT NULL,
    last_hash bytea NOT NULL,
    partition text NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chain, first_place)
);

-- Row triggers are inherited by partitions; TRUNCATE would pass them by.
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

ISSUES = """
-- What the monitor has found. A finding opens after two equal reports and resolves after two reports without it.
CREATE TABLE health_issues (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL,
    subject text NOT NULL,
    schedule_id bigint,
    project_id bigint,
    severity text NOT NULL CHECK (severity IN ('warning', 'critical')),
    detail text NOT NULL,
    since timestamptz NOT NULL,
    seen integer NOT NULL DEFAULT 1,
    missed integer NOT NULL DEFAULT 0,
    opened_at timestamptz,
    resolved_at timestamptz,
    opening_announced boolean NOT NULL DEFAULT false,
    resolving_announced boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX health_issues_current ON health_issues (kind, subject) WHERE resolved_at IS NULL;
CREATE INDEX health_issues_schedule ON health_issues (schedule_id) WHERE resolved_at IS NULL;
CREATE INDEX health_issues_unannounced ON health_issues (opened_at)
    WHERE NOT opening_announced OR (resolved_at IS NOT NULL AND NOT resolving_announced);
CREATE INDEX health_issues_resolved ON health_issues (resolved_at) WHERE resolved_at IS NOT NULL;

CREATE TABLE health_reports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reported_at timestamptz NOT NULL,
    duration_seconds double precision NOT NULL,
    schedules integer NOT NULL,
    bands jsonb NOT NULL
);
INSERT INTO leases (name) VALUES ('health-monitor') ON CONFLICT DO NOTHING;
"""


def upgrade() -> None:
    """Give the audit log its chains, and the monitor its tables."""
    op.execute(CHAIN)
    op.execute(ISSUES)


def downgrade() -> None:
    """Take them back; the log's entries stay, without their hashes."""
    op.execute("DELETE FROM leases WHERE name = 'health-monitor'")
    op.execute("DROP TABLE health_reports, health_issues, audit_gaps, audit_chains")
    op.execute("DROP TRIGGER audit_log_no_truncate ON audit_log")
    op.execute(
        "ALTER TABLE audit_log DROP COLUMN chain, DROP COLUMN place, DROP COLUMN previous_hash, DROP COLUMN hash"
    )
