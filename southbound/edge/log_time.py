"""What time it is by the clocks of brokers.

The rule: what a log's records are compared with by age is the clock that has stamped them, never that
of the process that compares: topics are stamped by their brokers (`edge/topics.py`), and each
acknowledgement brings the stamp back. Until one has come, this machine's clock must do.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from southbound.edge.kafka import Message


class LogTime:
    """The brokers' time, as the latest acknowledgement told it, carried on. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told_us = 0
        self._at_s = 0.0

    @property
    def is_told(self) -> bool:
        """Whether any acknowledgement has brought a broker's stamp."""
        return self._told_us > 0

    def note(self, message: Message) -> None:
        """Take the stamp of an acknowledged record; one of a client's clock says nothing."""
        kind, at_ms = message.timestamp()
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            return
        with self._lock:
            if at_ms * 1000 > self._carried_us():
                self._told_us, self._at_s = at_ms * 1000, time.monotonic()

    def now_us(self) -> int:
        """Return the time in microseconds since 1970."""
        with self._lock:
            return self._carried_us() if self._told_us else time.time_ns() // 1000

    def _carried_us(self) -> int:
        return self._told_us + int((time.monotonic() - self._at_s) * 1e6)
