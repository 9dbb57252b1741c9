"""How many due timers each batch takes, and whose."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from services.dispatcher.backlog import FIRST_BATCH, Backlog
from services.dispatcher.floor import Floor
from shared.storage.dispatch import DueTimer
from shared.storage.session import Session
from tests.dispatching import Ledger

MOST = 2_000
DUE = """
INSERT INTO schedule_timers (schedule_id, project_id, next_run_at)
SELECT coalesce((SELECT max(schedule_id) FROM schedule_timers), 0) + i, %(project)s, now() - %(age)s::interval
FROM generate_series(1, %(count)s) AS i
"""


def _due(ledger: Ledger, project: int, count: int, age: str = "1 s") -> None:
    ledger.run(DUE, {"project": project, "count": count, "age": age})


def _batch(session: Session, backlog: Backlog, most: int = MOST) -> list[DueTimer]:
    """One batch of which every timer is moved on."""
    session.execute("BEGIN")
    timers = backlog.take(session, datetime.now(UTC), most)
    taken = {"ids": [timer.schedule_id for timer in timers]}
    session.execute("UPDATE schedule_timers SET next_run_at = NULL WHERE schedule_id = ANY(%(ids)s::bigint[])", taken)
    session.execute("COMMIT")
    return timers


@pytest.mark.parametrize("due", [FIRST_BATCH - 1, FIRST_BATCH, MOST, 10_000])
def test_batches_begin_small_and_grow_and_take_all(ledger: Ledger, session: Session, due: int) -> None:
    _due(ledger, 1, due)
    backlog = Backlog(Floor())
    sizes, active = [], []
    while timers := _batch(session, backlog):
        sizes.append(len(timers))
        active.append(backlog.active.is_set())
    assert sum(sizes) == due
    full = sizes if due == FIRST_BATCH else sizes[:-1]
    assert full == [FIRST_BATCH, FIRST_BATCH, FIRST_BATCH, 750, 1_125, 1_687, MOST, MOST][: len(full)]
    assert active == [True] * len(full) + [False] * (len(sizes) - len(full))
    assert not backlog.active.is_set()
    _due(ledger, 1, MOST)
    assert len(_batch(session, backlog)) == FIRST_BATCH


def test_what_one_full_batch_holds_goes_in_due_order_and_only_then_projects_take_turns(
    ledger: Ledger, session: Session
) -> None:
    _due(ledger, 1, 3 * MOST, "1 minute")
    _due(ledger, 2, 50, "1 s")
    backlog = Backlog(Floor())
    claimed = 0
    while claimed < MOST:
        timers = _batch(session, backlog)
        assert {timer.project_id for timer in timers} == {1}
        claimed += len(timers)
    projects = Counter(timer.project_id for timer in _batch(session, backlog))
    assert projects[2] == 50
    assert projects[1] > 400


def test_a_lane_whose_batches_were_halved_takes_no_more_than_it_may(ledger: Ledger, session: Session) -> None:
    _due(ledger, 1, 100)
    backlog = Backlog(Floor())
    assert [len(_batch(session, backlog, most=30)) for _ in range(4)] == [30, 30, 30, 10]
