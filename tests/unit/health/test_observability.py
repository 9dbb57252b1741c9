"""Alerts, boards and runbook agree with each other and with the metrics that the services export."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from deploy.local.settings import PROJECT_ROOT
from services.health.exposition import ScheduleMetrics, families
from shared.domain.health import REMEDIES, IssueKind
from shared.storage.database import Database
from shared.storage.snapshot import Figures
from shared.telemetry import metrics
from tests.prometheus import needed

PROMETHEUS = PROJECT_ROOT / "deploy" / "prometheus"
BOARDS = sorted((PROJECT_ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RULE_TESTS = sorted(str(path) for path in (PROMETHEUS / "tests").glob("*.yml"))
RUNBOOK = (PROJECT_ROOT / "docs" / "runbook.md").read_text()
_NAME = re.compile(r"\b(?:commandcenter_|commandcenter:|schedule_)[a-z0-9_:]+")
_LABELS = {"schedule_id"}
_FAMILIES = {
    "commandcenter_tick_duration_seconds",
    "commandcenter_claim_batch_size",
    "commandcenter_record_duration_seconds",
}


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules" / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def exported() -> set[str]:
    """Every series name that /metrics may show, and every recorded one."""
    assert metrics.DISPATCHED is not None  # importing the module registers them
    names = {rule["record"] for rule in rules("recording.yml")}
    for family in [*REGISTRY.collect(), *families(Figures(0, 0, ()))]:
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "summary": ("_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def queries() -> list[str]:
    found = [rule["expr"] for name in ("alerts.yml", "recording.yml") for rule in rules(name)]
    for board in BOARDS:
        for panel in json.loads(board.read_text())["panels"]:
            found += [target["expr"] for target in panel["targets"]]
    return found


def test_every_query_asks_for_metrics_that_exist() -> None:
    known = exported()
    asked = {name for query in queries() for name in _NAME.findall(query)} - _LABELS
    assert asked - known == set()
    assert len(BOARDS) == 2


def test_the_runbook_names_metrics_that_exist() -> None:
    assert set(re.findall(r"`(commandcenter_[a-z0-9_]+)`", RUNBOOK)) - exported() - _FAMILIES == set()


def test_the_names_of_the_reference_are_exported() -> None:
    assert {
        "commandcenter_schedule_runs_total",
        "commandcenter_schedule_execution_duration_seconds_sum",
        "commandcenter_schedules_total",
        "commandcenter_schedules_due",
        "schedule_success_rate",
        "schedule_last_run_timestamp",
    } <= exported()


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    headings = {line.removeprefix("## ").strip() for line in RUNBOOK.splitlines() if line.startswith("## ")}
    alerts = rules("alerts.yml")
    assert {rule["alert"] for rule in alerts} <= headings
    for rule in alerts:
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    links = set(re.findall(r"\(#([a-z]+)\)", RUNBOOK))
    assert links <= {heading.lower() for heading in headings}


def test_every_issue_says_what_to_do_and_where_to_read_on() -> None:
    headings = {line.removeprefix("## ").strip().lower() for line in RUNBOOK.splitlines() if line.startswith("## ")}
    assert set(REMEDIES) == set(IssueKind)
    for remedy in REMEDIES.values():
        (entry,) = re.findall(r"\(docs/runbook\.md#([a-z]+)\)$", remedy)
        assert entry in headings


def test_every_alert_is_tested_to_fire_and_to_stay_silent() -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests" / "alerts.yml").read_text())["tests"]
    outcomes = {(case["alertname"], bool(case["exp_alerts"])) for one in tests for case in one["alert_rule_test"]}
    assert outcomes == {(rule["alert"], fires) for rule in rules("alerts.yml") for fires in (True, False)}


def test_every_recording_rule_is_tested() -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests" / "recording.yml").read_text())["tests"]
    asked = {case["expr"] for one in tests for case in one["promql_expr_test"]}
    assert asked == {rule["record"] for rule in rules("recording.yml")}


@pytest.mark.parametrize("arguments", [["check", "config", "prometheus.yml"], ["test", "rules", *RULE_TESTS]])
def test_promtool_agrees(arguments: list[str]) -> None:
    """The rules are as Prometheus reads them, and every test of theirs holds."""
    done = subprocess.run([needed("promtool"), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_total_of_schedules_keeps_the_name_of_the_reference() -> None:
    database = Database("postgresql+psycopg2://nobody@127.0.0.1:1/none", application="test")
    collector = ScheduleMetrics(database, 10, lambda: True)
    collector._figures = Figures(1, 0, ())
    registry = CollectorRegistry()
    registry.register(collector)
    assert b'commandcenter_schedules_total{status="enabled"} 1.0' in generate_latest(registry)


def test_nothing_points_to_a_file_that_is_not_there() -> None:
    for reference in re.findall(r"`((?:deploy|docs)/[a-z./]+)`", RUNBOOK):
        assert Path(PROJECT_ROOT / reference).exists()
