"""HTML: one file that needs nothing else, charts included; no script, and a policy in it that allows none.

Everything that comes from outside passes jinja2's autoescape. Rows are written as they come.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from services.worker.tasks.export.charts import charts
from services.worker.tasks.export.report import Cell, Column, Report, Table, period_text, shown

_PIECES = 400
"""Pieces of text that jinja2 puts together before they are written."""


class _Rows:
    """A table's rows for the template, each as pairs of cell and column, counted on their way."""

    def __init__(self, table: Table) -> None:
        self.count = 0
        self._table = table
        self._places = [at for at, column in enumerate(table.columns) if not column.wide]

    def __iter__(self) -> Iterator[list[tuple[Cell, Column]]]:
        columns = self._table.columns
        for row in self._table.rows():
            self.count += 1
            yield [(row[at], columns[at]) for at in self._places]


def write(report: Report, stream: BinaryIO) -> int:
    """Write the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    page.filters["shown"] = shown
    rows = {table.key: _Rows(table) for table in report.tables}
    tables = [
        {
            "title": table.title,
            "note": table.note,
            "empty": table.empty,
            "columns": [column for column in table.columns if not column.wide],
            "rows": rows[table.key],
        }
        for table in report.tables
    ]
    text = page.get_template("report.html.j2").stream(
        head=report.head,
        period=period_text(report.head.since, report.head.until),
        figures=report.figures,
        notes=report.notes,
        charts=[(title, base64.b64encode(image).decode()) for title, image in charts(report, "svg")],
        tables=tables,
    )
    text.enable_buffering(_PIECES)
    stream.writelines(piece.encode() for piece in text)
    return sum(one.count for key, one in rows.items() if report.main in {"", key})
