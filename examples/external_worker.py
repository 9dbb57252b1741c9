# ruff: noqa: INP001 - a script to copy, not a package
"""A worker outside CommandCenter: serves its own task type from Kafka, in about 60 lines. Needs only confluent-kafka.

It consumes `runs.due.<type>`, does the work, and answers on `runs.results`: at least once, since a crash after the work
and before the commit repeats the run. external_worker_claiming.py starts each attempt at most once.

    python examples/external_worker.py 127.0.0.1:9092 render
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, Producer

PREFIX = os.environ.get("COMMANDCENTER_TOPIC_PREFIX", "commandcenter.")
NAME = "external-worker"
LONGEST_WORK_MS = 3_600_000
stopping: list[int] = []


def work(due: dict[str, Any]) -> dict[str, Any]:
    """The task itself: what it returns is the run's result, an exception its failure."""
    time.sleep(due["task_parameters"].get("seconds", 0))
    return {"rendered": due["task_parameters"]["template"].upper()}


def result(due: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Run the task; the outcome's word and the event's fields."""
    names = ("job_id", "attempt", "schedule_id", "project_id", "task_type", "scheduled_for")
    fields: dict[str, Any] = {name: due[name] for name in names}
    started = time.monotonic()
    try:
        outcome, more = "succeeded", dict[str, Any](result=work(due))
    except Exception as error:  # noqa: BLE001 - whatever the task raises is the run's failure
        outcome, more = "failed", {"error": repr(error), "reason": "error", "will_retry": False}
    fields |= {"worker": NAME, "finished_at": datetime.now(UTC).isoformat()} | more
    return outcome, fields | {"duration_seconds": time.monotonic() - started}


def serve(producer: Producer, due: dict[str, Any]) -> None:
    """One due run, answered by a CloudEvent in Kafka's binary mode; the key keeps a schedule's events in order."""
    outcome, fields = result(due)
    headers: dict[str, str | bytes | None] = {
        "ce_specversion": "1.0",
        "ce_id": f"run-{outcome}-{due['job_id']}-{due['attempt']}-{NAME}",  # the same when it is sent again
        "ce_source": f"/{NAME}",
        "ce_type": f"commandcenter.run.{outcome}.v1",
        "ce_time": datetime.now(UTC).isoformat(),
        "ce_scheduleid": str(due["schedule_id"]),
        "ce_jobid": str(due["job_id"]),
        "content-type": "application/json",
    }
    producer.produce(PREFIX + "runs.results", json.dumps(fields), str(due["schedule_id"]), headers=headers)
    if producer.flush(30):
        raise SystemExit("Kafka did not take the result: the run comes again after the restart")


def main(servers: str, task_type: str, serve: Callable[[Producer, dict[str, Any]], None] = serve) -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    group = {"group.id": f"{PREFIX}{NAME}", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": servers, "max.poll.interval.ms": LONGEST_WORK_MS, **group})
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    consumer.subscribe([f"{PREFIX}runs.due.{task_type}"])
    while not stopping:
        message = consumer.poll(0.5)
        if message is None or message.error() is not None:
            continue
        serve(producer, json.loads(message.value() or b""))
        consumer.commit(message=message, asynchronous=False)  # after the acknowledged answer, never before
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
