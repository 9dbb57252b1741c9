"""Reading SARIF result by result says the same as reading it at once, wherever the chunks are cut."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.tasks.export import sarif_reader
from services.worker.tasks.export.sarif_reader import Result, RunFacts, SarifUnreadable, read

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=4)
runs = st.builds(
    lambda before, results, after: {**_without_results(before), "results": results, **_without_results(after)},
    objects,
    st.lists(objects, max_size=6),
    objects,
)
documents = st.builds(
    lambda head, found, tail: {**_without_runs(head), "runs": found, **_without_runs(tail)},
    objects,
    st.lists(runs, max_size=4),
    objects,
)


def _without_results(value: dict[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key != "results"}


def _without_runs(value: dict[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key != "runs"}


@settings(max_examples=40, deadline=None)
@given(document=documents, chunk=st.integers(1, 40), indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_it_says_what_the_whole_says(
    document: dict[str, Any], chunk: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sarif_reader, "_CHUNK", chunk)
        try:
            expected = json.loads(text.decode())
        except UnicodeDecodeError:  # a lone surrogate: no UTF-8
            with pytest.raises(SarifUnreadable):
                list(read(io.BytesIO(text)))
            return
        told = list(read(io.BytesIO(text)))
    results = [(one.run, one.value) for one in told if isinstance(one, Result)]
    facts = [(one.run, one.value) for one in told if isinstance(one, RunFacts)]
    assert results == [(at, one) for at, run in enumerate(expected["runs"]) for one in run["results"]]
    assert facts == [(at, _without_results(run)) for at, run in enumerate(expected["runs"])]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"[]",
        b"\xff\xfe",
        b'{"runs": [',
        b'{"runs": {}}',
        b'{"runs": [{"results": [{}',
        b'{"runs": [{"results": [1]}]}',
        b'{"runs": [{"results": [{}] "x": 1}]}',
        b'{"runs" [{}]}',
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_anything_else_is_called_unreadable(text: bytes) -> None:
    with pytest.raises(SarifUnreadable):
        list(read(io.BytesIO(text)))


def test_the_stream_stays_open_for_its_owner() -> None:
    stream = io.BytesIO(b'{"runs": [{"results": [{}, {}]}]}')
    for one in read(stream):
        assert isinstance(one, Result)
        break
    stream.seek(0)
    assert len(list(read(stream))) == 3
    assert not stream.closed
