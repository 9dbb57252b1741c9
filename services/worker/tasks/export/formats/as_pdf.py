"""PDF: what a manager reads: title, figures, charts, tables with repeated headers, `Page 2 of 5`.

A page is laid out in memory, so tables end after MOST_ROWS rows, with a sentence where the rest is. Everything from
outside is escaped: reportlab's paragraphs are markup that could name files and addresses.
"""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.sax.saxutils import escape

from services.worker.tasks.export.charts import COLOURS, charts
from services.worker.tasks.export.report import Cell, Column, Kind, Report, Table, period_text, shown

if TYPE_CHECKING:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.pdfgen.canvas import Canvas

MOST_ROWS = 2_000
_FRAME = 6  # points that reportlab keeps free inside the margins
_MOST_TEXT, _MOST_IN_NARROW = 300, 100
"""Characters of a cell, and of one in a narrow column: a cell must never be higher than a page."""
_NARROW = 2.5
_HEADING = 60
"""Points that a table's heading and note take."""
CHINESE, JAPANESE, KOREAN = EAST_ASIAN = ("STSong-Light", "HeiseiKakuGo-W5", "HYGothic-Medium")
_KANA, _HANGUL = re.compile("[\u3040-\u30ff]"), re.compile("[\u1100-\u11ff\uac00-\ud7af]")
_EAST_ASIAN = re.compile("[\u1100-\u11ff\uac00-\ud7af]+|[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+")
_INK, _QUIET, _LINE, _TINT, _ACCENT = "#232a35", "#667085", "#dfe3ea", "#f5f7fa", "#24507f"
_STATUS = {"failed": COLOURS["failed"], "error": COLOURS["failed"], "succeeded": COLOURS["succeeded"]}
_RIGHT = {Kind.NUMBER, Kind.PERCENT, Kind.SECONDS}


def write(report: Report, stream: BinaryIO) -> int:
    """Write the document."""
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    _fonts()
    # Long tables of runs need the width; a summary is read upright.
    size = A4 if report.main == "" else landscape(A4)
    document = SimpleDocTemplate(
        stream,
        pagesize=size,
        leftMargin=16 * mm,
        rightMargin=16 * mm,
        topMargin=18 * mm,
        bottomMargin=18 * mm,
        title=f"{report.head.title} – {report.head.project}",
        author="CommandCenter",
        subject=period_text(report.head.since, report.head.until),
        invariant=1,  # no clock and no chance in the file
    )
    layout = _Layout(report, document.width - 2 * _FRAME)
    story, count = layout.story()
    document.build(story, canvasmaker=_canvas_class(report))
    return count


def _fonts() -> None:
    """DejaVu, which comes with matplotlib: it knows Greek and Cyrillic, which PDF's own fonts do not.

    For what it lacks, the names of the East Asian fonts that PDF readers bring along.
    """
    import matplotlib as mpl
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name, file in (("Report", "DejaVuSans.ttf"), ("Report-Bold", "DejaVuSans-Bold.ttf")):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, str(folder / file)))
    for name in EAST_ASIAN:
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(UnicodeCIDFont(name))


