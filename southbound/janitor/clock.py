"""The time by which a janitor erases.

The rule: of two clocks, its own and Redis', the earlier one counts, read as a sweep begins and carried
on by the clock that nobody sets. Too early a time keeps things longer, too late a one erases what
somebody still needs. Where Redis does not answer, the time goes on from the sweep before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from southbound.errors import EdgeError

_DIFFER_US = 300_000_000


class SweepClock:
    """`other_us` reads the other clock, in microseconds since 1970, or raises `EdgeError`.

    `trouble`: what is wrong with the two, or nothing.
    """

    def __init__(self, other_us: Callable[[], int]) -> None:
        self._other_us = other_us
        self._base_us = 0
        self._base_s = 0.0
        self.trouble = ""

    def begin(self) -> None:
        """Read both clocks, for one sweep."""
        own_us = time.time_ns() // 1000
        try:
            other_us = self._other_us()
        except EdgeError:
            other_us = self.now_us() if self._base_us else own_us
        self._base_us, self._base_s = min(own_us, other_us), time.monotonic()
        ahead_us = own_us - other_us
        side = "ahead of" if ahead_us > 0 else "behind"
        self.trouble = (
            f"this machine's clock is {abs(ahead_us) / 1e6:.0f} s {side}"
            " that of Redis: the earlier one counts, and what is due waits for it"
            if abs(ahead_us) > _DIFFER_US
            else ""
        )

    def now_us(self) -> int:
        """Return the time, in microseconds since 1970."""
        return self._base_us + int((time.monotonic() - self._base_s) * 1e6)
