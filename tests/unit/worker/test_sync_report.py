"""What a sync tells never outgrows what a result may hold, and its totals stay whole."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.tasks.sync_mirror import Commit, Moved, News
from services.worker.tasks.sync_report import LISTED, Outcome, complaint, report


def outcome(number: int, *, error: str | None = None, listed: int = LISTED, width: int = 50) -> Outcome:
    names = [f"{index}-" + "b" * width for index in range(listed)]
    return Outcome(
        repository_id=number,
        name=f"repository {number}",
        error=error,
        branch_count=1_000,
        news=News(
            commit_count=5_000,
            commits=[Commit("a" * 40, "Ann", "2026-03-01T12:00:00Z", "s" * width) for _ in range(listed)],
            new_branches=names,
            new_branch_count=900,
            moved=[Moved(name, "a" * 40, "b" * 40, False) for name in names],
            moved_count=90,
            deleted_branches=names,
            deleted_branch_count=9,
        ),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 120), st.integers(0, 20), st.integers(1_500, 300_000), st.integers(0, 2_000))
def test_a_report_fits_and_counts_everything(good, bad, limit, width):
    outcomes = [outcome(number, width=width) for number in range(good)]
    outcomes += [outcome(good + number, error="no answer") for number in range(bad)]
    result = report(outcomes, limit)
    assert len(orjson.dumps(result)) <= limit
    assert (result["synced"], result["failed"]) == (good, bad)
    assert result["new_commits"] == 5_000 * (good + bad)
    assert len(result["repositories"]) + result.get("omitted", 0) == good + bad
    if result.get("omitted"):
        shown = [one["status"] for one in result["repositories"]]
        assert shown[:bad] == ["failed"] * min(bad, len(shown))  # what failed is shown before what did not


def test_few_repositories_are_told_in_full():
    [shown] = report([outcome(1)], 262_144)["repositories"]
    assert len(shown["commits"]) == len(shown["new_branches"]["names"]) == LISTED
    assert (shown["new_commits"], shown["new_branches"]["count"]) == (5_000, 900)


def test_subjects_are_cut():
    [shown] = report([outcome(1, width=5_000, listed=1)], 262_144)["repositories"]
    assert len(shown["commits"][0]["subject"]) == 200


def test_one_sentence_about_what_failed():
    good, bad = outcome(1), outcome(2, error="no answer")
    assert complaint([good]) is None
    assert complaint([]) is None
    assert complaint([bad]) == "repository 2 (repository 2): no answer"
    assert complaint([good, bad]) == "1 of 2 repositories failed: repository 2: no answer"
