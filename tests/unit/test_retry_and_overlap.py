"""Retry delays and overlap decisions, over their whole ranges."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.overlap import OverlapDecision, OverlapPolicy, decide
from shared.domain.retry import RetryPolicy, delay_before_next

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    first_seconds=st.floats(0.001, 3600),
    cap_seconds=st.floats(3600, 86_400),
)


@given(policies, st.integers(1, 2**62), st.integers(1, 100))
def test_a_delay_lies_in_the_upper_half_of_its_step_and_below_the_cap(policy: RetryPolicy, job: int, n: int) -> None:
    delay = delay_before_next(policy, job, n, permanent=False)
    if n >= policy.max_attempts:
        assert delay is None
        return
    step = min(policy.cap_seconds, policy.first_seconds * 2.0 ** (n - 1))
    assert delay is not None
    assert timedelta(seconds=step / 2) - timedelta(microseconds=1) <= delay <= timedelta(seconds=step)
    assert delay == delay_before_next(policy, job, n, permanent=False)


@given(policies, st.integers(1, 2**62), st.integers(1, 100))
def test_a_permanent_error_is_never_tried_again(policy: RetryPolicy, job: int, n: int) -> None:
    assert delay_before_next(policy, job, n, permanent=True) is None


@given(policies, st.floats(0, 1e9))
def test_retry_after_lengthens_but_not_beyond_the_cap(policy: RetryPolicy, seconds: float) -> None:
    asked = timedelta(seconds=seconds)
    delay = delay_before_next(policy, 1, 1, permanent=False, retry_after=asked)
    if policy.max_attempts > 1:
        assert delay is not None
        assert delay >= min(asked, timedelta(seconds=policy.cap_seconds)) - timedelta(microseconds=1)
        assert delay <= timedelta(seconds=policy.cap_seconds)


def test_attempts_of_different_jobs_do_not_come_back_together() -> None:
    delays = {delay_before_next(RetryPolicy(), job, 1, permanent=False) for job in range(1000)}
    assert len(delays) > 900


@given(st.sampled_from(OverlapPolicy), st.integers(0, 5), st.integers(0, 5))
def test_overlap(policy: OverlapPolicy, running: int, held: int) -> None:
    decision = decide(policy, running=running, held=held)
    if running == held == 0 or policy is OverlapPolicy.ALLOW:
        assert decision is OverlapDecision.RUN
    elif policy is OverlapPolicy.SKIP:
        assert decision is OverlapDecision.SKIP
    elif policy is OverlapPolicy.BUFFER_ONE:
        assert decision is (OverlapDecision.SKIP if held else OverlapDecision.HOLD)
    else:
        assert decision is OverlapDecision.HOLD_AND_CANCEL
