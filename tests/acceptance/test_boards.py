"""Grafana's boards and Prometheus' rules against a real Prometheus that scrapes a running stack."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local.settings import PROJECT_ROOT, SERVICES
from tests.http import call
from tests.prometheus import Prometheus, needed, scraping
from tests.stack import Stack
from tests.waiting import eventually

BOARDS = sorted((PROJECT_ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


def create(stack: Stack, **fields: Any) -> int:
    body = {"project_id": 1, "frequency": "interval", "interval_seconds": 1, **fields}
    status, schedule = call(f"{stack.api_url}/api/v1/schedules", body)
    assert status == 201, schedule
    return int(schedule["id"])


@pytest.fixture(scope="module")
def busy_stack(stack: Stack) -> Stack:
    """One schedule that succeeds every second, one that fails."""
    create(stack, name="Good", task_type="health_check")
    create(stack, name="Bad", task_type="analysis", task_parameters={"repository_id": 987654}, max_attempts=1)
    return stack


@pytest.fixture(scope="module")
def prometheus(busy_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping(busy_stack, tmp_path_factory.mktemp("scraping") / "prometheus") as running:
        yield running


def panels() -> list[tuple[str, str]]:
    """(board: panel, expression) of every query on every board, variables filled in."""
    found = []
    for path in BOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
                assert "$" not in expression, f"{path.name}, {panel['title']}: fill in the variable here"
                found.append((f"{path.stem}: {panel['title']}", expression))
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_promtool_accepts_every_metrics_page(busy_stack: Stack, service: str) -> None:
    with urllib.request.urlopen(f"{busy_stack.url(service)}/metrics", timeout=10) as answer:
        page = answer.read()
    done = subprocess.run([needed("promtool"), "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "", "")


def test_every_query_of_every_board_returns_data(prometheus: Prometheus) -> None:
    asked = panels()
    assert len(asked) > 20

    def all_answered() -> bool:
        assert [f"{panel}: {expression}" for panel, expression in asked if not prometheus.query(expression)] == []
        return True

    # A rate needs two looks, a recording rule its turn of 15 s, the schedules' metrics theirs.
    eventually(all_answered, 90, "every panel shows something", poll=1.0)


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: all(rule["health"] == "ok" for rule in rules()), 60, "every rule had its turn", poll=1.0)
    assert len(rules()) > 20


def test_every_part_is_scraped(prometheus: Prometheus) -> None:
    eventually(lambda: sorted(prometheus.query("up")) == [1.0] * len(SERVICES), 30, "all four are up", poll=1.0)
