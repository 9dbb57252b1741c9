"""`make bench [CASE=name]`: run the cases, print a table each, write `bench/<case>.json` into the home.

A case is a module in `benchmarks/cases` with `NAME` and `run`. `run(servers)` gets real servers of its own, `run()`
needs none; both return metric name → number. A case that fails makes the exit code non-zero; the others still run.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from benchmarks.facts import machine, versions
from benchmarks.servers import BenchServers
from benchmarks.turn import turn
from deploy.local.settings import read_settings

CASES = Path(__file__).with_name("cases")


def main(arguments: list[str]) -> int:
    """Run the named cases, or all; returns the exit code."""
    cases = _discover()
    unknown = [name for name in arguments if name not in cases]
    if unknown:
        print(f"There is no case {', '.join(unknown)}: use one of {', '.join(cases)}.", file=sys.stderr)
        return 2
    results = read_settings().home / "bench"
    results.mkdir(parents=True, exist_ok=True)
    with turn():
        failed = [name for name in (arguments or cases) if not _run(name, cases[name], results)]
    if failed:
        print(f"make bench: {', '.join(failed)} failed.", file=sys.stderr)
    return 1 if failed else 0


def _discover() -> dict[str, ModuleType]:
    names = sorted(path.stem for path in CASES.glob("*.py") if not path.stem.startswith("_"))
    modules = [importlib.import_module(f"benchmarks.cases.{name}") for name in names]
    return {module.NAME: module for module in modules if hasattr(module, "NAME")}


def _run(name: str, case: ModuleType, results: Path) -> bool:
    print(f"\n{name}: {inspect.getdoc(case) and str(inspect.getdoc(case)).splitlines()[0]}", flush=True)
    started = time.monotonic()
    try:
        metrics = _measure(case.run)
    except Exception:  # noqa: BLE001 - the boundary between cases: a bad one is shown whole and the others still run
        traceback.print_exc()
        return False
    _print_table(metrics)
    print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    report = {"case": name, "machine": machine(), "versions": versions(), "metrics": metrics}
    (results / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return True


def _measure(run: Callable[..., Mapping[str, float]]) -> dict[str, float]:
    if not inspect.signature(run).parameters:
        return dict(run())
    with BenchServers() as servers:
        return dict(run(servers))


def _print_table(metrics: Mapping[str, float]) -> None:
    width = max((len(name) for name in metrics), default=0)
    for name, value in metrics.items():
        shown = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3g}"
        print(f"  {name:<{width}}  {shown:>14}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
