"""The size of a batch follows the time that batches take."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.claimer import BATCH_SECONDS, LEAST_FOR_TIME, SMALLEST_BATCH, resized

LARGEST = 2000


@given(st.integers(SMALLEST_BATCH, LARGEST), st.floats(0, 60))
def test_it_stays_between_its_bounds_and_at_most_halves(batch: int, took: float) -> None:
    new = resized(batch, took, LARGEST)
    assert min(batch, LEAST_FOR_TIME, batch // 2 + 1) <= new <= LARGEST
    assert new >= batch // 2
    assert new >= batch or took > BATCH_SECONDS


@given(st.integers(500, 40_000), st.integers(SMALLEST_BATCH, LARGEST))
def test_at_any_speed_batches_soon_take_their_time_and_no_longer(per_second: int, batch: int) -> None:
    """From whatever it was before: a machine that was slow for a while, a batch that was cut to a single schedule."""
    for _ in range(60):
        batch = resized(batch, batch / per_second, LARGEST)
    assert batch / per_second <= 1.01 * max(BATCH_SECONDS, LEAST_FOR_TIME / per_second)
    assert batch >= min(LARGEST, LEAST_FOR_TIME, 0.75 * BATCH_SECONDS * per_second)


def test_one_slow_batch_is_made_up_for() -> None:
    batch = resized(LARGEST, 5.0, LARGEST)
    assert batch == LARGEST // 2
    for _ in range(4):
        batch = resized(batch, 0.1, LARGEST)
    assert batch == LARGEST
