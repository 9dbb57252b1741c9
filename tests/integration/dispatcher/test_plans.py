"""How PostgreSQL runs the tick's statements: a plan that flips costs a factor, and more the longer the backlog is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.storage import dispatch, rescue
from tests.dispatching import Ledger

STORED = 30_000


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def _explain(ledger: Ledger, statement: str, **values: Any) -> list[dict[str, Any]]:
    ledger.run("BEGIN")
    ledger.run(dispatch.PINNED)
    plan = ledger.one(f"EXPLAIN (FORMAT json) {statement}", values)
    ledger.run("ROLLBACK")
    return _nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])


@pytest.fixture(params=["fresh statistics", "stale statistics"])
def backlog(request: pytest.FixtureRequest, ledger: Ledger) -> Ledger:
    """Everything is due; PostgreSQL may still believe that nothing is."""
    fill = "INSERT INTO schedule_timers (schedule_id, project_id, next_run_at) SELECT i, 1 + i % 10, now() {due}"
    fill += f" FROM generate_series(1, {STORED}) AS i"
    if request.param == "fresh statistics":
        ledger.run(fill.format(due="- i * interval '1 s'"))
        ledger.run("ANALYZE schedule_timers")
    else:
        ledger.run(fill.format(due="+ interval '1 day'"))
        ledger.run("ANALYZE schedule_timers")
        ledger.run("UPDATE schedule_timers SET next_run_at = now() - schedule_id * interval '1 s'")
    return ledger


def test_claims_walk_their_index(backlog: Ledger) -> None:
    nodes = _explain(backlog, dispatch.CLAIM, now="now", limit=2000)
    assert [node["Index Name"] for node in nodes if "Index Name" in node] == ["schedule_timers_due"]
    assert not [node for node in nodes if node["Node Type"] in ("Sort", "Seq Scan", "Bitmap Heap Scan")]

    nodes = _explain(backlog, dispatch.CLAIM_BY_TURNS, now="now", projects="{1,2,3}", shares="{5,5,5}")
    assert [node["Index Name"] for node in nodes if "Index Name" in node] == ["schedule_timers_due_by_project"]
    assert not [node for node in nodes if node["Node Type"] in ("Sort", "Seq Scan", "Bitmap Heap Scan")]


def test_nothing_scans_a_table_of_jobs_or_schedules(backlog: Ledger) -> None:
    ids = "{" + ",".join(map(str, range(1, 2001))) + "}"
    statements: dict[str, dict[str, Any]] = {
        dispatch._DEFINITIONS: {"ids": ids},
        dispatch._OPEN_JOBS: {"ids": ids},
        dispatch._PROJECTS_DUE: {"now": "now"},
        rescue._RETRIES_DUE: {"now": "now", "limit": 500},
        rescue._HELD: {"limit": 500},
    }
    for statement, values in statements.items():
        nodes = _explain(backlog, statement, **values)
        scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"projects"}, statement
