"""Traces: one tree from the HTTP request or the dispatch through Kafka to the outcome (W3C trace context, OTLP).

Without an endpoint nothing is exported, but trace ids are still made and carried, so that log lines of one run can be
joined across services.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from datetime import datetime
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.settings import SharedSettings

_PROPAGATOR = TraceContextTextMapPropagator()
_QUEUE = 20_000
"""Spans that wait for their export; what comes on top is dropped, and the exporter says so."""
_LAST_EXPORT_SECONDS = 3.0
"""How long the end of a process waits for its last spans."""


class _Ids(RandomIdGenerator):
    """Random ids; within `given`, those that a message has carried away already."""

    def __init__(self) -> None:
        self._given = threading.local()

    @contextmanager
    def given(self, trace_id: int, span_id: int) -> Iterator[None]:
        """The next root span of this thread has these ids."""
        self._given.ids = trace_id, span_id
        try:
            yield
        finally:
            self._given.ids = None

    def generate_trace_id(self) -> int:
        ids = getattr(self._given, "ids", None)
        return ids[0] if ids else super().generate_trace_id()

    def generate_span_id(self) -> int:
        ids = getattr(self._given, "ids", None)
        return ids[1] if ids else super().generate_span_id()


class _Provider(TracerProvider):
    """As the SDK's, but for its end: that waits half a minute for a collector that hangs."""

    def shutdown(self) -> None:
        """Export what waits, and let the process end."""
        ending = threading.Thread(target=super().shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(_LAST_EXPORT_SECONDS)


def configure(service: str, settings: SharedSettings) -> TracerProvider:
    """Install the process's tracer provider. Shut it down at exit, so that the last spans are exported."""
    provider = _Provider(
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
        resource=Resource.create({"service.name": f"commandcenter-{service}"}),
        id_generator=_Ids(),
    )
    if settings.otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_QUEUE))
    trace.set_tracer_provider(provider)
    return provider


def current_traceparent() -> str | None:
    """The W3C `traceparent` of the span that is open here, or None."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id in a traceparent, for log lines."""
    parts = traceparent.split("-") if traceparent else ()
    return parts[1] if len(parts) == 4 else None


def is_sampled(traceparent: str) -> bool:
    """Whether the trace is to be kept: the first bit of the flags, whatever the others say."""
    try:
        return bool(int(traceparent.rpartition("-")[2], 16) & 1)
    except ValueError:
        return False


def export_root(
    name: str, traceparent: str, began: datetime, ended: datetime, **attributes: str | int | float | bool
) -> None:
    """The first span of a trace whose ids were made before, with the message that carries them, and which is over now.

    Nothing is exported of a trace that is not sampled: the sampler judges by the id, as whoever made it did.
    """
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider) or not isinstance(provider.id_generator, _Ids):
        return  # not configured: nobody listens
    _, trace_id, span_id, _ = traceparent.split("-")
    with provider.id_generator.given(int(trace_id, 16), int(span_id, 16)):
        root = provider.get_tracer("commandcenter").start_span(
            name, context=Context(), kind=SpanKind.PRODUCER, attributes=attributes, start_time=_nanoseconds(began)
        )
    root.end(_nanoseconds(ended))


def _nanoseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1e6) * 1_000


@lru_cache(maxsize=1)
def _tracer(provider: trace.TracerProvider) -> trace.Tracer:
    return provider.get_tracer("commandcenter")  # makes a new one at each call


def begin_span(
    name: str, parent: str | None, kind: SpanKind = SpanKind.CONSUMER, **attributes: str | int | float | bool
) -> tuple[Span, str | None]:
    """Open a span that ends elsewhere, by its `end`; returns it with its traceparent. For work that changes threads."""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    opened = _tracer(trace.get_tracer_provider()).start_span(name, context=context, kind=kind, attributes=attributes)
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(opened))
    return opened, carrier.get("traceparent")


def begin_current(
    name: str, parent: str | None, kind: SpanKind, attributes: Mapping[str, str]
) -> tuple[Span, Token[Context]]:
    """Open a span that is the current one until `end_current`. For work too short and frequent for `span`'s comfort."""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else Context()
    opened = _tracer(trace.get_tracer_provider()).start_span(name, context=context, kind=kind, attributes=attributes)
    return opened, attach(trace.set_span_in_context(opened, context))


def end_current(opened: Span, token: Token[Context]) -> None:
    """End it; what was current before is so again."""
    detach(token)
    opened.end()


@contextmanager
def span(
    name: str, parent: str | None = None, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int | float | bool
) -> Iterator[Span]:
    """Open a span; `parent` is a traceparent that came with an event, None continues the span open here."""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    tracer = _tracer(trace.get_tracer_provider())
    with tracer.start_as_current_span(name, context=context, kind=kind, attributes=attributes) as opened:
        yield opened