class _Layout:
    """Turns a report into reportlab's flowables."""

    def __init__(self, report: Report, width: float) -> None:
        from reportlab.lib.colors import HexColor
        from reportlab.lib.enums import TA_RIGHT
        from reportlab.lib.styles import ParagraphStyle

        self._report = report
        self._width = width
        ink, quiet = HexColor(_INK), HexColor(_QUIET)
        base = ParagraphStyle("base", fontName="Report", fontSize=9, leading=12.5, textColor=ink)

        def style(name: str, **changes: Any) -> "ParagraphStyle":
            return ParagraphStyle(name, parent=base, **changes)

        self._title = style("title", fontName="Report-Bold", fontSize=21, leading=26, spaceAfter=3)
        self._facts = style("facts", textColor=quiet, fontSize=9.5, leading=14)
        self._heading = style(
            "heading", fontName="Report-Bold", fontSize=12.5, leading=16, spaceBefore=14, spaceAfter=4
        )
        self._note = style("note", textColor=quiet, spaceAfter=4)
        self._text = style("text")
        self._label = style("label", textColor=quiet, fontSize=8, leading=10)
        self._value = style("value", fontName="Report-Bold", fontSize=15, leading=19)
        self._cell = style("cell", fontSize=7.5, leading=9.6, splitLongWords=1)
        self._cell_right = style("cell-right", fontSize=7.5, leading=9.6, alignment=TA_RIGHT)
        self._top = style("top", fontName="Report-Bold", fontSize=7.5, leading=9.6)
        self._top_right = style("top-right", fontName="Report-Bold", fontSize=7.5, leading=9.6, alignment=TA_RIGHT)

    def story(self) -> tuple[list[Any], int]:
        """Everything in order, and how many rows the main table had."""
        from reportlab.platypus import Paragraph, Spacer

        head = self._report.head
        facts = [f"Project <b>{written(head.project)}</b>"]
        if head.repository:
            facts.append(f"Repository <b>{written(head.repository)}</b>")
        story: list[Any] = [
            Paragraph(escape(head.title), self._title),
            Paragraph(" · ".join(facts), self._facts),
            Paragraph(f"Period <b>{period_text(head.since, head.until)}</b>", self._facts),
            Paragraph(
                f"Made {shown(head.made_at, Kind.INSTANT)} UTC for the schedule “{written(head.schedule)}”", self._facts
            ),
            Spacer(1, 10),
            self._figures(),
        ]
        story.append(Spacer(1, 8))
        story.extend(Paragraph(written(note), self._note) for note in self._report.notes)
        story.extend(self._charts())
        count = 0
        for table in self._report.tables:
            flowables, rows = self._table(table)
            story.extend(flowables)
            if self._report.main in {"", table.key}:
                count += rows
        return story, count

    def _figures(self) -> Any:
        from reportlab.platypus import Paragraph
        from reportlab.platypus import Table as Grid

        figures = self._report.figures
        across = min(len(figures), 3 if self._report.main == "" else 6)
        cells: list[list[Any]] = []
        for start in range(0, len(figures), across):
            line: list[Any] = [
                [
                    Paragraph(escape(figure.label), self._label),
                    Paragraph(escape(shown(figure.value, figure.kind)), self._value),
                    Paragraph(escape(figure.hint), self._label),
                ]
                for figure in figures[start : start + across]
            ]
            cells.append(line + [""] * (across - len(line)))
        return Grid(
            cells,
            colWidths=[self._width / across] * across,
            style=[
                ("BOX", (0, 0), (-1, -1), 0.6, _LINE),
                ("INNERGRID", (0, 0), (-1, -1), 0.6, _LINE),
                ("BACKGROUND", (0, 0), (-1, -1), _TINT),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 8),
                ("TOPPADDING", (0, 0), (-1, -1), 6),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 7),
            ],
        )

    def _charts(self) -> list[Any]:
        from reportlab.platypus import Image, KeepTogether, Paragraph
        from reportlab.platypus import Table as Grid

        drawn = charts(self._report, "png")
        if not drawn:
            return [Paragraph("There is nothing to draw for this period.", self._note)]
        across = 1 if self._report.main == "" else 2
        width = min(self._width / across - 12, 430)
        cells = [
            [Paragraph(escape(title), self._heading), Image(io.BytesIO(image), width, width * 2.35 / 5.2)]
            for title, image in drawn
        ]
        if across == 1:
            return [KeepTogether(cell) for cell in cells]
        lines: list[list[Any]] = [list(cells[start : start + across]) for start in range(0, len(cells), across)]
        lines[-1] += [""] * (across - len(lines[-1]))
        return [Grid(lines, colWidths=[self._width / across] * across, style=[("LEFTPADDING", (0, 0), (-1, -1), 0)])]

    def _table(self, table: Table) -> tuple[list[Any], int]:
        from reportlab.platypus import CondPageBreak, Paragraph

        places = [at for at, column in enumerate(table.columns) if not column.wide]
        columns = [table.columns[at] for at in places]
        lines: list[list[Any]] = []
        count = 0
        for row in table.rows():
            count += 1
            if count <= MOST_ROWS:
                lines.append([self._paragraph(row[at], column) for at, column in zip(places, columns, strict=True)])
        flowables: list[Any] = [Paragraph(escape(table.title), self._heading)]
        if table.note:
            flowables.append(Paragraph(escape(table.note), self._note))
        if not lines:
            return [CondPageBreak(_HEADING), *flowables, Paragraph(escape(table.empty), self._note)], 0
        _, first_row = self._grid(columns, lines[:1]).wrap(self._width, 0)
        flowables.insert(0, CondPageBreak(_HEADING + first_row))  # no heading without a row below it
        flowables.append(self._grid(columns, lines))
        if count > MOST_ROWS:
            rest = f"The first {MOST_ROWS:,} of {count:,} rows. All of them: export as CSV, JSON or XLSX."
            flowables.append(Paragraph(rest, self._note))
        return flowables, count

    def _paragraph(self, value: Cell, column: Column) -> Any:
        from reportlab.platypus import Paragraph

        words, most = shown(value, column.kind), _MOST_IN_NARROW if column.weight < _NARROW else _MOST_TEXT
        words = written(words if len(words) <= most else words[: most - 1] + "…")
        if column.kind is Kind.STATUS and value in _STATUS:
            words = f'<font color="{_STATUS[str(value)]}">{words}</font>'
        return Paragraph(words, self._cell_right if column.kind in _RIGHT else self._cell)

    def _grid(self, columns: list[Column], lines: list[list[Any]]) -> Any:
        from reportlab.platypus import LongTable, Paragraph

        whole = sum(column.weight for column in columns)
        top = [
            Paragraph(escape(column.title), self._top_right if column.kind in _RIGHT else self._top)
            for column in columns
        ]
        return LongTable(
            [top, *lines],
            colWidths=[self._width * column.weight / whole for column in columns],
            repeatRows=1,
            style=[
                ("LINEBELOW", (0, 0), (-1, 0), 1, _INK),
                ("LINEBELOW", (0, 1), (-1, -1), 0.4, _LINE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 3),
                ("RIGHTPADDING", (0, 0), (-1, -1), 3),
                ("TOPPADDING", (0, 0), (-1, -1), 2.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ],
        )


def written(text: str) -> str:
    """Foreign text as reportlab's markup: escaped, and East Asian pieces in a font that has their characters."""
    readable = escape("".join(one if one.isprintable() else " " for one in text))
    japanese = _KANA.search(readable) is not None

    def named(match: re.Match[str]) -> str:
        font = KOREAN if _HANGUL.search(match[0]) else JAPANESE if japanese else CHINESE
        return f'<font name="{font}">{match[0]}</font>'

    return _EAST_ASIAN.sub(named, readable)


def _canvas_class(report: Report) -> type["Canvas"]:
    """A canvas that knows at the end how many pages there are, and writes head and foot of each."""
    from reportlab.lib.colors import HexColor
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import Paragraph

    small = ParagraphStyle("small", fontName="Report", fontSize=7.5, leading=9.6, textColor=HexColor(_QUIET))
    head = report.head
    running = f"{head.title} · {head.project} · {period_text(head.since, head.until)}"

    class Numbered(Canvas):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802 - reportlab's name
            self._pages.append(dict(self.__dict__))
            self._startPage()  # type: ignore[attr-defined]

        def save(self) -> None:
            for number, page in enumerate(self._pages, 1):
                self.__dict__.update(page)
                self._decorate(number, len(self._pages))
                super().showPage()
            super().save()

        def _decorate(self, number: int, total: int) -> None:
            width, height = self._pagesize  # type: ignore[attr-defined]
            self.setFont("Report", 7.5)
            self.setFillColor(_QUIET)
            self.drawRightString(width - 16 * mm, 10 * mm, f"Page {number} of {total}")
            self.drawString(16 * mm, 10 * mm, "CommandCenter · all times are UTC")
            if number == 1:
                self.setFillColor(_ACCENT)
                self.rect(0, height - 5, width, 5, stroke=0, fill=1)
            else:
                line = Paragraph(written(running[:140]), small)
                line.wrapOn(self, width - 32 * mm, 10 * mm)
                line.drawOn(self, 16 * mm, height - 12 * mm)

    return Numbered
