"""Traces: one tree from the HTTP request or the dispatch through Kafka to the outcome (W3C trace context, OTLP).

Without an endpoint nothing is exported, but trace ids are still made and carried, so that log lines of one run can be
joined across services.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.settings import SharedSettings

_PROPAGATOR = TraceContextTextMapPropagator()


def configure(service: str, settings: SharedSettings) -> TracerProvider:
    """Install the process's tracer provider. Shut it down at exit, so that the last spans are exported."""
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
        resource=Resource.create({"service.name": f"commandcenter-{service}"}),
    )
    if settings.otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def current_traceparent() -> str | None:
    """The W3C `traceparent` of the span that is open here, or None."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def begin_span(name: str, parent: str | None, **attributes: str | int | float | bool) -> tuple[Span, str | None]:
    """Open a span that ends elsewhere, by its `end`; returns it with its traceparent. For work that changes threads."""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    opened = trace.get_tracer("commandcenter").start_span(
        name, context=context, kind=SpanKind.CONSUMER, attributes=attributes
    )
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(opened))
    return opened, carrier.get("traceparent")


@contextmanager
def span(
    name: str, parent: str | None = None, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int | float | bool
) -> Iterator[Span]:
    """Open a span; `parent` is a traceparent that came with an event, None continues the span open here."""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    tracer = trace.get_tracer("commandcenter")
    with tracer.start_as_current_span(name, context=context, kind=kind, attributes=attributes) as opened:
        yield opened
