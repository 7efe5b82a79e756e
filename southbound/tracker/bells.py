"""Waiting for news of something, without looking all the time.

The rule: who waits looks once, then again whenever something was heard of what he waits for; what is
rung between two looks is never missed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class Bells:
    """One bell for each name that somebody waits at. Thread-safe."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._waiting: Counter[str] = Counter()
        self._rung: dict[str, int] = {}
        self._is_closing = False

    def __len__(self) -> int:
        """Return how many wait."""
        return self._waiting.total()

    def ring(self, names: Iterable[str]) -> None:
        """Let those look again who wait at one of these."""
        with self._turn:
            found = [name for name in set(names) if name in self._rung]
            for name in found:
                self._rung[name] += 1
            if found:
                self._turn.notify_all()

    def close(self) -> None:
        """Let everybody go with what they saw last."""
        with self._turn:
            self._is_closing = True
            self._turn.notify_all()

    def wait(
        self, name: str, look: Callable[[], T], done: Callable[[T], bool], timeout_s: float
    ) -> T:
        """Look until `done` says so of what was seen, or the time is over; return it."""
        deadline_s = time.monotonic() + timeout_s
        with self._turn:
            self._waiting[name] += 1
            self._rung.setdefault(name, 0)
        try:
            while True:
                before = self._rung[name]
                seen = look()
                rest_s = deadline_s - time.monotonic()
                if done(seen) or rest_s <= 0 or self._is_closing:
                    return seen
                with self._turn:
                    self._turn.wait_for(
                        lambda: self._rung[name] != before or self._is_closing,  # noqa: B023  # called here alone
                        rest_s,
                    )
        finally:
            with self._turn:
                self._waiting[name] -= 1
                if not self._waiting[name]:
                    del self._waiting[name], self._rung[name]
