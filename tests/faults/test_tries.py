from __future__ import annotations

import pytest

from tests.faults.tries import Try, by_name, firsts, intervals_s, peak, quantile, spread_s

pytestmark = pytest.mark.subset

TRIES = [Try(3.0, "a", True), Try(1.0, "a", True), Try(1.5, "b", False), Try(7.0, "a", False)]


def test_a_peak_is_found_wherever_it_begins() -> None:
    """Not only in stretches that begin at full tenths."""
    assert peak([0.0, 0.09, 0.11, 0.18, 0.5], 0.1) == 3
    assert peak([], 0.1) == 0


def test_the_outermost_twentieths_do_not_count() -> None:
    """One straggler is no spread."""
    assert spread_s([0.0, *[5.0] * 98, 60.0]) == 0.0
    assert spread_s([float(one) for one in range(100)]) == 90.0
    assert quantile([], 0.5) == 0.0


def test_tries_of_the_same_one_belong_together() -> None:
    """In order, whatever order they were noted in."""
    assert firsts(TRIES) == {"a": 1.0, "b": 1.5}
    assert intervals_s(TRIES) == [2.0, 4.0]
    assert [one.at_s for one in by_name(TRIES)["a"]] == [1.0, 3.0, 7.0]
