"""What the dispatcher does for a job after its dispatch, so that everything ends."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared.domain.recurrence import tzdb_version
from shared.events.types import RunDue
from shared.storage import outbox
from tests.dispatching import Dispatchers, Ledger
from tests.topics import Seen
from tests.waiting import eventually

OPEN_JOB = """
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for, attempt,
    max_attempts, next_attempt_at, never_started_at)
VALUES (%(schedule)s, 1, 1, 'health_check', 'schedule', %(status)s, date_trunc('minute', now()), %(attempt)s, 3,
    %(next)s::timestamptz, %(never)s::timestamptz)
RETURNING id
"""
CLAIM = """
INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, begun_at, lease_until)
SELECT id, attempt, schedule_id, scheduled_for, 'lost-worker#place/1/1', now() - interval '30 s', now() - interval '1 s'
FROM jobs WHERE id = %(id)s
"""


def _job(ledger: Ledger, status: str, **fields: Any) -> tuple[int, int]:
    schedule = ledger.schedule(due=None, cron_expression="0 * * * *")
    values = {"schedule": schedule, "status": status, "attempt": 1, "next": None, "never": None, **fields}
    return schedule, int(ledger.one(OPEN_JOB, values))


def _results(dispatchers: Dispatchers, job: int) -> list[Seen]:
    return [event for event in dispatchers.events("runs.results") if event.data["job_id"] == job]


def test_a_due_retry_is_published_as_the_next_attempt(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedule, job = _job(ledger, "retrying", next="now")
    ledger.run("""UPDATE jobs SET result = '{"of": 1}', artifacts = '[{"name": "of-1.csv"}]'""")
    dispatchers.start()
    eventually(lambda: ledger.jobs(schedule)[0]["status"] == "queued", 15)
    eventually(ledger.outbox_empty)
    stored = ledger.jobs(schedule)[0]
    assert (stored["attempt"], stored["next_attempt_at"]) == (2, None)
    assert (stored["result"], stored["artifacts"]) == (None, None), "those of the first attempt"
    assert stored["never_started_at"] is not None
    (event,) = dispatchers.events("runs.due.health_check")
    assert (event.headers["ce_id"], event.data["attempt"]) == (f"run-due-{job}-2", 2)


def test_an_edit_is_not_for_jobs_of_the_version_before(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """They run as they were claimed: name and parameters, and the policies by which they are tried again."""
    _, job = _job(ledger, "retrying", next="now")
    _, lost = _job(ledger, "running")
    ledger.run(
        "INSERT INTO schedule_versions (schedule_id, version, name, task_type, task_parameters, tags,"
        " retry_first_seconds, retry_cap_seconds, timeout_seconds, queue_timeout_seconds)"
        " SELECT id, 1, 'as it was', task_type, task_parameters, tags, 200, 2000, 77, 777 FROM schedules"
    )
    ledger.run(
        "UPDATE schedules SET version = 2, name = 'as it is', retry_first_seconds = 1, retry_cap_seconds = 1,"
        " timeout_seconds = 1, start_deadline_seconds = 1, queue_timeout_seconds = 1"
    )
    ledger.run(CLAIM, {"id": lost})
    dispatchers.start()
    (event,) = eventually(lambda: dispatchers.events("runs.due.health_check"), 15)
    assert (event.headers["ce_id"], event.data["schedule_name"]) == (f"run-due-{job}-2", "as it was")
    policies = [event.data[name] for name in ("retry_first_seconds", "retry_cap_seconds", "timeout_seconds")]
    assert policies == [200, 2000, 77]
    assert event.data.get("start_by") is None
    wait = ledger.one("SELECT never_started_at - now() FROM jobs WHERE id = %(id)s", {"id": job})
    assert 700 < wait.total_seconds() <= 777
    (failed,) = eventually(lambda: _results(dispatchers, lost), 15)
    wait = datetime.fromisoformat(failed.data["next_attempt_at"]) - datetime.fromisoformat(failed.data["finished_at"])
    assert 100 <= wait.total_seconds() <= 200


def test_a_lost_worker_is_a_failure_that_is_retried(ledger: Ledger, dispatchers: Dispatchers) -> None:
    _, job = _job(ledger, "running")
    _, last = _job(ledger, "running", attempt=3)
    ledger.run(CLAIM, {"id": job})
    ledger.run(CLAIM, {"id": last})
    dispatchers.start()
    (event,) = eventually(lambda: _results(dispatchers, job), 15)
    assert (event.data["reason"], event.data["will_retry"]) == ("worker_lost", True)
    wait = datetime.fromisoformat(event.data["next_attempt_at"]) - datetime.fromisoformat(event.data["finished_at"])
    assert 15 <= wait.total_seconds() <= 30
    (final,) = eventually(lambda: _results(dispatchers, last), 5)
    assert (final.data["will_retry"], final.data["next_attempt_at"]) == (False, None)
    claims = ledger.run("SELECT attempt, ended_at IS NOT NULL, will_retry FROM run_claims ORDER BY attempt")
    assert claims == [(1, True, True), (3, True, False)]
    (letter,) = eventually(lambda: dispatchers.events("runs.dead"), 5, "what is given up lies with the dead letters")
    due = RunDue.model_validate(letter.data)
    assert (due.job_id, due.attempt, due.task_type) == (last, 3, "health_check")
    assert letter.headers["ce_id"] == f"run-due-{last}-3"
    assert letter.headers["dead_topic"] == "runs.due.health_check"
    assert letter.headers["dead_reason"].startswith("given up after attempt 3: worker_lost: Worker lost-worker ")


def test_the_claim_of_an_attempt_whose_end_is_known_is_closed_without_a_word(
    ledger: Ledger, dispatchers: Dispatchers
) -> None:
    """Nobody marks the claims of workers elsewhere ended, nor those of one that died after its result was taken."""
    _, done = _job(ledger, "succeeded")
    _, again = _job(ledger, "retrying", next="tomorrow")
    for job in (done, again):
        ledger.run(CLAIM, {"id": job})
    dispatcher = dispatchers.start()
    claims = "SELECT job_id, will_retry FROM run_claims WHERE ended_at IS NOT NULL ORDER BY job_id"
    eventually(lambda: ledger.run(claims) == [(done, False), (again, True)], 15)
    eventually(ledger.outbox_empty)
    assert not _results(dispatchers, done) + _results(dispatchers, again)
    assert "lost its worker" not in dispatcher.log


def test_a_job_nobody_starts_ends_and_cannot_be_started(ledger: Ledger, dispatchers: Dispatchers) -> None:
    _, job = _job(ledger, "queued", never="now")
    _, waiting = _job(ledger, "queued", never="tomorrow")
    dispatcher = dispatchers.start()
    (event,) = eventually(lambda: _results(dispatchers, job), 15)
    assert (event.data["reason"], event.data["will_retry"], event.data["worker"]) == ("never_started", False, None)
    assert "nobody serves the task type health_check" in event.data["error"]
    assert ledger.run("SELECT job_id, ended_at IS NOT NULL FROM run_claims") == [(job, True)]
    assert f"Job {job} was never started" in dispatcher.log
    (letter,) = eventually(lambda: dispatchers.events("runs.dead"), 5)
    assert (letter.data["job_id"], letter.headers["dead_consumer"]) == (job, "dispatcher")
    assert not _results(dispatchers, waiting)


def test_a_held_job_past_its_start_deadline_is_cancelled(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedule, job = _job(ledger, "queued")
    ledger.run("UPDATE jobs SET held = true, scheduled_for = scheduled_for - interval '5 min'")
    ledger.run("UPDATE schedules SET start_deadline_seconds = 60")
    dispatchers.start()
    (event,) = eventually(lambda: _results(dispatchers, job), 15)
    assert event.data["reason"] == "deadline"
    assert ledger.jobs(schedule)[0]["held"]


def test_a_held_jobs_deadline_is_its_versions_and_counts_from_its_dispatch(
    ledger: Ledger, dispatchers: Dispatchers
) -> None:
    """An edit is for later jobs, and what jitter held back is not late for it."""
    edited, _ = _job(ledger, "queued")
    spread, _ = _job(ledger, "queued")
    ledger.run("UPDATE jobs SET held = true, scheduled_for = scheduled_for - interval '5 min'")
    ledger.run(
        "INSERT INTO schedule_versions (schedule_id, version, name, task_type, task_parameters, tags,"
        " retry_first_seconds, retry_cap_seconds, timeout_seconds, queue_timeout_seconds)"
        " SELECT id, 1, name, task_type, task_parameters, tags, 30, 30, 60, 60 FROM schedules WHERE id = %(id)s",
        {"id": edited},
    )
    ledger.run("UPDATE schedules SET start_deadline_seconds = 60")
    ledger.run("UPDATE schedules SET jitter_seconds = 1800 WHERE id = %(id)s", {"id": spread})
    dispatchers.start()
    eventually(lambda: not any(ledger.jobs(one)[0]["held"] for one in (edited, spread)), 15)
    eventually(ledger.outbox_empty)
    assert {event.key for event in dispatchers.events("runs.due.health_check")} == {str(edited), str(spread)}


def test_a_retry_at_once_is_at_once_for_a_lost_worker_too(ledger: Ledger, dispatchers: Dispatchers) -> None:
    _, job = _job(ledger, "running")
    ledger.run("UPDATE schedules SET retry_first_seconds = 0, retry_cap_seconds = 0")
    ledger.run(CLAIM, {"id": job})
    dispatchers.start()
    (event,) = eventually(lambda: _results(dispatchers, job), 15)
    assert event.data["next_attempt_at"] == event.data["finished_at"]


def test_leases_are_judged_only_after_workers_could_renew_them(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """PostgreSQL was away for longer than a lease: every live worker's lease has run out when it comes back."""
    _, job = _job(ledger, "running")
    ledger.run(CLAIM, {"id": job})
    dispatcher = dispatchers.start(COMMANDCENTER_DISPATCHER_PATIENCE_SECONDS="4")
    eventually(lambda: "This dispatcher leads now" in dispatcher.log, 20)
    eventually(lambda: dispatcher.metric("commandcenter_dispatcher_leader") == 1, 5)
    ledger.run("UPDATE run_claims SET lease_until = now() + interval '20 s'")  # the worker's heartbeat is back
    time.sleep(6)
    assert not _results(dispatchers, job)
    ledger.run("UPDATE run_claims SET lease_until = now()")
    assert eventually(lambda: _results(dispatchers, job), 5, "who does not renew is lost all the same")


