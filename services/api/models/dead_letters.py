"""Bodies of the dead-letter endpoints."""

import base64
from datetime import datetime
from typing import Any

from pydantic import Field

from services.api.models.fields import Count, Page, Shape
from shared.storage import dead_letters


class DeadLetterShape(Shape):
    """A message that nobody could read or finish, without the message itself."""

    id: int
    place: str = Field(description="partition:offset in runs.dead, as `make dead-letters` names it.", examples=["0:17"])
    put_aside_at: datetime
    reason: str
    consumer: str = Field(description="Who put it aside.")
    topic: str | None = Field(description="Where it came from, without the prefix.")
    event_type: str | None
    schedule_id: int | None
    job_id: int | None
    project_id: int | None = Field(description="Null where the message does not tell: only for callers over all.")
    size: Count = Field(description="Bytes of its value.")
    truncated: bool = Field(description="The value was too large to keep whole.")
    resent_at: datetime | None
    resent_by: str | None
    resent_job_id: int | None


class DeadLetterList(Page):
    """A page of dead letters, newest first."""

    dead_letters: list[DeadLetterShape]


class HeaderShape(Shape):
    """A header of a message."""

    name: str
    value: str | None = Field(description="As text; what is none is replaced.")


class DeadLetterWhole(DeadLetterShape):
    """A dead letter with the message."""

    key: str | None
    headers: list[HeaderShape]
    value: str | None = Field(description="As text; null where there is none, or where its bytes are no text.")
    value_base64: str | None = Field(description="Its very bytes.")


class DeadLetterResent(Shape):
    """What sending a letter again did."""

    dead_letter_id: int
    job_id: int | None = Field(description="The new job, where the letter was a run; else null.")
    topic: str | None = Field(description="Where the message goes again, where it was none; else null.")
    message: str = Field(examples=["Job 457 runs the work of job 456 again"])


def shown_letter(row: Any) -> dict[str, object]:
    """A letter as lists show it."""
    values = row._mapping
    names = [name for name in DeadLetterShape.model_fields if name != "place"]
    shown: dict[str, object] = {"id": row.id, "place": f"{row.kafka_partition}:{row.kafka_offset}"}
    return shown | {name: values[name] for name in names if name != "id"}


def shown_whole(row: Any) -> dict[str, object]:
    """A letter with its message."""
    value = None if row.value is None else bytes(row.value)
    return shown_letter(row) | {
        "key": None if row.key is None else bytes(row.key).decode(errors="replace"),
        "headers": [
            {"name": name, "value": None if raw is None else raw.decode(errors="replace")}
            for name, raw in dead_letters.headers_of(row)
        ],
        "value": _text(value),
        "value_base64": None if value is None else base64.b64encode(value).decode(),
    }


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
