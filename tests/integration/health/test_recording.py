"""Results on record: once each, whatever repeats, overtakes or crashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.health.recorder import Recorder, TooManyDead
from shared.events.envelope import Event
from shared.events.examples import EXAMPLES
from shared.events.types import Actor, Artifact, ObjectChanged, RunRequested, ScheduleCreated
from shared.kafka.consumer import Record
from shared.storage.audit_chain import BEGINNING, FIELDS, body, canonical, link
from shared.storage.database import Database, DatabaseUnavailable
from tests.integration.health.support import NOW, Rows, event, independent_count, record

KINDS = ("started", "succeeded", "failed", "retried", "cancelled")


class Aside:
    """Stands at the edge to Kafka: collects dead letters."""

    def __init__(self) -> None:
        self.letters: list[tuple[Record, str]] = []

    def __call__(self, dead: Sequence[tuple[Record, str]]) -> None:
        self.letters.extend(dead)


@pytest.fixture
def aside() -> Aside:
    return Aside()


@pytest.fixture
def recorder(database: Database, aside: Aside) -> Recorder:
    return Recorder(database, aside)


def verify_chains(rows: Rows) -> int:
    """Recompute every hash from what is stored, independently of the writer's order; returns the number of entries."""
    found = rows(f"SELECT previous_hash, hash, {', '.join(FIELDS)} FROM audit_log ORDER BY chain, place")
    last: dict[str, tuple[int, bytes]] = {}
    for previous, digest, *values in found:
        entry = dict(zip(FIELDS, values, strict=True))
        place, expected = last.get(entry["chain"], (0, BEGINNING))
        assert entry["place"] == place + 1
        assert bytes(previous) == expected
        entry["detail"] = canonical(entry["detail"])
        assert link(expected, body(entry)) == bytes(digest)
        last[entry["chain"]] = entry["place"], bytes(digest)
    return len(found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_repetition_and_crash_gives_the_count_of_an_independent_reader(
    rows: Rows, recorder: Recorder, data: st.DataObject
) -> None:
    rows("DELETE FROM jobs")
    rows("DELETE FROM schedule_statistics")
    jobs = rows.jobs(data.draw(st.integers(1, 12)), schedules=3)
    drawn = st.tuples(st.sampled_from(KINDS), st.sampled_from(jobs), st.integers(1, 2), st.sampled_from("vw"))
    events = [event(kind, job, attempt, by) for kind, job, attempt, by in data.draw(st.lists(drawn, max_size=40))]
    records = [record(one, offset) for offset, one in enumerate(events)]
    position = 0
    while position < len(records):
        batch = records[position : position + data.draw(st.integers(1, 15))]
        recorder.record(batch)
        # A crash after PostgreSQL's commit and before Kafka's: the same batch, or a part of it, comes again.
        position += data.draw(st.integers(1, len(batch))) if data.draw(st.booleans()) else len(batch)
    counted = independent_count(events)
    assert rows.counts()["statistics"] == counted
    ((ended,),) = rows("SELECT count(*) FROM jobs WHERE status IN ('succeeded', 'failed')")
    assert ended == sum(a + b for a, b in counted.values())
    verify_chains(rows)


def test_a_late_end_is_audited_and_changes_nothing(rows: Rows, recorder: Recorder) -> None:
    (job,) = rows.jobs(1)
    recorder.record([record(event("failed", job, by="rescue")), record(event("succeeded", job, by="worker"))])
    recorder.record([record(event("succeeded", job, by="worker"))])
    assert rows("SELECT status, reason, error FROM jobs") == [("failed", "error", "it broke")]
    assert rows("SELECT success_count, failure_count, last_status FROM schedule_statistics") == [(0, 1, "failed")]
    assert rows("SELECT action, actor, detail->>'outcome' FROM audit_log ORDER BY place") == [
        ("run.failed", "rescue", "failed"),
        ("run.late", "worker", "succeeded"),
    ]


def test_a_success_after_a_failure_keeps_nothing_of_it(rows: Rows, recorder: Recorder) -> None:
    (job,) = rows.jobs(1)
    recorder.record([record(event("retried", job))])
    assert rows("SELECT status, reason, error FROM jobs") == [("retrying", "error", "it broke")]
    rows("UPDATE jobs SET status = 'queued', attempt = 2 RETURNING 1")  # as the dispatcher does when the retry is due
    recorder.record([record(event("started", job, attempt=2)), record(event("succeeded", job, attempt=2))])
    assert rows("SELECT status, reason, error, attempt FROM jobs") == [("succeeded", None, None, 2)]


def test_what_an_attempt_has_left_is_not_shown_as_the_next_ones(rows: Rows, recorder: Recorder) -> None:
    left, next_fails, never_begins = rows.jobs(3, max_attempts=2)
    result, artifacts = {"targets": 1}, [Artifact(name="a.csv", media_type="text/csv", size=1, sha256="0" * 64)]
    first = []
    for job in (left, next_fails, never_begins):
        one = event("retried", job)
        first.append(replace(one, data=one.data.model_copy(update={"result": result, "artifacts": artifacts})))
    recorder.record([record(one) for one in first])
    shown = "SELECT id, status, result, artifacts->0->>'name' FROM jobs ORDER BY scheduled_for DESC, id"
    kept = (result, "a.csv")
    assert rows(shown) == [(job[0], "retrying", *kept) for job in (left, next_fails, never_begins)]
    rows("UPDATE jobs SET status = 'queued', attempt = 2 WHERE id = %s RETURNING 1", next_fails[0])
    cancelled = event("cancelled", never_begins, attempt=2)
    recorder.record([record(event("failed", next_fails, attempt=2)), record(cancelled)])
    assert rows(shown) == [
        (left[0], "retrying", *kept),
        (next_fails[0], "failed", None, None),
        (never_begins[0], "cancelled", None, None),
    ]


def test_statistics_say_how_the_last_runs_went(rows: Rows, recorder: Recorder) -> None:
    jobs = rows.jobs(5, schedules=1)[::-1]  # oldest first
    for kind, job in zip(("failed", "failed", "succeeded", "failed", "cancelled"), jobs, strict=True):
        recorder.record([record(event("started", job)), record(event(kind, job))])
    (found,) = rows(
        "SELECT success_count, failure_count, consecutive_failures, last_status, last_error, total_duration_seconds"
        " FROM schedule_statistics"
    )
    assert found == (1, 3, 1, "cancelled", "it broke", 8.0)
    assert rows("SELECT DISTINCT finished_at - started_at = interval '2 s' FROM jobs") == [(True,)]


def test_a_change_of_a_schedule_is_audited_with_who_what_and_from_where(rows: Rows, recorder: Recorder) -> None:
    change = ScheduleCreated(
        schedule_id=5,
        project_id=2,
        version=1,
        actor=Actor(name="ada", address="192.0.2.7"),
        before=None,
        after={"name": "Nightly", "weights": [1.0, 2.5, 1e3], "note": "\x00"},
    )
    recorder.record([record(Event("e-1", "/api", NOW, change, 5), topic="schedules")])
    recorder.record([Record("schedules", 1, 9, b"5", [], None)])  # a tombstone is no event
    (found,) = rows("SELECT action, actor, address, project_id, schedule_id, chain, detail FROM audit_log")
    assert found[:6] == ("schedule.created", "ada", "192.0.2.7", 2, 5, "schedules/2")
    assert found[6]["after"] == {"name": "Nightly", "weights": [1, 2.5, 1000], "note": "\ufffd"}
    assert verify_chains(rows) == 1


def test_what_nobody_can_read_or_write_is_put_aside_and_stops_nothing(
    rows: Rows, recorder: Recorder, aside: Aside
) -> None:
    jobs = rows.jobs(20)
    good = [record(event("succeeded", job), offset) for offset, job in enumerate(jobs)]
    unreadable = Record("runs.results", 0, 90, b"1", [("ce_type", b"\xff")], b"{")
    too_far = record(event("succeeded", (2**70, 1, NOW)), 91)
    strange_id = record(Event("nul\x00", "/worker", NOW, event("failed", jobs[3]).data, 1), 92)
    recorder.record([*good[:10], unreadable, too_far, strange_id, *good[10:]])
    assert rows.counts()["jobs"] == {"succeeded": 20}
    assert sorted(letter.offset for letter, _ in aside.letters) == [90, 91, 92]
    assert {letter.offset: reason for letter, reason in aside.letters}[90] == "header ce_type is not UTF-8"


def test_an_unknown_job_is_audited_and_counts_nowhere(rows: Rows, recorder: Recorder) -> None:
    recorder.record([record(event("succeeded", (987654321, 4, NOW)))])
    assert rows.counts() == {"jobs": {}, "statistics": {}, "audit": {"run.unknown": 1}}


def test_when_nothing_is_readable_recording_stops_instead_of_emptying_the_topic(
    recorder: Recorder, aside: Aside
) -> None:
    rubbish = [Record("runs.results", 0, offset, None, [], b"?") for offset in range(300)]
    with pytest.raises(TooManyDead):
        recorder.record(rubbish)
    assert aside.letters == []


def test_when_nothing_is_writable_recording_stops_too(
    rows: Rows, recorder: Recorder, aside: Aside, owner_url: str
) -> None:
    """A constraint that a wrong migration left behind must not cost a topic its events."""
    owner = Rows(owner_url)
    owner("ALTER TABLE audit_log ADD CHECK (actor <> 'w')")
    with pytest.raises(TooManyDead, match="nearly no event can be written"):
        recorder.record([record(event("succeeded", job)) for job in rows.jobs(300)])
    assert aside.letters == []
    owner.close()


def test_without_its_tables_events_wait_and_are_not_thrown_away(
    rows: Rows, recorder: Recorder, aside: Aside, owner_url: str
) -> None:
    (job,) = rows.jobs(1)
    owner = Rows(owner_url)
    owner("ALTER TABLE audit_log RENAME TO hidden")
    with pytest.raises(DatabaseUnavailable):
        recorder.record([record(event("succeeded", job))])
    owner("ALTER TABLE hidden RENAME TO audit_log")
    owner.close()
    recorder.record([record(event("succeeded", job))])
    assert rows.counts()["jobs"] == {"succeeded": 1}
    assert aside.letters == []


def test_the_log_refuses_even_its_owner(rows: Rows, recorder: Recorder, owner_url: str) -> None:
    (job,) = rows.jobs(1)
    recorder.record([record(event("succeeded", job))])
    owner = Rows(owner_url)
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(Exception, match="append-only"):
            owner(statement)
    owner.close()


def test_what_was_asked_for_by_hand_is_audited_under_its_caller(recorder: Recorder, rows: Rows, aside: Aside) -> None:
    ((job_id, schedule_id, scheduled_for),) = rows.jobs(1)
    data = RunRequested(
        request="cancel",
        job_id=job_id,
        schedule_id=schedule_id,
        project_id=1,
        task_type="analysis",
        scheduled_for=scheduled_for,
        actor=Actor(name="key:ops", address="192.0.2.7"),
    )
    asked = Event(f"run-requested-{job_id}-cancel-1", "/api", NOW, data, schedule_id, job_id)
    for _ in range(2):  # a repeat says nothing new
        recorder.record([record(asked, topic="runs.requests")])
    found = rows("SELECT action, actor, address, project_id, schedule_id, job_id FROM audit_log")
    assert found == [("job.cancel", "key:ops", "192.0.2.7", 1, schedule_id, job_id)]
    assert rows("SELECT status FROM jobs") == [("queued",)]  # asking is no outcome
    assert verify_chains(rows) == 1
    recorder.record([record(asked, topic="runs.results")])  # whoever may answer runs cannot write who asked
    assert "does not belong" in aside.letters[0][1]


def test_changes_of_objects_are_audited(recorder: Recorder, rows: Rows, aside: Aside) -> None:
    rotated = EXAMPLES[ObjectChanged.TYPE]
    for _ in range(2):
        recorder.record([record(rotated, topic="objects")])
    ((action, actor, address, project_id, detail),) = rows(
        "SELECT action, actor, address, project_id, detail FROM audit_log"
    )
    assert (action, actor, address, project_id) == ("key.rotated", "key:ops", "192.0.2.7", None)
    assert (detail["identity"], detail["id"], detail["secret_changed"]) == ("key:1", 3, True)
    assert detail["before"]["prefix"] != detail["after"]["prefix"]
    assert verify_chains(rows) == 1
    recorder.record([record(rotated, topic="runs.results")])
    assert "does not belong" in aside.letters[0][1]


def test_events_of_one_instant_are_looked_up_by_their_ids(
    database_url: str, rows: Rows, aside: Aside, eventually: Callable[..., object]
) -> None:
    """A fresh day has no statistics: looked up by instant, each event would be compared with all of that instant."""
    made = rows.jobs(3_000, schedules=50)
    opened = Database(database_url, application="test")
    recorder = Recorder(opened, aside)
    for begin in range(0, 3_000, 500):
        recorder.record([record(event("succeeded", job), n) for n, job in enumerate(made[begin : begin + 500])])
    opened.close()  # an ending session leaves its counts
    reads = (
        "SELECT coalesce(sum(idx_scan) FILTER (WHERE indexrelname LIKE '%pkey'), 0),"
        " coalesce(sum(idx_tup_read) FILTER (WHERE indexrelname LIKE '%at_id_idx'), 0)"
        " FROM pg_stat_user_indexes WHERE relname LIKE 'audit_log%'"
    )
    eventually(lambda: rows(reads)[0][0] >= 3_000, what="a look for each event by the primary key")
    assert rows(reads)[0][1] == 0
