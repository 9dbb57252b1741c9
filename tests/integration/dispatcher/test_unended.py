"""Ends that nobody will tell any more, and attempts that somebody wanted to stop: the dispatcher tells them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.storage import unended
from shared.storage.session import Session
from shared.storage.unended import LOOKED_AT_FOR_EACH, Place
from tests.dispatching import Dispatchers, Ledger
from tests.topics import Seen
from tests.waiting import eventually

JOB = """
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for, attempt,
    max_attempts, started_at, next_attempt_at)
VALUES (%(schedule)s, 1, 1, 'health_check', 'schedule', %(status)s,
    date_trunc('minute', now() - %(age)s::interval), %(attempt)s, 3,
    now() - interval '2 hours', now() + interval '1 hour')
RETURNING id
"""
CLAIM = """
INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, begun_at, lease_until, ended_at,
    will_retry)
SELECT id, %(attempt)s, schedule_id, scheduled_for, %(worker)s, CASE WHEN %(begun)s THEN now() END,
    now() - interval '1 s', %(ended)s::timestamptz, %(retry)s
FROM jobs WHERE id = %(job)s
"""
WAITING = """
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for, held)
SELECT %(schedule)s, 1, 1, 'health_check', 'schedule', 'queued', now() - %(age)s::interval - i * interval '1 s',
    i %% 2 = 0
FROM generate_series(1, %(count)s) AS i
"""
LONG_AGO = "-infinity"


def _job(
    ledger: Ledger, status: str = "running", attempt: int = 1, age: str = "0 s", **schedule: Any
) -> tuple[int, int]:
    made = ledger.schedule(**{"due": None, "cron_expression": "0 * * * *", **schedule})
    return made, int(ledger.one(JOB, {"schedule": made, "status": status, "attempt": attempt, "age": age}))


def _claim(
    ledger: Ledger,
    job: int,
    attempt: int = 1,
    *,
    ended: str | None = None,
    retry: bool = False,
    begun: bool = True,
    worker: str = "w",
) -> None:
    values = {"job": job, "attempt": attempt, "worker": worker, "begun": begun, "ended": ended, "retry": retry}
    ledger.run(CLAIM, values)


def _ends(dispatchers: Dispatchers, job: int) -> list[Seen]:
    return [event for event in dispatchers.events("runs.results") if event.data["job_id"] == job]


def test_an_end_that_was_lost_is_told_again(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """A broker without its disk, a topic made anew: the claim is marked ended, and no end is on record."""
    _, lost = _job(ledger)
    _claim(ledger, lost, ended=LONG_AGO)
    _, again = _job(ledger)
    _claim(ledger, again, ended=LONG_AGO, retry=True)
    _, blocked = _job(ledger, "queued", age="25 hours")
    _claim(ledger, blocked, ended=LONG_AGO, begun=False, worker="cancelled:somebody")
    _, fresh = _job(ledger)
    _claim(ledger, fresh, ended="now")  # health may just be behind
    dispatchers.start()
    (end,) = eventually(lambda: _ends(dispatchers, lost), 20)
    assert (end.headers["ce_type"], end.data["reason"]) == ("commandcenter.run.failed.v1", "result_lost")
    assert end.data["will_retry"] is False
    (end,) = eventually(lambda: _ends(dispatchers, again), 5)
    assert (end.data["reason"], end.data["will_retry"]) == ("result_lost", True)
    assert end.data["next_attempt_at"] is not None
    (end,) = eventually(lambda: _ends(dispatchers, blocked), 5)
    assert (end.headers["ce_type"], end.data["reason"]) == ("commandcenter.run.cancelled.v1", "result_lost")
    assert not _ends(dispatchers, fresh)
    assert ledger.one("SELECT count(*) FROM run_claims WHERE ended_at = '-infinity'") == 0, "once a day, not every turn"


def test_waiting_jobs_of_today_cost_nothing_however_many_they_are(ledger: Ledger, session: Session) -> None:
    """Nobody serves a task type of thousands of schedules: millions of jobs are open, and the other searches wait."""
    lost = _job(ledger)[1]
    _claim(ledger, lost, ended=LONG_AGO)
    made = ledger.schedule(due=None, cron_expression="0 * * * *")
    ledger.run(WAITING, {"schedule": made, "age": "1 minute", "count": 30_000})
    session.execute("BEGIN")
    found, _ = unended.find(session, _now(), Place(), 500)
    read = "SELECT sum(idx_tup_fetch + seq_tup_read) FROM pg_stat_xact_user_tables WHERE relname LIKE 'jobs%'"
    assert session.execute(read)[0][0] == 1
    assert [one.job_id for one in found] == [lost]


def test_old_jobs_that_wait_are_looked_at_some_a_turn(ledger: Ledger, session: Session) -> None:
    patient = ledger.schedule(due=None, cron_expression="0 * * * *")
    count = 500 * LOOKED_AT_FOR_EACH * 3 // 2
    ledger.run(WAITING, {"schedule": patient, "age": "25 hours", "count": count})
    _, lost = _job(ledger, "queued", age="26 hours")
    _claim(ledger, lost, ended=LONG_AGO)
    _, early = _job(ledger)
    _claim(ledger, early, ended=LONG_AGO)

    found, reached = unended.find(session, _now(), Place(), 500)
    assert [one.job_id for one in found] == [early], "what runs is looked at in each turn"
    again, same = unended.find(session, _now(), Place(), 1)
    assert (len(again), same) == (1, Place()), "there may be more of them to end here"
    found, reached = unended.find(session, _now(), reached, 500)
    assert {one.job_id for one in found} == {early, lost}
    assert reached == Place(), "anew"


def _now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def test_a_run_without_a_claim_ends_by_its_timeout(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """A worker elsewhere said that it began, without a claim, and died: its schedule must not overlap for ever."""
    schedule, dead = _job(ledger)
    _, patient = _job(ledger)
    ledger.run("UPDATE schedules SET timeout_seconds = 7200 WHERE id <> %(id)s", {"id": schedule})
    dispatchers.start()
    (end,) = eventually(lambda: _ends(dispatchers, dead), 20)
    assert (end.data["reason"], end.data["will_retry"], end.data["attempt"]) == ("timeout", True, 1)
    assert not _ends(dispatchers, patient)
    assert ledger.run("SELECT job_id, ended_at IS NOT NULL, will_retry FROM run_claims") == [(dead, True, True)]


def test_a_claim_left_to_run_out_after_its_answer_is_no_lost_worker(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Workers elsewhere claim over the api and answer in Kafka: nobody else marks their claims ended."""
    schedule, answered = _job(ledger)
    _claim(ledger, answered)
    ledger.run("UPDATE jobs SET status = 'succeeded' WHERE id = %(id)s", {"id": answered})
    dispatcher = dispatchers.start()
    eventually(lambda: ledger.one("SELECT ended_at IS NOT NULL FROM run_claims"), 20)
    assert not _ends(dispatchers, answered)
    assert "lost its worker" not in dispatcher.log
    assert ledger.jobs(schedule)[0]["status"] == "succeeded"


