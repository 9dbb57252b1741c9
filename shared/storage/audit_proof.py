"""Verifying the audit log's chains (shared/storage/audit_chain.py says how they are made).

Used by `make audit-verify` and by the api's endpoint. Reads a chain in pages, each in a transaction of its own: a
log of any length neither fills memory nor holds back autovacuum.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from shared.storage.audit import Head
from shared.storage.audit_chain import BEGINNING, FIELDS, body, canonical, link
from shared.storage.database import Database

PAGE = 5_000
START = Head(0, BEGINNING)
"""Before the first entry of a chain."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The result for one chain. `broken`: one sentence naming the first place that does not hold, else None.

    `head`: how far it was followed, which whoever notes it can hold a later verification to; `end`: its end when that
    began. Without a break they are the same once the whole chain has been followed.
    """

    chain: str
    entries: int
    broken: str | None = None
    head: Head | None = field(default=None, compare=False)
    end: Head = field(default=START, compare=False)

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to follow."""
        return self.broken is not None or self.head is None or self.head.place == self.end.place


_CHAINS = text("SELECT chain FROM audit_chains UNION SELECT DISTINCT chain FROM audit_log ORDER BY 1")
_PAGE = text(
    f"SELECT {', '.join(FIELDS)}, previous_hash, hash FROM audit_log WHERE chain = :chain AND place > :after"  # noqa: S608
    " ORDER BY place LIMIT :page"
)
_GAPS = text("SELECT first_place, last_place, last_hash FROM audit_gaps WHERE chain = :chain ORDER BY first_place")
_END = text("SELECT place, hash FROM audit_chains WHERE chain = :chain")


def chains(database: Database) -> list[str]:
    """Every chain's name."""
    with database.transaction() as connection:
        return list(connection.scalars(_CHAINS))


def verify(
    database: Database, chain: str, noted: Head | None = None, *, start: Head = START, most: int | None = None
) -> Proof:
    """Follow one chain from `start`, the head of an earlier proof, as far as it reached when this began.

    `most` bounds the entries looked at: a later call goes on from this proof's head.

    `noted`: an end that it once had. Who owns the database can cut a chain's last entries off and move its stored end
    back; a note kept elsewhere still tells.
    """
    with database.transaction() as connection:
        found = connection.execute(_GAPS, {"chain": chain})
        gaps = {row.first_place: (row.last_place, bytes(row.last_hash)) for row in found}
        end = connection.execute(_END, {"chain": chain}).first()
    if end is None:
        return Proof(chain, 0, "its end is missing from audit_chains")
    written = Head(end.place, bytes(end.hash))
    walk = _Walk(gaps, noted, start)
    while walk.broken is None and walk.place < end.place:
        left = PAGE if most is None else min(PAGE, most - walk.entries)
        if left <= 0:
            return Proof(chain, walk.entries, None, Head(walk.place, walk.hash), written)
        with database.transaction() as connection:
            rows = _page(connection, chain, walk.place, left)
        if not rows:
            break
        for row in rows:
            if walk.place >= end.place or not walk.step(row):
                break
    walk.pass_gaps()
    if walk.broken is None and walk.place != end.place:
        walk.broken = f"the chain ends at place {walk.place}, but place {end.place} was written"
    if walk.broken is None and walk.hash != bytes(end.hash):
        walk.broken = f"place {end.place} is not the entry that was written there"
    if walk.broken is None and noted is not None and walk.place < noted.place:
        walk.broken = f"place {noted.place} was there at an earlier verification and is gone"
    return Proof(chain, walk.entries, walk.broken, Head(walk.place, walk.hash), written)


def _page(connection: Connection, chain: str, after: int, most: int) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(_PAGE, {"chain": chain, "after": after, "page": most})]


class _Walk:
    """One step an entry."""

    def __init__(self, gaps: dict[int, tuple[int, bytes]], noted: Head | None, start: Head) -> None:
        self._gaps, self._noted = gaps, noted
        self.place, self.hash, self.entries = start.place, start.hash, 0
        self.broken: str | None = None
        for first, (last, digest) in gaps.items():
            if first <= self.place < last:  # where an earlier walk stopped has been dropped since
                self.place, self.hash = last, digest
                break

    def pass_gaps(self) -> None:
        """Go over what retention has dropped behind the present place."""
        while self.place + 1 in self._gaps:
            self.place, self.hash = self._gaps[self.place + 1]

    def step(self, row: dict[str, Any]) -> bool:
        """Check one stored entry against the one before it."""
        self.pass_gaps()
        place = row["place"]
        if place != self.place + 1:
            self.broken = f"place {self.place + 1} is missing"
            return False
        if bytes(row["previous_hash"]) != self.hash:
            self.broken = f"place {place} does not follow the entry before it"
            return False
        entry = {name: row[name] for name in FIELDS}
        entry["detail"] = canonical(entry["detail"])
        if link(self.hash, body(entry)) != bytes(row["hash"]):
            self.broken = f"place {place} was altered"
            return False
        if self._noted is not None and place == self._noted.place and bytes(row["hash"]) != self._noted.hash:
            self.broken = f"place {place} is not the entry that was there at an earlier verification"
            return False
        self.place, self.hash = place, bytes(row["hash"])
        self.entries += 1
        return True
