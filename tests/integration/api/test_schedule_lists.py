"""Lists of schedules against a filter in Python: near pages come with their total, far ones another way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest
from sqlalchemy import Row

from shared.storage.database import Database
from shared.storage.schedule_queries import NEAR, ScheduleFilter, list_page

STORED = NEAR + 300
_MIXED = f"""
INSERT INTO schedules (project_id, name, task_type, frequency, enabled, tags, deleted_at)
SELECT CASE WHEN i %% 9 = 0 THEN 2 ELSE 1 END, 'schedule ' || i, (ARRAY['analysis', 'export'])[1 + i %% 11 / 9],
    (ARRAY['daily', 'weekly', 'hourly'])[1 + i %% 7 / 3], i %% 13 <> 0, jsonb_build_object('team', 't' || i %% 4),
    CASE WHEN i %% 17 = 0 THEN now() END
FROM generate_series(1, {STORED + STORED // 10}) AS i
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, application="test")
    with opened.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO projects (id, name) VALUES (2, 'two') ON CONFLICT DO NOTHING")
        connection.exec_driver_sql(_MIXED)
    yield opened
    opened.close()


def test_pages_and_totals_are_what_fits(database: Database) -> None:
    random = Random(11)
    choices: dict[str, list[Any]] = {
        "project_ids": [[1], [2], [1, 2], [3], []],
        "enabled": [True, False],
        "task_type": ["analysis", "export", "sync"],
        "frequency": ["daily", "weekly", "monthly"],
        "tags": [{"team": "t1"}, {"team": "none"}],
    }
    with database.transaction() as connection:
        every = connection.exec_driver_sql("SELECT * FROM schedules WHERE deleted_at IS NULL ORDER BY id DESC").all()
        assert len(every) > STORED
        for _ in range(150):
            wanted = {name: random.choice(values) for name, values in choices.items() if random.random() < 0.3}
            size = random.choice([7, 50])
            page = random.choice([1, 2, NEAR // size, NEAR // size + 1, NEAR // size + 2, 10_000])
            fitting = [one.id for one in every if _fits(one, wanted)]
            rows, total = list_page(connection, ScheduleFilter(**wanted), page, size)
            assert [row.id for row in rows] == fitting[(page - 1) * size : page * size], (wanted, page, size)
            assert total == len(fitting), wanted


def _fits(one: Row[Any], wanted: Mapping[str, Any]) -> bool:
    projects = wanted.get("project_ids")
    return (
        (projects is None or one.project_id in projects)
        and all(getattr(one, name) == wanted[name] for name in ("enabled", "task_type", "frequency") if name in wanted)
        and one.tags["team"] == wanted.get("tags", one.tags)["team"]
    )


def test_nothing_is_looked_through_where_the_counts_say_that_there_is_nothing(database: Database) -> None:
    read = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'schedules'"
    with database.transaction() as connection:
        before = connection.exec_driver_sql(read).scalar_one()
        assert list_page(connection, ScheduleFilter([1], True, "sync", "weekly"), 1, 50) == ([], 0)
        assert connection.exec_driver_sql(read).scalar_one() == before
