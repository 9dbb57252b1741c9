"""What becomes of due schedules: real dispatcher, PostgreSQL and Kafka."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.events.envelope import decode
from shared.events.types import RunDue
from tests.dispatching import Dispatchers, Ledger, published_once
from tests.waiting import eventually


def test_a_due_schedule_becomes_one_job_and_one_event(ledger: Ledger, dispatchers: Dispatchers) -> None:
    # Twelve hours from now: no occurrence but the stored one falls due while the test runs.
    schedule = ledger.schedule(
        cron_expression=f"*/5 {(datetime.now(UTC).hour + 12) % 24} * * *",
        due="date_trunc('second', now())",
        task_parameters='{"targets": ["tcp://a:1"]}',
    )
    dispatcher = dispatchers.start()
    jobs = eventually(lambda: ledger.jobs(schedule), 15)
    eventually(ledger.outbox_empty)
    assert [(job["status"], job["trigger"], job["attempt"], job["held"]) for job in jobs] == [
        ("queued", "schedule", 1, False)
    ]

    (event,) = dispatchers.events("runs.due.health_check")
    assert event.key == str(schedule)
    read = decode([(name, value.encode()) for name, value in event.headers.items()], _bytes(event.data))
    assert isinstance(read.data, RunDue)
    assert read.id == f"run-due-{jobs[0]['id']}-1"
    assert read.data.job_id == jobs[0]["id"]
    assert read.data.task_parameters == {"targets": ["tcp://a:1"]}
    assert read.data.tags == {"team": "backend"}
    assert read.data.scheduled_for == datetime.fromisoformat(jobs[0]["scheduled_for"])
    assert event.headers["traceparent"].startswith("00-")

    next_run_at = ledger.one("SELECT next_run_at FROM schedule_timers WHERE schedule_id = %(id)s", {"id": schedule})
    assert next_run_at > datetime.now(UTC)
    assert next_run_at.minute % 5 == 0
    assert f"Executed schedule {schedule}, created job {jobs[0]['id']}, next run at " in dispatcher.log
    eventually(lambda: "Schedule dispatcher completed: 1 dispatched, 0 failed" in dispatcher.log, 5)
    assert "due schedules" in dispatcher.log, "what the reference greps for"
    assert dispatcher.get("/readyz")[0] == 200
    assert dispatcher.metric("commandcenter_dispatched_total") == 1
    assert dispatcher.metric("commandcenter_dispatch_delay_seconds_count") == 1


def test_a_notification_beats_the_longest_sleep(ledger: Ledger, dispatchers: Dispatchers) -> None:
    dispatcher = dispatchers.start(COMMANDCENTER_DISPATCHER_POLL_SECONDS="30")
    eventually(lambda: "leads now" in dispatcher.log)
    eventually(lambda: ledger.one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'") == 1)
    schedule = ledger.schedule(cron_expression="0 * * * *")
    ledger.wake()
    eventually(lambda: ledger.jobs(schedule), 3)


def test_every_second_is_dispatched_once_and_on_time(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedule = ledger.schedule(
        frequency="interval", interval_seconds=1, overlap_policy="allow", due="date_trunc('second', now()) + '2 s'"
    )
    dispatchers.start()
    eventually(lambda: len(ledger.on_time(schedule)) >= 5, 15)
    jobs = ledger.on_time(schedule)
    instants = [datetime.fromisoformat(job["scheduled_for"]) for job in jobs]
    assert instants == [instants[0] + timedelta(seconds=number) for number in range(len(instants))]
    late = [datetime.fromisoformat(job["created_at"]) - datetime.fromisoformat(job["scheduled_for"]) for job in jobs]
    assert max(late[1:]) < timedelta(seconds=0.5)


def test_overlap_policies(ledger: Ledger, dispatchers: Dispatchers) -> None:
    every: dict[str, Any] = {
        "frequency": "interval",
        "interval_seconds": 1,
        "due": "date_trunc('second', now()) + '1 s'",
    }
    skip = ledger.schedule(**every)
    buffered = ledger.schedule(**every, overlap_policy="buffer_one")
    cancelling = ledger.schedule(**every, overlap_policy="cancel_other")
    dispatchers.start()
    eventually(lambda: len(ledger.on_time(skip)) >= 4 and len(ledger.on_time(cancelling)) >= 4, 15)

    assert [job["status"] for job in ledger.on_time(skip)][:3] == ["queued", "skipped", "skipped"]
    assert {job["reason"] for job in ledger.on_time(skip)[1:]} == {"overlap"}
    first, second, *others = ledger.on_time(buffered)
    assert (first["held"], second["held"], second["status"]) == (False, True, "queued")
    assert {job["reason"] for job in others} == {"overlap"}

    # A worker marks the end: health is down, and the held job goes out all the same.
    _claim(ledger, first["id"], ended=True)
    eventually(lambda: not ledger.on_time(buffered)[1]["held"], 5)
    eventually(lambda: second["id"] in published_once(dispatchers.events("runs.due.health_check")), 5)

    # cancel_other: nobody had started them, so each is cancelled and the newest goes out.
    cancelled = [e for e in dispatchers.events("runs.results") if e.data["schedule_id"] == cancelling]
    assert cancelled
    assert {event.data["reason"] for event in cancelled} == {"replaced"}
    assert cancelled[0].data["job_id"] == ledger.on_time(cancelling)[0]["id"]


def test_overlap_is_judged_by_the_workers_claims_while_health_is_down(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedule = ledger.schedule(frequency="interval", interval_seconds=1, due="date_trunc('second', now()) + '1 s'")
    retrying = ledger.schedule(frequency="interval", interval_seconds=1, due="date_trunc('second', now()) + '1 s'")
    dispatchers.start()
    first = eventually(lambda: ledger.on_time(schedule), 15)[0]
    other = eventually(lambda: ledger.on_time(retrying), 15)[0]
    _claim(ledger, first["id"], ended=True)
    _claim(ledger, other["id"], ended=True, will_retry=True)
    eventually(lambda: sum(job["status"] == "queued" for job in ledger.on_time(schedule)) == 2, 5)
    assert sum(job["status"] == "queued" for job in ledger.on_time(retrying)) == 1


def test_after_an_outage_the_catchup_policy_decides(ledger: Ledger, dispatchers: Dispatchers) -> None:
    # Twelve hours from now: no occurrence but the stored one falls due while the test runs.
    far = f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"
    missed: dict[str, Any] = {"cron_expression": "* * * * *", "due": "date_trunc('minute', now()) - '10 min'::interval"}
    latest = ledger.schedule(**missed)
    everything = ledger.schedule(**missed, catchup_policy="all")
    beside = ledger.schedule(**missed, catchup_policy="all", overlap_policy="allow")
    nothing = ledger.schedule(**missed | {"cron_expression": far}, catchup_policy="none")
    short = ledger.schedule(**missed, catchup_policy="all", overlap_policy="allow", catchup_window_seconds=200)
    late = ledger.schedule(**missed | {"cron_expression": far}, start_deadline_seconds=300)
    dispatchers.start()
    eventually(lambda: all(ledger.jobs(one) for one in (latest, everything, beside, nothing, short, late)), 15)

    skipped, run = ledger.jobs(latest)[:2]
    assert (skipped["status"], skipped["reason"]) == ("skipped", "catchup")
    # Ten minutes, or eleven when the minute turned over meanwhile.
    assert skipped["skip_count"] >= 10
    first, ran = (datetime.fromisoformat(job["scheduled_for"]) for job in (skipped, run))
    assert ran - first == timedelta(minutes=skipped["skip_count"])
    assert run["status"] == "queued"
    jobs = ledger.jobs(everything)[:11]
    assert [job["held"] for job in jobs] == [False, *[True] * 10]
    assert jobs[0]["trigger"] == "catchup"
    assert [(job["status"], job["held"]) for job in ledger.jobs(beside)[:11]] == [("queued", False)] * 11
    assert [(job["status"], job["reason"]) for job in ledger.jobs(nothing)] == [("skipped", "catchup")]
    assert ledger.jobs(short)[0]["skip_count"] >= 7
    assert [(job["status"], job["reason"]) for job in ledger.jobs(late)] == [("skipped", "deadline")]


def test_a_bad_schedule_is_recorded_and_stops_nobody(ledger: Ledger, dispatchers: Dispatchers) -> None:
    good = [ledger.schedule(cron_expression="0 * * * *") for _ in range(5)]
    bad = ledger.schedule(cron_expression="61 * * * *")
    strange = ledger.schedule(cron_expression="0 * * * *", task_type="Not A Type")
    unwritable = ledger.schedule(cron_expression="0 * * * *", max_attempts=70_000)  # the job's column is a smallint
    ledger.run("INSERT INTO schedule_timers (schedule_id, project_id, next_run_at) VALUES (999999, 1, now())")
    dispatcher = dispatchers.start()
    eventually(lambda: all(ledger.jobs(one) for one in (*good, bad, strange, unwritable, 999999)), 15)

    for schedule in (bad, strange, unwritable, 999999):
        (job,) = ledger.jobs(schedule)
        assert (job["status"], job["reason"]) == ("skipped", "unwritable"), schedule
        timer = "SELECT next_run_at FROM schedule_timers WHERE schedule_id = %(id)s"
        assert ledger.one(timer, {"id": schedule}) is None
    assert {ledger.jobs(one)[0]["status"] for one in good} == {"queued"}
    assert f"Schedule {bad} cannot be dispatched and was taken off the clock" in dispatcher.log


def test_an_occurrence_already_in_the_ledger_is_not_published_again(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedule = ledger.schedule(cron_expression="0 * * * *", due="date_trunc('minute', now())")
    ledger.run(
        "INSERT INTO jobs"
        " (schedule_id, schedule_version, project_id, task_type, trigger, status, reason, scheduled_for)"
        " SELECT schedule_id, 1, 1, 'health_check', 'schedule', 'skipped', 'edited', next_run_at FROM schedule_timers"
    )
    other = ledger.schedule(cron_expression="0 * * * *")
    dispatchers.start()
    eventually(lambda: ledger.jobs(other), 15)
    eventually(ledger.outbox_empty)
    assert [job["status"] for job in ledger.jobs(schedule)] == ["skipped"]
    assert {event.key for event in dispatchers.events("runs.due.health_check")} == {str(other)}


def test_once_runs_once_and_the_window_ends(ledger: Ledger, dispatchers: Dispatchers) -> None:
    start = datetime.now(UTC).replace(microsecond=0)
    once = ledger.schedule(frequency="once", start_time=start, due=f"'{start.isoformat()}'")
    last = ledger.schedule(
        frequency="interval", interval_seconds=3600, start_time=start, end_time=start + timedelta(minutes=10),
        due=f"'{start.isoformat()}'",
    )  # fmt: skip
    dispatchers.start()
    eventually(lambda: ledger.jobs(once) and ledger.jobs(last), 15)
    assert ledger.one("SELECT count(*) FROM schedule_timers WHERE next_run_at IS NOT NULL") == 0


def test_jitter_delays_the_dispatch_and_not_the_occurrence(ledger: Ledger, dispatchers: Dispatchers) -> None:
    schedule = ledger.schedule(cron_expression="* * * * *", jitter_seconds=30, due="date_trunc('minute', now())")
    dispatchers.start()
    eventually(lambda: ledger.jobs(schedule), 15)
    row = ledger.run("SELECT next_run_at, next_scheduled_for, last_claimed_for FROM schedule_timers")[0]
    assert row[1].second == 0
    assert timedelta() <= row[0] - row[1] <= timedelta(seconds=30)


def _claim(ledger: Ledger, job_id: int, *, ended: bool, will_retry: bool = False) -> None:
    """What a worker writes for attempt 1."""
    ledger.run(
        "INSERT INTO run_claims"
        " (job_id, attempt, schedule_id, scheduled_for, worker, lease_until, ended_at, will_retry)"
        " SELECT id, 1, schedule_id, scheduled_for, 'w', now() + '20 s', CASE WHEN %(ended)s THEN now() END, %(retry)s"
        " FROM jobs WHERE id = %(id)s",
        {"id": job_id, "ended": ended, "retry": will_retry},
    )


def _bytes(data: object) -> bytes:
    import json

    return json.dumps(data).encode()
