"""How much may be under way at once.

The rule: what was taken in and has not settled is bounded, counted in records. When it is full the
caller waits as long as the settings say, then gets `BufferFull`; nothing is dropped.
"""

from __future__ import annotations

import threading
import time

from southbound.errors import BufferFull, Closed


class Buffer:
    """A count of records under way, at most `size`."""

    def __init__(self, size: int, wait_s: float) -> None:
        self._size = size
        self._wait_s = wait_s
        self._used = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def used(self) -> int:
        """Records under way."""
        return self._used

    def take(self, records: int) -> None:
        """Take room for records. Raises `BufferFull` after the wait, `Closed`.

        A single changeset larger than the buffer gets in when it is alone.
        """
        deadline = time.monotonic() + self._wait_s
        with self._changed:
            while self._used and self._used + records > self._size and not self._closed:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise BufferFull(
                        f"{self._used} of {self._size} records are under way, and {records} more "
                        f"found no room within {self._wait_s:g} s"
                    )
            if self._closed:
                raise Closed("the publisher is closed")
            self._used += records

    def give(self, records: int) -> None:
        """Give room back."""
        with self._changed:
            self._used -= records
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing is under way; return whether that came."""
        with self._changed:
            return self._changed.wait_for(lambda: self._used == 0, timeout_s)
