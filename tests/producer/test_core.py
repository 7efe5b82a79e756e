"""Routing and judging: the fence's rule, driven by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import PlanError, WireError
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Az, Cluster, Pool, PublicKind, Topology
from southbound.producer.core import (
    Parcel,
    Record,
    Route,
    Standing,
    judge,
    route_host,
    route_public,
    route_vpc,
    unsent,
)
from southbound.resources import Op, host_scope, vpc_scope
from southbound.wire.control import MoveEntry

CLUSTERS = ("c1", "c2", "c3")
TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="a", journal="c1"),),
    clusters=tuple(Cluster(id=id, az="a", bootstrap=("x:1",)) for id in CLUSTERS),
    pools=tuple(
        Pool(id=f"{cls}-{id}", cluster=id, cls=cls, topics=4, partitions=8, max_per_slot=9)
        for id in CLUSTERS
        for cls in ("host", "vpc")
    ),
    public=(PublicKind(kind="elb", cluster="c2", partitions=4),),
)
RECORD = Record(b"k", 1, Op.UPSERT, b"\x80")


def _send(parcel: Parcel) -> None:
    assert parcel.route is not None
    parcel.sent += (parcel.route,)


def _host_parcel(epoch: int = 1, pool: str = "host-c1") -> Parcel:
    parcel = Parcel(host_scope("h"), "set", (RECORD,), 0)
    parcel.route = route_host("h", Placement(pool, 0, epoch), TOPOLOGY)
    _send(parcel)
    return parcel


def _vpc_parcel(*pools: str, epoch: int) -> Parcel:
    parcel = Parcel(vpc_scope("v"), "set", (RECORD,), 0)
    replicas = tuple(Placement(pool, 0, 1) for pool in pools)
    parcel.route = route_vpc("v", VpcPlacement(epoch, replicas), TOPOLOGY)
    _send(parcel)
    return parcel


@pytest.mark.parametrize("entry", [None, MoveEntry(1, "host-c2:0:1:0", 0)])
def test_no_higher_epoch_means_accepted(entry: MoveEntry | None) -> None:
    """An entry of the route's own epoch says nothing new."""
    assert judge(_host_parcel(), entry, TOPOLOGY) is None


def test_a_moved_host_is_sent_to_where_the_entry_points() -> None:
    """The new route is at the entry's epoch, in its cluster, and fenced there."""
    parcel = _host_parcel()
    route = judge(parcel, MoveEntry(2, "host-c2:1:2:77", 0), TOPOLOGY)
    assert route == route_host("h", Placement("host-c2", 1, 2, 77), TOPOLOGY)
    assert route.fence == "c2"
    assert unsent(parcel, route) == list(route.addresses)


def test_several_moves_are_followed_to_the_last() -> None:
    """Away and back again: the part is sent anew even to a slot that it left."""
    parcel = _host_parcel()
    for epoch, pool in ((2, "host-c2"), (3, "host-c3"), (4, "host-c1")):
        route = judge(parcel, MoveEntry(epoch, f"{pool}:0:{epoch}:9", 0), TOPOLOGY)
        assert route is not None
        assert route.epoch == epoch
        assert unsent(parcel, route) == list(route.addresses)
        parcel.route = route
        _send(parcel)
    assert judge(parcel, MoveEntry(4, "host-c1:0:4:9", 0), TOPOLOGY) is None


def test_a_new_replica_gets_what_the_others_have() -> None:
    """Only the replica that was added is sent to; the home still fences."""
    parcel = _vpc_parcel("vpc-c1", "vpc-c2", epoch=2)
    row = "3|vpc-c1:0:1:0|vpc-c2:0:1:0|vpc-c3:1:3:8"
    route = judge(parcel, MoveEntry(3, row, 0), TOPOLOGY)
    assert route is not None
    assert [address.cluster for address in unsent(parcel, route)] == ["c3"]
    assert route.fence == "c1"


def test_a_replica_that_left_asks_for_no_delivery() -> None:
    """With fewer replicas than before there is nothing to send, only another look."""
    parcel = _vpc_parcel("vpc-c1", "vpc-c2", epoch=2)
    route = judge(parcel, MoveEntry(3, "3|vpc-c1:0:1:0", 0), TOPOLOGY)
    assert route is not None
    assert unsent(parcel, route) == []


@pytest.mark.parametrize(
    ("row", "error"), [("nonsense", WireError), ("gone-pool:0:2:0", PlanError)]
)
def test_an_entry_that_leads_nowhere_accepts_nothing(row: str, error: type[Exception]) -> None:
    """A row that cannot be read, or of an unknown pool, is an error and never a yes."""
    with pytest.raises(error):
        judge(_host_parcel(), MoveEntry(2, row, 0), TOPOLOGY)


def test_public_resources_have_an_address_each_and_no_fence() -> None:
    """Each resource goes to its own partition, and whoever has it acknowledged has accepted."""
    route = route_public(["elb", "elb"], [3, 0], TOPOLOGY)
    assert [address.partition for address in route.addresses] == [3, 0]
    assert route.fence is None
    assert route.keeper == "c2"


def test_a_part_settles_once() -> None:
    """A verdict is final."""
    parcel = _host_parcel()
    parcel.accept()
    assert parcel.standing is Standing.ACCEPTED
    with pytest.raises(AssertionError):
        parcel.fail(PlanError("late"))


Epochs = st.integers(min_value=1, max_value=6)


@given(st.lists(st.tuples(Epochs, st.sampled_from(CLUSTERS)), max_size=8), Epochs)
def test_the_last_word_is_the_highest_epoch(moves: list[tuple[int, str]], first: int) -> None:
    """Whatever order entries are seen in, a part ends where the highest epoch that it saw points."""
    parcel = _host_parcel(first)
    seen: list[tuple[int, str]] = [(first, "c1")]
    for epoch, cluster in moves:
        route = judge(parcel, MoveEntry(epoch, f"host-{cluster}:0:{epoch}:0", 0), TOPOLOGY)
        if route is not None:
            seen.append((epoch, cluster))
            parcel.route = route
    assert isinstance(parcel.route, Route)
    epoch, cluster = max(seen, key=lambda one: one[0])
    assert (parcel.route.epoch, parcel.route.fence) == (epoch, cluster)
