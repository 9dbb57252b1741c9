"""A topic that is not made for ten minutes on end counts as refused; one that is wanted again later begins anew."""

from __future__ import annotations

import pytest

from services.dispatcher.parked import GIVE_UP_SECONDS, OF_LATE_SECONDS, Parked
from shared import clock
from shared.kafka.topics import TopicNotMade, TopicRefused, TopicsUnavailable


def test_patience_is_for_failures_on_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    rows, asked = Parked(), []

    def not_made() -> None:
        asked.append(now)
        raise TopicNotMade("too few brokers")

    with pytest.raises(TopicNotMade):
        rows.ask("runs.due.sync", not_made)
    with pytest.raises(TopicNotMade):
        rows.ask("runs.due.sync", not_made)
    assert len(asked) == 1, "not again within the second"
    rows.ask("runs.due.export", lambda: None)
    now += GIVE_UP_SECONDS + 1
    with pytest.raises(TopicNotMade):
        rows.ask("runs.due.sync", not_made)  # nobody had asked for ten minutes
    began = now
    while now < began + GIVE_UP_SECONDS:
        now += OF_LATE_SECONDS / 2
        with pytest.raises(TopicNotMade):
            rows.ask("runs.due.sync", not_made)
    now += 2
    with pytest.raises(TopicRefused):
        rows.ask("runs.due.sync", not_made)


def test_while_kafka_is_away_no_topic_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    rows, asked = Parked(), []

    def away() -> None:
        asked.append(now)
        raise TopicsUnavailable("nobody answers")

    for topic in ("runs.due.sync", "runs.due.export"):
        with pytest.raises(TopicsUnavailable):
            rows.ask(topic, away)
    assert len(asked) == 1
    now += 2
    rows.ask("runs.due.sync", lambda: None)
