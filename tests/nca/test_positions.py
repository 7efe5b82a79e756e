from __future__ import annotations

from southbound.nca.positions import Positions, Stream
from southbound.nca.snapshot import Reason
from southbound.partitioning.placement import Placement
from southbound.resources import host_scope, vpc_scope
from tests.nca.world import TOPOLOGY, address

HOST = host_scope("h1")
V, W = vpc_scope("v"), vpc_scope("w")


def stream(name: str, next_: int) -> Stream:
    """Return a live stream of a VPC at a position."""
    made = Stream(vpc_scope(name), Placement("vpc-a", 0))
    made.next = next_
    made.locate(TOPOLOGY)
    return made


def test_a_shared_partition_is_read_from_the_lowest_position() -> None:
    """Each stream then takes only what is at or beyond its own."""
    positions = Positions()
    positions.put(stream("v", 70))
    positions.put(stream("w", 5))
    where = address(V, Placement("vpc-a", 0))
    assert positions.assignment().positions == {where: 5}
    assert set(positions.at(where)) == {b"v\x1fv\x1f", b"v\x1fw\x1f"}
    positions.drop(W)
    assert positions.assignment().positions == {where: 70}
    positions.drop(V)
    assert positions.assignment().positions == {}
    assert len(positions) == 0


def test_a_snapshot_waits_for_its_watermarks() -> None:
    """Its partition is asked about; it is read meanwhile for those who can be."""
    positions = Positions()
    positions.put(stream("v", 70))
    fresh = stream("w", 0)
    fresh.restart(Reason.FIRST)
    positions.put(fresh)
    where = address(V, Placement("vpc-a", 0))
    wanted = positions.assignment()
    assert (wanted.positions, wanted.marks) == ({where: 70}, frozenset({where}))
    assert fresh.snapshot is not None
    fresh.next = fresh.snapshot.begin(0, 0, 70, 1)
    wanted = positions.assignment()
    assert (wanted.positions, wanted.marks) == ({where: 0}, frozenset())


def test_a_stream_that_moves_is_found_at_its_new_place_only() -> None:
    """Records behind its marker are a neighbour's."""
    positions = Positions()
    moving = stream("v", 70)
    positions.put(moving)
    before = address(V, Placement("vpc-a", 0))
    moving.placement = Placement("vpc-b", 0, 2)
    moving.locate(TOPOLOGY)
    positions.put(moving)
    assert positions.at(before) == {}
    assert set(positions.at(address(V, moving.placement))) == {moving.prefix}


def test_a_stream_of_an_unknown_pool_is_nowhere() -> None:
    """It is kept, and behind, until the topology knows the pool."""
    positions = Positions()
    lost = Stream(HOST, Placement("no such pool", 0))
    lost.locate(TOPOLOGY)
    positions.put(lost)
    assert lost.behind
    assert positions.assignment().positions == {}
    assert positions.get(HOST) is lost


def test_what_is_remembered_stays_before_what_is_held() -> None:
    """And an incomplete snapshot has no position at all."""
    live = stream("v", 70)
    assert live.state(None).next == 70
    assert live.state(64).next == 64
    live.restart(Reason.GAP)
    assert live.state(None).next is None
