"""Our occurrences against cronsim's: every zone, starts around every transition from 2000 to 2040.

`python -m tests.unit.time.differential [cases per transition] [seed]` runs the whole (more than a million cases) and
prints the counts; the unit tests run a slice. Where a fixed-time expression is asked, cronsim is asked in the zone
itself. For elapsed-time expressions cronsim walks the clock by wall arithmetic and, near a transition, sometimes skips
a matching minute or never returns; when it disagrees there, cronsim decides again on the constant offsets before and
after each transition, where its arithmetic cannot err. The counts tell how often that was needed.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from multiprocessing import Pool
from random import Random
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from shared.domain.recurrence import Frequency, Recurrence, RecurrenceError
from shared.domain.recurrence.zone import clock
from tests.unit.time import generated

STARTS_PER_EXPRESSION = 4
NEIGHBOURS = 2
"""Occurrences compared in each case."""
HANG_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Difference:
    """A case in which the two disagree."""

    expression: str
    zone: str
    start: datetime
    ours: list[datetime]
    theirs: list[datetime]


class _HangError(Exception):
    """cronsim did not answer."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise _HangError when the body takes more of the processor: on a busy machine the wall clock judges others."""

    def ring(*_: object) -> None:
        raise _HangError

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _in_zone(expression: str, zone: str, start: datetime) -> list[datetime]:
    """What cronsim answers in the zone. It may first name an instant in the past (start in a second pass): left out."""
    simulated = CronSim(expression, start.astimezone(ZoneInfo(zone)))
    found: list[datetime] = []
    while len(found) < NEIGHBOURS:
        instant = next(simulated).astimezone(UTC)
        if instant > start:
            found.append(instant)
    return found


def _on_constant_offsets(expression: str, zone: str, start: datetime) -> list[datetime]:
    """What cronsim answers on each stretch of constant offset in turn: elapsed time, exactly."""
    of_zone = clock(zone)
    bounds = [instant for instant in of_zone.starts[1:] if instant > start.timestamp()]
    edges = [start, *(datetime.fromtimestamp(instant, UTC) - timedelta(seconds=1) for instant in bounds)]
    found: list[datetime] = []
    for begin, end in pairwise([*edges, datetime(2200, 1, 1, tzinfo=UTC)]):
        inside = begin if begin is start else begin + timedelta(seconds=1)
        offset = inside.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
        simulated = CronSim(expression, begin.astimezone(timezone(offset)))
        for instant in simulated:
            if instant > end:
                break
            found.append(instant.astimezone(UTC))
            if len(found) == NEIGHBOURS:
                return found
    return found


def compare(expression: str, zone: str, starts: list[datetime], counts: Counter[str]) -> list[Difference]:
    """Compare the next occurrences after each start; tell in `counts` what was compared and who was right."""
    try:
        recurrence = Recurrence(Frequency.CRON, expression, timezone=zone)
    except RecurrenceError:
        counts["refused by both" if _refused_by_cronsim(expression) else "refused by us alone"] += 1
        return []
    differences = []
    elapsed = any(field.startswith("*") for field in expression.split()[:2])
    for start in starts:
        ours = [generated.following(recurrence, start)]
        while len(ours) < NEIGHBOURS:
            ours.append(generated.following(recurrence, ours[-1]))
        counts["cases"] += 1
        counts["elapsed-time cases" if elapsed else "fixed-time cases"] += 1
        theirs = _judge_elapsed(expression, zone, start, ours, counts) if elapsed else _in_zone(expression, zone, start)
        if ours != theirs:
            differences.append(Difference(expression, zone, start, ours, theirs))
    return differences


def _judge_elapsed(
    expression: str, zone: str, start: datetime, ours: list[datetime], counts: Counter[str]
) -> list[datetime]:
    try:
        with _at_most(HANG_SECONDS):
            theirs = _in_zone(expression, zone, start)
    except _HangError:
        theirs = []
    if ours == theirs:
        return theirs
    counts["cronsim skipped a match" if theirs else "cronsim never returned"] += 1
    return _on_constant_offsets(expression, zone, start)


def _refused_by_cronsim(expression: str) -> bool:
    """Whether cronsim refuses an expression too, or finds nothing in its fifty years."""
    try:
        next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        return True
    return False


def compare_zone(
    zone: str, cases_per_transition: int, seed: int, most_transitions: int | None = None
) -> tuple[Counter[str], list[Difference]]:
    """Compare around every transition of a zone (or anywhere, where it has none), with fresh expressions throughout."""
    random = Random(f"{seed} {zone}")
    chosen: list[int | None] = [*generated.transitions(zone)] or [None]
    if most_transitions is not None and len(chosen) > most_transitions:
        chosen = random.sample(chosen, most_transitions)
    counts: Counter[str] = Counter()
    differences: list[Difference] = []
    for transition in chosen:
        wanted = counts["cases"] + cases_per_transition
        while counts["cases"] < wanted:
            near = transition if random.random() < 0.9 else None
            starts = [
                generated.start_anywhere(random) if near is None else generated.start_near(random, near)
                for _ in range(STARTS_PER_EXPRESSION)
            ]
            differences += compare(generated.expression(random), zone, starts, counts)
    return counts, differences


def _one_zone(task: tuple[str, int, int]) -> tuple[Counter[str], list[Difference]]:
    return compare_zone(*task)


def main(cases_per_transition: int, seed: int) -> int:
    """Compare all zones on all cores, print what was compared; 1 when there is a difference."""
    zones = generated.zones()
    counts: Counter[str] = Counter()
    differences: list[Difference] = []
    began = time.monotonic()
    with Pool() as pool:
        tasks = [(zone, cases_per_transition, seed) for zone in zones]
        for of_zone, found in pool.imap_unordered(_one_zone, tasks, chunksize=4):
            counts += of_zone
            differences += found
    print(f"{counts['cases']:,} cases in {len(zones)} zones, {time.monotonic() - began:.0f} s, seed {seed}")
    for name, count in sorted(counts.items()):
        print(f"  {name:28} {count:>10,}")
    print(f"  {'differences':28} {len(differences):>10,}")
    for difference in differences[:20]:
        print(difference)
    return 1 if differences or counts["refused by us alone"] else 0


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [60, 4][len(arguments) :])))
