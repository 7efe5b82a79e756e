from __future__ import annotations

import pytest

from southbound.bench.latency import standing
from southbound.bench.schedule import Schedule


def test_each_change_stands_when_it_was_applied() -> None:
    """Where each has a time of its own, that is it."""
    schedule = Schedule(0, 1, 4, 2)
    applied = {0: 10, 1: 11, 2: 20, 3: 21}
    assert standing(schedule, applied) == (applied, 0)


def test_what_a_newer_change_overtook_stands_with_that_one() -> None:
    """Change 0 of host 0 was read together with change 2, and 2 with 4: it stands when 4 does."""
    schedule = Schedule(0, 1, 6, 2)
    stood, superseded = standing(schedule, {1: 11, 3: 31, 4: 40, 5: 51})
    assert stood == {0: 40, 1: 11, 2: 40, 3: 31, 4: 40, 5: 51}
    assert superseded == 2


def test_a_last_change_that_was_never_applied_is_no_result() -> None:
    """There is nothing newer that could stand for it."""
    with pytest.raises(AssertionError, match="change 3"):
        standing(Schedule(0, 1, 4, 2), {0: 10, 1: 11, 2: 20})
