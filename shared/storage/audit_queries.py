"""Reading the audit log, newest first. Called by the api; shared/storage/audit.py writes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.storage.schedule_queries import MOST_COUNTED

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
    """One page and the total, exact up to MOST_COUNTED."""
    parts, values = ["true"], dict[str, object]()
    if wanted.project_ids is not None:
        parts.append("project_id = ANY(CAST(:projects AS bigint[]))")
        values["projects"] = list(wanted.project_ids)
    for name in ("schedule_id", "actor", "action"):
        value = getattr(wanted, name)
        if value is not None:
            parts.append(f"{name} = :{name}")
            values[name] = value
    if wanted.since is not None:
        parts.append("at >= :since")
        values["since"] = wanted.since
    if wanted.until is not None:
        parts.append("at <= :until")
        values["until"] = wanted.until
    where = " AND ".join(parts)
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM audit_log WHERE {where} ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset"  # noqa: S608
        ),
        values | {"limit": page_size, "offset": (page - 1) * page_size},
    ).all()
    counted = f"SELECT count(*) FROM (SELECT FROM audit_log WHERE {where} LIMIT :most) AS found"  # noqa: S608
    total = connection.execute(text(counted), values | {"most": MOST_COUNTED + 1}).scalar_one()
    return rows, int(total)
