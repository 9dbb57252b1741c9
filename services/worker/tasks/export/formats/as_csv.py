"""CSV (RFC 4180, UTF-8): the main table with its keys as header; a summary as a list of measures.

A cell that a spreadsheet would run as a formula is told to be text (OWASP: CSV injection).
"""

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from services.worker.tasks.export.report import Cell, Counted, Report, plain

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
SUMMARY_HEADER = ("section", "subject", "measure", "value")


def write(report: Report, stream: BinaryIO) -> int:
    """Write row by row."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        out = csv.writer(text)
        table = report.main_table
        if table is None:
            out.writerow(SUMMARY_HEADER)
            rows = Counted(_measures(report))
        else:
            out.writerow([column.key for column in table.columns])
            rows = Counted(table.rows())
        out.writerows([safe(cell) for cell in row] for row in rows)
        return rows.count
    finally:
        text.detach()  # flushes; the stream is its owner's to close


def safe(cell: Cell) -> str | int | float | None:
    """The cell for a CSV file. Only text can be dangerous: a negative number stays one."""
    value = plain(cell)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # Spreadsheets pass over leading spaces before they look for a formula.
        value = value.replace("\0", "")
        return f"'{value}" if value.lstrip(" ").startswith(_DANGEROUS) else value
    return value


def _measures(report: Report) -> Iterator[tuple[Cell, ...]]:
    for figure in report.figures:
        yield "figures", None, figure.key, figure.value
    for table in report.tables:
        for number, row in enumerate(table.rows(), 1):
            subject = row[0] if table.key in {"task_types", "parts"} else number
            for column, cell in zip(table.columns, row, strict=True):
                yield table.key, plain(subject), column.key, cell
