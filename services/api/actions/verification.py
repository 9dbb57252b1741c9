"""Verifying the audit log over HTTP, a bounded number of entries an answer.

What has been followed is remembered by the caller, in a cursor sealed with our key: nobody can forge how far a chain
was followed, or hide a break that was found.
"""

import base64
from dataclasses import dataclass, field

import orjson

from services.api.problems import field_error, invalid
from shared.secrets import SecretBox, SecretUnreadable
from shared.storage import audit_proof
from shared.storage.audit import Head
from shared.storage.audit_proof import START, Proof
from shared.storage.database import Database

_PURPOSE = "audit-verification"
_MOST_BROKEN = 20
"""Breaks named: the cursor carries them, and travels in a URL."""


@dataclass(slots=True)
class _Progress:
    """What all answers since the first have covered. `chain` is the one to go on with, from `head`."""

    chain: str = ""
    head: Head = START
    entries: int = 0
    broken: list[str] = field(default_factory=list)


def verify(database: Database, secrets: SecretBox, cursor: str | None, limit: int) -> dict[str, object]:
    """The answer's body. Raises Problem 422 for a cursor that is none of ours."""
    progress = _Progress() if cursor is None else _opened(secrets, cursor)
    names = [name for name in audit_proof.chains(database) if name >= progress.chain]
    shown: list[dict[str, object]] = []
    left, done = limit, True
    for name in names:
        start = progress.head if name == progress.chain else START
        if left <= 0:
            progress.chain, progress.head, done = name, start, False
            break
        proof = audit_proof.verify(database, name, start=start, most=left)
        left -= proof.entries
        progress.entries += proof.entries
        shown.append(_shown(proof, start))
        if proof.broken is not None and len(progress.broken) < _MOST_BROKEN:
            progress.broken.append(f"{name}: {proof.broken}")
        if not proof.complete:
            progress.chain, progress.head, done = name, proof.head or start, False
            break
    return {
        "holds": not progress.broken,
        "complete": done,
        "entries": progress.entries,
        "chains": shown,
        "broken": progress.broken,
        "cursor": None if done else _sealed(secrets, progress),
    }


def _shown(proof: Proof, start: Head) -> dict[str, object]:
    return {
        "chain": proof.chain,
        "from_place": start.place,
        "to_place": (proof.head or start).place,
        "entries": proof.entries,
        "end_place": proof.end.place,
        "end_hash": proof.end.hash.hex(),
        "broken": proof.broken,
    }


def _sealed(secrets: SecretBox, progress: _Progress) -> str:
    document = [progress.chain, progress.head.place, progress.head.hash.hex(), progress.entries, progress.broken]
    return base64.urlsafe_b64encode(secrets.seal(orjson.dumps(document).decode(), _PURPOSE)).decode()


def _opened(secrets: SecretBox, cursor: str) -> _Progress:
    try:
        text = secrets.unseal(base64.urlsafe_b64decode(cursor.encode()), _PURPOSE)
    except (SecretUnreadable, ValueError) as error:
        raise invalid([field_error("cursor", "this is no cursor that an answer gave", cursor)]) from error
    chain, place, digest, entries, broken = orjson.loads(text)
    return _Progress(chain, Head(place, bytes.fromhex(digest)), entries, broken)
