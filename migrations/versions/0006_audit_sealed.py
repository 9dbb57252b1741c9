"""Seal the audit log: no way around its triggers, chains that only grow, and partitions that go only when they are old.

Who runs the migrations owns the tables; the services use a role of their own that may only add entries
(migrations/roles.py). What needs the owner's rights is done by the two functions below, which check what is asked.

Revision ID: 0006_audit_sealed
Revises: 0005_batch_progress
"""

from alembic import op

revision = "0006_audit_sealed"
down_revision = "0005_batch_progress"
branch_labels = None
depends_on = None

GUARDS = """
-- A chain's end moves forward only, and a chain begins at its beginning.
CREATE FUNCTION only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.place <> 0 THEN RAISE EXCEPTION 'an audit chain begins at place 0'; END IF;
    ELSIF NEW.chain <> OLD.chain OR NEW.place <= OLD.place THEN
        RAISE EXCEPTION 'an audit chain only grows';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_chains_grow BEFORE INSERT OR UPDATE ON audit_chains
    FOR EACH ROW EXECUTE FUNCTION only_grow();
CREATE TRIGGER audit_chains_stay BEFORE DELETE ON audit_chains
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_chains_no_truncate BEFORE TRUNCATE ON audit_chains
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_gaps_stay BEFORE UPDATE OR DELETE ON audit_gaps
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_gaps_no_truncate BEFORE TRUNCATE ON audit_gaps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- TRUNCATE of a partition asks that partition's triggers only, and statement triggers are not inherited.
CREATE FUNCTION guard_partition(partition regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', partition);
END $$;
SELECT guard_partition(inhrelid) FROM pg_inherits WHERE inhparent = 'audit_log'::regclass;
"""

# As in the first migration, with the guard, and with the owner's rights whoever calls it.
ENSURE = """
CREATE OR REPLACE FUNCTION ensure_partitions(first date, last date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text; day date; made integer := 0; child text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['jobs', 'audit_log'] LOOP
        FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
                    to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
                IF parent = 'audit_log' THEN PERFORM guard_partition(child::regclass); END IF;
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
"""

DROP = """
-- Drops a day of `jobs` or `audit_log`; false when it still holds open jobs. What leaves the audit log is noted.
CREATE FUNCTION drop_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    child text := parent || '_' || to_char(day, 'YYYYMMDD');
    youngest integer := CASE parent WHEN 'jobs' THEN 2 WHEN 'audit_log' THEN 30 END;
    is_open boolean;
BEGIN
    IF youngest IS NULL OR day > (clock_timestamp() AT TIME ZONE 'UTC')::date - youngest THEN
        RAISE EXCEPTION 'partition % stays: only days of jobs (from 2 days on) and audit_log (from 30) go', child;
    END IF;
    IF parent = 'jobs' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE status IN (''queued'', ''running'', ''retrying''))', child)
            INTO is_open;
        IF is_open THEN RETURN false; END IF;
    ELSE
        EXECUTE format('LOCK TABLE %I IN SHARE MODE', child);
        EXECUTE format(
            'INSERT INTO audit_gaps (chain, first_place, last_place, last_hash, partition)'
            ' SELECT r.chain, lower(r.places), upper(r.places) - 1,'
            ' (SELECT hash FROM %1$I a WHERE a.chain = r.chain AND a.place = upper(r.places) - 1), %1$L'
            ' FROM (SELECT chain, unnest(range_agg(int8range(place, place + 1))) AS places FROM %1$I GROUP BY chain) r'
            ' ON CONFLICT DO NOTHING', child);
    END IF;
    EXECUTE format('DROP TABLE %I', child);
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION ensure_partitions(date, date), drop_partition(text, date) FROM PUBLIC;
"""


def upgrade() -> None:
    """Close what was open."""
    for script in (GUARDS, ENSURE, DROP):
        op.execute(script)


def downgrade() -> None:
    """There is no reason to open it again, and no older version needs it open."""
    raise NotImplementedError("the audit log stays sealed")
