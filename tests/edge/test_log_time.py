from __future__ import annotations

import time
from typing import cast

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from southbound.edge.kafka import Message
from southbound.edge.log_time import LogTime


class Stamped:
    """An acknowledged record, as far as its stamp goes."""

    def __init__(self, kind: int, at_ms: int) -> None:
        self._stamp = kind, at_ms

    def timestamp(self) -> tuple[int, int]:
        """Return the stamp."""
        return self._stamp


def note(told: LogTime, kind: int, at_ms: int) -> None:
    """Tell it of an acknowledgement."""
    told.note(cast("Message", Stamped(kind, at_ms)))


def test_until_a_broker_has_told_the_own_clock_must_do() -> None:
    """And a client's stamp tells nothing."""
    told = LogTime()
    note(told, TIMESTAMP_CREATE_TIME, 5)
    assert not told.is_told
    assert abs(told.now_us() / 1e6 - time.time()) < 5


def test_what_was_told_is_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that nobody sets; an older stamp that comes late does not turn it back."""
    at_s = 100.0
    monkeypatch.setattr("southbound.edge.log_time.time.monotonic", lambda: at_s)
    told = LogTime()
    note(told, TIMESTAMP_LOG_APPEND_TIME, 1_000_000)
    at_s = 102.5
    assert told.now_us() == 1_002_500_000
    note(told, TIMESTAMP_LOG_APPEND_TIME, 1_001_000)
    assert told.now_us() == 1_002_500_000
    note(told, TIMESTAMP_LOG_APPEND_TIME, 2_000_000)
    assert told.now_us() == 2_000_000_000
