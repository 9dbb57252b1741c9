"""Reading the audit log, newest first. Called by the api; shared/storage/audit.py writes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.storage import counts
from shared.storage.filters import Filters

_COLUMNS = "id, at, action, actor, address, project_id, schedule_id, job_id, attempt, event_id, detail"


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries; None means any."""

    project_ids: Sequence[int] | None = None
    schedule_id: int | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_page(connection: Connection, wanted: AuditFilter, page: int, page_size: int) -> tuple[Sequence[Row[Any]], int]:
    """One page and the total: exact up to MOST_COUNTED, beyond that from the counts by day where they can tell it."""
    filters = Filters()
    filters.within("project_id", wanted.project_ids)
    for name in ("schedule_id", "actor", "action"):
        filters.equal(name, getattr(wanted, name))
    filters.between("at", wanted.since, wanted.until)

    def counted() -> int:
        equal = {"actor": wanted.actor, "action": wanted.action}
        return counts.counted(connection, "audit_log", wanted.project_ids, equal, wanted.since, wanted.until)

    by_day = counted if wanted.schedule_id is None else None
    one_by_one = lambda: filters.count(connection, "audit_log")  # noqa: E731
    if counts.is_beyond((page - 1) * page_size, by_day):
        return [], counts.total(one_by_one, by_day)
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM audit_log WHERE {filters.condition}"  # noqa: S608 (fixed words only)
            f" ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset"
        ),
        filters.values | {"limit": page_size, "offset": (page - 1) * page_size},
    ).all()
    if len(rows) < page_size and (rows or page == 1):
        return rows, (page - 1) * page_size + len(rows)
    return rows, counts.total(one_by_one, by_day)
