"""Known vulnerabilities of packages, asked of an endpoint that speaks the OSV API (google.github.io/osv.dev).

Used by services/worker/analysis/supply_chain.py. The endpoint is the operator's own setting, so it may be on a private
address; names and versions of packages go there and nothing else. An endpoint without answer means: not audited.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from services.worker.analysis.dependencies import Package
from services.worker.analysis.severity import rating
from shared import clock
from shared.net.addresses import AddressRefused, AddressRules, NameUnknown
from shared.net.pinned_http import RequestFailed, RequestRefused, request

QUERIES_AT_ONCE = 1_000
"""The API's own limit for one batch."""
_PAGES = 50
_DETAILS = 500
_AT_ONCE = 8
_ANSWER_LIMIT = 32 << 20
_FIXED_LIMIT = 5
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_RULES = AddressRules(allow_loopback=True, allow_private=True)


class NotAudited(Exception):
    """The endpoint gave no usable answer. The text is one sentence."""


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One known vulnerability of one package, known by one or several ids."""

    vulnerability_id: str
    aliases: tuple[str, ...]
    summary: str
    severity: str
    """critical, high, medium, low or unknown."""
    score: float | None
    vector: str | None
    fixed_in: tuple[str, ...]
    package: Package


@dataclass(frozen=True, slots=True)
class Audit:
    """What the endpoint knows."""

    found: list[Vulnerability]
    asked: int
    """Packages asked about: those with an exact version."""
    without_details: int
    """Vulnerabilities of which only the id is known."""


def audit(url: str, packages: Sequence[Package], seconds: float) -> Audit:
    """Ask about every package with an exact version, within that many seconds in all. Raises NotAudited."""
    asked = [one for one in packages if one.version is not None]
    return asyncio.run(_Conversation(url.rstrip("/"), clock.monotonic() + seconds).audit(asked))


class _Conversation:
    """One audit's requests, under one time limit."""

    def __init__(self, url: str, deadline: float) -> None:
        self._url = url
        self._deadline = deadline
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def audit(self, packages: list[Package]) -> Audit:
        ids: list[list[str]] = []
        for start in range(0, len(packages), QUERIES_AT_ONCE):
            ids.extend(await self._ids(packages[start : start + QUERIES_AT_ONCE]))
        distinct = list(dict.fromkeys(one for some in ids for one in some))
        details = await asyncio.gather(*(self._details(one) for one in distinct[:_DETAILS]))
        records = {one: record for one, record in zip(distinct, details, strict=False) if record is not None}
        found = [one for package, some in zip(packages, ids, strict=True) for one in _of(package, some, records)]
        return Audit(found, len(packages), sum(one.vulnerability_id not in records for one in found))

    async def _ids(self, packages: Sequence[Package]) -> list[list[str]]:
        """The ids for each package, in order; an answer in pages is asked for until it ends."""
        found: list[list[str]] = [[] for _ in packages]
        waiting: dict[int, str | None] = dict.fromkeys(range(len(packages)))
        for _ in range(_PAGES):
            if not waiting:
                return found
            queries = [_query(packages[index], token) for index, token in waiting.items()]
            answer = await self._said("POST", "/v1/querybatch", orjson.dumps({"queries": queries}))
            try:
                results = answer["results"]
                following: dict[int, str | None] = {}
                for index, one in zip(list(waiting), results, strict=True):
                    found[index].extend(_id(vulnerability["id"]) for vulnerability in one.get("vulns") or ())
                    if token := one.get("next_page_token"):
                        following[index] = str(token)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise NotAudited("the endpoint's answer is not one of the OSV API") from error
            waiting = following
        raise NotAudited(f"the endpoint's answer has more than {_PAGES} pages")

    async def _details(self, vulnerability_id: str) -> dict[str, Any] | None:
        """What is known of one; None when it cannot be had: its id alone is worth reporting."""
        try:
            async with self._slots:
                record = await self._said("GET", f"/v1/vulns/{quote(vulnerability_id)}")
        except NotAudited:
            return None
        return record if isinstance(record, dict) else None

    async def _said(self, method: str, path: str, body: bytes = b"") -> Any:
        left = self._deadline - clock.monotonic()
        if left <= 0:
            raise NotAudited("the endpoint took too long")
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            answer = await request(
                method,
                self._url + path,
                _RULES,
                headers=headers,
                body=body,
                timeout_seconds=left,
                body_limit=_ANSWER_LIMIT,
            )
        except (RequestFailed, RequestRefused, AddressRefused, NameUnknown) as error:
            raise NotAudited(str(error)) from error
        if answer.status != 200:
            raise NotAudited(f"the endpoint answered {answer.status}")
        if not answer.complete:
            raise NotAudited("the endpoint's answer was cut off or is too large")
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError as error:
            raise NotAudited("the endpoint's answer is no JSON") from error


def _id(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("this is no id of a vulnerability")
    return value


def _query(package: Package, token: str | None) -> dict[str, Any]:
    query = {"package": {"name": package.name, "ecosystem": package.ecosystem}, "version": package.version}
    return query | ({"page_token": token} if token else {})


def _of(package: Package, ids: Iterable[str], records: dict[str, dict[str, Any]]) -> list[Vulnerability]:
    """A package's vulnerabilities, each once: several databases may describe the same one under ids of their own."""
    found: list[Vulnerability] = []
    seen: set[str] = set()
    # Advisories of GitHub first: they are the ones that carry a severity.
    for one in sorted(set(ids), key=lambda text: (not text.startswith("GHSA-"), text)):
        record = records.get(one, {})
        aliases = _texts(record.get("aliases"))
        if record.get("withdrawn") or seen.intersection({one, *aliases}):
            continue
        seen.update({one, *aliases})
        severity, score, vector = rating(record) if _well_formed(record) else ("unknown", None, None)
        summary = _line(record.get("summary") or record.get("details") or "")
        fixed = _fixed_in(package, record)
        found.append(Vulnerability(one, aliases, summary, severity, score, vector, fixed, package))
    return found


def _well_formed(record: dict[str, Any]) -> bool:
    severities, specific = record.get("severity") or [], record.get("database_specific") or {}
    return isinstance(specific, dict) and isinstance(severities, list) and all(isinstance(x, dict) for x in severities)


def _fixed_in(package: Package, record: dict[str, Any]) -> tuple[str, ...]:
    try:
        fixed = [
            event["fixed"]
            for affected in record.get("affected") or ()
            if affected["package"]["name"].lower() == package.name.lower()
            for some in affected.get("ranges") or ()
            if some.get("type") != "GIT"
            for event in some.get("events") or ()
            if "fixed" in event
        ]
    except (KeyError, TypeError, AttributeError):
        return ()  # a record of another shape: then nobody knows
    return tuple(dict.fromkeys(_line(one) for one in fixed))[:_FIXED_LIMIT]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str) and _ID.fullmatch(one)) if isinstance(value, list) else ()


def _line(text: object) -> str:
    return " ".join(str(text).split())[:200]
