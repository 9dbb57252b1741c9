"""Who calls. Made by the authenticator, asked by every action."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a caller may do; each includes the ones before it."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @classmethod
    def named(cls, name: str) -> "Role":
        """The role of a stored or claimed name. Raises KeyError."""
        return cls[name.upper()]


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: a name for the audit log, a role, and the projects in sight (None: all).

    Names may repeat, an `identity` is of one caller alone; empty where nobody is asked who they are.
    """

    name: str
    role: Role
    project_ids: tuple[int, ...] | None = None
    identity: str = ""

    def sees(self, project_id: int) -> bool:
        """Whether a project's objects exist for this caller."""
        return self.project_ids is None or project_id in self.project_ids

    def narrowed(self, project_id: int | None) -> Sequence[int] | None:
        """The projects a list covers when it asks for one, or for all (None) of those in sight; None: no bound."""
        if project_id is None:
            return self.project_ids
        # Ids begin at 1: counts (schedule_counts, job_counts, audit_counts) keep those of all projects under 0.
        return (project_id,) if project_id > 0 and self.sees(project_id) else ()


ANYBODY = Principal("anonymous", Role.ADMIN)
"""The only caller while COMMANDCENTER_AUTH=none."""
