"""Celery beat with RedBeat: one tick puts a message into Redis for everything that is due.

`python redbeat_burst.py <Redis URL> <stored> <due>` prints how many it queued a second. That Redis is emptied first.
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import UTC, datetime, timedelta

import redis
from celery import Celery
from celery.schedules import crontab
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import RedBeatScheduler, ensure_conf

A_PIPELINE = 2_000
PARAMETERS = {"repository_id": 42, "analysis_type": "full"}


def main(url: str, stored: int, due: int) -> None:
    """Store, let some be due, tick once, print."""
    app = Celery("bench", broker=url, set_as_current=True)
    app.conf.update(redbeat_redis_url=url, redbeat_lock_key=None, timezone="UTC", task_ignore_result=True)
    app.conf.update(beat_max_loop_interval=5, beat_schedule={})
    app.task(name="nothing")(lambda *_arguments, **_parameters: None)
    ensure_conf(app)
    client = redis.Redis.from_url(url)
    client.flushall()
    _load(app, client, stored, due)
    scheduler = RedBeatScheduler(app=app, max_interval=5, lazy=False)
    with app.connection_for_write() as connection:
        connection.ensure_connection()
    began = time.monotonic()
    scheduler.tick()
    took = time.monotonic() - began
    queued = client.llen("celery")
    if queued != due:
        sys.exit(f"{queued} were queued for {due} due")
    print(f"{queued / took:.1f}")


def _load(app: Celery, client: redis.Redis, stored: int, due: int) -> None:
    """Entries as RedBeatSchedulerEntry.save() writes them, many at a time."""
    now = datetime.now(UTC)
    schedule = crontab(minute=str((now + timedelta(minutes=30)).minute), hour="*")
    chosen = set(random.sample(range(stored), due))
    metas = [
        json.dumps({"last_run_at": at}, cls=RedBeatJSONEncoder) for at in (now, now - timedelta(hours=2))
    ]  # of those that wait, of those that are due
    pipeline = client.pipeline(transaction=False)
    for number in range(stored):
        key = f"{app.redbeat_conf.key_prefix}s{number}"
        definition = {"name": f"s{number}", "task": "nothing", "args": [number], "kwargs": PARAMETERS, "options": {}}
        text = json.dumps({**definition, "schedule": schedule, "enabled": True}, cls=RedBeatJSONEncoder)
        is_due = number in chosen
        pipeline.hset(key, mapping={"definition": text, "meta": metas[is_due]})
        pipeline.zadd(app.redbeat_conf.schedule_key, {key: time.time() + (-1 if is_due else 1800)})
        if number % A_PIPELINE == A_PIPELINE - 1:
            pipeline.execute()
    pipeline.execute()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
