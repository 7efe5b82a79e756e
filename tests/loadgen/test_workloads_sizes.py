"""Sizes of VPCs follow their law, at every scale, and sum to the ports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.workloads.sizes import SizeTable, VpcSizes
from southbound.errors import ConfigError

_LAWS = st.builds(
    VpcSizes,
    tail=st.floats(0.5, 3.0),
    scale=st.floats(0.2, 20.0),
    smallest=st.integers(1, 40),
    largest=st.integers(40, 100_000),
)


def _sizes(table: SizeTable) -> list[int]:
    return [table.size(rank) for rank in range(table.count)]


@given(_LAWS, st.integers(1, 5_000))
def test_sizes_sum_to_the_ports_largest_first(sizes: VpcSizes, ports: int) -> None:
    """No port is left over, no VPC is empty or larger than allowed, and ranks fall."""
    found = _sizes(SizeTable(sizes, ports))
    assert sum(found) == ports
    assert found == sorted(found, reverse=True)
    assert all(1 <= size <= ports for size in found)
    # Only the VPC made of what was left over may be off the law, by less than one VPC more brings.
    assert sum(size < sizes.smallest for size in found) <= 1


@given(_LAWS, st.integers(1, 2_000), st.data())
def test_every_position_is_one_port_of_one_vpc(
    sizes: VpcSizes, ports: int, data: st.DataObject
) -> None:
    """`find` is the inverse of `first` and an ordinal."""
    table = SizeTable(sizes, ports)
    position = data.draw(st.integers(0, ports - 1))
    rank, ordinal = table.find(position)
    assert 0 <= ordinal < table.size(rank)
    assert table.first(rank) + ordinal == position


def test_the_default_law_is_that_of_its_source() -> None:
    """40 % of VPCs have one port, 80 % at most five, and a million hosts hold some of 100,000."""
    table = SizeTable(VpcSizes(), 20_000_000)
    assert table.count == pytest.approx(1_400_000, rel=0.01)
    at_least = {
        ports: sum(1 for rank in range(0, table.count, 1_000) if table.size(rank) >= ports)
        / len(range(0, table.count, 1_000))
        for ports in (2, 6, 101)
    }
    assert at_least == pytest.approx({2: 0.6, 6: 0.2, 101: 0.012}, abs=0.002)
    assert 10 <= sum(table.size(rank) == 100_000 for rank in range(100)) <= 25


@pytest.mark.parametrize("ports", [1, 17, 2_000, 20_000, 2_000_000])
def test_the_profile_is_the_same_at_every_scale(ports: int) -> None:
    """The median stays small, and the largest VPC grows with the fleet until it is cut off."""
    table = SizeTable(VpcSizes(), ports)
    assert table.size(table.count // 2) <= 3
    assert table.size(0) <= min(100_000, ports)
    assert table.size(0) >= min(50_000, ports // 10)


def test_nearest_finds_the_size_asked_for() -> None:
    """The VPC of about 10,000 ports is one of about 10,000 ports."""
    table = SizeTable(VpcSizes(), 20_000_000)
    rank = table.nearest(10_000)
    assert table.size(rank) == pytest.approx(10_000, rel=0.01)
    assert rank == 0 or table.size(rank - 1) > table.size(rank)


def test_impossible_sizes_are_named() -> None:
    """Each field that is wrong is named with its value."""
    with pytest.raises(ConfigError) as error:
        VpcSizes(tail=0, smallest=0, largest=-1)
    assert {fault.place for fault in error.value.faults} == {
        "sizes.tail",
        "sizes.smallest",
        "sizes.largest",
    }