def test_a_worker_that_ended_the_leases_of_its_dead_predecessor_wakes_the_rescue(
    ledger: Ledger, dispatchers: Dispatchers
) -> None:
    _, job = _job(ledger, "running")
    ledger.run(CLAIM, {"id": job})
    ledger.run("UPDATE run_claims SET lease_until = now() + interval '60 s'")
    dispatcher = dispatchers.start(
        COMMANDCENTER_DISPATCHER_POLL_SECONDS="30", COMMANDCENTER_DISPATCHER_PATIENCE_SECONDS="1"
    )
    eventually(lambda: "This dispatcher leads now" in dispatcher.log, 20)
    eventually(lambda: ledger.one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'") == 1)
    ledger.run("UPDATE run_claims SET lease_until = now()")

    def told() -> list[Seen]:
        ledger.run(f"NOTIFY {outbox.LOST_CHANNEL}")  # again and again: within its patience the rescue judges no lease
        return _results(dispatchers, job)

    assert eventually(told, 10, "its own next look is half a minute away")


def test_partitions_are_kept_ahead(dispatchers: Dispatchers, owner_url: str) -> None:
    Ledger(owner_url).run(
        "DO $$ BEGIN EXECUTE 'DROP TABLE jobs_' || to_char(now() + interval '8 days', 'YYYYMMDD'); END $$"
    )
    dispatcher = dispatchers.start()
    eventually(lambda: "Created 1 partitions ahead" in dispatcher.log, 15)


def test_one_day_in_the_default_partition_keeps_no_other_from_its_own(
    ledger: Ledger, dispatchers: Dispatchers, owner_url: str
) -> None:
    """An event with a clock far ahead, or a system that stood still for longer than partitions reach."""
    drop = "DO $$ BEGIN EXECUTE 'DROP TABLE {0}_' || to_char(now() + interval '{1} days', 'YYYYMMDD'); END $$"
    for parent, day in (("jobs", 0), ("jobs", 7), ("jobs", 8), ("audit_log", 6), ("audit_log", 8)):
        Ledger(owner_url).run(drop.format(parent, day))
    ledger.run(
        "INSERT INTO audit_log (at, event_id, action, chain, place, previous_hash, hash)"
        " VALUES (now() + interval '6 days', 'from-the-future', 'run.unknown', 'c', 1, '', '')"
    )
    today = ledger.schedule(cron_expression="0 * * * *")
    ledger.run(
        "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)"
        " VALUES (5, 1, 1, 'health_check', 'manual', 'queued', now())"
    )
    dispatcher = dispatchers.start()
    eventually(lambda: "Created 3 partitions ahead" in dispatcher.log, 15)
    eventually(lambda: ledger.jobs(today), 5)
    eventually(lambda: dispatcher.get("/readyz")[0] == 200, 10)


def test_a_long_reader_holds_up_the_partitions_and_nobody_else(
    ledger: Ledger, dispatchers: Dispatchers, database_url: str, owner_url: str
) -> None:
    """A backup over midnight: whoever needs a table for himself must not make everybody queue up behind him."""
    Ledger(owner_url).run(
        "DO $$ BEGIN EXECUTE 'DROP TABLE jobs_' || to_char(now() + interval '8 days', 'YYYYMMDD'); END $$"
    )
    every = {"frequency": "interval", "interval_seconds": 1, "overlap_policy": "allow"}
    schedule = ledger.schedule(**every, due="date_trunc('second', now()) + '1 s'")
    reader = Ledger(database_url)
    reader.run("BEGIN")
    reader.run("SELECT count(*) FROM jobs")
    dispatcher = dispatchers.start()
    eventually(lambda: "rescue is interrupted" in dispatcher.log, 15)
    eventually(lambda: len(ledger.on_time(schedule)) >= 10, 20)
    jobs = ledger.on_time(schedule)
    late = [datetime.fromisoformat(job["created_at"]) - datetime.fromisoformat(job["scheduled_for"]) for job in jobs]
    assert max(late) < timedelta(seconds=1), late
    assert sum(one > timedelta(seconds=0.15) for one in late) <= 1, late
    reader.close()


def test_an_update_of_the_zone_database_moves_timers(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Stored under other rules: an hour off. What is due already, and what follows no zone, stays."""
    tomorrow = "date_trunc('day', now(), 'America/New_York') + interval '2 days 1 hour'"
    wrong = ledger.schedule(cron_expression="0 0 * * *", timezone="America/New_York", due=tomorrow)
    utc = ledger.schedule(cron_expression="0 0 * * *", due="now() + interval '90 min'")
    ledger.run("UPDATE schedules SET updated_at = now() - interval '1 day'")
    ledger.run("INSERT INTO facts (name, value) VALUES ('tzdb_version', '2019a')")
    before = dict(ledger.run("SELECT schedule_id, next_run_at FROM schedule_timers"))
    dispatcher = dispatchers.start()
    eventually(lambda: "1 timers moved with the new zone rules" in dispatcher.log, 15)
    after = dict(ledger.run("SELECT schedule_id, next_run_at FROM schedule_timers"))
    assert after[utc] == before[utc]
    local = after[wrong].astimezone(ZoneInfo("America/New_York"))
    assert (local.hour, local.minute) == (0, 0)
    assert ledger.one("SELECT value FROM facts WHERE name = 'tzdb_version'") == tzdb_version()
