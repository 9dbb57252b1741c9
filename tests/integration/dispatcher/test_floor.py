"""Looks for due timers begin where the last one ended: beside a long snapshot, and with timers nobody told of."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from deploy.local.postgres import libpq_url
from shared.storage import dispatch, outbox
from tests.dispatching import Dispatchers, Ledger
from tests.waiting import eventually

STORED = 30_000
NEXT_DUE = dispatch._NEXT_DUE.replace("%(floor)s", "$1")
CLAIM = dispatch.CLAIM.replace("%(floor)s", "$1").replace("%(now)s", "$2").replace("%(limit)s", "$3")
BY_TURNS = dispatch.CLAIM_BY_TURNS.replace("%(floor)s", "$1").replace("%(now)s", "$2")
BY_TURNS = BY_TURNS.replace("%(projects)s", "$3").replace("%(shares)s", "$4")


def _pages(ledger: Ledger, statement: str, *values: str) -> int:
    """How many pages it looks at."""
    ledger.run(f"PREPARE look AS {statement}")
    plan: Any = ledger.one(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE look ({', '.join(values)})")
    ledger.run("DEALLOCATE look")
    top = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
    return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("statement", "more"),
    [(NEXT_DUE, ()), (CLAIM, ("now()", "500")), (BY_TURNS, ("now()", "'{1}'", "'{500}'"))],
    ids=["look", "claim", "claim by turns"],
)
def test_a_look_passes_by_no_timer_that_has_moved_on_beside_a_long_snapshot(
    ledger: Ledger, database_url: str, statement: str, more: tuple[str, ...]
) -> None:
    fill = "INSERT INTO schedule_timers (schedule_id, project_id, next_run_at) SELECT i, 1, now() - interval '1 hour'"
    ledger.run(f"{fill} FROM generate_series(1, {STORED}) AS i")
    for name, value in dispatch.PINNED.items():
        ledger.run(f"SET {name} = {value}")
    backup = psycopg2.connect(libpq_url(database_url))
    backup.cursor().execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    ledger.run("UPDATE schedule_timers SET next_run_at = now() + interval '1 day'")
    pages = _pages(ledger, statement, "now() - interval '1 second'", *more)
    assert pages < 20
    assert _pages(ledger, statement, "'-infinity'", *more) > 10 * pages, "else nothing was passed by"
    backup.close()


def test_a_timer_below_the_floor_that_nobody_told_of_is_found(ledger: Ledger, dispatchers: Dispatchers) -> None:
    busy = ledger.schedule(frequency="interval", interval_seconds=1, overlap_policy="allow")
    forgotten = ledger.schedule(cron_expression="0 0 1 1 *", due="now() + interval '1 day'")
    dispatchers.start()
    eventually(lambda: len(ledger.on_time(busy)) >= 3, 15)
    moved = "UPDATE schedule_timers SET next_run_at = now() - interval '30 s' WHERE schedule_id = %(id)s"
    ledger.run(moved, {"id": forgotten})
    eventually(lambda: ledger.jobs(forgotten), 5)
    count = len(ledger.on_time(busy))
    eventually(lambda: len(ledger.on_time(busy)) > count, 5)


@pytest.mark.parametrize("told", ["the instant", "nothing", "nonsense"])
def test_a_timer_below_the_floor_that_was_told_of_is_looked_for_at_once(
    ledger: Ledger, dispatchers: Dispatchers, told: str
) -> None:
    busy = ledger.schedule(frequency="interval", interval_seconds=1, overlap_policy="allow")
    moved = ledger.schedule(cron_expression="0 0 1 1 *", due="now() + interval '1 day'")
    dispatcher = dispatchers.start(COMMANDCENTER_DISPATCHER_POLL_SECONDS="30")  # no survey meanwhile
    eventually(lambda: "leads now" in dispatcher.log)
    ledger.wake()
    eventually(lambda: len(ledger.on_time(busy)) >= 3, 15)
    at = datetime.now(UTC) - timedelta(seconds=30)
    ledger.run(
        "WITH moved AS (UPDATE schedule_timers SET next_run_at = %(at)s WHERE schedule_id = %(id)s)"
        " SELECT pg_notify(%(channel)s, %(payload)s)",
        {
            "at": at,
            "id": moved,
            "channel": outbox.DUE_CHANNEL,
            "payload": {"the instant": outbox.moved(at), "nothing": ""}.get(told, told),
        },
    )
    eventually(lambda: ledger.jobs(moved), 3)
