"""One clock for workers on several machines: Redis'.

The rule: a latency is a difference of two readings that may be taken on two machines, so all of them
are readings of one clock. Each process knows how far its own is off, to half a round trip to Redis.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from loadgen.coordination.board import Board

_ASKED = 7


class SharedClock(NamedTuple):
    """How far this machine's clock is behind Redis', and how wrong that may be (microseconds)."""

    offset_us: int
    error_us: int

    def now_us(self) -> int:
        """Return the time by Redis' clock, in microseconds since 1970."""
        return time.time_ns() // 1_000 + self.offset_us


def ask_clock(board: Board) -> SharedClock:
    """Compare this machine's clock with Redis' by the quickest of a few questions. Raises `EdgeError`."""
    found = []
    for _ in range(_ASKED):
        before_us = time.time_ns() // 1_000
        theirs_us = board.time_us()
        after_us = time.time_ns() // 1_000
        half_us = (after_us - before_us) // 2
        found.append((half_us, theirs_us - before_us - half_us))
    half_us, offset_us = min(found)
    # On one machine both read the same clock, and the difference is only that of asking.
    return SharedClock(0 if abs(offset_us) <= half_us else offset_us, half_us)
