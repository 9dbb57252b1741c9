"""Markdown (GitHub's tables): for wikis, issues and chat. All rows, without charts."""

import re
from typing import BinaryIO

from services.worker.tasks.export.report import Counted, Kind, Report, Table, period_text, shown

# What would be markup, HTML or the end of a cell in the words of a user.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
_BREAKS = re.compile(r"\s+")
_RIGHT = {Kind.NUMBER, Kind.PERCENT, Kind.SECONDS}


def write(report: Report, stream: BinaryIO) -> int:
    """Write section by section, row by row."""
    head = report.head
    lines = [
        f"# {words(head.title)}",
        "",
        f"**Project:** {words(head.project)}  ",
        *([f"**Repository:** {words(head.repository)}  "] if head.repository else []),
        f"**Period:** {period_text(head.since, head.until)}  ",
        f"**Made:** {shown(head.made_at, Kind.INSTANT)} UTC by the schedule {words(head.schedule)}",
        "",
        "| Figure | Value | |",
        "| --- | ---: | --- |",
        *(f"| {one.label} | {shown(one.value, one.kind)} | {words(one.hint)} |" for one in report.figures),
        "",
        *(f"> {words(note)}\n" for note in report.notes),
    ]
    stream.write("\n".join(lines).encode())
    count = 0
    for table in report.tables:
        written = _table(table, stream)
        if report.main in {"", table.key}:
            count += written
    return count


def _table(table: Table, stream: BinaryIO) -> int:
    heading = [f"\n## {words(table.title)}\n"]
    if table.note:
        heading.append(f"{words(table.note)}\n")
    stream.write("\n".join(heading).encode())
    places = [at for at, column in enumerate(table.columns) if not column.wide]
    columns = [table.columns[at] for at in places]
    rows = Counted(table.rows())
    for row in rows:
        if rows.count == 1:
            titles = " | ".join(words(column.title) for column in columns)
            marks = " | ".join("---:" if column.kind in _RIGHT else "---" for column in columns)
            stream.write(f"\n| {titles} |\n| {marks} |\n".encode())
        cells = " | ".join(words(shown(row[at], column.kind)) for at, column in zip(places, columns, strict=True))
        stream.write(f"| {cells} |\n".encode())
    if not rows.count:
        stream.write(f"\n{words(table.empty)}\n".encode())
    return rows.count


def words(text: str | None) -> str:
    """A user's words as one line that Markdown shows as they are."""
    return _MARKUP.sub(r"\\\1", _BREAKS.sub(" ", text or "")).replace("\\<", "&lt;").replace("\\>", "&gt;").strip()
