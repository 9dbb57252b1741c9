"""`python -m services.health.audit_verify` (`make audit-verify`): proves that the audit log was not altered.

Recomputes every hash from the stored rows, follows every chain from its first entry to its end, and accepts a gap only
where retention noted one. The ends are noted in the home (`audit-heads.json`), outside the database: the next
verification holds the log to them, so that not even the database's owner can cut entries off unseen. Prints a line a
chain; exit code 0 when all hold, 1 with the first broken place of each.
"""

import sys
from pathlib import Path

import orjson

from services.health.settings import Settings
from shared.storage import audit_proof
from shared.storage.audit import Head
from shared.storage.audit_proof import Proof
from shared.storage.database import Database, DatabaseUnavailable

HEADS = "audit-heads.json"


def main() -> int:
    """Verify and say so."""
    settings = Settings.from_environment()
    place = settings.home / HEADS
    noted = _noted(place)
    database = Database(settings.database_url, application="commandcenter-audit-verify", statement_timeout_ms=600_000)
    try:
        proofs = [audit_proof.verify(database, chain, noted.get(chain)) for chain in audit_proof.chains(database)]
    except DatabaseUnavailable as error:
        remedy = "Is the stack running (make status)? COMMANDCENTER_DATABASE_URL names another database."
        _say(f"The audit log cannot be read: {error}. {remedy}")
        return 1
    finally:
        database.close()
    gone = noted.keys() - {proof.chain for proof in proofs}
    proofs += [Proof(chain, 0, "it was there at an earlier verification and is gone") for chain in sorted(gone)]
    for proof in proofs:
        _say(_line(proof))
    broken = sum(proof.broken is not None for proof in proofs)
    entries = sum(proof.entries for proof in proofs)
    if broken:
        _say(f"{entries} entries verified: {broken} chains are broken.")
        if noted:
            _say(f"If this is another database than the one verified before, remove {place} and verify again.")
        return 1
    _note(place, proofs)
    first = "" if noted else " since this first verification: what was cut off before it cannot be told"
    _say(f"{entries} entries verified: nothing was altered, and nothing removed{first}.")
    return 0


def _line(proof: Proof) -> str:
    """What was found of one chain. What retention dropped is told too: only the owner can note a gap, but he can."""
    dropped = 0 if proof.head is None else proof.head.place - proof.entries
    gone = f" ({dropped} older ones dropped by retention)" if dropped and proof.broken is None else ""
    return f"{proof.chain}: {proof.entries} entries{gone}, {'holds' if not proof.broken else f'BROKEN: {proof.broken}'}"


def _noted(place: Path) -> dict[str, Head]:
    """Where each chain ended at the last verification that held; nothing before the first."""
    if not place.exists():
        return {}
    found = orjson.loads(place.read_bytes())
    return {chain: Head(end["place"], bytes.fromhex(end["hash"])) for chain, end in found.items()}


def _note(place: Path, proofs: list[Proof]) -> None:
    ends = {one.chain: {"place": one.head.place, "hash": one.head.hash.hex()} for one in proofs if one.head is not None}
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = place.with_suffix(".new")
    scratch.write_bytes(orjson.dumps(ends, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    scratch.replace(place)


def _say(line: str) -> None:
    print(line)  # noqa: T201 (a command's answer)


if __name__ == "__main__":
    sys.exit(main())
