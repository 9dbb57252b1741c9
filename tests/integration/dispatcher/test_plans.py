"""How PostgreSQL runs the tick's statements: a plan that flips costs a factor, and more the longer the backlog is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared.storage import dispatch, open_jobs, relay, rescue, unended
from tests.dispatching import Ledger

STORED = 30_000
OPEN = r"jobs_.*_schedule_id_held_scheduled_for_idx"
HELD = r"jobs_.*_schedule_id_scheduled_for_idx\d?"


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def _explain(ledger: Ledger, statement: str) -> list[dict[str, Any]]:
    """The plan that is made once for all values, as the dispatcher's sessions ask for it."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    ledger.run("BEGIN")
    for name, value in dispatch.PINNED.items():
        ledger.run(f"SET LOCAL {name} = {value}")
    plan = ledger.one(f"EXPLAIN (GENERIC_PLAN, FORMAT json) {statement}")
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
    nodes = _explain(backlog, dispatch.CLAIM)
    assert [node["Index Name"] for node in nodes if "Index Name" in node] == ["schedule_timers_due"]
    assert not [node for node in nodes if node["Node Type"] in ("Sort", "Seq Scan", "Bitmap Heap Scan")]

    nodes = _explain(backlog, dispatch.CLAIM_BY_TURNS)
    assert [node["Index Name"] for node in nodes if "Index Name" in node] == ["schedule_timers_due_by_project"]
    assert not [node for node in nodes if node["Node Type"] in ("Sort", "Seq Scan", "Bitmap Heap Scan")]


def test_what_is_not_due_is_not_looked_at(backlog: Ledger) -> None:
    (scan,) = (node for node in _explain(backlog, dispatch._COUNT_DUE) if "Index Name" in node)
    assert (scan["Index Name"], scan["Index Cond"]) == (
        "schedule_timers_due",
        "((next_run_at >= $1) AND (next_run_at <= now()))",
    )


def test_what_is_planned_once_is_planned_rightly_while_tables_are_empty(ledger: Ledger) -> None:
    """The first plan of a new installation, or of a day whose partition is still empty, stays for long."""
    indexes = {
        open_jobs.ALL_OPEN: {OPEN, "run_claims_pkey"},
        open_jobs.FEW_OPEN: {OPEN, r"jobs_.*_pkey", "run_claims_pkey", "run_claims_open_by_schedule"},
        dispatch._DEFINITIONS: {"schedules_pkey"},
        dispatch._NEXT_DUE: {"schedule_timers_due"},
        dispatch._COUNT_DUE: {"schedule_timers_due"},
        dispatch._PROJECTS_DUE: {"schedule_timers_due_by_project", "projects_pkey"},
        dispatch._NEWLY_DUE: {"schedule_timers_due", "projects_pkey"},
        rescue._RETRIES_DUE: {r"jobs_.*_next_attempt_at_idx"},
        rescue._LOOK: {
            r"jobs_.*_next_attempt_at_idx",
            HELD,
            "run_claims_open",
        },
        rescue._HELD: {
            HELD,
            OPEN,
            r"jobs_.*_pkey",
            "run_claims_pkey",
            "run_claims_open_by_schedule",
            "schedules_pkey",
            "schedule_versions_pkey",
        },
        rescue._LEASES_OVER: {"run_claims_open"},
        rescue._NEVER_STARTED: {r"jobs_.*_never_started_at_idx", "run_claims_pkey"},
        unended._OLD: {OPEN},
        unended._FIND: {
            r"jobs_.*_status_scheduled_for_id_idx",  # what runs
            r"jobs_[^_]*_scheduled_for_id_idx",  # one job, by both
            "run_claims_pkey",
            "schedules_pkey",
            "schedule_versions_pkey",
        },
        relay._READ: {"outbox_pkey"},
    }
    for statement, allowed in indexes.items():
        nodes = _explain(ledger, statement)
        for node in nodes:
            assert node["Node Type"] not in ("Seq Scan", "Sort") or node.get("Relation Name") == "projects", statement
            if "Index Name" in node:
                assert any(re.fullmatch(name, node["Index Name"]) for name in allowed), (statement, node["Index Name"])


def test_nothing_scans_a_table_of_jobs_or_schedules(backlog: Ledger) -> None:
    statements = (
        dispatch._DEFINITIONS,
        open_jobs.ALL_OPEN,
        open_jobs.FEW_OPEN,
        dispatch._PROJECTS_DUE,
        dispatch._STORE_JOBS,
        rescue._RETRIES_DUE,
        rescue._HELD,
        rescue._NEVER_STARTED,
        rescue._LOST,
        unended._OLD,
        unended._FIND,
    )
    for statement in statements:
        nodes = _explain(backlog, statement)
        scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"projects"}, statement
