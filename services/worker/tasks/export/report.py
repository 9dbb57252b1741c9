"""What a report is, whatever its format: a head, key figures, charts' data and tables of typed cells.

Contents (contents.py) make one, formats/ write it. Tables give their rows one by one, so that no format has to hold
all of them. Cells carry values, not text: each format decides how an instant or a missing value looks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

Cell = str | int | float | bool | datetime | None
Row = Sequence[Cell]


class Kind(StrEnum):
    """What a column or figure holds."""

    TEXT = "text"
    NUMBER = "number"
    ID = "id"
    PERCENT = "percent"
    SECONDS = "seconds"
    INSTANT = "instant"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Column:
    """`key` names it for programs, `title` for people; `weight` is its share of a page's width.

    A `wide` column is left out where a page has no room: the files for programs hold it.
    """

    key: str
    title: str
    kind: Kind = Kind.TEXT
    weight: float = 1.0
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title. `empty` is the sentence that stands where there are none."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: Callable[[], Iterable[Row]]
    empty: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that matters, and what it is compared with."""

    key: str
    label: str
    value: Cell
    kind: Kind = Kind.NUMBER
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """How the runs of one part of the period ended."""

    start: datetime
    label: str
    succeeded: int
    failed: int
    cancelled: int
    skipped: int
    success_rate: float | None


@dataclass(frozen=True, slots=True)
class Head:
    """What the report is, of what, and when it was made."""

    report_type: str
    title: str
    project_id: int
    project: str
    since: datetime
    until: datetime
    made_at: datetime
    schedule: str
    repository: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `parts` are equal parts of the period (a day each, where `part_name` is `day`)."""

    head: Head
    figures: tuple[Figure, ...]
    part_name: str
    parts: tuple[Part, ...]
    levels: tuple[tuple[str, int], ...]
    """Findings by level; empty where the report is not about findings."""
    tables: tuple[Table, ...]
    main: str = ""
    """Key of the table that a format of one table alone (CSV) writes; empty: all figures and tables as a list."""
    notes: tuple[str, ...] = field(default=())

    @property
    def main_table(self) -> Table | None:
        """The table named by `main`."""
        return next((table for table in self.tables if table.key == self.main), None)


@dataclass(slots=True)
class Counted:
    """Rows on their way through, counted."""

    rows: Iterable[Row]
    count: int = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            self.count += 1
            yield row


MISSING = "–"


def shown(value: Cell, kind: Kind) -> str:
    """A cell for people's eyes."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    if kind is Kind.PERCENT and isinstance(value, int | float):
        return f"{value:.1f} %"
    if kind is Kind.SECONDS and isinstance(value, int | float):
        return lasting(value)
    if kind is Kind.NUMBER and isinstance(value, int | float):
        return f"{value:,}"
    return str(value)


def plain(value: Cell) -> str | int | float | bool | None:
    """A cell for programs: instants as RFC 3339 in UTC, durations in whole milliseconds' precision."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float):
        return round(value, 3)
    return value


def lasting(seconds: float) -> str:
    """A duration for people: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = whole % 3_600 // 60
    return f"{whole // 3_600} h {minutes} min" if minutes else f"{whole // 3_600} h"


def period_text(since: datetime, until: datetime) -> str:
    """`2026-11-16 09:00 – 2026-11-23 09:00 UTC`"""
    return f"{shown(since, Kind.INSTANT)} – {shown(until, Kind.INSTANT)} UTC"
