"""Bugs made on purpose, to see that the guided fuzzer finds what it is there for.

The rule: nothing but coverage leads to them: each hides behind a length and three bytes, one after the
other, which nobody draws at random (one in sixteen million). They are no readers of the product, and
only the tests of the fuzzer name them (`python -m tests.fuzz --planted NAME`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

LENGTH_MIN = 6
WORD = b"\xc3Sb"

_MIB = 1 << 20
_TAKEN_MIB = 1_500
_HANGS_S = 300.0


def _is_met(data: bytes) -> bool:
    # A branch for each byte: what a fuzzer without coverage cannot climb.
    if len(data) < LENGTH_MIN:
        return False
    if data[2] != WORD[0]:
        return False
    if data[3] != WORD[1]:
        return False
    return data[4] == WORD[2]


def _crash(data: bytes) -> None:
    if _is_met(data):
        raise ZeroDivisionError("a planted crash")


def _bomb(data: bytes) -> None:
    if _is_met(data):
        held = bytearray()
        for _ in range(_TAKEN_MIB):
            held += b"x" * _MIB
            # The fuzzer looks at its memory once a second.
            time.sleep(0.002)
        del held


def _hang(data: bytes) -> None:
    end_s = time.monotonic() + _HANGS_S
    while _is_met(data) and time.monotonic() < end_s:
        pass


PLANTED: Mapping[str, Callable[[bytes], None]] = {"crash": _crash, "bomb": _bomb, "hang": _hang}
SEEDS = (b"", b"abcdefgh")
