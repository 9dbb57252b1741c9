"""XLSX: a sheet with head, figures and a native chart, then a sheet a table. Rows go to disk as they come.

Text is written as text, whatever it begins with: openpyxl would make `=…` a formula.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from services.worker.tasks.export.report import Cell, Column, Kind, Report, Table

if TYPE_CHECKING:
    from openpyxl import Workbook

MOST_ROWS = 1_048_576
"""Excel's limit for a sheet, header included."""
_MOST_TEXT = 32_767  # and for a cell
_FORMATS = {
    Kind.INSTANT: "yyyy-mm-dd hh:mm:ss",
    Kind.PERCENT: '0.0" %"',
    Kind.SECONDS: '0.0" s"',
    Kind.NUMBER: "#,##0",
    Kind.ID: "0",
}
_COLOURS = {"succeeded": "2F7D5B", "failed": "C8452F", "cancelled": "B9BEC7", "skipped": "E3B34B"}


def write(report: Report, stream: BinaryIO) -> int:
    """Write sheet by sheet; a table longer than a sheet goes on in the next."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    _front(book, report)
    count = 0
    for table in report.tables:
        written = _sheets(book, table)
        if report.main in {"", table.key}:
            count += written
    book.save(stream)
    return count


class _Sheet:
    """A sheet that counts its rows. Its cells are made once a column and filled again: a row is written at once."""

    def __init__(self, book: "Workbook", title: str, widths: list[float], *, frozen: bool = False) -> None:
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
        from openpyxl.styles import Font

        self.sheet: Any = book.create_sheet(title[:31])
        self.rows = 0
        self._illegal = ILLEGAL_CHARACTERS_RE
        self._bold = Font(bold=True)
        self._cells: dict[tuple[int, Kind, bool], Any] = {}
        for at, width in enumerate(widths):
            self.sheet.column_dimensions[_letter(at)].width = width
        if frozen:
            self.sheet.freeze_panes = "A2"
            self.sheet.print_title_rows = "1:1"
            self.sheet.page_setup.orientation = "landscape"

    def append(self, *values: tuple[Cell, Kind, bool]) -> None:
        """A row of (value, kind, bold)."""
        self.rows += 1
        self.sheet.append([self._cell(at, *value) for at, value in enumerate(values)])

    def _cell(self, at: int, value: Cell, kind: Kind, bold: bool) -> Any:
        from openpyxl.cell import WriteOnlyCell

        if value is None:
            return None
        cell: Any = self._cells.get((at, kind, bold))
        if cell is None:
            cell = self._cells[(at, kind, bold)] = WriteOnlyCell(self.sheet)
            if bold:
                cell.font = self._bold
            if kind in _FORMATS:
                cell.number_format = _FORMATS[kind]
        if isinstance(value, datetime):
            cell.value = value.astimezone(UTC).replace(tzinfo=None)  # Excel knows no zones; the titles say UTC
            return cell
        # Not through `cell.value`: that would take text for a formula or an error.
        if isinstance(value, bool):
            cell._value, cell.data_type = value, "b"
        elif isinstance(value, int | float):
            cell._value, cell.data_type = value, "n"
        else:
            cell._value, cell.data_type = self._illegal.sub("", value)[:_MOST_TEXT], "s"
        return cell


def _front(book: "Workbook", report: Report) -> None:
    sheet = _Sheet(book, "Summary", [24, 24, 14, 14, 14])
    head = report.head
    sheet.append((head.title, Kind.TEXT, True))
    for label, value in (
        ("Project", head.project),
        ("Repository", head.repository),
        ("From (UTC)", head.since),
        ("To (UTC)", head.until),
        ("Made (UTC)", head.made_at),
        ("By the schedule", head.schedule),
    ):
        if value is not None:
            kind = Kind.INSTANT if isinstance(value, datetime) else Kind.TEXT
            sheet.append((label, Kind.TEXT, True), (value, kind, False))
    sheet.append()
    for figure in report.figures:
        sheet.append(
            (figure.label, Kind.TEXT, True), (figure.value, figure.kind, False), (figure.hint, Kind.TEXT, False)
        )
    for note in report.notes:
        sheet.append((note, Kind.TEXT, False))
    if report.parts:
        sheet.append()
        _parts(sheet, report)


def _parts(sheet: _Sheet, report: Report) -> None:
    from openpyxl.chart import BarChart, Reference

    sheet.append(*((title, Kind.TEXT, True) for title in (f"Runs by {report.part_name}", *_COLOURS)))
    first = sheet.rows
    for part in report.parts:
        counts = (part.succeeded, part.failed, part.cancelled, part.skipped)
        sheet.append((part.label, Kind.TEXT, False), *((count, Kind.NUMBER, False) for count in counts))
    chart: Any = BarChart()
    chart.grouping, chart.overlap, chart.title = "stacked", 100, f"Runs by {report.part_name}"
    chart.width, chart.height = 22, 9
    chart.add_data(
        Reference(sheet.sheet, min_col=2, max_col=5, min_row=first, max_row=sheet.rows), titles_from_data=True
    )
    chart.set_categories(Reference(sheet.sheet, min_col=1, min_row=first + 1, max_row=sheet.rows))
    for series, colour in zip(chart.series, _COLOURS.values(), strict=True):
        series.graphicalProperties.solidFill = colour
    chart.x_axis.delete = chart.y_axis.delete = False  # openpyxl hides axes unless told
    sheet.sheet.add_chart(chart, f"G{first}")


def _sheets(book: "Workbook", table: Table, most: int = MOST_ROWS) -> int:
    """The table's rows, in as many sheets as they need."""
    sheet = _sheet(book, table, 1)
    number, count = 1, 0
    for row in table.rows():
        if sheet.rows == most:
            number += 1
            sheet = _sheet(book, table, number)
        sheet.append(*((cell, column.kind, False) for cell, column in zip(row, table.columns, strict=True)))
        count += 1
    if not count:
        sheet.append((table.empty, Kind.TEXT, False))
    return count


def _sheet(book: "Workbook", table: Table, number: int) -> _Sheet:
    title = table.title if number == 1 else f"{table.title} ({number})"
    sheet = _Sheet(book, title, [_width(column) for column in table.columns], frozen=True)
    sheet.append(*((_title(column), Kind.TEXT, True) for column in table.columns))
    return sheet


def _title(column: Column) -> str:
    return f"{column.title} (UTC)" if column.kind is Kind.INSTANT else column.title


def _width(column: Column) -> float:
    return 20.0 if column.kind is Kind.INSTANT else max(len(column.title) + 4.0, 14.0 * column.weight)


def _letter(at: int) -> str:
    from openpyxl.utils import get_column_letter

    return str(get_column_letter(at + 1))
