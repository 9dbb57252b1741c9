"""Look at the dead letters and send them again: `python -m services.worker.dead list | show P:O | resend P:O`.

A letter is named by its place in `runs.dead`, `partition:offset`. Sending again does what helps: a run whose job has
ended runs anew as a manual job of its schedule (the same event would be refused, its attempt has been claimed); a
message that nobody could read goes back to its topic byte for byte, for a worker that can read it now.
"""

import argparse
import sys
from collections.abc import Sequence

from services.worker.settings import Settings
from shared.events.envelope import UnreadableEvent, decode
from shared.events.topics import SCHEDULES
from shared.events.types import RunDue
from shared.kafka.consumer import Record
from shared.kafka.dead_letters import (
    AT,
    CONSUMER,
    OFFSET,
    PARTITION,
    REASON,
    TOPIC,
    TRUNCATED,
    DeadLetterReader,
    DeadLettersUnavailable,
    original_headers,
    reason_of,
)
from shared.kafka.producer import Producer
from shared.storage import job_queries, jobs, schedules
from shared.storage.database import Database, DatabaseUnavailable

_SHOWN = 4_000
"""Bytes of a value that `show` prints."""


class ResendRefused(Exception):
    """This letter cannot be sent again, with the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _options(arguments)
    settings = Settings.from_environment()
    reader = DeadLetterReader(settings.kafka_bootstrap_servers, settings.topic_prefix)
    try:
        if options.command == "list":
            return _list(reader, options.limit)
        partition, offset = options.letter
        record = reader.letter(partition, offset)
        _say(_shown(record) if options.command == "show" else resend(record, settings))
    except (DeadLettersUnavailable, DatabaseUnavailable, ResendRefused) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        reader.close()
    return 0


def resend(record: Record, settings: Settings) -> str:
    """Send a letter again; says in a sentence what was done. Raises ResendRefused."""
    about = reason_of(record.headers)
    topic = about.get(TOPIC)
    if topic is None:
        raise ResendRefused("the letter does not say which topic it comes from")
    due = _due(record)
    if due is not None:
        return _run_again(due, settings)
    if TRUNCATED in about:
        raise ResendRefused("only a part of this message was kept: it cannot be sent again")
    if topic == SCHEDULES.name:
        # The topic keeps the last message of each key: an older change that came again would hide the newer ones.
        raise ResendRefused("a change of a schedule is sent again over the API, which knows whether it is the last one")
    producer = Producer(settings.kafka_bootstrap_servers, settings.topic_prefix, "dead-letters")
    failures: list[str | None] = []
    producer.send_bytes(topic, record.key, original_headers(record.headers), record.value, failures.append)
    producer.flush(15)
    if failures != [None]:
        raise ResendRefused(f"Kafka did not take it: {failures[0] if failures else 'no answer'}")
    return f"Sent to {topic} again, as it was."


def _run_again(due: RunDue, settings: Settings) -> str:
    database = Database(settings.database_url, application="commandcenter-dead-letters", pool_size=1)
    try:
        with database.transaction() as connection:
            now = schedules.lock_timer(connection, due.schedule_id)
            job = job_queries.get(connection, due.job_id)
            if job is not None and job.status in {"queued", "running", "retrying"}:
                raise ResendRefused(f"job {due.job_id} has not ended: it is {job.status}")
            made = jobs.insert_manual(connection, due.schedule_id, now) if now is not None else None
            if made is None:
                raise ResendRefused(f"schedule {due.schedule_id} has been deleted")
    finally:
        database.close()
    return f"Job {made} runs the work of job {due.job_id} again."


def _due(record: Record) -> RunDue | None:
    try:
        event = decode(original_headers(record.headers), record.value)
    except UnreadableEvent:
        return None
    return event.data if isinstance(event.data, RunDue) else None


def _list(reader: DeadLetterReader, limit: int) -> int:
    count = 0
    for record in reader.letters(limit):
        about = reason_of(record.headers)
        place = f"{record.partition}:{record.offset}"
        _say(f"{place:>10}  {about.get(AT, '-')[:19]}  {about.get(TOPIC, '-')}  {about.get(REASON, '-')}")
        count += 1
    if count == 0:
        _say("There are no dead letters.")
    return 0


def _shown(record: Record) -> str:
    about = reason_of(record.headers)
    lines = [
        f"reason     {about.get(REASON, '-')}",
        f"put aside  {about.get(AT, '-')} by {about.get(CONSUMER, '-')}",
        f"from       {about.get(TOPIC, '-')} {about.get(PARTITION, '-')}:{about.get(OFFSET, '-')}",
        f"key        {(record.key or b'').decode(errors='backslashreplace')}",
    ]
    for name, value in original_headers(record.headers):
        lines.append(f"header     {name}: {(value or b'').decode(errors='backslashreplace')}")
    lines.append((record.value or b"")[:_SHOWN].decode(errors="backslashreplace"))
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.worker.dead", description="The dead letters.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the newest, with their reasons")
    listing.add_argument("--limit", type=int, default=100, help="of each partition (default 100)")
    for name, what in (("show", "one letter, whole"), ("resend", "run its work again, or send it back as it was")):
        commands.add_parser(name, help=what).add_argument("letter", type=_place, metavar="partition:offset")
    return parser.parse_args(arguments)


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise argparse.ArgumentTypeError("a letter is named partition:offset, as list shows it")
    return int(partition), int(offset)


def _say(text: str) -> None:
    sys.stdout.write(f"{_ansi_free(text)}\n")


def _ansi_free(text: str) -> str:
    """Foreign bytes must not speak to the terminal."""
    return "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text)


if __name__ == "__main__":
    sys.exit(main())
