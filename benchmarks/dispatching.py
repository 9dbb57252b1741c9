"""What the dispatcher's cases share: many stored schedules, some of them due, and a dispatcher that may begin now.

The dispatcher is the real service, `python -m services.dispatcher`, with its default settings. It is started while the
lease is held by the bench, so that its start-up is not measured; `lead` gives the lease away and starts the watch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2

from benchmarks.servers import BenchServers
from deploy.local.postgres import libpq_url

ZONES = """Africa/Cairo Africa/Johannesburg Africa/Lagos Africa/Nairobi America/Anchorage America/Argentina/Buenos_Aires
America/Bogota America/Caracas America/Chicago America/Denver America/Halifax America/Lima America/Los_Angeles
America/Mexico_City America/New_York America/Phoenix America/Santiago America/Sao_Paulo America/St_Johns America/Toronto
Asia/Baghdad Asia/Bangkok Asia/Dhaka Asia/Dubai Asia/Ho_Chi_Minh Asia/Hong_Kong Asia/Jakarta Asia/Jerusalem Asia/Karachi
Asia/Kathmandu Asia/Kolkata Asia/Manila Asia/Seoul Asia/Shanghai Asia/Singapore Asia/Tehran Asia/Tokyo Atlantic/Azores
Australia/Adelaide Australia/Sydney Europe/Amsterdam Europe/Berlin Europe/Istanbul Europe/London Europe/Madrid
Europe/Moscow Europe/Paris Pacific/Auckland Pacific/Honolulu UTC""".split()
EXPRESSIONS = [f"{minute} {hour} * * *" for hour in range(24) for minute in range(60)] + [
    f"{minute} {hour} * * 1-5" for hour in range(10) for minute in range(56)
]
"""2,000 distinct ones."""

_SEED = """
INSERT INTO schedules (project_id, name, task_type, task_parameters, tags, frequency, cron_expression, timezone)
SELECT 1 + i %% %(projects)s, 'Schedule ' || i, 'analysis',
    jsonb_build_object('repository_id', 1 + i %% 1000, 'analysis_type', 'full'), '{"team": "backend"}',
    'cron', (%(expressions)s::text[])[1 + i %% 2000], (%(zones)s::text[])[1 + (i::bigint * 7919 / 2003) %% 50]
FROM generate_series(%(first)s, %(last)s) AS i
"""
_PROJECTS = """
INSERT INTO projects (id, name) SELECT i, 'project ' || i FROM generate_series(2, %(projects)s) AS i
ON CONFLICT DO NOTHING
"""
_TIMERS = """
INSERT INTO schedule_timers (schedule_id, project_id, next_run_at)
SELECT id, project_id, {at} FROM schedules AS s
WHERE NOT EXISTS (SELECT 1 FROM schedule_timers AS t WHERE t.schedule_id = s.id)
"""
TOMORROW = "date_trunc('minute', now()) + interval '1 day' + id % 1440 * interval '1 minute'"
THIS_MINUTE = "date_trunc('minute', now())"


class Ledger:
    """The bench's own connection to the case's database."""

    def __init__(self, servers: BenchServers) -> None:
        self._admin_url = servers.postgres.admin_url
        self.connection = psycopg2.connect(libpq_url(servers.owner_url))
        self.connection.autocommit = True

    def run(self, statement: str, **values: object) -> list[tuple]:  # type: ignore[type-arg]
        """Run a statement; its rows, if it gives any."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def number(self, statement: str, **values: object) -> int:
        """The one number a query gives."""
        return int(self.run(statement, **values)[0][0])

    def seed(self, stored: int, projects: int = 1, at: str = TOMORROW) -> None:
        """Store schedules until there are so many, the new ones due at an SQL instant: none before tomorrow."""
        have = self.number("SELECT count(*) FROM schedules")
        self.run(_PROJECTS, projects=projects)
        self.run(_SEED, projects=projects, expressions=EXPRESSIONS, zones=ZONES, first=have + 1, last=stored)
        self.run(_TIMERS.format(at=at))

    def make_due(self, count: int, at: str = THIS_MINUTE, *, settle: bool = True, among: str = "true") -> None:
        """Let so many schedules, chosen by chance, be due at an instant; then settle the tables."""
        self.run(
            f"UPDATE schedule_timers SET next_run_at = {at} WHERE schedule_id IN"
            f" (SELECT schedule_id FROM schedule_timers WHERE {among} ORDER BY hashint8(schedule_id) LIMIT {count})"
        )
        if settle:
            self.settle()

    def settle(self) -> None:
        """No vacuum and no checkpoint of the loading falls into what is measured."""
        for table in ("schedules", "schedule_timers", "jobs", "outbox"):
            self.run(f"VACUUM ANALYZE {table}")
        with closing(psycopg2.connect(self._admin_url)) as admin, admin.cursor() as cursor:
            cursor.execute("CHECKPOINT")

    def forget_runs(self) -> None:
        """Empty the ledger of jobs."""
        self.run("TRUNCATE jobs, run_claims, outbox")

    def forget_schedules(self) -> None:
        """Empty everything."""
        self.run("TRUNCATE schedules, schedule_timers")
        self.forget_runs()

    def hold_lease(self) -> None:
        """Nobody leads until `release_lease`."""
        self.run(
            "UPDATE leases SET holder = 'bench', epoch = epoch + 1, expires_at = 'infinity' WHERE name = 'dispatcher'"
        )

    def release_lease(self) -> None:
        """Whoever waits may lead."""
        self.run("UPDATE leases SET expires_at = '-infinity' WHERE name = 'dispatcher'")

    def seconds_led(self) -> float:
        """Since the leader took the lease."""
        led = "SELECT extract(epoch FROM clock_timestamp() - acquired_at) FROM leases WHERE name = 'dispatcher'"
        return float(self.run(led)[0][0])


@contextmanager
def standby(servers: BenchServers, ledger: Ledger, **environment: str) -> Iterator[str]:
    """A dispatcher that is up and waits for the lease; gives its URL."""
    ledger.hold_lease()
    with servers.service("dispatcher", **environment) as url:
        yield url


def fire(ledger: Ledger, count: int, timeout: float = 300.0) -> float:
    """Give the lease away; seconds until `count` jobs are stored and every message is acknowledged by Kafka."""
    began = time.monotonic()
    ledger.release_lease()
    return await_done(ledger, count, began, timeout)


def await_done(ledger: Ledger, count: int, began: float, timeout: float = 300.0) -> float:
    """Seconds from `began` (monotonic) until `count` jobs are stored and every message is acknowledged by Kafka."""
    while time.monotonic() - began < timeout:
        time.sleep(0.02)
        # The outbox is emptied by acknowledgement alone; all is counted only once it looks empty and nothing is due.
        if time.monotonic() < began or ledger.number("SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT 1) AS one"):
            continue
        due = "SELECT count(*) FROM (SELECT 1 FROM schedule_timers WHERE next_run_at <= now() LIMIT 1) AS one"
        if ledger.number(due):
            continue
        took = time.monotonic() - began
        stored = ledger.number("SELECT count(*) FROM jobs WHERE status = 'queued'")
        if stored != count:
            raise RuntimeError(f"{stored} jobs were stored for {count} due schedules")
        return took
    raise RuntimeError(f"{count} due schedules were not dispatched within {timeout:g} s")
