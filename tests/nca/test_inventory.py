"""Inventories: when an agent tells all that stands, and what it names."""

from __future__ import annotations

import pytest

from southbound.nca.events import ClusterSeen, Now, Settled
from southbound.nca.inventory import Inventories
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.resources import ResourceKey, host_scope, vpc_scope
from southbound.settings import AgentSettings
from southbound.wire.keys import encode_key
from southbound.wire.reports import Outcome, ReportEntry
from tests.nca.records import gone, of_vpc, port
from tests.nca.world import HOST, World, host

_SOON = AgentSettings(inventory_spread_s=5.0, inventory_every_s=3_600.0, report_batch=2)
_PORT = encode_key(ResourceKey(host_scope(HOST), "port", "p"))
_VPC = encode_key(ResourceKey(vpc_scope("v"), "vpc", "v"))


@pytest.fixture
def world() -> World:
    """Return a world with one registered host and the VPC `v` homed in its cluster."""
    world = World(_SOON)
    world.vpcs["v"] = VpcPlacement(1, (Placement("vpc-a", 0),))
    return world


def _live(world: World) -> None:
    world.start()
    world.run()
    world.wait(6)


def _lines(world: World) -> dict[bytes, ReportEntry]:
    return {entry.key: entry for send in world.inventories for entry in send.entries}


def test_after_a_start_everything_that_stands_is_told_in_parts(world: World) -> None:
    """Revisions, outcomes and needs; no delete that is done; every part names the same taking."""
    world.publish(port(HOST, "p", 4, "v"), changeset="launch")
    world.publish(of_vpc("v", "vpc", "v", 2))
    world.publish(port(HOST, "lost", 1, "v"))
    world.publish(gone(port(HOST, "lost", 1), 2))
    world.publish(port(HOST, "waits", 1, "v", security_groups=["sg"]))
    _live(world)
    parts = [send.inventory for send in world.inventories]
    assert [(part.index, part.count) for part in parts if part] == [(0, 2), (1, 2)]
    assert len({part.taken_us for part in parts if part}) == 1
    lines = _lines(world)
    waits = encode_key(ResourceKey(host(), "port", "waits"))
    assert lines.keys() == {_PORT, _VPC, waits}
    assert (lines[_PORT].changeset, lines[_PORT].revision) == ("launch", 4)
    assert lines[_PORT].needs == (_VPC,)
    assert lines[_PORT].outcome is Outcome.APPLIED
    assert lines[waits].outcome is Outcome.PENDING
    assert "security_group/sg" in lines[waits].detail


def test_one_comes_each_period_and_none_in_between(world: World) -> None:
    """A host with nothing tells that: one part without lines."""
    _live(world)
    assert [send.entries for send in world.inventories] == [()]
    world.settle()
    world.wait(3_500)
    assert len(world.inventories) == 1
    world.wait(200)
    assert len(world.inventories) == 2
    assert world.counters.inventories == 2


def test_one_that_was_lost_is_taken_again(world: World) -> None:
    """As things stand then, after the longest backoff."""
    world.start()
    world.wait(6)
    world.lose()
    world.publish(port(HOST, "p", 1))
    world.run()
    world.wait(_SOON.retry_max_s + 1)
    assert len(world.inventories) == 2
    assert _PORT in _lines(world)


def test_a_stream_that_is_read_anew_is_followed_by_one(world: World) -> None:
    """What its snapshot lacked was removed without a report; the inventory says so."""
    world.publish(port(HOST, "p", 1))
    world.publish(port(HOST, "p", 2))
    _live(world)
    (log,) = world.logs.values()
    log.clear()
    world.publish(port(HOST, "q", 1))
    world.publish(port(HOST, "q", 2))
    told = len(world.inventories)
    world.wait(4 * 86_400)
    world.feed(ClusterSeen(world.now, "c1", "id"))
    world.run()
    assert world.counters.resyncs == {"absence": 1}
    world.wait(6)
    assert len(world.inventories) > told
    (entry,) = world.inventories[-1].entries
    assert entry.key == encode_key(ResourceKey(host(), "port", "q"))


def test_hosts_that_start_together_are_apart() -> None:
    """Each within the spread, hardly two at the same moment."""
    settings = AgentSettings(inventory_spread_s=100.0)
    times = []
    for number in range(50):
        one = Inventories(f"host-{number}", settings)
        one.hasten(1_000.0)
        assert one.due_s is not None
        times.append(one.due_s)
    assert all(1_000.0 <= at_s <= 1_100.0 for at_s in times)
    assert len(set(times)) > 40


def test_its_numbers_are_no_debts() -> None:
    """They are below zero, and an answer to an older one changes nothing."""
    one = Inventories("h", _SOON)
    now = Now(10.0, 20)
    first = one.take(lambda _: [], "c1", now)
    second = one.take(lambda _: [], "c1", now)
    seqs = [send.seq for send in (*first, *second)]
    assert all(seq < 0 for seq in seqs)
    assert len(set(seqs)) == 2
    due_s = one.due_s
    one.settled(Settled(now, (), (first[0].seq,)))
    assert one.due_s == due_s
    one.settled(Settled(now, (), (second[0].seq,)))
    assert one.due_s == now.s + _SOON.retry_max_s
