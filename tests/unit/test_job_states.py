"""The transition table: what the design promises of a job's life, and what the docs draw."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.job import ENDED, OPEN, TRANSITIONS, ForbiddenTransition, JobStatus, sources, transition


def test_every_status_has_a_row() -> None:
    assert set(TRANSITIONS) == set(JobStatus)


@given(st.sampled_from(JobStatus), st.sampled_from(JobStatus))
def test_a_move_is_allowed_or_raises(source: JobStatus, target: JobStatus) -> None:
    if target in TRANSITIONS[source]:
        assert transition(source, target) is target
        assert source in sources(target)
    else:
        with pytest.raises(ForbiddenTransition, match=f"a {source} job cannot become {target}"):
            transition(source, target)
        assert source not in sources(target)


def test_an_end_is_final_and_everything_open_can_end() -> None:
    assert all(not TRANSITIONS[status] for status in ENDED)
    for status in OPEN:
        assert JobStatus.FAILED in TRANSITIONS[status]
        assert JobStatus.CANCELLED in TRANSITIONS[status]


def test_nothing_becomes_skipped_later() -> None:
    assert not sources(JobStatus.SKIPPED)


def test_the_docs_draw_this_table() -> None:
    drawing = (Path(__file__).resolve().parents[2] / "docs" / "job-states.md").read_text()
    arrows = {tuple(line.split(" --> ")) for line in drawing.splitlines() if " --> " in line and "[*]" not in line}
    assert {(source.strip(), target.strip()) for source, target in arrows} == {
        (source.value, target.value) for source, targets in TRANSITIONS.items() for target in targets
    }
