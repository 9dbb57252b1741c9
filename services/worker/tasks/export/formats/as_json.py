"""JSON: the report's head, its figures by key, and every table as an array of objects, written row by row."""

from typing import Any, BinaryIO

import orjson

from services.worker.tasks.export.report import Counted, Report, plain


def write(report: Report, stream: BinaryIO) -> int:
    """Write one object; its last members are the tables."""
    head = report.head
    opening: dict[str, Any] = {
        "report": {
            "type": head.report_type,
            "title": head.title,
            "project_id": head.project_id,
            "project": head.project,
            "repository": head.repository,
            "period": {"from": plain(head.since), "to": plain(head.until)},
            "generated_at": plain(head.made_at),
            "schedule": head.schedule,
        },
        "figures": {figure.key: plain(figure.value) for figure in report.figures},
        "findings_by_level": dict(report.levels),
        "notes": list(report.notes),
    }
    stream.write(orjson.dumps(opening)[:-1])
    count = 0
    for table in report.tables:
        keys = [column.key for column in table.columns]
        stream.write(b",\n" + orjson.dumps(table.key) + b":[")
        rows = Counted(table.rows())
        between = b"\n"
        for row in rows:
            stream.write(between + orjson.dumps(dict(zip(keys, map(plain, row), strict=True))))
            between = b",\n"
        stream.write(b"]")
        if report.main in {"", table.key}:
            count += rows.count
    stream.write(b"}\n")
    return count
