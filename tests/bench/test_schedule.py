from __future__ import annotations

import math

import pytest

from southbound.bench.schedule import Schedule, stride


def test_changes_are_due_at_an_even_rate_from_the_start() -> None:
    """No rounding adds up: the last one is due where the rate says."""
    schedule = Schedule(1_000_000, 300, 3_001, 7)
    assert schedule.due_us(0) == 1_000_000
    assert schedule.due_us(1) == 1_003_333
    assert schedule.due_us(3_000) == 11_000_000


@pytest.mark.parametrize("hosts", [1, 2, 3, 10, 300, 1024])
def test_every_host_has_its_turn_in_each_round(hosts: int) -> None:
    """Each round is a permutation, the same each time."""
    schedule = Schedule(0, 1, 2 * hosts, hosts)
    rounds = [[schedule.host(at + first) for at in range(hosts)] for first in (0, hosts)]
    assert sorted(rounds[0]) == list(range(hosts))
    assert rounds[0] == rounds[1]


def test_neighbours_in_time_are_no_neighbours_in_number() -> None:
    """So that hosts of one cluster do not come in bursts."""
    assert stride(300) > 100
    assert math.gcd(stride(300), 300) == 1
