"""Waiting: what is rung is never missed, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

from southbound.tracker.bells import Bells

_WITHIN_S = 20.0


def test_who_sees_it_at_once_does_not_wait() -> None:
    """One look is enough."""
    assert Bells().wait("a", lambda: 7, lambda seen: seen == 7, 60.0) == 7


def test_the_time_ends_a_wait_with_what_was_seen_last() -> None:
    """After a last look, and nothing is left behind."""
    bells = Bells()
    assert bells.wait("a", lambda: "no", lambda seen: seen == "yes", 0.01) == "no"
    assert len(bells) == 0


def test_a_ring_between_two_looks_is_not_missed() -> None:
    """What happens while one looks makes him look again."""
    bells, looks = Bells(), []

    def look() -> int:
        looks.append(1)
        if len(looks) == 1:
            bells.ring(["a"])
        return len(looks)

    assert bells.wait("a", look, lambda seen: seen == 2, _WITHIN_S) == 2


def test_only_those_look_again_who_wait_for_it() -> None:
    """Another bell wakes nobody; closing wakes all."""
    bells, looks, seen = Bells(), [0], []

    def look() -> int:
        looks[0] += 1
        return looks[0]

    waiter = threading.Thread(
        target=lambda: seen.append(bells.wait("a", look, lambda _: False, _WITHIN_S))
    )
    waiter.start()
    end_s = time.monotonic() + _WITHIN_S
    while looks[0] == 0 and time.monotonic() < end_s:
        time.sleep(0.001)
    bells.ring(["b"])
    assert looks == [1]
    bells.ring(["a", "b"])
    while looks[0] == 1 and time.monotonic() < end_s:
        time.sleep(0.001)
    bells.close()
    waiter.join(_WITHIN_S)
    assert seen
    assert seen[0] >= 2
