"""`python -m services.health.audit_verify` (`make audit-verify`): proves that the audit log was not altered.

Recomputes every hash from the stored rows, follows every chain from its first entry to its end, and accepts a gap
only where retention noted one. Prints a line a chain; exit code 0 when all hold, 1 with the first broken place of each.
"""

import sys

from services.health.settings import Settings
from shared.storage import audit_proof
from shared.storage.database import Database, DatabaseUnavailable


def main() -> int:
    """Verify and say so."""
    database = Database(Settings().database_url, application="commandcenter-audit-verify", statement_timeout_ms=600_000)
    broken = entries = 0
    try:
        for chain in audit_proof.chains(database):
            proof = audit_proof.verify(database, chain)
            entries += proof.entries
            broken += proof.broken is not None
            verdict = "holds" if proof.broken is None else f"BROKEN: {proof.broken}"
            print(f"{chain}: {proof.entries} entries, {verdict}")  # noqa: T201 (a command's answer)
    except DatabaseUnavailable as error:
        print(f"The audit log cannot be read: {error}. Check COMMANDCENTER_DATABASE_URL.", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        database.close()
    summary = "nothing was altered or removed" if not broken else f"{broken} chains are broken"
    print(f"{entries} entries verified: {summary}.")  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
