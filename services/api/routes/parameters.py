"""Query, path and header parameters that several routes take."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from services.api.models.fields import INT8
from services.api.problems import field_error, invalid

MOST_ITEMS = 100

ScheduleId = Annotated[int, Path(ge=-INT8, le=INT8, examples=[123])]
ObjectId = Annotated[int, Path(ge=-INT8, le=INT8, examples=[1])]
ProjectFilter = Annotated[int | None, Query(ge=-INT8, le=INT8, description="Filter by project.")]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000, description="Page number.")]
PageSize = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="Items per page.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Repeats under the same key get the first answer and do nothing more.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description='The version to change, as ETag gave it: `"3"`. Else 412.'),
]

_MOST_TAGS = 10


async def tag_filters(request: Request) -> Mapping[str, str]:  # async: it would be sent to a thread for nothing
    """The `tags.<name>=<value>` parameters."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if not name.startswith("tags."):
            continue
        if found.setdefault(name.removeprefix("tags."), value) != value:
            raise invalid([field_error(name, "a tag has one value: two of them fit nothing", value)])
    if len(found) > _MOST_TAGS:
        raise invalid([field_error("tags", f"at most {_MOST_TAGS} tags can be filtered by")])
    return found


TagFilters = Annotated[Mapping[str, str], Depends(tag_filters)]
"""For routes that take `tags.<name>`: on all others it is as unknown as any other parameter."""
