"""How fast occurrences are found and expressions read, on one core, with croniter beside it.

10,000 distinct expressions in 50 zones, each asked from instants of its own, so that no result can come from a cache:
expressions and zones are compiled before (as in a running dispatcher), every occurrence is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from croniter import croniter

from shared.domain.recurrence import Frequency, Recurrence, next_after
from shared.domain.recurrence.expression import Expression
from shared.domain.recurrence.fields import day_pattern, read_field
from shared.domain.recurrence.tzdb import zone_names

NAME = "time"
EXPRESSIONS = 10_000
ZONES = 50
CRONITER_CASES = 1_000
ROUNDS = 5


def run() -> dict[str, float]:
    """The best of a few rounds: occurrences a second (ours, croniter's) and microseconds to read an expression."""
    random = Random(1)
    zones = random.sample(sorted(name for name in zone_names() if "/" in name), ZONES)
    texts = _expressions(random)
    recurrences = [
        Recurrence(Frequency.CRON, text, timezone=zones[number % ZONES]) for number, text in enumerate(texts)
    ]
    start = datetime(2025, 1, 1, tzinfo=UTC)
    instants = [start + timedelta(seconds=random.randrange(3 * 365 * 86_400)) for _ in recurrences]
    pairs = list(zip(recurrences, instants, strict=True))
    iterators = [
        croniter(text, instant.astimezone(ZoneInfo(recurrence.timezone)))
        for text, (recurrence, instant) in zip(texts, pairs, strict=True)
        if text.split()[2] == "*"  # with both day fields limited croniter fails to find some dates that exist
    ][:CRONITER_CASES]
    return {
        "next_per_second": len(pairs) / _best(lambda: [next_after(*pair) for pair in pairs]),
        "parse_microseconds": _best(lambda: _read_afresh(texts)) / len(texts) * 1e6,
        "croniter_next_per_second": len(iterators) / _best(lambda: [one.get_next(datetime) for one in iterators]),
        "croniter_parse_microseconds": _best(lambda: [croniter.expand(text) for text in texts[:CRONITER_CASES]])
        / CRONITER_CASES
        * 1e6,
    }


def _read_afresh(texts: list[str]) -> None:
    """Read every expression with no field remembered from another."""
    for text in texts:
        read_field.cache_clear()
        day_pattern.cache_clear()
        Expression(text)


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest round."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _expressions(random: Random) -> list[str]:
    """Distinct expressions of the kinds people write, from every minute to once in years."""
    texts: set[str] = set()
    while len(texts) < EXPRESSIONS:
        minute = random.choice((str(random.randrange(60)), f"*/{random.choice((5, 7, 10, 15))}", "10-50/20", "0,30"))
        hour = random.choice((str(random.randrange(24)), "*", "9-17", "*/3", f"{random.randrange(12)},18"))
        day = random.choice(("*", "*", "*", str(random.randrange(1, 29)), "L", "1,15", "*/10"))
        month = random.choice(("*", "*", "*", "1-6", "JAN,JUL", "2-5"))
        weekday = random.choice(("*", "*", "MON-FRI", "0", "5#2", "L5", "6-7"))
        texts.add(f"{minute} {hour} {day} {month} {weekday}")
    return sorted(texts, key=lambda _: random.random())
