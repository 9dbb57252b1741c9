"""What the formats do to cells, whatever is in them."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from services.worker.tasks.export.contents import _parts
from services.worker.tasks.export.formats import as_csv, as_markdown, as_pdf, as_xlsx
from services.worker.tasks.export.report import Column, Kind, Table, lasting, plain, shown
from shared.events.task_types import BatchParameters, ExportParameters

AT = datetime(2026, 11, 23, 9, 0, 1, 500_000, tzinfo=UTC)


@given(st.text() | st.sampled_from(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\0=1", "＝1", "\n=1"]))
def test_no_csv_cell_is_a_formula_and_no_word_is_lost(text: str) -> None:
    cell = as_csv.safe(text)
    assert isinstance(cell, str)
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert cell.removeprefix("'") == text.replace("\0", "").removeprefix("'")
    out = io.StringIO(newline="")
    csv.writer(out).writerow([cell, 1])
    assert next(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [cell, "1"]


def test_csv_numbers_stay_numbers() -> None:
    assert [as_csv.safe(value) for value in (-1, -0.5, True, None)] == [-1, -0.5, "true", None]
    assert as_csv.safe(AT.astimezone(timezone(timedelta(hours=5)))) == "2026-11-23T09:00:01.500Z"


@given(st.text())
def test_markdown_words_stay_in_their_cell_and_are_no_markup(text: str) -> None:
    told = as_markdown.words(text)
    assert "\n" not in told
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[\]#~]", told)
    assert not re.search(r"[<>]", told)


@given(st.lists(st.text() | st.integers(-(10**15), 10**15) | st.booleans() | st.none(), min_size=3, max_size=3))
def test_xlsx_never_makes_a_formula(cells: list[Any]) -> None:
    columns = tuple(Column(str(at), "=title") for at in range(3))
    book = Workbook(write_only=True)
    as_xlsx._sheets(book, Table("t", "T", columns, lambda: [cells], ""))
    out = io.BytesIO()
    book.save(out)
    row = list(load_workbook(io.BytesIO(out.getvalue()))["T"].iter_rows(min_row=1))
    assert {cell.data_type for cell in row[0]} == {"s"}
    assert not [cell for line in row for cell in line if cell.data_type == "f"]


def test_a_table_longer_than_a_sheet_goes_on_in_the_next() -> None:
    book = Workbook(write_only=True)
    table = Table("t", "All runs", (Column("n", "N", Kind.NUMBER),), lambda: ([n] for n in range(7)), "")
    assert as_xlsx._sheets(book, table, most=4) == 7
    out = io.BytesIO()
    book.save(out)
    sheets = load_workbook(io.BytesIO(out.getvalue()))
    assert sheets.sheetnames == ["All runs", "All runs (2)", "All runs (3)"]
    told = [[row[0] for row in sheet.iter_rows(values_only=True)] for sheet in sheets]
    assert told == [["N", 0, 1, 2], ["N", 3, 4, 5], ["N", 6]]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


def test_cells_for_people_and_for_programs() -> None:
    assert shown(None, Kind.NUMBER) == shown("", Kind.TEXT) == "–"
    assert (shown(1_234_567, Kind.NUMBER), shown(1_234_567, Kind.ID)) == ("1,234,567", "1234567")
    assert (shown(97.25, Kind.PERCENT), shown(AT, Kind.INSTANT)) == ("97.2 %", "2026-11-23 09:00")
    assert (plain(AT), plain(1 / 3), plain(True)) == ("2026-11-23T09:00:01.500Z", 0.333, True)


@given(st.integers(1, 366))
def test_a_period_makes_a_chart_that_can_be_read(days: int) -> None:
    _, width = _parts(timedelta(days=days))
    assert timedelta(days=days) / width <= 53


def test_parameters_that_cannot_work_are_refused_by_model_and_schema() -> None:
    with pytest.raises(ValueError, match="SARIF carries findings, not runs"):
        ExportParameters(format="sarif", report_type="runs")
    with pytest.raises(ValueError, match="a batch cannot be an operation of a batch"):
        BatchParameters.model_validate({"operations": [{"task_type": "batch"}]})


@given(st.text(st.sampled_from('aß<&>"日本語カナ한국어，🚀\n\x00 ')))
def test_words_in_a_pdf_are_well_formed_and_in_a_font_that_has_them(text: str) -> None:
    tree = ET.fromstring(f"<p>{as_pdf.written(text)}</p>")
    assert "".join(tree.itertext()) == "".join(one if one.isprintable() else " " for one in text)
    set_apart = "".join(one.text or "" for one in tree.iter("font"))
    assert set(set_apart) <= set("日本語カナ한국어，")
    assert all(one not in set("日本語カナ한국어") for one in "".join([tree.text or "", *(f.tail or "" for f in tree)]))


@pytest.mark.parametrize(
    ("text", "font"),
    [("每日報告", as_pdf.CHINESE), ("毎日レポート", as_pdf.JAPANESE), ("일일보고서", as_pdf.KOREAN)],
)
def test_east_asian_names_are_set_in_a_font_of_their_writing(text: str, font: str) -> None:
    assert as_pdf.written(text) == f'<font name="{font}">{text}</font>'
