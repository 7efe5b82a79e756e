import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import PlanError, WireError
from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    address_of,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.topology import Az, Cluster, Pool, Topology

pool_ids = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
numbers = st.integers(0, 2**62)
placements = st.builds(Placement, pool_ids, st.integers(0, 15), st.integers(1, 2**40), numbers)

TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="a", journal="c1"),),
    clusters=(
        Cluster(id="c1", az="a", bootstrap=("x:1",)),
        Cluster(id="c2", az="a", bootstrap=("x:2",)),
    ),
    pools=(
        Pool(id="p1", cluster="c1", cls="vpc", topics=200, partitions=50, max_per_slot=9),
        Pool(id="p2", cluster="c2", cls="vpc", topics=4, partitions=8, max_per_slot=9),
    ),
)


@given(placements)
def test_a_placement_is_read_as_it_was_written(placement: Placement) -> None:
    """A row holds all of a placement."""
    assert parse_placement(placement.row()) == placement


@given(st.integers(0, 2**40), st.lists(placements, min_size=1, max_size=5))
def test_a_vpc_row_is_read_as_it_was_written(epoch: int, replicas: list[Placement]) -> None:
    """The home stays first, and all replicas stand under one epoch."""
    placement = VpcPlacement(epoch, tuple(replicas))
    assert parse_vpc_placement(placement.row()) == placement
    assert placement.home == replicas[0]


@pytest.mark.parametrize(
    "row",
    ["", "p", "p:1", "p:1:1", ":1:1:0", "p:x:1:0", "p:1:0:0", "p:1:-1:0", "p:1:1:0:0", "p:٣:1:0"],
)
def test_what_is_no_row_is_refused(row: str) -> None:
    """A damaged row is an error that shows it, never a placement."""
    with pytest.raises(WireError, match="not a placement row"):
        parse_placement(row)
    with pytest.raises(WireError):
        parse_vpc_placement(f"2|{row}")


def test_a_vpc_row_without_replicas_is_refused() -> None:
    """A VPC lives somewhere."""
    with pytest.raises(WireError, match="not a VPC row"):
        parse_vpc_placement("3")


def test_publisher_and_agent_compute_one_address() -> None:
    """The row and the topology are all that is needed to find a stream."""
    address = address_of("host", "host-000001", Placement("p1", 1), TOPOLOGY)
    assert address == Address("c1", "sb.p1.081", 15)
    with pytest.raises(PlanError, match="no pool 'gone'"):
        address_of("host", "host-000001", Placement("gone", 0), TOPOLOGY)


def test_a_replica_is_found_by_its_cluster() -> None:
    """At most one replica is in a cluster; where there is none, there is no answer."""
    home, further = Placement("p1", 0), Placement("p2", 1, 2)
    both = VpcPlacement(2, (home, further))
    assert both.in_cluster("c1", TOPOLOGY) == home
    assert both.in_cluster("c2", TOPOLOGY) == further
    assert VpcPlacement(1, (home,)).in_cluster("c2", TOPOLOGY) is None
