"""What a sync tells: one outcome for each repository, and together never more than a result may hold. No I/O."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.worker.tasks.sync_mirror import News

LISTED = 20
"""Commits and branches that are named for one repository; the counts are always whole."""
_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the sync of one repository went."""

    repository_id: int
    name: str
    error: str | None = None
    permanent: bool = False
    first: bool = False
    rebuilt: bool = False
    branch_count: int = 0
    size_bytes: int = 0
    duration_seconds: float = 0.0
    news: News = field(default_factory=News)


def report(outcomes: Iterable[Outcome], limit_bytes: int) -> dict[str, Any]:
    """The run's result: totals, then every repository. Lists are shortened, then left out, until it fits.

    Above that the failed ones come first and `omitted` says how many repositories are not shown.
    """
    found = list(outcomes)
    for listed in (LISTED, 5, 1, 0):
        result = _result(found, len(found), listed)
        if _fits(result, limit_bytes):
            return result
    ranked = sorted(found, key=lambda one: one.error is None)
    return _result(ranked, _most(len(ranked), lambda shown: _fits(_result(ranked, shown, 0), limit_bytes)), 0)


def complaint(outcomes: Iterable[Outcome]) -> str | None:
    """One sentence about what failed, None when nothing did."""
    found = list(outcomes)
    failed = [one for one in found if one.error is not None]
    if not failed:
        return None
    if len(found) == 1:
        return f"repository {failed[0].repository_id} ({failed[0].name}): {failed[0].error}"
    named = "; ".join(f"{one.name}: {one.error}" for one in failed[:3])
    return f"{len(failed)} of {len(found)} repositories failed: {named}"[:1_000]


def _result(outcomes: list[Outcome], shown: int, listed: int) -> dict[str, Any]:
    failed = sum(one.error is not None for one in outcomes)
    result: dict[str, Any] = {
        "synced": len(outcomes) - failed,
        "failed": failed,
        "new_commits": sum(one.news.commit_count for one in outcomes),
        "new_branches": sum(one.news.new_branch_count for one in outcomes),
        "repositories": [_shown(one, listed) for one in outcomes[:shown]],
    }
    if shown < len(outcomes):
        result["omitted"] = len(outcomes) - shown
    return result


def _shown(outcome: Outcome, listed: int) -> dict[str, Any]:
    identity = {"repository_id": outcome.repository_id, "name": outcome.name}
    if outcome.error is not None:
        return identity | {"status": "failed", "error": outcome.error[:500], "permanent": outcome.permanent}
    news = outcome.news
    return identity | {
        "status": "synced",
        "first": outcome.first,
        "rebuilt": outcome.rebuilt,
        "branches": outcome.branch_count,
        "size_bytes": outcome.size_bytes,
        "duration_seconds": outcome.duration_seconds,
        "new_commits": news.commit_count,
        "commits": [
            {"sha": one.sha, "subject": one.subject[:_SUBJECT], "author": one.author[:_SUBJECT], "at": one.at}
            for one in news.commits[:listed]
        ],
        "new_branches": {"count": news.new_branch_count, "names": news.new_branches[:listed]},
        "moved_branches": {
            "count": news.moved_count,
            "branches": [
                {"name": one.name, "from": one.before, "to": one.after, "rewritten": one.rewritten}
                for one in news.moved[:listed]
            ],
        },
        "deleted_branches": {"count": news.deleted_branch_count, "names": news.deleted_branches[:listed]},
    }


def _fits(result: dict[str, Any], limit_bytes: int) -> bool:
    return len(orjson.dumps(result)) <= limit_bytes


def _most(highest: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `highest` that fits, by halving."""
    low, high = 0, highest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
