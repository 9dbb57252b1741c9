"""Old entries leave the audit log's default partition too.

Revision ID: 0012_audit_default
Revises: 0011_rare_types
"""

from alembic import op

revision = "0012_audit_default"
down_revision = "0011_rare_types"
branch_labels = None
depends_on = None

# What has no day of its own (an event with a clock far behind, or of days for which no partition was made) lies in the
# default partition, which cannot be dropped. Its entries go row by row, in steps, with the owner's rights and under
# the same rules as a day: none younger than 30 days, and what goes is noted.
EXPIRE = """
CREATE FUNCTION expire_default_audit(before date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    gone bigint;
BEGIN
    IF before > (clock_timestamp() AT TIME ZONE 'UTC')::date - 29 THEN
        RAISE EXCEPTION 'entries of audit_log_default after % stay: only those from 30 days on go', before;
    END IF;
    PERFORM FROM audit_log_default WHERE at < before::timestamp AT TIME ZONE 'UTC' LIMIT 1;
    IF NOT FOUND THEN RETURN 0; END IF;
    ALTER TABLE audit_log_default DISABLE TRIGGER audit_log_append_only;
    WITH old AS (
        SELECT event_id, at, chain, place, hash FROM audit_log_default
        WHERE at < before::timestamp AT TIME ZONE 'UTC' ORDER BY chain, place LIMIT 5000
    ), removed AS (
        DELETE FROM audit_log_default d USING old WHERE d.event_id = old.event_id AND d.at = old.at
    ), ranges AS (
        SELECT chain, unnest(range_agg(int8range(place, place + 1))) AS places FROM old GROUP BY chain
    ), noted AS (
        INSERT INTO audit_gaps (chain, first_place, last_place, last_hash, partition)
        SELECT r.chain, lower(r.places), upper(r.places) - 1,
            (SELECT hash FROM old o WHERE o.chain = r.chain AND o.place = upper(r.places) - 1), 'audit_log_default'
        FROM ranges r ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO gone FROM old;
    ALTER TABLE audit_log_default ENABLE TRIGGER audit_log_append_only;
    RETURN gone;
END $$;
REVOKE EXECUTE ON FUNCTION expire_default_audit(date) FROM PUBLIC;
"""


def upgrade() -> None:
    """Add the function; the services' role is given it with the others (migrations/roles.py)."""
    op.execute(EXPIRE)


def downgrade() -> None:
    """Take it back."""
    op.execute("DROP FUNCTION expire_default_audit(date)")
