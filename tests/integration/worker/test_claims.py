"""Claims on a real PostgreSQL: each attempt goes to one worker, whoever else asks at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from shared.storage import claims
from shared.storage.claims import Wanted
from shared.storage.database import Database

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url, application="test-claims", pool_size=8)
    yield made
    made.close()


def _wanted(first: int, last: int) -> list[Wanted]:
    return [Wanted(job_id, 1, job_id % 10, NOW) for job_id in range(first, last)]


def test_workers_that_claim_at_once_share_without_overlap(database: Database) -> None:
    taken: list[set[claims.Key]] = []
    together = threading.Barrier(4)

    def claim(worker: str) -> None:
        wanted = _wanted(0, 1_000)
        if worker in {"b", "d"}:
            wanted.reverse()
        together.wait()
        with database.transaction() as connection:
            taken.append(claims.claim(connection, worker, 20, wanted))

    threads = [threading.Thread(target=claim, args=(worker,)) for worker in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, taken)) == 1_000
    assert set.union(*taken) == {(job_id, 1) for job_id in range(1_000)}


def test_a_claim_is_extended_ended_and_handed_back_by_its_worker_alone(database: Database) -> None:
    with database.transaction() as connection:
        assert len(claims.claim(connection, "me#1", 20, _wanted(0, 10))) == 10
        assert len(claims.claim(connection, "you#1", 20, _wanted(5, 15))) == 5
    known = {(job_id, 1) for job_id in range(20)}
    with database.transaction() as connection:
        assert claims.extend(connection, "me#1", 20, {(3, 1), (12, 1)}) == {(3, 1)}
        assert claims.extend(connection, "me#1", 20, known) == {(job_id, 1) for job_id in range(10)}
        claims.end(connection, {(0, 1, False), (1, 1, True), (99, 1, False)})
        claims.hand_back(connection, "me#1", {(2, 1), (0, 1), (12, 1)})
    with database.transaction() as connection:
        assert claims.extend(connection, "me#1", 20, known) == {(job_id, 1) for job_id in range(3, 10)}
        again = claims.claim(connection, "you#1", 20, _wanted(0, 4))
    assert again == {(2, 1)}, "only what was handed back; ended stays ended, another's stays another's"


def test_a_blocked_attempt_cannot_be_claimed_and_a_claimed_one_not_blocked(database: Database) -> None:
    with database.transaction() as connection:
        assert claims.block(connection, 1, 1, 7, NOW, "cancelled:user")
        assert claims.claim(connection, "me#1", 20, _wanted(1, 3)) == {(2, 1)}
        assert not claims.block(connection, 2, 1, 7, NOW, "cancelled:user")


def test_only_the_named_dead_lose_their_leases(database: Database) -> None:
    with database.transaction() as connection:
        for worker, first in (("w#a", 0), ("w#b", 10), ("w2#a", 20), ("w%#a", 30)):
            claims.claim(connection, worker, 20, _wanted(first, first + 5))
        claims.end(connection, {(0, 1, False)})
    with database.transaction() as connection:
        assert sorted(claims.holders(connection, "w")) == ["w#a", "w#b"]
        assert claims.expire(connection, ["w#a"]) == 4
        assert claims.expire(connection, ["w#a"]) == 0
