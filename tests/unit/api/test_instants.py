"""An instant without an offset is refused with one that would be accepted."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from services.api.models.fields import Instant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2030-01-01", "2030-01-01T00:00:00Z"),
        ("2030-01-01T10:30:00", "2030-01-01T10:30:00Z"),
        ("2030-01-01 10:30", "2030-01-01T10:30:00Z"),
    ],
)
def test_the_remedy_for_a_missing_offset_is_one(said: str, meant: str) -> None:
    instants = TypeAdapter(Instant)
    with pytest.raises(ValidationError, match=f"or Z: {meant}"):
        instants.validate_python(said)
    assert instants.validate_python(meant) == datetime.fromisoformat(meant).astimezone(UTC)
    assert instants.validate_python(meant.lower()) == instants.validate_python(meant)  # as RFC 3339 allows
