"""The metrics of single schedules and of open issues, made from what is stored when the lease holder refreshes them.

A counter here goes on where it was after any restart, because it is the database's. Only the replica on duty exports
them, so that sums over replicas count once, and nobody who was on duty earlier goes on telling of the last look then.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import product
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from shared.domain.health import IssueKind
from shared.storage import snapshot
from shared.storage.database import Database
from shared.storage.snapshot import Figures
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import STORED

log = get_logger(__name__)

Family = TypeVar("Family", CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily, UnknownMetricFamily)


class ScheduleMetrics(Collector):
    """Registered once; holds the last figures read."""

    def __init__(self, database: Database, limit: int, on_duty: Callable[[], bool]) -> None:
        self._database, self._limit, self._on_duty = database, limit, on_duty
        self._figures: Figures | None = None
        self._said_cut = False

    def refresh(self, _now: datetime) -> None:
        """Read the figures anew."""
        with self._database.transaction() as connection:
            self._figures = snapshot.figures(connection, self._limit)
        if self._figures.cut and not self._said_cut:
            log.warning(
                "%d schedules have no metrics of their own: COMMANDCENTER_METRICS_SCHEDULE_LIMIT is %d",
                self._figures.cut,
                self._limit,
            )
        self._said_cut = bool(self._figures.cut)

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking the registry's question must not read anything."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The families, as Prometheus scrapes them."""
        figures = self._figures
        return families(figures) if figures is not None and self._on_duty() else ()


def families(figures: Figures) -> list[Metric]:
    """The metric families of these figures."""
    runs = _family(CounterMetricFamily, "runs")
    duration = _family(SummaryMetricFamily, "duration")
    # The reference names this gauge `…_total`: of unknown type it keeps its name, and promtool is content.
    total = _family(UnknownMetricFamily, "total")
    rate, last_run = _family(GaugeMetricFamily, "success_rate"), _family(GaugeMetricFamily, "last_run")
    info, cut = _family(GaugeMetricFamily, "info"), _family(GaugeMetricFamily, "cut")
    issues = _family(GaugeMetricFamily, "issues")
    for one in figures.schedules:
        label, ended = [str(one.schedule_id)], one.successes + one.failures
        runs.add_metric([*label, "succeeded"], one.successes)
        runs.add_metric([*label, "failed"], one.failures)
        duration.add_metric(label, count_value=ended, sum_value=one.duration_seconds)
        if ended:
            rate.add_metric(label, one.successes / ended)
        if one.last_run_at is not None:
            last_run.add_metric(label, one.last_run_at.timestamp())
        status = "enabled" if one.enabled else "disabled"
        info.add_metric([*label, one.name, str(one.project_id), one.task_type, status], 1)
    total.add_metric(["enabled"], figures.enabled)
    total.add_metric(["disabled"], figures.disabled)
    cut.add_metric([], figures.cut)
    opened = {(one.kind, one.severity): one.number for one in figures.issues}
    for kind, severity in product(IssueKind, ("warning", "critical")):
        issues.add_metric([kind.value, severity], opened.get((kind.value, severity), 0))
    return [runs, duration, total, rate, last_run, info, cut, issues]


def _family(kind: type[Family], key: str) -> Family:
    name, meaning, labels = STORED[key]
    return kind(name, meaning, labels=labels)
