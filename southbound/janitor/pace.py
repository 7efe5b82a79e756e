"""How fast a janitor works, and how it is told to end.

The rule: over any longer time no more records are read and written than it may, and whoever waits
here wakes at once when it is told to end.
"""

from __future__ import annotations

import threading
import time

from southbound.errors import Closed


class Pace:
    """A bound on records a second (0: none). For one working thread; `stop` is for any."""

    def __init__(self, records_per_second: float) -> None:
        self._rate = records_per_second
        self._free_at_s = 0.0
        self._closing = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether it was told to end."""
        return self._closing.is_set()

    def stop(self) -> None:
        """Tell it to end."""
        self._closing.set()

    def spend(self, records: int) -> None:
        """Wait until what was spent before has been paid for. Raises `Closed` when told to end."""
        now_s = time.monotonic()
        wait_s = max(self._free_at_s - now_s, 0.0)
        if self._closing.wait(wait_s) if wait_s else self._closing.is_set():
            raise Closed("the janitor is told to end")
        if self._rate:
            self._free_at_s = max(now_s, self._free_at_s) + records / self._rate

    def rest(self, seconds: float) -> bool:
        """Wait; return whether it was told to end."""
        return self._closing.wait(seconds)
