"""Reports of a project with a past, in every format, each opened by a reader that is not ours."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from openpyxl import load_workbook
from sqlalchemy.exc import DBAPIError

from services.worker.analysis.sarif import problems
from services.worker.attempt import Failed, Succeeded
from shared.storage import reports
from shared.storage.database import Database
from tests.integration.worker.export.world import EVIL, NOW, World, fill, finding
from tests.servers import TestServers

SINCE = NOW - timedelta(days=7)


@pytest.fixture(scope="module")
def world(test_servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for the module: exports only read."""
    url = test_servers.create_database(migrated=True)
    filled = World(url, tmp_path_factory.mktemp("exports"))
    fill(filled)
    yield filled
    filled.close()
    test_servers.drop_database(url)


@pytest.fixture
def empty(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    fresh = World(database_url, tmp_path_factory.mktemp("empty"))
    yield fresh
    fresh.close()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_the_figures_are_those_of_the_rows(world: World) -> None:
    result, content = world.export("json")
    told = json.loads(content)
    jobs = world.query(
        "SELECT status, coalesce(skip_count, 1), task_type FROM jobs"
        " WHERE project_id = 1 AND scheduled_for >= %s AND scheduled_for < %s",
        SINCE,
        NOW,
    )
    statuses = Counter[str]()
    for status, count, _ in jobs:
        statuses[status] += count
    runs = statuses["succeeded"] + statuses["failed"]
    assert told["figures"]["runs"] == runs
    assert told["figures"]["failed"] == statuses["failed"] > 0
    assert told["figures"]["not_run"] == statuses["skipped"] + statuses["cancelled"] == 6
    assert told["figures"]["success_rate"] == round(100 * statuses["succeeded"] / runs, 1)
    assert sum(one["runs"] for one in told["task_types"]) == runs
    assert sum(one["succeeded"] + one["failed"] for one in told["parts"]) == runs
    assert [one["start"] for one in told["parts"]] == [
        f"{SINCE + timedelta(days=day):%Y-%m-%dT%H:%M:%S}.000Z" for day in range(7)
    ]
    assert {one["reason"] for one in told["failures"]} == {"error", "timeout"}
    assert told["findings_by_level"] == {"error": 1, "warning": 1, "note": 2, "none": 0}
    assert told["report"]["period"] == result["period"]
    assert result["artifact"] == "summary-2026-11-23.json"
    assert (result["figures"]["runs"], result["size"]) == (runs, len(content))
    assert b"not to be seen" not in content


def test_csv_holds_every_run_and_no_formula(world: World) -> None:
    result, content = world.export("csv", "runs", period_days=21)
    rows = rows_of(content)
    jobs = world.query("SELECT id FROM jobs WHERE project_id = 1 AND scheduled_for >= %s", NOW - timedelta(days=21))
    assert {row["job_id"] for row in rows} == {str(job) for (job,) in jobs}
    assert result["rows"] == len(rows) == len(jobs)
    assert [row["scheduled_for"] for row in rows] == sorted(row["scheduled_for"] for row in rows)
    assert {row["error"] for row in rows if row["reason"] == "timeout"} == {f"'{EVIL}"}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t"))]
    findings = rows_of(world.export("csv", "findings")[1])
    assert [(row["repository"], row["rule"], row["level"], row["state"], row["line"]) for row in findings] == [
        ("shop", "B602", "error", "new", "10"),
        ("shop", "B105", "warning", "unchanged", "20"),
        ("shop", "B101", "warning", "fixed", "30"),
        ("shop", "R9", "note", "", "40"),  # its level is its rule's
        ("site", "'=evil", "note", "", "7"),
    ]
    summary = rows_of(world.export("csv")[1])
    assert ("figures", "repositories_analysed", "2") in [(r["section"], r["measure"], r["value"]) for r in summary]


def test_xlsx_opens_with_text_as_text_and_numbers_as_numbers(world: World) -> None:
    _, content = world.export("xlsx")
    book = load_workbook(io.BytesIO(content))
    assert book.sheetnames[:3] == ["Summary", "By task type", "Schedules that need attention"]
    front = {row[0].value: row[1].value for row in book["Summary"].iter_rows(max_col=2) if row[0].value}
    assert front["Project"] == "default"
    assert front["From (UTC)"] == SINCE.replace(tzinfo=None)
    assert isinstance(front["Runs"], int)
    assert len(getattr(book["Summary"], "_charts")) == 1  # noqa: B009
    failures = book["Latest failures"]
    evil = [cell for row in failures.iter_rows() for cell in row if cell.value == EVIL]
    assert evil
    assert {cell.data_type for cell in evil} == {"s"}
    assert not [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    assert failures.freeze_panes == "A2"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_needs_nothing_else_and_shows_what_users_wrote_as_they_wrote_it(world: World) -> None:
    page = _Page()
    page.feed(world.export("html")[1].decode())
    assert EVIL in page.text
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert page.tags["img"] == page.tags["figure"] == 3
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert page.tags["table"] == page.tags["thead"] == 5
    assert "2026-11-16 09:00 – 2026-11-23 09:00 UTC" in page.text
    every = _Page()
    result, content = world.export("html", "runs")
    every.feed(content.decode())
    assert every.tags["tr"] == result["rows"] + 1


def test_markdown_tables_keep_their_cells(world: World) -> None:
    text = world.export("markdown", "runs")[1].decode()
    table = text.partition("## All runs")[2].strip().splitlines()
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert cells == {11}
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_sarif_merges_the_newest_analyses_and_keeps_to_the_schema(world: World) -> None:
    result, content = world.export("sarif", "summary")
    told = json.loads(content)
    assert problems(told) == []
    assert [run["properties"]["repository"] for run in told["runs"]] == ["shop", "site"]
    assert [[one["ruleId"] for one in run["results"]] for run in told["runs"]] == [
        ["B602", "B105", "B101", "R9"],
        ["=evil"],
    ]
    assert told["runs"][0]["tool"]["driver"]["rules"][0]["id"] == "R9"
    assert (result["artifact"], result["rows"]) == ("findings-2026-11-23.sarif", 5)
    site = world.query("SELECT id FROM repositories WHERE name = 'site'")[0][0]
    told = json.loads(world.export("sarif", repository_id=site)[1])
    assert [run["properties"]["repository"] for run in told["runs"]] == ["site"]


def test_pdf_is_made_in_a_process_of_its_own(world: World) -> None:
    outcome = world.outcome({"format": "pdf"})
    assert isinstance(outcome, Succeeded), outcome
    content = world.stored(outcome.artifacts)
    assert content.startswith(b"%PDF-1.")
    assert content.rstrip().endswith(b"%%EOF")
    assert pages(content) == 3
    assert len(re.findall(rb"/Subtype /Image", content)) >= 3  # the charts
    _, runs = world.export("pdf", "runs")
    assert pages(runs) > 5
    # Equal reports are equal files: nothing in them depends on a clock or on chance.
    assert world.export("pdf", "runs")[1] == runs


def pages(content: bytes) -> int:
    counts = [int(one) for one in re.findall(rb"/Count (\d+)", content)]
    assert counts
    assert max(counts) == len(re.findall(rb"/Type /Page\b(?!s)", content))
    return max(counts)


def test_an_empty_project_gets_reports_that_say_so(empty: World) -> None:
    page = empty.export("html")[1].decode()
    assert "Nothing was due in this period." in page
    assert "No run failed in this period." in page
    assert "<img" not in page
    assert pages(empty.export("pdf")[1]) == 1
    assert json.loads(empty.export("json")[1])["figures"]["success_rate"] is None
    assert "No repository was analysed in this period." in empty.export("markdown", "findings")[1].decode()
    assert rows_of(empty.export("csv", "runs")[1]) == []
    told = json.loads(empty.export("sarif")[1])
    assert (problems(told), told["runs"]) == ([], [])
    book = load_workbook(io.BytesIO(empty.export("xlsx", "schedules")[1]))
    assert book["All schedules"]["A2"].value == "This project has no schedules."


def test_what_is_gone_or_broken_is_said_and_spoils_nothing(empty: World) -> None:
    good, gone, broken = (empty.repository(name) for name in ("good", "gone", "broken"))
    empty.analysis(good, [finding("A", 1, fingerprints={"v1": "x"}), finding("B", 2)], before=timedelta(hours=3))
    again = [finding("A", 5, fingerprints={"v1": "x"}), finding("A", 9, fingerprints={"v1": "y"})]
    empty.analysis(good, again, before=timedelta(hours=2), kind="security")
    empty.analysis(gone, [], stored=False)
    empty.analysis(broken, b'{"version": "2.1.0", "runs": [{"results": [{"ruleId": "C"}, 5]}]}')
    told = json.loads(empty.export("json", "findings")[1])
    assert len(told["notes"]) == 2
    assert "cannot be read: no SARIF: a result is no object" in told["notes"][0]
    assert "are no longer stored" in told["notes"][1]
    # The newer analysis of part of the repository is told first; what it repeats is told once.
    assert [(one["rule"], one["line"]) for one in told["findings"]] == [("A", 5), ("A", 9), ("B", 2)]
    assert problems(json.loads(empty.export("sarif")[1])) == []


def test_what_cannot_be_reported_is_refused_for_good(empty: World) -> None:
    foreign = empty.query("INSERT INTO projects (name) VALUES ('other') RETURNING id")[0][0]
    repository = empty.repository("theirs", foreign)
    refused = empty.outcome({"format": "csv", "repository_id": repository})
    assert isinstance(refused, Failed)
    assert refused.permanent
    assert refused.error == f"repository {repository} does not exist in project 1"
    nowhere = empty.outcome({"format": "csv"}, project_id=9_999)
    assert isinstance(nowhere, Failed)
    assert (nowhere.permanent, nowhere.error) == (True, "project 9999 does not exist")


def test_a_long_report_is_not_cut_off_by_the_bounds_of_other_transactions(database_url: str) -> None:
    database = Database(
        database_url,
        application="test",
        statement_timeout_ms=300,
        transaction_timeout_ms=300,
        idle_in_transaction_ms=300,
    )
    with database.transaction() as connection:
        reports.freeze(connection)
        pause = threading.Event()
        connection.exec_driver_sql("SELECT pg_sleep(0.4)")
        pause.wait(0.4)  # as a writer that compresses
        assert reports.project_name(connection, 1) == "default"
        with pytest.raises(DBAPIError, match="read-only transaction"):
            connection.exec_driver_sql("DELETE FROM projects")
    database.close()
