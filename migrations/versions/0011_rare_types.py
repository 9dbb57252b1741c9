"""An index of each day's jobs by the task types that are rare: the list of a rare type, without a cost to the others.

Revision ID: 0011_rare_types
Revises: 0010_partitions_ahead
"""

from alembic import op

revision = "0011_rare_types"
down_revision = "0010_partitions_ahead"
branch_labels = None
depends_on = None

# An index of all types would cost every result (recording a thousand: 2.6 ms more) what only a rare type's list needs:
# a common one fills its page from the newest jobs. Which types are common, a twentieth of the week's jobs or more, is
# told by the counts, so it is a matter of each partition, decided once: tomorrow's as soon as it is there, today's
# while it is small, because building keeps writers waiting. Health calls it; it takes nothing from its caller.
INDEX = """
CREATE FUNCTION index_rare_types() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    common text[]; child text; rare text := '';
BEGIN
    SELECT array_agg(task_type ORDER BY task_type) FILTER (WHERE 20 * number >= total) INTO common
    FROM (SELECT task_type, sum(number) AS number, sum(sum(number)) OVER () AS total FROM job_counts
          WHERE project_id = 0 AND day BETWEEN today - 6 AND today GROUP BY task_type) AS week
    WHERE total >= 1000;
    IF common IS NULL THEN RETURN NULL; END IF;
    SELECT name INTO child
    FROM (SELECT c.relname AS name, pg_stat_get_live_tuples(c.oid) AS jobs,
              to_date(right(c.relname, 8), 'YYYYMMDD') AS day
          FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'jobs'::regclass AND c.relname ~ '^jobs_[0-9]{8}$') AS days
    WHERE day <= today + 1 AND jobs < CASE WHEN day < today THEN 5000000 ELSE 200000 END
        AND to_regclass(name || '_rare_types') IS NULL
    ORDER BY day DESC LIMIT 1;
    IF child IS NULL THEN RETURN NULL; END IF;
    SELECT string_agg(format('task_type <> %L', one), ' AND ') INTO rare FROM unnest(common) AS one;
    EXECUTE format('CREATE INDEX %I ON %I (task_type, scheduled_for, id) WHERE %s', child || '_rare_types', child,
        rare);
    RETURN child;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;  -- behind a long writer or reader: asked again
END $$;
REVOKE EXECUTE ON FUNCTION index_rare_types() FROM PUBLIC;
"""


def upgrade() -> None:
    """Add the function; partitions get their indexes within health's first minute, a few at a time."""
    op.execute(INDEX)


def downgrade() -> None:
    """Take it back; the indexes go with their partitions."""
    op.execute("DROP FUNCTION index_rare_types()")