def test_a_retry_that_somebody_blocked_ends_the_job_at_once(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """It was asked to stop and failed instead: its next attempt, in an hour, need not be waited for."""
    _, stopped = _job(ledger, "retrying")
    _claim(ledger, stopped, ended="now", retry=True)
    _claim(ledger, stopped, 2, ended="now", begun=False, worker="stop:ada")
    _, other = _job(ledger, "retrying")
    dispatchers.start()
    (end,) = eventually(lambda: _ends(dispatchers, stopped), 20)
    assert (end.data["attempt"], end.data["reason"]) == (2, "cancelled_by_user")
    assert not _ends(dispatchers, other)
    assert not dispatchers.events("runs.due.health_check")


def test_a_lost_worker_whose_job_was_to_stop_is_not_tried_again(ledger: Ledger, dispatchers: Dispatchers) -> None:
    _, job = _job(ledger)
    _claim(ledger, job)
    _claim(ledger, job, 2, ended="now", begun=False, worker="stop:ada")
    dispatchers.start()
    (end,) = eventually(lambda: _ends(dispatchers, job), 20)
    assert end.headers["ce_type"] == "commandcenter.run.cancelled.v1"
    assert (end.data["attempt"], end.data["reason"]) == (1, "cancelled_by_user")


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "health is behind"])
def test_cancel_other_does_not_wait_for_the_others_retry(
    ledger: Ledger, dispatchers: Dispatchers, recorded: bool
) -> None:
    schedule, waiting = _job(ledger, "retrying" if recorded else "running", overlap_policy="cancel_other")
    ledger.run("UPDATE jobs SET scheduled_for = scheduled_for - interval '3 minutes'")
    _claim(ledger, waiting, ended="now", retry=True)
    ledger.run("UPDATE schedule_timers SET next_run_at = date_trunc('minute', now()) - interval '1 minute'")
    dispatchers.start()
    (end,) = eventually(lambda: _ends(dispatchers, waiting), 20)
    assert (end.data["attempt"], end.data["reason"]) == (2, "replaced")
    new = eventually(lambda: [job for job in ledger.jobs(schedule) if job["id"] != waiting], 5)[-1]
    # What health makes of it; then the new one goes.
    ledger.run("UPDATE jobs SET status = 'cancelled' WHERE id = %(id)s", {"id": waiting})
    eventually(
        lambda: {event.data["job_id"] for event in dispatchers.events("runs.due.health_check")} == {new["id"]}, 10
    )
