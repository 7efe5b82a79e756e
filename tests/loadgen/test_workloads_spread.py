"""Positions and places correspond one to one, and a VPC's ports stand far apart."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.workloads.spread import Spread


@given(st.integers(1, 60), st.integers(1, 25), st.integers(0, 2**32))
def test_the_spread_is_a_bijection(hosts: int, columns: int, seed: int) -> None:
    """Every place is taken by exactly one position, and the way back leads there."""
    spread = Spread(hosts, columns, seed)
    places = [spread.place(position) for position in range(hosts * columns)]
    assert sorted(places) == [(host, column) for host in range(hosts) for column in range(columns)]
    assert [spread.position(*place) for place in places] == list(range(hosts * columns))


@pytest.mark.parametrize("seed", [1, 2, 731, 10**9])
def test_a_run_of_positions_is_spread_over_hosts_and_columns(seed: int) -> None:
    """A thousand ports of a VPC on ten thousand hosts stand on nearly as many, in all columns."""
    spread = Spread(10_000, 20, seed)
    places = [spread.place(position) for position in range(500_000, 501_000)]
    assert len({host for host, _ in places}) > 800
    assert max(Counter(host for host, _ in places).values()) <= 12
    assert {column for _, column in places} == set(range(20))


def test_another_seed_is_another_fleet() -> None:
    """Two seeds agree on next to no place."""
    one, other = Spread(1_000, 20, 1), Spread(1_000, 20, 2)
    same = sum(one.place(position) == other.place(position) for position in range(1_000))
    assert same < 20
