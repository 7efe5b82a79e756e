"""The pause of a host that is moved, from lags and windows."""

from __future__ import annotations

from southbound.bench.handover import Window, number_of, pauses, sample
from southbound.bench.schedule import Schedule

SCHEDULE = Schedule(start_us=1_000_000, rate=10.0, changes=12, hosts=4)


def _numbers(host: int) -> list[int]:
    return [n for n in range(SCHEDULE.changes) if SCHEDULE.host(n) == host]


def test_the_longest_lag_of_what_was_due_meanwhile_counts() -> None:
    """Changes before and after the move say nothing; the usual lag is taken off, never below 0."""
    host = 1
    first, second, third = _numbers(host)
    lags = [5.0] * SCHEDULE.changes
    lags[first], lags[second], lags[third] = 900.0, 80.0, 700.0
    due_us = SCHEDULE.due_us(second)
    window = Window(host, due_us - 1, due_us + 1)
    assert pauses(SCHEDULE, lags, [window], 5.0) == [75.0]
    assert pauses(SCHEDULE, lags, [window], 500.0) == [0.0]


def test_a_window_without_a_change_says_nothing() -> None:
    """Nothing is made up for a host that was moved between two of its changes."""
    due_us = SCHEDULE.due_us(_numbers(2)[0])
    assert pauses(SCHEDULE, [5.0] * 12, [Window(2, due_us + 1, due_us + 2)], 5.0) == []


def test_each_window_of_a_host_counts() -> None:
    """A host that is moved twice has two pauses."""
    first, second, _ = _numbers(3)
    lags = [float(number) for number in range(12)]
    windows = [Window(3, SCHEDULE.due_us(n), SCHEDULE.due_us(n)) for n in (first, second)]
    assert pauses(SCHEDULE, lags, windows, 0.0) == [float(first), float(second)]


def test_only_its_own_changesets_have_numbers() -> None:
    """Others are told apart by -1."""
    assert number_of("bench-handover-17") == 17
    assert number_of("bench-first-3-0") == -1
    assert number_of("bench-others-17") == -1


def test_the_watched_are_spread_over_those_that_move_singly() -> None:
    """So many different ones, or as many as there are."""
    assert sample(1_000, 1_000, 4) == [0, 250, 500, 750]
    assert sample(1_000, 10, 4) == [0, 2, 5, 7]
    assert sample(3, 10, 60) == [0, 1, 2]
