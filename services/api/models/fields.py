"""The types of single fields, shared by all bodies."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

INT4 = 2_147_483_647
INT8 = 9_007_199_254_740_991
"""The largest integer that every JSON reader keeps exactly; far above any id."""


class Body(BaseModel):
    """A request's body: unknown fields are refused, and nothing is converted in silence."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, value: Any) -> Any:
        """1.0 is an integer in JSON."""
        if isinstance(value, dict) and any(isinstance(item, float) for item in value.values()):
            return {
                name: int(item) if isinstance(item, float) and item.is_integer() else item
                for name, item in value.items()
            }
        return value


def needed() -> Any:
    """The default of a field that may be left out of a change, but not be null: it is never read."""

    def without_default(schema: JsonDict) -> None:
        del schema["default"]

    return Field(default="", json_schema_extra=without_default)


class Shape(BaseModel):
    """An answer's body, for the OpenAPI document: answers are built as plain mappings and tested against this."""

    model_config = ConfigDict(extra="forbid")


def _instant(value: object) -> object:
    """RFC 3339 text, as strict mode takes none; an offset is needed, so that an instant is meant."""
    if not isinstance(value, str):
        return value
    try:
        found = datetime.fromisoformat(value.upper())  # t and z count, too
    except ValueError as error:
        raise ValueError("an instant such as 2025-11-01T00:00:00Z is needed") from error
    if found.tzinfo is None or "T" not in value.upper().replace(" ", "T"):
        raise ValueError(f"an instant needs an offset from UTC, or Z: {found.replace(tzinfo=None).isoformat()}Z")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this instant is out of range") from error


def _no_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("a text that is not blank is needed")
    return value


def _tags(value: dict[str, Any]) -> dict[str, Any]:
    for name, item in value.items():
        if not 0 < len(name) <= 100:
            raise ValueError("a tag's name has 1 to 100 characters")
        if not isinstance(item, (str, int, float, bool)):
            raise ValueError(  # noqa: TRY004 (pydantic reports ValueError)
                f"tag {name}: a text, a number or a boolean is needed"
            )
        if isinstance(item, str) and len(item) > 500:
            raise ValueError(f"tag {name}: at most 500 characters")
    return value


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2025-11-01T00:00:00Z"]}),
]
Id = Annotated[int, Field(ge=1, le=INT8)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_blank)]
Description = Annotated[str, Field(max_length=4000)]
Tags = Annotated[
    dict[str, Any],
    Field(
        max_length=50,
        json_schema_extra={
            "additionalProperties": {
                "anyOf": [{"type": "string", "maxLength": 500}, {"type": "number"}, {"type": "boolean"}]
            },
            "propertyNames": {"minLength": 1, "maxLength": 100},
        },
    ),
    AfterValidator(_tags),
]
Count = Annotated[int, Field(ge=0)]
TaskTypeName = Annotated[str, Field(min_length=1, max_length=48)]


class FieldError(Shape):
    """One wrong field."""

    field: str
    message: str
    value: Any = None
    suggestion: str | None = None


class ProblemBody(Shape):
    """An error (RFC 9457)."""

    type: str = Field(examples=["urn:commandcenter:problem:validation"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["1 field cannot be accepted."])
    instance: str | None = Field(default=None, examples=["/api/v1/schedules"])
    errors: list[FieldError] | None = Field(default=None, description="Every wrong field, in validation errors.")


class Page(Shape):
    """What every list has beside its items."""

    total: Count = Field(description="All that match.")
    page: int = Field(ge=1)
    page_size: int = Field(ge=1)
    pages: Count
