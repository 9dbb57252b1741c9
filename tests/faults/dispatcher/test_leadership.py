"""Leaders that die, stop, are deposed or doubled: every occurrence is dispatched once, and nobody waits long."""

from __future__ import annotations

import signal
import time
from datetime import datetime, timedelta

import psycopg2
import pytest

from deploy.local.postgres import libpq_url
from tests.dispatching import Dispatchers, Ledger, published_once
from tests.waiting import eventually

TAKE_OVER = 4.0
HAND_OVER = 0.5
SLACK = 1.0
"""What a machine that runs other tests beside this one may add."""


def _every_second(ledger: Ledger, count: int) -> list[int]:
    return [
        ledger.schedule(
            frequency="interval", interval_seconds=1, overlap_policy="allow", catchup_policy="all",
            due="date_trunc('second', now()) + '1 s'",
        )
        for _ in range(count)
    ]  # fmt: skip


def _check_ledger(ledger: Ledger, dispatchers: Dispatchers, schedules: list[int]) -> None:
    """Every second is there once, as a job, and every job was published as one event."""
    ledger.run("UPDATE schedule_timers SET next_run_at = NULL")
    assert ledger.deadlocks() == 0
    eventually(ledger.outbox_empty, 15)
    published = published_once(dispatchers.events("runs.due.health_check"))
    for schedule in schedules:
        jobs = ledger.jobs(schedule)
        instants = [datetime.fromisoformat(job["scheduled_for"]) for job in jobs]
        assert instants == [instants[0] + timedelta(seconds=number) for number in range(len(instants))]
        assert {job["status"] for job in jobs} == {"queued"}
        assert {job["id"] for job in jobs} <= set(published)


