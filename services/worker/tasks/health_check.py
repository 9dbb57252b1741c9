"""health_check: probes targets over HTTP or TCP, or the system's own parts: PostgreSQL, Kafka, the dispatcher's lease.

All targets are probed at once. Any that fails makes the run a failure whose result still holds every target with its
latency, so that a schedule of health checks shows in its success rate what users would have met.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from services.worker.task import PermanentError, TaskContext, TemporaryError, task
from shared import clock
from shared.events.task_types import HealthCheckParameters
from shared.net.addresses import AddressRefused, AddressRules, NameUnknown
from shared.net.connection import connect
from shared.net.pinned_http import RequestFailed, RequestRefused, request
from shared.storage import subjects
from shared.storage.database import DatabaseUnavailable

_HTTP_FAILS_FROM = 400


class _Unwell(Exception):
    """The target answered, and not as it should; or it did not answer."""


@dataclass(frozen=True, slots=True)
class _Probe:
    target: str
    run: Callable[[], Awaitable[dict[str, Any]]]


@task("health_check", HealthCheckParameters, concurrency=1_000)
async def health_check(context: TaskContext, parameters: HealthCheckParameters) -> dict[str, Any]:
    """Probe every target; fails when one does."""
    probes = [_outside(target, context, parameters.timeout_seconds) for target in parameters.targets]
    if not probes:
        probes = _own_parts(context, parameters.timeout_seconds)
    found = await asyncio.gather(*(_measure(probe, parameters.timeout_seconds) for probe in probes))
    failing = [one["target"] for one in found if one["status"] != "ok"]
    result = {"status": "failing" if failing else "ok", "targets": found}
    if failing:
        refused = all(one["status"] in {"ok", "refused"} for one in found)
        sentence = f"{len(failing)} of {len(found)} targets failed: {', '.join(failing[:5])}"
        raise (PermanentError if refused else TemporaryError)(sentence, result=result)
    return result


async def _measure(probe: _Probe, timeout_seconds: float) -> dict[str, Any]:
    started = clock.monotonic()
    try:
        async with asyncio.timeout(timeout_seconds):
            outcome = {"status": "ok", **await probe.run()}
    except TimeoutError:
        outcome = {"status": "failed", "error": f"no answer within {timeout_seconds:g} s"}
    except (AddressRefused, RequestRefused) as error:
        outcome = {"status": "refused", "error": str(error)}
    except (_Unwell, RequestFailed, NameUnknown, DatabaseUnavailable) as error:
        outcome = {"status": "failed", "error": str(error)}
    except OSError as error:
        outcome = {"status": "failed", "error": error.strerror or str(error)}
    latency = round((clock.monotonic() - started) * 1000, 3)
    return {"target": probe.target, "latency_ms": latency, **outcome}


def _outside(target: str, context: TaskContext, timeout_seconds: float) -> _Probe:
    rules = AddressRules.of(context.settings)
    if target.startswith("tcp://"):
        return _Probe(target, lambda: _tcp(target, rules))
    return _Probe(target, lambda: _http(target, rules, timeout_seconds))


async def _tcp(target: str, rules: AddressRules) -> dict[str, Any]:
    try:
        parts = urlsplit(target)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:  # a port above 65535, a broken bracket: this target's fault, not the others'
        raise RequestRefused(str(error)) from error
    connected = await connect(host, port, rules)
    connected.close()
    return {"address": connected.address}


async def _http(target: str, rules: AddressRules, timeout_seconds: float) -> dict[str, Any]:
    answer = await request("GET", target, rules, timeout_seconds=timeout_seconds, body_limit=1)
    if answer.status >= _HTTP_FAILS_FROM:
        raise _Unwell(f"answered {answer.status}")
    return {"status_code": answer.status}


def _own_parts(context: TaskContext, timeout_seconds: float) -> list[_Probe]:
    return [
        _Probe("postgresql", lambda: asyncio.to_thread(_postgresql, context)),
        _Probe("kafka", lambda: asyncio.to_thread(_kafka, context, timeout_seconds)),
        _Probe("dispatcher", lambda: asyncio.to_thread(_dispatcher, context)),
    ]


def _postgresql(context: TaskContext) -> dict[str, Any]:
    context.database.ping()
    return {}


def _kafka(context: TaskContext, timeout_seconds: float) -> dict[str, Any]:
    if not context.resources.kafka.answers(timeout_seconds):
        raise _Unwell("no broker answers")
    return {}


def _dispatcher(context: TaskContext) -> dict[str, Any]:
    with context.database.transaction() as connection:
        holder = subjects.lease_holder(connection, "dispatcher")
    if holder is None:
        raise _Unwell("no dispatcher holds the lease: nothing is being scheduled")
    return {"leader": holder}
