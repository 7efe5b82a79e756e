from __future__ import annotations

import threading
import time

import pytest

from southbound.errors import Closed
from southbound.janitor.pace import Pace


def test_what_was_spent_is_waited_for() -> None:
    """Over any longer time no more than the bound; without one there is no wait."""
    pace = Pace(1_000)
    began = time.monotonic()
    for _ in range(4):
        pace.spend(50)
    assert 0.14 <= time.monotonic() - began < 10
    free = Pace(0)
    began = time.monotonic()
    for _ in range(1_000):
        free.spend(1_000_000)
    assert time.monotonic() - began < 10


def test_whoever_waits_is_told_to_end() -> None:
    """However long it would have to wait."""
    pace = Pace(1)
    pace.spend(1_000)
    threading.Timer(0.05, pace.stop).start()
    with pytest.raises(Closed):
        pace.spend(1)
    assert pace.stopped
    with pytest.raises(Closed):
        pace.spend(1)
