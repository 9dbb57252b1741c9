"""The AsyncAPI 3 document, made from the topic registry and the event models.

`tools/events_document.py` writes it to docs/asyncapi.json and `make check` refuses a drift; third parties generate
readers from it. Specification: AsyncAPI 3.0.0 with the Kafka bindings 0.5.0.
"""

from typing import Any

from shared.events import topics
from shared.events.envelope import CONTENT_TYPE, encode
from shared.events.examples import EXAMPLES
from shared.events.task_types import BUILT_IN
from shared.events.types import EVENT_TYPES, EventData

PREFIX = "commandcenter."

CARRIES: dict[str, tuple[str, ...]] = {
    topics.SCHEDULES.name: ("created", "updated", "enabled", "disabled", "deleted"),
    topics.RUNS_RESULTS.name: ("started", "succeeded", "failed", "cancelled"),
    topics.RUNS_REQUESTS.name: ("requested",),
    topics.OBJECTS.name: ("changed",),
    topics.RUNS_CONTROL.name: ("cancel",),
    topics.HEALTH_ALERTS.name: ("opened", "resolved"),
}
_FAMILY = {
    topics.SCHEDULES.name: "commandcenter.schedule",
    topics.RUNS_RESULTS.name: "commandcenter.run",
    topics.RUNS_REQUESTS.name: "commandcenter.run",
    topics.OBJECTS.name: "commandcenter.object",
    topics.RUNS_CONTROL.name: "commandcenter.run",
    topics.HEALTH_ALERTS.name: "commandcenter.health.issue",
}


def event_types_of(topic: str) -> list[str]:
    """The event types a topic carries, by its name without prefix."""
    if topic.startswith("runs.due."):
        return ["commandcenter.run.due.v1"]
    return [f"{_FAMILY[topic]}.{word}.v1" for word in CARRIES.get(topic, ())]


def document() -> dict[str, Any]:
    """The whole document, as JSON."""
    registry = [*topics.FIXED, *(topics.runs_due(task_type.name) for task_type in BUILT_IN)]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "CommandCenter events",
            "version": "1.0.0",
            "description": (
                "Everything CommandCenter decides and everything that happens to it, as CloudEvents 1.0 in Kafka's"
                " binary mode: attributes are `ce_` headers, the data is the message's value (JSON). The key is the"
                " schedule's id, so the events of one schedule are in order. Events may be delivered more than once:"
                " the `ce_id` of a repetition is the same. A type's fields are only added to within its version."
                " A due run's topic is `runs.due.<task type>`; registered task types have theirs too."
            ),
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {_channel_name(topic.name): _channel(topic) for topic in registry},
        "operations": {f"receive_{_channel_name(topic.name)}": _operation(topic) for topic in registry},
        "components": {
            "messages": {_short(name): _message(name, model) for name, model in EVENT_TYPES.items()},
            "schemas": {_short(name): schema(model) for name, model in EVENT_TYPES.items()},
        },
    }


def schema(model: type[EventData]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an event's data, self-contained: references are resolved in place."""
    raw = model.model_json_schema(mode="serialization")
    definitions = raw.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                target = resolve(definitions[node["$ref"].removeprefix("#/$defs/")])
                return {**target, **{key: value for key, value in node.items() if key != "$ref"}}
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(raw)
    return resolved


def _short(event_type: str) -> str:
    return event_type.removeprefix("commandcenter.")


def _channel_name(topic: str) -> str:
    return topic.replace(".", "_")


def _channel(topic: topics.Topic) -> dict[str, Any]:
    return {
        "address": PREFIX + topic.name,
        "description": f"{topic.description} Written by {', '.join(topic.producers)}; read by "
        f"{', '.join(topic.consumers)}. Key: {topic.key}.",
        "messages": {
            _short(name): {"$ref": f"#/components/messages/{_short(name)}"} for name in event_types_of(topic.name)
        },
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    **({} if topic.compacted else {"retention.ms": int(topic.retention.total_seconds() * 1000)}),
                },
            }
        },
    }


def _operation(topic: topics.Topic) -> dict[str, Any]:
    name = _channel_name(topic.name)
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": topic.description,
        "messages": [{"$ref": f"#/channels/{name}/messages/{_short(t)}"} for t in event_types_of(topic.name)],
    }


def _message(name: str, model: type[EventData]) -> dict[str, Any]:
    example = encode("", EXAMPLES[name])
    return {
        "name": name,
        "title": _short(name),
        "summary": (model.__doc__ or "").strip().splitlines()[0] if model.__doc__ else _short(name),
        "contentType": CONTENT_TYPE,
        "headers": {
            "type": "object",
            "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"],
            "properties": {
                "ce_specversion": {"const": "1.0"},
                "ce_id": {"type": "string", "description": "The same for every repetition of this event."},
                "ce_source": {"type": "string"},
                "ce_type": {"const": name},
                "ce_time": {"type": "string", "format": "date-time"},
                "ce_scheduleid": {"type": "string"},
                "ce_jobid": {"type": "string"},
                "content-type": {"const": CONTENT_TYPE},
                "traceparent": {"type": "string", "description": "W3C trace context."},
            },
        },
        "payload": {"$ref": f"#/components/schemas/{_short(name)}"},
        "examples": [{"headers": example.headers, "payload": EXAMPLES[name].data.model_dump(mode="json")}],
    }
