"""Weighted turns: which projects' schedules the next batches claim when more is due than one batch holds.

A line of the projects with something due. With few projects each has a share of every batch, in proportion to its
weight. With more than a batch can serve so, it takes those at the head of the line, who then go to its end; a project
that has only now something due goes to the head. So one project's backlog, or a thousand projects', delays the
schedules of another by a batch or two, and still each batch takes several schedules of a project: what a batch costs
is the places it has to visit.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence

AT_A_TURN = 8
"""Schedules that a project of weight 1 may have in a batch that cannot serve everybody."""


class Turns:
    """Pure; the tick says who has something due and who has run dry."""

    def __init__(self) -> None:
        self._line: OrderedDict[int, int] = OrderedDict()
        """Project → weight; who has waited longest comes first."""
        self._total = 0

    def __len__(self) -> int:
        return len(self._line)

    def replace(self, projects: Sequence[tuple[int, int]]) -> None:
        """These (project_id, weight) have something due, all others nothing."""
        due = dict(projects)
        waiting = {project: due[project] for project in self._line if project in due}
        self._line = OrderedDict({project: weight for project, weight in due.items() if project not in waiting})
        self._line.update(waiting)
        self._total = sum(due.values())

    def add(self, projects: Sequence[tuple[int, int]]) -> None:
        """These have something due, too."""
        for project, weight in projects:
            if project not in self._line:
                self._line[project] = weight
                self._line.move_to_end(project, last=False)
                self._total += weight

    def drop(self, dry: Collection[int]) -> None:
        """These have nothing left."""
        for project in dry:
            self._total -= self._line.pop(project, 0)

    def next(self, batch: int) -> list[tuple[int, int]]:
        """(project_id, share) for the next batch of about `batch` schedules; empty when no project is left."""
        if self._total * AT_A_TURN <= batch:
            return [(project, batch * weight // self._total) for project, weight in self._line.items()]
        shares: list[tuple[int, int]] = []
        left = batch
        while left > 0 and len(shares) < len(self._line):
            project = next(iter(self._line))
            share = min(left, AT_A_TURN * self._line[project])
            shares.append((project, share))
            left -= share
            self._line.move_to_end(project)
        return shares
