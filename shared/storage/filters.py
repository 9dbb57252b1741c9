"""Conditions of the lists that the api asks for, in fixed words with values beside them, and bounded counting.

Used by schedule_queries.py, job_queries.py, audit_queries.py and counts.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
from sqlalchemy import Connection, text

MOST_COUNTED = 10_000
"""Totals are counted one by one up to this."""


class Filters:
    """Conditions that must all hold. Column names are ours, values come from outside."""

    def __init__(self, *conditions: str) -> None:
        self._conditions = list(conditions)
        self.values: dict[str, object] = {}

    @property
    def condition(self) -> str:
        """All of them, for a WHERE."""
        return " AND ".join(self._conditions) or "true"

    def add(self, condition: str, **values: object) -> None:
        """One in words of its own."""
        self._conditions.append(condition)
        self.values |= values

    def equal(self, column: str, value: object) -> None:
        """A column has this value; None: any."""
        if value is not None:
            name = column.rpartition(".")[2]
            self.add(f"{column} = :{name}", **{name: value})

    def within(self, column: str, project_ids: Sequence[int] | None) -> None:
        """A project that may be seen; None: all of them."""
        if project_ids is None:
            return
        if len(project_ids) == 1:
            self.add(f"{column} = :project", project=project_ids[0])  # lets an index give the order
        else:
            self.add(f"{column} = ANY(CAST(:projects AS bigint[]))", projects=list(project_ids))

    def between(self, column: str, since: datetime | None, until: datetime | None) -> None:
        """An instant from one to another, both included; None: no bound."""
        if since is not None:
            self.add(f"{column} >= :since", since=since)
        if until is not None:
            self.add(f"{column} <= :until", until=until)

    def tagged(self, column: str, tags: Mapping[str, str]) -> None:
        """Tags have these values: the text given, or the number, boolean or null it spells."""
        for number, (name, value) in enumerate(sorted(tags.items())):
            as_text = as_word = orjson.dumps({name: value}).decode()
            try:
                word = orjson.loads(value)
            except orjson.JSONDecodeError:
                word = None  # plain text: both conditions are the same
            if isinstance(word, (int, float, bool)):
                as_word = orjson.dumps({name: word}).decode()
            self.add(
                f"({column} @> CAST(:tag{number} AS jsonb) OR {column} @> CAST(:word{number} AS jsonb))",
                **{f"tag{number}": as_text, f"word{number}": as_word},
            )

    def count(self, connection: Connection, source: str) -> int:
        """How many rows of `source` (a FROM in words of ours) fit: exact up to MOST_COUNTED, else one more than it."""
        limited = f"SELECT count(*) FROM (SELECT FROM {source} WHERE {self.condition} LIMIT :most) AS found"  # noqa: S608
        return int(connection.execute(text(limited), self.values | {"most": MOST_COUNTED + 1}).scalar_one())
