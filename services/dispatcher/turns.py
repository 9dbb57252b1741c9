"""Weighted turns: which projects' schedules the next batches claim when more is due than one batch holds.

A ring of the projects with something due. Each batch gives every project it reaches a share in proportion to its
weight, and the next batch goes on where this one ended: with few projects each is in every batch, with thousands each
comes round in a fraction of a second. So one project's backlog delays another's schedules by one round at most.
"""

from collections.abc import Sequence


class Turns:
    """Pure; the tick refreshes the projects and reports which ran dry."""

    def __init__(self, projects: Sequence[tuple[int, int]]) -> None:
        """`projects`: (project_id, weight), those with something due."""
        self._ring = list(projects)
        self._at = 0

    def __len__(self) -> int:
        return len(self._ring)

    def next(self, batch: int) -> list[tuple[int, int]]:
        """(project_id, share) for the next batch of about `batch` schedules; empty when no project is left."""
        if not self._ring:
            return []
        total = sum(weight for _, weight in self._ring)
        if total >= batch:
            return self._some(batch)
        return [(project, max(1, batch * weight // total)) for project, weight in self._ring]

    def _some(self, batch: int) -> list[tuple[int, int]]:
        """More projects than a batch can serve: each its weight, starting where the last batch ended."""
        shares: list[tuple[int, int]] = []
        left = batch
        while left > 0 and len(shares) < len(self._ring):
            project, weight = self._ring[self._at % len(self._ring)]
            shares.append((project, min(weight, left)))
            left -= weight
            self._at = (self._at + 1) % len(self._ring)
        return shares

    def drop(self, dry: set[int]) -> None:
        """Projects with nothing left."""
        if dry:
            before = [project for project, _ in self._ring[: self._at]]
            self._ring = [(project, weight) for project, weight in self._ring if project not in dry]
            self._at -= sum(project in dry for project in before)
            if self._ring:
                self._at %= len(self._ring)
