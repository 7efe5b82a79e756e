"""Hands for tests of the load generator's coordination; importable by name, as processes need."""

from __future__ import annotations

import os
import signal
import time

from loadgen.coordination import Hand, Say


class TestHand:
    """Does a little of everything that a hand may do wrong."""

    __test__ = False

    def __init__(self, say: Say) -> None:
        self._say = say
        self._begun: list[int] = []

    def add(self, first: int, second: int) -> dict[str, int]:
        """Return a sum, and which process it comes from."""
        self._begun.append(first)
        return {"sum": first + second, "pid": os.getpid(), "calls": len(self._begun)}

    def fail(self) -> None:
        """Raise."""
        raise ValueError("as it was told")

    def die(self) -> None:
        """End the process as the kernel would when memory is short."""
        os.kill(os.getpid(), signal.SIGKILL)

    def linger(self, seconds: float) -> str:
        """Take a while, and say so."""
        self._say("lingering")
        time.sleep(seconds)
        return "done"

    def close(self) -> None:
        """Have nothing to end."""
        self._begun.clear()


def make_hand(say: Say) -> Hand:
    """Make one."""
    return TestHand(say)


ROLES = {"test": make_hand}
