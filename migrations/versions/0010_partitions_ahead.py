"""Partitions ahead, whatever the default partition holds and without making anybody wait.

Revision ID: 0010_partitions_ahead
Revises: 0009_lists
"""

from alembic import op

revision = "0010_partitions_ahead"
down_revision = "0009_lists"
branch_labels = None
depends_on = None

# A day whose rows lie in the default partition already cannot have one of its own: it stays there. Without that, a
# single event with a clock far ahead, or a system that was stopped for longer than partitions reach, would keep every
# other day from its partition, for ever. A new partition needs its parent for itself alone: behind a long reader (a
# backup, a report) everybody else would queue up, so it gives up soon and is tried again. The order is health's.
ENSURE = """
CREATE OR REPLACE FUNCTION ensure_partitions(first date, last date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    parent text; instant text; day date; made integer := 0; child text; since text; until text; taken boolean;
BEGIN
    FOREACH parent IN ARRAY ARRAY['audit_log', 'jobs'] LOOP
        instant := CASE parent WHEN 'jobs' THEN 'scheduled_for' ELSE 'at' END;
        FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            since := to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00';
            until := to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= %L AND %I < %L)', parent || '_default',
                instant, since, instant, until) INTO taken;
            CONTINUE WHEN taken;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent, since, until);
            IF parent = 'audit_log' THEN PERFORM guard_partition(child::regclass); END IF;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
"""
# As in migration 0006, but that no job is stored into a day between the look at its open jobs and its end.
DROP = """
CREATE OR REPLACE FUNCTION drop_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    child text := parent || '_' || to_char(day, 'YYYYMMDD');
    youngest integer := CASE parent WHEN 'jobs' THEN 2 WHEN 'audit_log' THEN 30 END;
    is_open boolean;
BEGIN
    IF youngest IS NULL OR day > (clock_timestamp() AT TIME ZONE 'UTC')::date - youngest THEN
        RAISE EXCEPTION 'partition % stays: only days of jobs (from 2 days on) and audit_log (from 30) go', child;
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', child);
    IF parent = 'jobs' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE status IN (''queued'', ''running'', ''retrying''))', child)
            INTO is_open;
        IF is_open THEN RETURN false; END IF;
    ELSE
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
"""


def upgrade() -> None:
    """Replace the functions."""
    op.execute(ENSURE)
    op.execute(DROP)


def downgrade() -> None:
    """What 0006 did cannot be taken back either."""
    raise NotImplementedError("the audit log stays sealed")