def test_a_killed_leader_is_replaced_within_four_seconds(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedules = _every_second(ledger, 10)
    leader = dispatchers.start("one")
    eventually(lambda: ledger.leader()[0] == "one", 10)
    standby = dispatchers.start("two")
    eventually(lambda: all(len(ledger.jobs(one)) >= 2 for one in schedules), 20)
    killed = time.monotonic()
    leader.process.kill()
    eventually(lambda: ledger.leader()[0] == "two", 10, poll=0.01)
    took = time.monotonic() - killed
    count = len(ledger.jobs(schedules[0]))
    eventually(lambda: all(len(ledger.jobs(one)) > count + 1 for one in schedules), 15)
    assert took < TAKE_OVER, took
    assert "leads now" in standby.log
    assert '"leader":"this dispatcher leads, epoch 2"' in standby.get("/readyz")[1]
    _check_ledger(ledger, dispatchers, schedules)


def test_a_graceful_stop_hands_over_at_once(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedules = _every_second(ledger, 5)
    first = dispatchers.start("one")
    eventually(lambda: ledger.leader()[0] == "one", 10)
    dispatchers.start("two")
    eventually(lambda: all(len(ledger.jobs(one)) >= 2 for one in schedules), 20)
    stopped = time.monotonic()
    first.signal(signal.SIGTERM)
    eventually(lambda: ledger.leader()[0] == "two", 5, poll=0.005)
    took = time.monotonic() - stopped
    assert first.process.wait(10) == 0
    assert took < HAND_OVER + SLACK, took
    count = len(ledger.jobs(schedules[0]))
    eventually(lambda: all(len(ledger.jobs(one)) > count + 1 for one in schedules), 10)
    _check_ledger(ledger, dispatchers, schedules)


def test_a_leader_stopped_in_a_transaction_cannot_commit_when_it_wakes(
    ledger: Ledger, dispatchers: Dispatchers, database_url: str
) -> None:
    """Stopped between its inserts and its commit, past its lease: the successor gets the rows, the sleeper nothing."""
    schedules = [ledger.schedule(cron_expression="0 * * * *", due=None) for _ in range(20)]
    sleeper = dispatchers.start("sleeper")
    eventually(lambda: ledger.leader()[0] == "sleeper", 10)
    dispatchers.start("successor")

    blocker = psycopg2.connect(libpq_url(database_url))
    with blocker.cursor() as cursor:
        cursor.execute(
            "LOCK TABLE outbox IN SHARE MODE"
        )  # its transaction waits here, jobs inserted, nothing committed
    ledger.run("UPDATE schedule_timers SET next_run_at = now()")
    ledger.wake()
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dispatcher-tick' AND wait_event = 'relation'"
    )
    eventually(lambda: ledger.one(waiting), 10, poll=0.01)
    sleeper.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    blocker.rollback()
    eventually(lambda: ledger.leader()[0] == "successor", 10, poll=0.01)
    took = time.monotonic() - stopped
    eventually(lambda: all(ledger.jobs(one) for one in schedules), 10)
    assert took < TAKE_OVER + SLACK, took
    sleeper.signal(signal.SIGCONT)
    eventually(lambda: "leads no more" in sleeper.log or "A batch was not claimed" in sleeper.log, 10)
    eventually(ledger.outbox_empty, 10)
    assert [len(ledger.jobs(one)) for one in schedules] == [1] * 20
    assert len(published_once(dispatchers.events("runs.due.health_check"))) == 20
    assert ledger.leader()[0] == "successor"


def test_forced_double_leaders_dispatch_nothing_twice(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """The lease is torn away from a leader that still believes in it, again and again, under load."""
    schedules = _every_second(ledger, 50)
    dispatchers.start("one")
    dispatchers.start("two")
    eventually(lambda: all(len(ledger.jobs(one)) >= 2 for one in schedules), 20)
    for _ in range(8):
        epoch = ledger.leader()[1]
        ledger.run("UPDATE leases SET expires_at = '-infinity' WHERE name = 'dispatcher'")
        eventually(lambda before=epoch: ledger.leader()[1] > before, 10, poll=0.01)  # type: ignore[misc]
    eventually(lambda: all(len(ledger.jobs(one)) >= 6 for one in schedules), 20)
    _check_ledger(ledger, dispatchers, schedules)


def test_a_clock_set_back_does_not_leave_a_dead_leader_in_office(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Its lease was given an hour ago, by a clock that was an hour ahead."""
    ledger.run("UPDATE leases SET holder = 'gone', epoch = 7, expires_at = now() + interval '1 hour'")
    schedule = ledger.schedule(cron_expression="0 * * * *")
    dispatchers.start()
    eventually(lambda: ledger.jobs(schedule), 10)
    assert ledger.leader()[1] == 8


def test_a_schedule_being_edited_at_its_instant_is_passed_by_and_caught_after(
    ledger: Ledger, dispatchers: Dispatchers, database_url: str
) -> None:
    """Editors lock the timer first: the tick neither waits for them nor loses the occurrence, whichever way it goes."""
    kept, moved = (ledger.schedule(cron_expression="0 * * * *", due="now() + '2 s'") for _ in range(2))
    other = ledger.schedule(cron_expression="0 * * * *", due="now() + '2 s'")
    dispatchers.start()
    editor = psycopg2.connect(libpq_url(database_url))
    with editor.cursor() as cursor:
        cursor.execute("SELECT 1 FROM schedule_timers WHERE schedule_id IN (%s, %s) FOR UPDATE", (kept, moved))
        eventually(lambda: ledger.jobs(other), 15)
        assert not ledger.jobs(kept)
        cursor.execute(
            "UPDATE schedule_timers SET next_run_at = now() + interval '1 h' WHERE schedule_id = %s", (moved,)
        )
    editor.commit()
    editor.close()
    eventually(lambda: ledger.jobs(kept), 5)
    assert not ledger.jobs(moved)


@pytest.mark.slow
def test_take_over_and_hand_over_times(database_url: str, ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Twenty kills and twenty graceful stops: the bars are p99, so none of twenty may miss them."""
    took: dict[str, list[float]] = {"kill": [], "stop": []}
    current = dispatchers.start("p0")
    eventually(lambda: ledger.leader()[0] == "p0", 10)
    for number in range(1, 41):
        standby = dispatchers.start(f"p{number}")
        eventually(lambda one=standby: one.get("/readyz")[0] == 200, 10)  # type: ignore[misc]
        kind = "kill" if number % 2 else "stop"
        began = time.monotonic()
        current.signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        eventually(lambda name=standby.name: ledger.leader()[0] == name, 10, poll=0.005)  # type: ignore[misc]
        took[kind].append(time.monotonic() - began)
        current = standby
    assert max(took["kill"]) < TAKE_OVER, took
    assert max(took["stop"]) < HAND_OVER, took
