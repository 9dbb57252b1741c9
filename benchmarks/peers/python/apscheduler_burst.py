"""APScheduler 3 with its SQLAlchemy store: fires jobs that do nothing, in this very process.

`python apscheduler_burst.py <SQLAlchemy URL> <stored> <due>` prints how many it fired a second.
"""

from __future__ import annotations

import io
import pickle
import random
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

LONGEST = 300.0
A_COPY = 50_000
fired: set[int] = set()
all_fired = threading.Event()
due = int(sys.argv[3]) if __name__ == "__main__" else 0


def nothing(number: int, **_parameters: object) -> None:
    """The job."""
    fired.add(number)
    if len(fired) == due:
        all_fired.set()


def main(url: str, stored: int) -> None:
    """Store, let some be due, fire, print."""
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=url)},
        executors={"default": ThreadPoolExecutor(20)},
        timezone=UTC,
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    scheduler.start(paused=True)
    far = (datetime.now(UTC) + timedelta(minutes=30)).minute
    trigger = CronTrigger.from_crontab(f"{far} * * * *", UTC)
    parameters = {"repository_id": 42, "analysis_type": "full"}
    template = scheduler.add_job(nothing, trigger, id="template", args=[0], kwargs=parameters)
    state = template.__getstate__()
    scheduler.remove_job("template")
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        _load(cursor, state, stored)
        began = time.monotonic()
        scheduler.resume()
        all_fired.wait(LONGEST)
        left = 1
        while left and time.monotonic() - began < LONGEST:
            time.sleep(0.02)
            cursor.execute("SELECT count(*) FROM apscheduler_jobs WHERE next_run_time <= %s", (time.time() - 600,))
            ((left,),) = cursor.fetchall()
    print(f"{len(fired) / (time.monotonic() - began):.1f}")
    scheduler.shutdown(wait=False)


def _load(cursor: Any, state: dict[str, Any], stored: int) -> None:
    chosen = set(random.sample(range(stored), due))
    now = time.time()
    for first in range(0, stored, A_COPY):
        lines = io.StringIO()
        for number in range(first, min(stored, first + A_COPY)):
            at = now - 3600 if number in chosen else now + 3000
            own = {"id": f"s{number}", "args": (number,), "next_run_time": datetime.fromtimestamp(at, UTC)}
            pickled = pickle.dumps({**state, **own}, pickle.HIGHEST_PROTOCOL).hex()
            lines.write(f"s{number}\t{at!r}\t\\\\x{pickled}\n")
        lines.seek(0)
        cursor.copy_expert("COPY apscheduler_jobs (id, next_run_time, job_state) FROM STDIN", lines)
    cursor.execute("VACUUM ANALYZE apscheduler_jobs")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
