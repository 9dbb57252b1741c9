"""What happens to an occurrence that falls due while an earlier run of its schedule is still open."""

from enum import StrEnum


class OverlapPolicy(StrEnum):
    """The schedule's choice (DESIGN section 4)."""

    SKIP = "skip"
    ALLOW = "allow"
    BUFFER_ONE = "buffer_one"
    CANCEL_OTHER = "cancel_other"


class OverlapDecision(StrEnum):
    """What to do with one due occurrence."""

    RUN = "run"
    SKIP = "skip"
    HOLD = "hold"
    HOLD_AND_CANCEL = "hold_and_cancel"


def decide(policy: OverlapPolicy, *, running: int, held: int) -> OverlapDecision:
    """Judge one due occurrence of a schedule that has `running` open published jobs and `held` jobs held back.

    buffer_one holds a single occurrence until the running one ends; with one already held the newer is skipped.
    cancel_other cancels what runs and waits for that end too, so that two runs never overlap even then; the newest
    waiting occurrence wins, so with one already held this one is held in its place (the caller skips the older).
    """
    if policy is OverlapPolicy.ALLOW or (running == 0 and held == 0):
        return OverlapDecision.RUN
    match policy:
        case OverlapPolicy.SKIP:
            return OverlapDecision.SKIP
        case OverlapPolicy.BUFFER_ONE:
            return OverlapDecision.SKIP if held else OverlapDecision.HOLD
        case OverlapPolicy.CANCEL_OTHER:
            return OverlapDecision.HOLD_AND_CANCEL
