"""Settles messages that Kafka did not take: sends temporary failures again, and puts aside what is refused for good.

Called by the relay for a row some of whose messages failed. A message refused for good goes to runs.dead with the
reason, its job ends as failed (`dead_lettered`), and the row in the outbox is replaced by what remains to be published,
in one transaction: a crash in between loses neither.
"""

from collections.abc import Sequence
from datetime import datetime

import orjson

from services.dispatcher.encoding import decode_row, encode, row_text
from shared.domain.job import FailureReason
from shared.events.due import SOURCE
from shared.events.envelope import Event, Message, ended_id
from shared.events.envelope import encode as encode_event
from shared.events.topics import RUNS_DEAD, RUNS_RESULTS
from shared.events.types import RunDue, RunFailed
from shared.kafka.publisher import Failure, Outgoing, Publisher, as_text
from shared.storage import relay as outbox
from shared.storage.giving_way import block
from shared.storage.session import Session
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import DEAD_LETTERS, FAULTS

log = get_logger(__name__)

ALONE_SECONDS = 10.0
BLOCKED_BY = "cancelled:dead_lettered"
MOST_VALUE = 500_000
"""Bytes of a refused value that the dead letter keeps: it may have been refused for its size."""


def settle(session: Session, publisher: Publisher, row_id: int, failures: Sequence[Failure]) -> list[Outgoing]:
    """What of row `row_id` remains to be published after these failures, stored in the row's place if it is new."""
    text = outbox.read_one(session, row_id)
    if text is None:
        return []
    failed = {(one.key, one.value): one for one in failures}
    remaining: list[Outgoing] = []
    letters: list[Message] = []
    dropped = False
    blocked: list[tuple[int, int, int, datetime]] = []
    now: datetime = session.execute("SELECT clock_timestamp()")[0][0]
    for message in read_row(text):
        failure = failed.get((as_text(message.key) or "", as_text(message.value)))
        if failure is None:
            continue
        if failure.alone:
            # One oversized message can take a whole record batch down with it: only what fails alone is at fault.
            failure = publisher.publish_alone(message, ALONE_SECONDS)
            if failure is None:
                continue
        if not failure.permanent:
            remaining.append(message)
            continue
        if message.topic == RUNS_DEAD.name and message.value is None:
            # Not even its headers can be put aside: nothing is left that could go, and the row would come for ever.
            log.error(
                "Kafka refuses a dead letter for good, it is dropped: %s",
                failure.sentence,
                action="relay.dead_letter_dropped",
                schedule_id=_readable(message.key) or None,
                headers=dict(message.headers),
            )
            FAULTS.labels("dispatcher", "dead_letter_dropped").inc()
            dropped = True
            continue
        letters.append(_letter(message, failure.sentence, now))
        end = _job_end(message, failure.sentence, now)
        if end is not None:
            letters.append(end[0])
            blocked.append(end[1])
        log.error(
            "Kafka refuses a message for good, it was put aside on runs.dead: %s",
            failure.sentence,
            action="relay.dead_letter",
            schedule_id=_readable(message.key) or None,
            topic=message.topic,
        )
        DEAD_LETTERS.labels("relay", "refused").inc()
    if not letters and not dropped:
        return remaining
    everything = [*remaining, *encode(letters).messages]
    session.execute("BEGIN")
    if blocked:
        block(session, blocked, BLOCKED_BY)
    outbox.replace(session, row_id, len(everything), row_text(everything))
    session.execute("COMMIT")
    return everything


def read_row(text: str) -> list[Outgoing]:
    """The messages of an outbox row; one that cannot be read becomes a dead letter as a whole."""
    try:
        return decode_row(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [unreadable(text, str(error))]


def unreadable(text: str, sentence: str) -> Outgoing:
    """The dead letter for an outbox row that is not what writers may store."""
    headers: list[tuple[str, str | bytes | None]] = [
        ("dead_reason", f"an outbox row could not be read: {sentence}"),
        ("dead_consumer", "relay"),
    ]
    return Outgoing(RUNS_DEAD.name, "", headers, _cut(text))


def _letter(message: Outgoing, sentence: str, now: datetime) -> Message:
    """The dead letter of a message: its own headers, ours, and its value as far as that may travel."""
    headers = {name: _readable(value) or "" for name, value in message.headers}
    value = _readable(message.value)
    if message.topic == RUNS_DEAD.name:  # a letter itself: why it was put aside stays, its value cannot travel
        headers["dead_truncated"] = headers.get("dead_truncated") or str(len((value or "").encode()))
        return Message(RUNS_DEAD.name, _readable(message.key) or "", headers, None)
    headers |= {
        "dead_reason": sentence,
        "dead_consumer": "relay",
        "dead_at": now.isoformat(),
        "dead_topic": message.topic,
    }
    if value is not None and value != (kept := _cut(value)):
        headers["dead_truncated"] = str(len(value.encode()))
        value = kept
    return Message(RUNS_DEAD.name, _readable(message.key) or "", headers, value)


def _cut(value: str) -> str:
    return value.encode(errors="replace")[:MOST_VALUE].decode(errors="ignore")


def _readable(raw: str | bytes | None) -> str | None:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw


def _job_end(message: Outgoing, sentence: str, now: datetime) -> tuple[Message, tuple[int, int, int, datetime]] | None:
    """The failure of the job whose run.due cannot be published, and the attempt to block."""
    if message.topic == RUNS_DEAD.name or message.value is None:
        return None
    if dict(message.headers).get("ce_type") != RunDue.TYPE:
        return None
    try:
        due = RunDue.model_validate(orjson.loads(message.value))
    except ValueError:
        return None  # no job can be told from it; the dead letter is kept, and the job ends as never started
    data = RunFailed(
        job_id=due.job_id,
        attempt=due.attempt,
        schedule_id=due.schedule_id,
        project_id=due.project_id,
        task_type=due.task_type,
        scheduled_for=due.scheduled_for,
        finished_at=now,
        error=f"The event that starts this job could not be published: {sentence}",
        reason=FailureReason.DEAD_LETTERED.value,
        will_retry=False,
    )
    event_id = ended_id(due.job_id, due.attempt, "failed", "dispatcher")
    event = Event(event_id, SOURCE, now, data, due.schedule_id, due.job_id)
    return encode_event(RUNS_RESULTS.name, event), (due.job_id, due.attempt, due.schedule_id, due.scheduled_for)
