"""Our events are CloudEvents that a foreign library reads, and fit the committed schemas."""

import json
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from shared.events import topics
from shared.events.asyncapi import document, event_types_of
from shared.events.envelope import UnreadableEvent, decode, encode
from shared.events.examples import EXAMPLES
from shared.events.task_types import BUILT_IN
from shared.events.types import EVENT_TYPES

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "docs" / "asyncapi.json").read_text())
TYPES = sorted(EVENT_TYPES)


def _wire(name: str) -> tuple[list[tuple[str, bytes | None]], bytes]:
    message = encode("runs.results", EXAMPLES[name])
    assert message.value is not None
    return [(header, value.encode()) for header, value in message.headers.items()], message.value.encode()


def test_the_committed_document_is_what_the_code_says() -> None:
    assert document() == DOCUMENT


@pytest.mark.parametrize("name", TYPES)
def test_every_example_fits_its_committed_schema(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name.removeprefix("commandcenter.")]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(_wire(name)[1]))


@pytest.mark.parametrize("name", TYPES)
def test_what_is_encoded_is_decoded(name: str) -> None:
    headers, value = _wire(name)
    assert decode(headers, value) == EXAMPLES[name]


@pytest.mark.parametrize("name", TYPES)
def test_the_cloudevents_sdk_reads_it(name: str) -> None:
    headers, value = _wire(name)
    event = from_binary_event(KafkaMessage({key: raw or b"" for key, raw in headers}, b"123", value))
    assert event.get_type() == name
    assert event.get_id() == EXAMPLES[name].id
    assert event.get_data() == json.loads(value)


@pytest.mark.parametrize("topic", [*topics.FIXED, *(topics.runs_due(t.name) for t in BUILT_IN)], ids=lambda t: t.name)
def test_every_topic_says_what_it_carries(topic: topics.Topic) -> None:
    carried = event_types_of(topic.name)
    assert set(carried) <= set(EVENT_TYPES)
    assert carried or topic is topics.RUNS_DEAD


@given(
    st.lists(st.tuples(st.sampled_from(["ce_type", "ce_id", "ce_time", "x", "traceparent"]), st.binary(max_size=30))),
    st.none() | st.binary(max_size=200),
)
def test_anything_unreadable_is_refused_with_a_reason(
    headers: list[tuple[str, bytes | None]], value: bytes | None
) -> None:
    with pytest.raises(UnreadableEvent, match=r"."):
        decode(headers, value)


@given(st.sampled_from(TYPES), st.binary(max_size=60))
def test_a_broken_body_is_refused_and_a_foreign_header_is_not(name: str, junk: bytes) -> None:
    headers, value = _wire(name)
    assert decode([*headers, ("x-foreign", junk), ("x-empty", None)], value) == EXAMPLES[name]
    with pytest.raises(UnreadableEvent):
        decode(headers, b"{" + junk)


def test_a_later_field_is_ignored() -> None:
    headers, value = _wire("commandcenter.run.started.v1")
    body = {**json.loads(value), "added_later": 1}
    assert decode(headers, json.dumps(body).encode()) == EXAMPLES["commandcenter.run.started.v1"]


@pytest.mark.parametrize("name", ["", "Analysis", "1x", "a-b", "a" * 49, "a.b", "../x"])
def test_a_bad_task_type_has_no_topic(name: str) -> None:
    with pytest.raises(ValueError, match="no task type name"):
        topics.runs_due(name)
