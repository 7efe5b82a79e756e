"""Scenarios of one agent: what the log says, what the directory says, and what the agent makes of it."""

from __future__ import annotations

import msgspec
import pytest

from southbound.nca import events as ev
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.state import Quarantined, State, Status, StreamState
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.resources import Op, ResourceKey, host_scope, vpc_scope
from southbound.settings import AgentSettings
from southbound.wire.keys import encode_key, handover_key
from southbound.wire.reports import Outcome
from tests.nca.records import Put, expected, gone, of_host, of_vpc, port, value_of
from tests.nca.world import HOST, TOPOLOGY, World, address, host

HOME = Placement("vpc-a", 0)
APPLIED, FAILED, PENDING, SUPERSEDED = Outcome


@pytest.fixture
def world() -> World:
    """Return a world with one registered host and the VPC `v` homed in its cluster."""
    world = World()
    world.vpcs["v"] = VpcPlacement(1, (HOME,))
    return world


def started(world: World) -> World:
    """Start the agent, and let it do all there is to do."""
    world.start()
    world.run()
    return world


# Snapshots.


def test_an_empty_slot_is_a_complete_snapshot_at_once(world: World) -> None:
    """Nothing to read: the node is told that the host's scope is empty, and the agent is ready."""
    started(world)
    assert world.core.is_caught_up()
    assert [(plan.changes, plan.complete) for plan in world.node.plans] == [((), (host(),))]


def test_a_snapshot_is_one_plan_in_rank_order(world: World) -> None:
    """Whatever the order in the log, one complete plan applies what is referred to first."""
    puts = [
        of_host(HOST, "route", "t", 1, router_id="r"),
        port(HOST, "p", 2),
        of_host(HOST, "router", "r", 3),
    ]
    world.publish(port(HOST, "p", 1))
    for put in puts:
        world.publish(put)
    started(world)
    (plan,) = world.node.plans
    assert [change.key.kind for change in plan.changes] == ["router", "route", "port"]
    assert plan.complete == (host(),)
    assert world.node.resources == expected(*puts)


def test_a_snapshot_ends_at_the_watermark_that_was_noted(world: World) -> None:
    """What was there at assignment is one plan, however many batches it takes to read."""
    for number in range(10):
        world.publish(port(HOST, f"p{number}", 1))
    world.start()
    world.run(batch=3)
    assert [len(plan.changes) for plan in world.node.plans] == [10]


def test_old_revisions_in_a_snapshot_are_told_as_superseded(world: World) -> None:
    """A sender that still waits for a revision learns that a later one has replaced it."""
    first = world.publish(port(HOST, "p", 1))
    second = world.publish(port(HOST, "p", 2))
    started(world)
    assert world.outcomes(first) == [SUPERSEDED]
    assert world.outcomes(second) == [APPLIED]


def test_a_fresh_agent_on_a_used_node_removes_what_the_log_does_not_have(world: World) -> None:
    """State lost, node kept: the complete snapshot is the whole truth, but only once it is whole."""
    world.node.resources[ResourceKey(host(), "port", "from an earlier life")] = (9, {})
    kept = port(HOST, "p", 1, "v")
    world.node.resources[kept.key] = (1, kept.spec or {})
    world.publish(kept)
    started(world)
    # The port waits for its VPC: until then nothing that an earlier life put up is touched.
    assert len(world.node.resources) == 2
    vpc = of_vpc("v", "vpc", "v", 1)
    world.publish(vpc)
    world.run()
    assert world.node.resources == expected(kept, vpc)


def test_a_vpc_of_an_earlier_life_goes_once_everything_is_whole(world: World) -> None:
    """State lost, node kept, and the VPC left meanwhile: nobody else would ever speak of it."""
    old = of_vpc("old", "vpc", "old", 3)
    world.node.resources[old.key] = (3, {})
    kept = port(HOST, "p", 1, "v")
    world.publish(kept)
    started(world)
    assert old.key in world.node.resources, "the VPC of a port is not there yet"
    vpc = of_vpc("v", "vpc", "v", 1)
    world.publish(vpc)
    world.run()
    assert world.node.resources == expected(kept, vpc)
    assert world.core._sweeps.alone
    # Told once: a later VPC is not asked to be alone again.
    plans = len(world.node.plans)
    world.publish(port(HOST, "p", 2, "v"))
    world.run()
    assert [plan.only for plan in list(world.node.plans)[plans:]] == [None]


def test_a_host_without_ports_has_no_vpc_of_an_earlier_life(world: World) -> None:
    """The first plan already says what there is."""
    world.node.resources[of_vpc("old", "vpc", "old", 3).key] = (3, {})
    put = of_host(HOST, "router", "r", 1)
    world.publish(put)
    started(world)
    assert world.node.resources == expected(put)


def test_a_state_of_an_earlier_version_asks_once(world: World) -> None:
    """It does not say whether the applier knows: a restart tells it, and changes nothing else."""
    put = of_host(HOST, "router", "r", 1)
    world.publish(put)
    started(world)
    world.stop()
    world.disk = msgspec.structs.replace(world.disk, alone=False)
    world.node.resources[of_vpc("old", "vpc", "old", 3).key] = (3, {})
    started(world)
    assert world.node.resources == expected(put)
    world.stop()
    assert world.disk.alone


def test_a_long_absence_takes_what_a_loss_of_power_had_hidden(world: World) -> None:
    """The state fell back before it followed a VPC, whose port was deleted while nobody looked."""
    world.publish(of_host(HOST, "router", "r", 1))
    started(world)
    world.stop()
    world.node.resources[of_vpc("old", "vpc", "old", 3).key] = (3, {})
    world.wait(4 * 86_400.0)
    started(world)
    assert world.node.resources == expected(of_host(HOST, "router", "r", 1))


@pytest.mark.parametrize("raises", [True, False])
def test_an_applier_that_has_done_nothing_is_told_the_whole_again(
    world: World, raises: bool
) -> None:
    """What an earlier life left goes once the applier works; until then it is not asked all the time."""
    world.node.resources[ResourceKey(host(), "port", "from an earlier life")] = (9, {})
    world.node.resources[of_vpc("old", "vpc", "old", 3).key] = (3, {})
    put = of_host(HOST, "router", "r", 1)
    world.trouble, world.raises = "the disk is full", raises
    world.publish(put)
    started(world)
    world.wait(0.1)
    calls = world.counters.plans
    assert calls <= 3
    assert len(world.node.resources) == 2
    world.wait(200.0)
    assert calls + 3 < world.counters.plans < calls + 40
    world.trouble = ""
    world.wait(200.0)
    assert world.node.resources == expected(put)
    plans = world.counters.plans
    world.wait(200.0)
    assert world.counters.plans == plans


def test_a_delete_is_told_only_once_an_earlier_life_is_undone(world: World) -> None:
    """State lost, node kept, and something parked, so nothing is swept yet: the delete is applied."""
    old = of_host(HOST, "router", "r", 1)
    world.node.resources[old.key] = (1, {})
    world.publish(port(HOST, "p", 1, "v"))
    world.publish(old)
    deleted = world.publish(gone(old, 2))
    started(world)
    assert world.outcomes(deleted) == [APPLIED]
    assert old.key not in world.node.resources


# The revision rule.


def test_a_lower_revision_is_dropped_and_told_as_superseded(world: World) -> None:
    """Revisions never go backwards, whatever the order in the log."""
    started(world)
    world.publish(port(HOST, "p", 5, name="five"))
    world.run()
    late = world.publish(port(HOST, "p", 4, name="four"))
    world.run()
    assert world.node.resources == expected(port(HOST, "p", 5, name="five"))
    assert world.outcomes(late) == [SUPERSEDED]
    assert world.counters.revisions_older == 1


def test_an_equal_revision_is_applied_already(world: World) -> None:
    """Publishing the same revision again changes nothing and is told as applied."""
    started(world)
    world.publish(port(HOST, "p", 1))
    world.run()
    plans = len(world.node.plans)
    again = world.publish(port(HOST, "p", 1))
    world.run()
    assert world.outcomes(again) == [APPLIED]
    assert len(world.node.plans) == plans
    assert (world.counters.revisions_equal, world.counters.revisions_conflicting) == (1, 0)


def test_an_equal_revision_with_other_content_is_a_conflict(world: World) -> None:
    """Two writers used one number: the first stays, and it is counted."""
    started(world)
    world.publish(port(HOST, "p", 1, name="first"))
    world.run()
    world.publish(port(HOST, "p", 1, name="second"))
    world.run()
    assert world.node.resources == expected(port(HOST, "p", 1, name="first"))
    assert world.counters.revisions_conflicting == 1


def test_two_revisions_in_one_batch_apply_once(world: World) -> None:
    """The later of a batch is applied; the earlier is told as superseded."""
    started(world)
    first, second = world.publish(port(HOST, "p", 1)), world.publish(port(HOST, "p", 2))
    world.run()
    assert [change.revision for change in world.node.plans[-1].changes] == [2]
    assert (world.outcomes(first), world.outcomes(second)) == ([SUPERSEDED], [APPLIED])


def test_a_delete_stays_known_until_its_tombstone(world: World) -> None:
    """A late lower revision cannot bring a deleted resource back."""
    started(world)
    world.publish(port(HOST, "p", 3))
    world.publish(gone(port(HOST, "p", 3), 4))
    world.publish(port(HOST, "p", 3))
    world.run()
    assert world.node.resources == {}
    key = port(HOST, "p", 1).key
    assert world.disk.entries[key].op is Op.DELETE
    world.write(world.places(host())[0], encode_key(key), None)
    world.run()
    world.stop()
    assert key not in world.disk.entries


def test_a_tombstone_takes_nothing_down(world: World) -> None:
    """A null that landed behind a re-creation is not an order."""
    started(world)
    world.publish(port(HOST, "p", 3))
    world.write(world.places(host())[0], encode_key(port(HOST, "p", 1).key), None)
    world.run()
    assert world.node.resources == expected(port(HOST, "p", 3))
    world.disk = State()
    started(world)
    assert world.node.resources == expected(port(HOST, "p", 3))


# Whose record it is, and whether it is one.


def test_a_neighbours_record_is_dropped_unread(world: World) -> None:
    """Another host's records, even broken ones, are counted and nothing more."""
    started(world)
    where = world.places(host())[0]
    other = ResourceKey(host_scope("h10"), "port", "p")
    world.write(where, encode_key(other), b"\xff not a record")
    world.write(where, b"h\x1fh", b"x")
    world.write(where, b"\x1f\x1f\x1f", b"x")
    world.run()
    assert world.node.resources == {}
    assert world.counters.records_foreign == 3
    assert world.counters.records_quarantined == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"h\x1fh1\x1fport\x1fp", b""),
        (b"h\x1fh1\x1fport\x1fp", b"\x02\x90"),
        (b"h\x1fh1\x1fport\x1fp", b"\x01\xc1"),
        (b"h\x1fh1\x1fport\x1fp", value_of(port(HOST, "p", 1), "c")[:-1]),
        (b"h\x1fh1\x1fport", value_of(port(HOST, "p", 1), "c")),
        (b"h\x1fh1\x1fport\x1fa\x00b", value_of(port(HOST, "p", 1), "c")),
        (b"h\x1fh1\x1f\xff\x1fp", value_of(port(HOST, "p", 1), "c")),
        (b"h\x1fh1\x1f!handover\x1f2", b"\x01\x93\x02\xa3bad\x00"),
        (b"h\x1fh1\x1f!seal\x1f2", b"\x07"),
    ],
    ids=[
        "empty", "version", "msgpack", "cut", "short key", "control in id", "not utf-8", "marker",
        "seal",
    ],
)  # fmt: skip
def test_what_cannot_be_read_goes_to_quarantine(world: World, key: bytes, value: bytes) -> None:
    """Where and why is remembered, and what follows goes on."""
    quarantined: list[Quarantined] = []
    started(world)
    offset = world.write(world.places(host())[0], key, value)
    world.publish(port(HOST, "q", 1))
    where = world.places(host())[0]
    records = tuple(
        ev.Record(where, number, *record) for number, record in enumerate(world.logs[where])
    )
    for effect in world.core.step(ev.Batch(world.now, records)):
        quarantined += getattr(getattr(effect, "transaction", None), "quarantined", [])
    (row,) = quarantined
    assert (row.topic, row.partition, row.offset) == (where.topic, where.partition, offset)
    assert (row.key, row.value) == (key, value)
    assert row.why
    assert world.core.gauges().resources == 1
    assert world.counters.records_quarantined == 1


def test_a_broken_record_does_not_take_down_the_last_good_one(world: World) -> None:
    """In a resync, the log speaks of the resource, if only in a record that cannot be read."""
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    where = world.places(host())[0]
    world.logs[where] = [(encode_key(put.key), b"\x09 of a later version")]
    world.feed(ev.PositionLost(world.now, where))
    world.run()
    assert world.node.resources == expected(put)


# A log that was cut, and has grown again.


def test_a_log_that_has_grown_again_while_the_agent_was_off_is_read_anew(world: World) -> None:
    """What lies below the position now was never read; without the leader's epoch nobody would know."""
    for number in range(3):
        world.publish(port(HOST, f"p{number}", 1))
    started(world)
    (where,) = world.places(host())
    world.stop()
    world.cut(where, 1)
    for number in range(3, 7):
        world.publish(port(HOST, f"p{number}", 1))
    started(world)
    assert world.node.resources == expected(*(port(HOST, f"p{number}", 1) for number in range(7)))
    assert world.counters.resyncs == {"position_lost": 1}
    world.stop()
    started(world)
    assert world.counters.resyncs == {"position_lost": 1}


def test_a_log_cut_between_two_streams_is_read_anew(world: World) -> None:
    """The one that lags finds nothing wrong; what it reads on its way is of a later leader."""
    world.vpcs["w"] = VpcPlacement(1, (HOME,))
    world.publish(port(HOST, "p", 1, "v"))
    world.publish(port(HOST, "q", 1, "w"))
    first, lost = of_vpc("w", "vpc", "w", 1), of_vpc("v", "vpc", "v", 1)
    world.publish(first)
    world.publish(lost)
    world.publish(of_vpc("v", "subnet", "s", 1, vpc_id="v"))
    started(world)
    (where,) = world.places(vpc_scope("v"))
    lagging = world.disk.streams[vpc_scope("w")]
    world.stop()
    behind = {**world.disk.streams, vpc_scope("w"): msgspec.structs.replace(lagging, next=1)}
    world.disk = msgspec.structs.replace(world.disk, streams=behind)
    world.cut(where, 2)
    late = [of_vpc(vpc, "subnet", "late", 1, vpc_id=vpc) for vpc in ("v", "w")]
    for put in late:
        world.publish(put)
    started(world)
    assert {put.key for put in (first, lost, *late)} <= world.node.resources.keys()
    assert world.counters.resyncs == {"position_lost": 2}


def test_a_position_behind_what_was_no_record_is_not_judged(world: World) -> None:
    """Tombstones that went may have been of later leaders than the last record that is there."""
    world.publish(port(HOST, "p", 1))
    started(world)
    (where,) = world.places(host())
    assert world.core.assignment().leader_epochs == {where: 0}
    world.feed(ev.Batch(world.now, (), {where: 5}))
    assert world.core.assignment().positions == {where: 5}
    assert world.core.assignment().leader_epochs == {}


# Changesets.


def test_a_changeset_is_applied_in_one_step(world: World) -> None:
    """Nothing of it is applied before all of it is there."""
    started(world)
    puts = [port(HOST, f"p{number}", 1) for number in range(3)]
    world.publish_part(puts[0], "c", 0, 3)
    world.publish(port(HOST, "other", 1))
    world.publish_part(puts[2], "c", 2, 3)
    world.run()
    assert world.node.resources == expected(port(HOST, "other", 1))
    assert world.core.gauges().held == 2
    world.publish_part(puts[1], "c", 1, 3)
    world.run()
    assert len(world.node.plans[-1].changes) == 3
    assert world.outcomes("c") == [APPLIED] * 3


def test_an_incomplete_changeset_is_released_after_its_time(world: World) -> None:
    """If its publisher died half-way, what there is is taken singly, and counted."""
    started(world)
    world.publish_part(port(HOST, "p", 1), "c", 0, 2)
    world.run()
    world.wait(29.0)
    assert world.node.resources == {}
    world.wait(2.0)
    assert world.node.resources == expected(port(HOST, "p", 1))
    assert world.counters.changesets_released == 1


def test_what_is_held_is_read_again_after_a_restart(world: World) -> None:
    """The remembered position stays before the first record held."""
    started(world)
    world.publish_part(port(HOST, "p", 1), "c", 0, 2)
    world.publish(port(HOST, "q", 1))
    world.run()
    started(world)
    world.publish_part(port(HOST, "r", 1), "c", 1, 2)
    world.run()
    assert world.node.resources == expected(*(port(HOST, id, 1) for id in "pqr"))
    assert world.counters.changesets_released == 0


def test_a_repeated_changeset_becomes_whole(world: World) -> None:
    """Half of it had been released; the sender repeats it: the rest is applied in one step."""
    started(world)
    puts = [port(HOST, f"p{number}", 1) for number in range(3)]
    world.publish_part(puts[0], "c", 0, 3)
    world.run()
    world.wait(31.0)
    world.publish(*puts, changeset="c")
    world.run()
    assert world.node.resources == expected(*puts)
    assert {change.key for change in world.node.plans[-1].changes} == {put.key for put in puts[1:]}


def test_held_records_are_bounded() -> None:
    """When there is no room the oldest incomplete changeset is released early, and counted."""
    world = started(World(AgentSettings(held_max=2)))
    for number in range(3):
        world.publish_part(port(HOST, f"p{number}", 1), f"c{number}", 0, 2)
    world.run()
    assert world.node.resources == expected(port(HOST, "p0", 1))
    assert world.counters.changesets_crowded_out == 1


def test_a_young_incomplete_changeset_stays_held_in_a_snapshot(world: World) -> None:
    """Its publisher may still be sending: the rest of the snapshot goes ahead without it."""
    world.publish(port(HOST, "p", 1))
    world.publish_part(port(HOST, "p", 2), "young", 0, 2, age_s=5.0)
    started(world)
    assert world.node.resources == expected(port(HOST, "p", 1))
    world.publish_part(port(HOST, "q", 1), "young", 1, 2)
    world.run()
    assert world.node.resources == expected(port(HOST, "p", 2), port(HOST, "q", 1))


def test_an_old_incomplete_changeset_is_taken_as_it_is_in_a_snapshot(world: World) -> None:
    """Compaction has thinned it: what is missing was replaced by something later."""
    world.publish_part(port(HOST, "p", 1), "old", 0, 2, age_s=3_600.0)
    started(world)
    assert world.node.resources == expected(port(HOST, "p", 1))
    assert world.counters.changesets_released == 0


def test_copied_records_are_taken_singly(world: World) -> None:
    """A mover copies what was accepted; a copy waits for nothing."""
    started(world)
    put = port(HOST, "p", 1)
    world.copy(put, "c", world.places(host())[0])
    world.run()
    assert world.node.resources == expected(put)


# What waits for what.


def test_a_port_waits_for_what_it_refers_to(world: World) -> None:
    """It is told as pending with what is missing, and applied when that comes."""
    started(world)
    waiting = port(HOST, "p", 1, "v", fixed_ips=[{"subnet_id": "s"}], security_groups=["g"])
    id = world.publish(waiting)
    world.run()
    assert world.outcomes(id) == [PENDING]
    (entry,) = [entry for entry in world.told if entry.changeset == id]
    for missing in ("vpc:v/vpc/v", "vpc:v/subnet/s", "vpc:v/security_group/g"):
        assert missing in entry.detail
    rest = [of_vpc("v", "vpc", "v", 1), of_vpc("v", "security_group", "g", 1)]
    for put in rest:
        world.publish(put)
    world.run()
    assert world.node.resources == expected(*rest)
    assert world.core.gauges().parked == 1
    subnet = of_vpc("v", "subnet", "s", 1, vpc_id="v")
    world.publish(subnet)
    world.run()
    assert [change.key.kind for change in world.node.plans[-1].changes] == ["subnet", "port"]
    assert world.node.resources == expected(*rest, subnet, waiting)
    assert world.outcomes(id)[-1] is APPLIED


def test_what_waits_survives_a_restart(world: World) -> None:
    """Parked resources are remembered, and woken by what they wait for."""
    started(world)
    id = world.publish(of_host(HOST, "route", "t", 1, router_id="r"))
    world.run()
    started(world)
    assert world.core.gauges().parked == 1
    world.publish(of_host(HOST, "router", "r", 1))
    world.run()
    assert world.outcomes(id)[-1] is APPLIED


def test_waiting_is_passed_on(world: World) -> None:
    """What refers to something that waits, waits too; all are applied in one plan."""
    started(world)
    world.publish(of_host(HOST, "dhcp", "d", 1, port_id="p"))
    world.publish(port(HOST, "p", 1, "v"))
    world.run()
    assert world.core.gauges().parked == 2
    world.publish(of_vpc("v", "vpc", "v", 1))
    world.run()
    assert [change.key.kind for change in world.node.plans[-1].changes] == ["vpc", "port", "dhcp"]


def test_deletes_come_last_and_in_falling_rank(world: World) -> None:
    """What refers goes before what is referred to; new things come before old ones go."""
    started(world)
    world.publish(of_host(HOST, "router", "r", 1))
    world.publish(of_host(HOST, "route", "t", 1, router_id="r"))
    world.run()
    world.publish(
        gone(of_host(HOST, "router", "r", 1), 2),
        gone(of_host(HOST, "route", "t", 1), 2),
        of_host(HOST, "gateway", "g", 1),
    )
    world.run()
    changes = [(change.op, change.key.kind) for change in world.node.plans[-1].changes]
    assert changes == [(Op.UPSERT, "gateway"), (Op.DELETE, "route"), (Op.DELETE, "router")]


def test_what_is_there_stays_when_its_reference_goes(world: World) -> None:
    """A delete of something that others refer to takes down nothing else."""
    started(world)
    route = of_host(HOST, "route", "t", 1, router_id="r")
    world.publish(of_host(HOST, "router", "r", 1))
    world.publish(route)
    world.run()
    world.publish(gone(of_host(HOST, "router", "r", 1), 2))
    world.run()
    assert world.node.resources == expected(route)
    assert world.core.gauges().parked == 0


# Interest.


def test_a_vpc_is_followed_while_it_has_ports(world: World) -> None:
    """The first port brings the VPC, its last one's leaving takes it away after the grace."""
    vpc, other = of_vpc("v", "vpc", "v", 1), of_vpc("w", "vpc", "w", 1)
    world.vpcs["w"] = VpcPlacement(1, (HOME,))
    world.publish(vpc)
    world.publish(other)
    started(world)
    assert world.node.resources == {}
    here = port(HOST, "p", 1, "v")
    world.publish(here)
    world.run()
    assert world.node.resources == expected(vpc, here)
    assert world.words == [("c1", "v", True)]
    world.publish(gone(here, 2))
    world.run()
    world.wait(29.0)
    assert world.node.resources == expected(vpc)
    world.wait(2.0)
    assert world.node.resources == {}
    assert world.words[-1] == ("c1", "v", False)
    assert set(world.disk.streams) == {host()}
    assert (world.counters.vpcs_joined, world.counters.vpcs_left) == (1, 1)


def test_a_vpc_stays_while_a_port_cannot_be_taken_away(world: World) -> None:
    """The applier refuses to delete the port: what it refers to may not go before it."""
    vpc, here = of_vpc("v", "vpc", "v", 1), port(HOST, "p", 1, "v")
    world.publish(vpc)
    world.publish(here)
    started(world)
    world.node._refuse = lambda change: (
        "in use" if change.op is Op.DELETE and change.key == here.key else None
    )
    world.publish(gone(here, 2))
    world.run()
    world.wait(200.0)
    assert world.node.resources == expected(vpc, here)
    started(world)
    world.wait(200.0)
    assert world.node.resources == expected(vpc, here)
    world.node._refuse = None
    world.wait(400.0)
    assert world.node.resources == {}
    assert world.words[-1] == ("c1", "v", False)


def test_a_port_that_comes_back_in_time_costs_nothing(world: World) -> None:
    """Within the grace period the VPC is not read again."""
    vpc, here = of_vpc("v", "vpc", "v", 1), port(HOST, "p", 1, "v")
    world.publish(vpc)
    world.publish(here)
    started(world)
    world.publish(gone(here, 2))
    world.run()
    world.wait(10.0)
    back = port(HOST, "q", 1, "v")
    world.publish(back)
    world.run()
    world.wait(100.0)
    assert world.node.resources == expected(vpc, back)
    assert world.counters.snapshots == 2


def test_a_vpc_that_is_not_found_is_looked_for_again(world: World) -> None:
    """Its replica may be on its way; the wait grows."""
    del world.vpcs["v"]
    started(world)
    world.publish(port(HOST, "p", 1, "v"))
    world.run()
    world.wait(10.0)
    assert 5 <= len(world.asked) <= 12
    assert not world.core.is_caught_up()
    world.vpcs["v"] = VpcPlacement(1, (HOME,))
    vpc = of_vpc("v", "vpc", "v", 1)
    world.publish(vpc)
    world.wait(10.0)
    world.run()
    assert world.node.resources == expected(vpc, port(HOST, "p", 1, "v"))
    assert world.core.is_caught_up()


def test_a_vpc_without_a_replica_in_this_cluster_is_not_read_elsewhere(world: World) -> None:
    """Only the host's own cluster is read."""
    world.vpcs["v"] = VpcPlacement(1, (Placement("vpc-c", 0),))
    started(world)
    world.publish(port(HOST, "p", 1, "v"))
    world.publish(of_vpc("v", "vpc", "v", 1))
    world.run()
    assert {place.cluster for place in world.core.assignment().positions} == {"c1"}


def test_two_vpcs_share_a_partition_at_their_own_positions(world: World) -> None:
    """Reading it again for one tells nothing twice for the other."""
    world.vpcs["w"] = VpcPlacement(1, (HOME,))
    world.publish(of_vpc("w", "vpc", "w", 1))
    first = world.publish(of_vpc("v", "vpc", "v", 1))
    world.publish(port(HOST, "p", 1, "v"))
    started(world)
    again = world.publish(of_vpc("v", "subnet", "s", 1, vpc_id="v"))
    world.run()
    world.publish(port(HOST, "q", 1, "w"))
    world.run()
    assert world.outcomes(first) == [APPLIED]
    assert world.outcomes(again) == [APPLIED]
    assert len(world.node.resources) == 5


def test_a_vpc_left_without_a_port_at_a_restart_is_left_after_the_grace(world: World) -> None:
    """A restart within the grace period does not make it endless."""
    here = port(HOST, "p", 1, "v")
    world.publish(of_vpc("v", "vpc", "v", 1))
    world.publish(here)
    started(world)
    world.publish(gone(here, 2))
    world.run()
    started(world)
    world.wait(31.0)
    assert world.node.resources == {}


# Restarts.


def test_a_restart_continues_and_applies_nothing_again(world: World) -> None:
    """What was applied and told is done."""
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    world.stop()
    plans = len(world.node.plans)
    started(world)
    assert len(world.node.plans) == plans
    assert world.counters.snapshots == 1


def test_what_was_not_acknowledged_is_applied_and_told_again(world: World) -> None:
    """A kill after the transaction: the latest revision reaches the node, the sender is told."""
    started(world)
    id = world.publish(port(HOST, "p", 1))
    where = world.places(host())[0]
    key, value = world.logs[where][0]
    persist, *_ = world.core.step(ev.Batch(world.now, (ev.Record(where, 0, key, value),)))
    world._perform(persist)
    assert world.node.resources == {}
    started(world)
    assert world.node.resources == expected(port(HOST, "p", 1))
    assert world.outcomes(id) == [APPLIED]
    world.stop()
    assert world.disk.owed == {}


def test_a_memory_that_fell_back_takes_nothing_down(world: World) -> None:
    """Power loss may take the latest transactions: what the node has beyond them is read again first."""
    first, second = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish(first)
    started(world)
    before = world.disk
    world.publish(second)
    world.run()
    world.disk = before
    world.start()
    assert world.node.resources == expected(first, second)
    world.run()
    assert world.node.resources == expected(first, second)
    assert world.core.is_caught_up()


def test_a_lost_report_is_told_again(world: World) -> None:
    """Until Kafka has it, it is told again, with a growing wait, and after a restart."""
    started(world)
    id = world.publish(port(HOST, "p", 1))
    world.read()
    world.lose()
    world.wait(1.0)
    assert len(world.outcomes(id)) == 2
    world.start()
    assert len(world.outcomes(id)) == 3
    world.settle()
    world.wait(200.0)
    assert len(world.outcomes(id)) == 3
    assert world.disk.owed == {}


def test_reports_owed_are_bounded() -> None:
    """When nobody takes them the oldest are dropped, and counted."""
    world = started(World(AgentSettings(outbox_max=3)))
    for number in range(5):
        world.publish(port(HOST, f"p{number}", 1))
        world.read()
    assert world.counters.reports_dropped == 2
    world.stop()
    assert len(world.disk.owed) == 3


def test_positions_past_a_neighbours_records_are_written_lazily(world: World) -> None:
    """A neighbour's traffic costs no transaction of its own."""
    started(world)
    before = world.transactions
    other = encode_key(ResourceKey(host_scope("h2"), "port", "p"))
    for _ in range(10):
        world.write(world.places(host())[0], other, b"x")
        world.read()
    assert world.transactions == before
    world.wait(6.0)
    assert world.transactions == before + 1
    assert world.disk.streams[host()].next == 10


def test_the_agent_goes_on_with_the_directory_away(world: World) -> None:
    """Known streams go on from local state; nothing is asked twice meanwhile."""
    world.publish(of_vpc("v", "vpc", "v", 1))
    world.publish(port(HOST, "p", 1, "v"))
    started(world)
    world.directory_is_up = False
    started(world)
    world.publish(port(HOST, "p", 2, "v"))
    world.publish(of_vpc("v", "vpc", "v", 2))
    world.run()
    assert [revision for revision, _ in world.node.resources.values()] == [2, 2]


def test_a_first_start_waits_for_the_directory(world: World) -> None:
    """Without a placement there is nothing to read."""
    world.directory_is_up = False
    started(world)
    assert world.core.assignment().positions == {}
    assert not world.core.is_caught_up()
    world.directory_is_up = True
    world.publish(port(HOST, "p", 1))
    world.run()
    world.run()
    assert world.node.resources == expected(port(HOST, "p", 1))


def test_a_pool_that_the_topology_does_not_know_is_waited_for(world: World) -> None:
    """A newer topology tells where the pool is."""
    world.topology = msgspec.structs.replace(TOPOLOGY, pools=TOPOLOGY.pools[1:])
    started(world)
    assert world.core.assignment().positions == {}
    world.topology = msgspec.structs.replace(TOPOLOGY, version=2)
    world.feed(ev.Located(world.now, world.topology, None, {}))
    world.publish(port(HOST, "p", 1))
    world.run()
    assert world.node.resources == expected(port(HOST, "p", 1))


def test_an_older_topology_changes_nothing(world: World) -> None:
    """The directory is believed only forwards."""
    started(world)
    world.wait(6.0)
    older = msgspec.structs.replace(TOPOLOGY, version=0, pools=())
    world.feed(ev.Located(world.now, older, None, {}))
    world.wait(6.0)
    assert world.disk.topology == TOPOLOGY


# Handovers.

OLD = Placement("host-a", 0)
NEW = Placement("host-b", 0, 2, 1)
FAR = Placement("host-c", 0, 2, 0)


def moved(world: World, new: Placement, *copies: Put) -> None:
    """Move the host: copies, marker; from now on its records go to the new slot."""
    where = address(host(), new)
    while len(world.logs.get(where, [])) < new.start:
        world.write(where, encode_key(port(HOST, "earlier stay", 9).key), b"\xff")
    for put in copies:
        world.copy(put, "copied", where)
    world.mark(host(), world.rows[HOST], new)
    world.rows[HOST] = new


def test_a_marker_is_followed_with_the_state_kept(world: World) -> None:
    """The agent reads on at the new slot's start; duplicates change nothing."""
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    plans = len(world.node.plans)
    moved(world, NEW, put)
    later = port(HOST, "q", 1)
    world.publish(later)
    world.run()
    assert world.node.resources == expected(put, later)
    assert len(world.node.plans) == plans + 1
    assert world.disk.streams[host()].placement == NEW
    assert world.counters.handovers == 1
    assert world.counters.records_quarantined == 0
    started(world)
    world.publish(port(HOST, "q", 2))
    world.run()
    assert world.node.resources == expected(put, port(HOST, "q", 2))


def test_what_stands_in_the_old_slot_behind_the_marker_is_not_read(world: World) -> None:
    """A publisher that was asleep is turned by the fence; what it wrote there was not accepted."""
    started(world)
    old = address(host(), OLD)
    moved(world, NEW)
    late = port(HOST, "late", 1)
    world.write(old, encode_key(late.key), value_of(late, "late"))
    world.run()
    assert world.node.resources == {}


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_marker_of_no_higher_epoch_is_ignored(world: World, epoch: int) -> None:
    """The agent's own marker, and older ones, say nothing new."""
    world.rows[HOST] = Placement("host-a", 0, 2)
    started(world)
    world.mark(host(), world.rows[HOST], Placement("host-b", 0, epoch))
    put = port(HOST, "p", 1)
    world.publish(put)
    world.run()
    assert world.node.resources == expected(put)
    assert world.counters.records_ignored == 1


def test_no_absence_counts_in_a_slot_entered_by_a_marker(world: World) -> None:
    """Copies may still be on their way: the state stays as it is."""
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    moved(world, NEW)
    world.run()
    world.seal(host(), NEW)
    world.run()
    assert world.node.resources == expected(put)


def test_what_is_held_is_left_behind_at_a_marker(world: World) -> None:
    """Nobody had accepted it; its publisher sends the whole to the new slot."""
    started(world)
    first, second = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish_part(first, "c", 0, 2)
    moved(world, NEW)
    world.run()
    world.wait(60.0)
    assert world.node.resources == {}
    assert world.counters.changesets_abandoned == 1
    world.publish(first, second, changeset="c")
    world.run()
    assert world.node.resources == expected(first, second)


def test_a_fresh_agent_with_a_stale_row_follows_the_marker(world: World) -> None:
    """It begins at the new slot's start, and what the old slot held counts for nothing."""
    world.publish(port(HOST, "deleted later", 1))
    put = port(HOST, "p", 1)
    moved(world, NEW, put)
    world.rows[HOST] = OLD
    started(world)
    assert world.node.resources == expected(put)
    assert world.disk.streams[host()].placement == NEW


def absent(world: World) -> None:
    """Let so long pass that deletes may be gone from the log, and the agent come back."""
    world.wait(4 * 86_400.0)
    world.feed(ev.ClusterSeen(world.now, "c1", "id"))
    world.run()


def test_absence_counts_only_once_the_slot_is_sealed(world: World) -> None:
    """A resync in a slot entered by a handover deletes nothing before `!seal` of that epoch."""
    put, leftover = port(HOST, "p", 1), port(HOST, "leftover", 1)
    world.publish(put)
    world.publish(leftover)
    started(world)
    moved(world, NEW, put)
    world.run()
    absent(world)
    assert world.node.resources == expected(put, leftover)
    late = port(HOST, "q", 1)
    world.publish(late)
    world.run()
    assert world.node.resources == expected(put, leftover, late)
    world.seal(host(), NEW, epoch=1)
    world.run()
    assert leftover.key in world.node.resources
    world.seal(host(), NEW)
    world.run()
    assert world.node.resources == expected(put, late)
    assert world.disk.streams[host()].next is not None


def test_a_snapshot_read_past_the_compaction_lag_is_read_again(world: World) -> None:
    """An agent that sleeps while it reads one may find a record compacted away for a newer one that
    stands behind the snapshot's end: that is no absence.
    """
    put, other = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish(put)
    world.publish(other)
    started(world)
    removed: list[ResourceKey] = []
    world.on_plan = lambda plan: removed.extend(
        change.key for change in plan.changes if change.op is Op.DELETE
    )
    where = address(host(), OLD)
    world.feed(ev.PositionLost(world.now, where))
    newer = port(HOST, "p", 2)
    world.publish(newer)
    world.logs[where][0] = (b"", None)
    world.wait(3_600.0)
    for _ in range(3):
        world.read(1)
    world.run()
    assert world.node.resources == expected(newer, other)
    assert removed == []
    assert world.counters.resyncs == {"position_lost": 1, "slow": 1}


def test_a_seal_that_comes_late_ends_a_snapshot_read_again(world: World) -> None:
    """A move may take long; what is absent then is judged by a snapshot read behind its seal."""
    put, leftover = port(HOST, "p", 1), port(HOST, "leftover", 1)
    world.publish(put)
    world.publish(leftover)
    started(world)
    moved(world, NEW, put)
    world.run()
    absent(world)
    newer = port(HOST, "p", 2)
    world.publish(newer)
    world.seal(host(), NEW)
    world.wait(3_600.0)
    world.run()
    assert world.node.resources == expected(newer)
    assert world.counters.resyncs["slow"] == 1
    assert world.disk.streams[host()].next is not None


def test_an_unsealed_snapshot_begins_again_at_a_restart(world: World) -> None:
    """What has been seen of it is not remembered, so it is not continued."""
    world.rows[HOST] = Placement("host-b", 0, 2)
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    world.wait(6.0)
    assert world.disk.streams[host()].next is None
    started(world)
    world.seal(host(), world.rows[HOST])
    world.run()
    world.wait(6.0)
    assert world.node.resources == expected(put)
    assert world.disk.streams[host()].next == 2


def test_a_move_to_another_cluster_takes_the_vpcs_along(world: World) -> None:
    """A VPC is read where it was until its replica in the new cluster is found."""
    vpc, here = of_vpc("v", "vpc", "v", 1), port(HOST, "p", 1, "v")
    world.publish(vpc)
    world.publish(here)
    started(world)
    moved(world, FAR, here)
    world.run()
    positions = world.core.assignment().positions
    assert {place.cluster for place in positions} == {"c1", "c2"}
    world.publish(of_vpc("v", "vpc", "v", 2))
    world.run()
    assert world.node.resources[vpc.key][0] == 2
    replica = Placement("vpc-c", 0, 2)
    world.vpcs["v"] = VpcPlacement(2, (HOME, replica))
    world.copy(of_vpc("v", "vpc", "v", 2), "copied", address(vpc_scope("v"), replica))
    world.seal(vpc_scope("v"), replica)
    world.wait(10.0)
    world.run()
    assert {place.cluster for place in world.core.assignment().positions} == {"c2"}
    world.publish(of_vpc("v", "subnet", "s", 1, vpc_id="v"))
    world.run()
    assert len(world.node.resources) == 3
    assert world.words == [("c1", "v", True), ("c1", "v", False), ("c2", "v", True)]


def test_a_vpc_follows_its_own_marker(world: World) -> None:
    """A VPC's home moves like a host does."""
    vpc = of_vpc("v", "vpc", "v", 1)
    world.publish(vpc)
    world.publish(port(HOST, "p", 1, "v"))
    started(world)
    new = Placement("vpc-b", 0, 2)
    world.mark(vpc_scope("v"), HOME, new)
    world.vpcs["v"] = VpcPlacement(2, (new,))
    world.publish(of_vpc("v", "vpc", "v", 2))
    world.run()
    assert world.node.resources[vpc.key][0] == 2


def test_the_directory_alone_moves_no_stream(world: World) -> None:
    """Its row is a hint: the marker tells, and what stands before it is read first."""
    started(world)
    world.rows[HOST] = NEW
    world.feed(ev.Located(world.now, TOPOLOGY, NEW, {}))
    put = port(HOST, "p", 1)
    world.write(address(host(), OLD), encode_key(put.key), value_of(put, "c"))
    world.run()
    assert world.node.resources == expected(put)
    assert world.disk.streams[host()].placement == OLD


def test_a_marker_that_does_not_come_is_a_gap(world: World) -> None:
    """After a while the agent resyncs where the directory says, and counts it."""
    stays, goes = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish(stays)
    world.publish(goes)
    started(world)
    where = address(host(), NEW)
    world.write(where, encode_key(goes.key), b"\xff")
    world.copy(stays, "copied", where)
    world.seal(host(), NEW)
    world.rows[HOST] = NEW
    world.feed(ev.Located(world.now, TOPOLOGY, NEW, {}))
    world.wait(29.0)
    world.run()
    assert world.node.resources == expected(stays, goes)
    world.wait(2.0)
    world.run()
    assert world.node.resources == expected(stays)
    assert world.counters.resyncs == {"gap": 1}


# Resyncs.


def test_a_lost_position_is_an_explicit_resync(world: World) -> None:
    """What is unchanged is not applied again, what is absent stays, and it is counted."""
    same, changed, absent = port(HOST, "p", 1), port(HOST, "q", 1), port(HOST, "r", 1)
    for put in (same, changed, absent):
        world.publish(put)
    started(world)
    where = world.places(host())[0]
    world.logs[where] = world.logs[where][:1]
    world.publish(port(HOST, "q", 2))
    world.feed(ev.PositionLost(world.now, where))
    world.run()
    assert world.node.resources == expected(same, absent, port(HOST, "q", 2))
    changes = {change.key: change.op for change in world.node.plans[-1].changes}
    assert changes == {changed.key: Op.UPSERT}
    assert world.counters.resyncs == {"position_lost": 1}
    assert world.counters.snapshots_refused == 1


def test_a_log_that_lost_its_beginning_takes_nothing_down(world: World) -> None:
    """Whatever the reason for reading it: compaction never moves a log's beginning."""
    kept, put = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish(kept)
    world.publish(put)
    started(world)
    world.lows[world.places(host())[0]] = 1
    absent(world)
    assert world.node.resources == expected(kept, put)
    assert world.counters.resyncs == {"absence": 1}
    assert world.counters.snapshots_refused == 1


def test_what_a_lost_log_told_stays_until_the_new_one_speaks_of_it(world: World) -> None:
    """Over restarts and absences; then its absence counts again, as that of all else does."""
    old, again, other = (port(HOST, name, 1) for name in ("old", "again", "other"))
    for put in (old, again, other):
        world.publish(put)
    started(world)
    where = world.places(host())[0]
    world.logs[where] = []
    world.publish(other)
    world.feed(ev.PositionLost(world.now, where))
    world.run()
    world.wait(10.0)
    assert world.disk.streams[host()].doubted
    for _ in range(2):
        started(world)
        world.wait(10.0)
        assert world.node.resources == expected(old, again, other)
    world.publish(port(HOST, "again", 2))
    world.run()
    # Deleted while the agent was away for longer than a delete stays: the log speaks of it no more.
    world.logs[where] = [(b"", None) for _ in world.logs[where]]
    world.publish(gone(other, 2))
    absent(world)
    assert world.node.resources == expected(old)
    world.publish(gone(old, 2))
    world.run()
    assert world.node.resources == {}
    world.wait(10.0)
    assert not world.disk.streams[host()].doubted


def test_a_topic_made_anew_is_a_resync(world: World) -> None:
    """Its name is the same, its id is not, and the position lies within it: nothing is passed by."""
    kept, put = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish(kept)
    world.publish(put)
    started(world)
    where = world.places(host())[0]
    world.see({where.topic: "one"})
    world.see({where.topic: "one"})
    assert world.counters.resyncs == {}
    world.logs[where] = []
    newer = [port(HOST, f"n{number}", 1) for number in range(3)]
    for one in newer:
        world.publish(one)
    world.run()
    assert newer[0].key not in world.node.resources
    world.see({where.topic: "two"})
    world.run()
    assert world.node.resources == expected(kept, put, *newer)
    assert world.counters.resyncs == {"topic_changed": 1}
    world.wait(10.0)
    assert world.disk.kafka_ids == {"c1": "id", f"c1/{where.topic}": "two"}


def test_a_topic_made_anew_while_the_agent_was_off(world: World) -> None:
    """It was away for long, too: what is absent waits for the cluster to say which log this is."""
    kept = port(HOST, "p", 1)
    world.publish(kept)
    started(world)
    where = world.places(host())[0]
    world.see({where.topic: "one"})
    world.wait(10.0)
    world.stop()
    world.logs[where] = []
    put = port(HOST, "q", 1)
    world.publish(put)
    world.wait(4 * 86_400.0)
    started(world)
    assert world.core.awaits_cluster
    assert world.node.resources == expected(kept, put)
    world.see({where.topic: "two"})
    world.run()
    assert world.node.resources == expected(kept, put)
    assert world.counters.resyncs == {"absence": 1, "topic_changed": 1}


def test_an_absence_counts_once_the_log_is_known_to_be_the_same(world: World) -> None:
    """The cluster is asked, and the topic that it names is the one that was read before."""
    kept, lost = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish(kept)
    world.publish(lost)
    started(world)
    where = world.places(host())[0]
    world.see({where.topic: "one"})
    world.logs[where][1] = (b"", None)
    absent(world)
    assert world.node.resources == expected(kept, lost)
    world.see({})
    assert world.core.awaits_cluster
    world.see({where.topic: "one"})
    world.run()
    assert world.node.resources == expected(kept)
    assert not world.core.awaits_cluster


def test_a_log_that_has_lost_everything_is_no_order(world: World) -> None:
    """Position lost and nothing of ours left: the node keeps what it has, and it is counted."""
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    world.logs.clear()
    world.feed(ev.PositionLost(world.now, world.places(host())[0]))
    world.run()
    assert world.node.resources == expected(put)
    assert world.counters.snapshots_refused == 1
    again = port(HOST, "q", 1)
    world.publish(again)
    world.run()
    assert world.node.resources == expected(put, again)


def test_a_log_that_has_lost_everything_is_no_order_after_a_restart(world: World) -> None:
    """The agent ends before the resync has: its next life reads on as warily."""
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    world.stop()
    world.logs.clear()
    world.disk = msgspec.structs.replace(
        world.disk, streams={host(): StreamState(Placement("host-a", 0), None, swept=True)}
    )
    started(world)
    assert world.node.resources == expected(put)


def test_another_cluster_under_the_same_name_is_a_resync(world: World) -> None:
    """The brokers name another cluster id than the one that was read before."""
    put = port(HOST, "p", 1)
    world.publish(put)
    started(world)
    world.feed(ev.ClusterSeen(world.now, "c1", "first"))
    world.feed(ev.ClusterSeen(world.now, "c1", "first"))
    world.wait(6.0)
    assert world.counters.resyncs == {}
    started(world)
    world.logs[world.places(host())[0]] = []
    other = port(HOST, "q", 1)
    world.publish(other)
    world.feed(ev.ClusterSeen(world.now, "c1", "second"))
    world.run()
    assert world.counters.resyncs == {"cluster_changed": 1}
    assert world.node.resources == expected(put, other)


def test_a_long_absence_is_a_resync(world: World) -> None:
    """Deletes may be gone from the log: absence from a complete snapshot tells them."""
    stays, goes = port(HOST, "p", 1), port(HOST, "q", 1)
    world.publish(stays)
    world.publish(goes)
    started(world)
    where = world.places(host())[0]
    world.logs[where][1] = (b"", None)
    world.wait(4 * 86_400.0)
    started(world)
    assert world.node.resources == expected(stays)
    assert world.counters.resyncs == {"absence": 1}


def test_a_clock_that_was_ahead_hides_no_absence(world: World) -> None:
    """Progress that lies in the future tells nothing of how long the agent was away."""
    started(world)
    world.stop()
    world.disk = msgspec.structs.replace(world.disk, progress_us=world.now.us + 10**15)
    started(world)
    assert world.counters.resyncs == {"absence": 1}


def test_a_short_absence_is_none(world: World) -> None:
    """Within half the retention of deletes the agent reads on."""
    world.publish(port(HOST, "p", 1))
    started(world)
    world.wait(3 * 86_400.0)
    started(world)
    assert world.counters.resyncs == {}


def test_an_idle_agent_that_sees_its_cluster_is_not_absent(world: World) -> None:
    """Progress is that the cluster answers, not that there is something to read."""
    world.publish(port(HOST, "p", 1))
    started(world)
    for _ in range(10):
        world.wait(86_400.0)
        world.feed(ev.ClusterSeen(world.now, "c1", "id"))
    world.wait(10.0)
    started(world)
    assert world.counters.resyncs == {}


# Failures of the applier.


def failing(world: World, *ids: str) -> set[str]:
    """Let the applier refuse these ids until they are taken out of the returned set."""
    refused = set(ids)
    world.node = MemoryApplier(lambda change: "no room" if change.key.id in refused else None)
    world.node.open()
    return refused


def test_a_failed_resource_blocks_nothing_and_is_tried_again(world: World) -> None:
    """It is told as failed with the reason, tried with a growing wait, and told when it works."""
    refused = failing(world, "bad")
    started(world)
    id = world.publish(port(HOST, "bad", 1), port(HOST, "good", 1))
    world.run()
    assert world.node.resources == expected(port(HOST, "good", 1))
    assert sorted(world.outcomes(id)) == [APPLIED, FAILED]
    (why,) = [entry.detail for entry in world.told if entry.outcome is FAILED]
    assert why == "no room"
    world.wait(10.0)
    assert 3 <= world.counters.apply_retries <= 6
    assert world.core.gauges().failed == 1
    refused.clear()
    world.wait(20.0)
    assert world.node.resources == expected(port(HOST, "bad", 1), port(HOST, "good", 1))
    assert world.outcomes(id)[-1] is APPLIED
    assert len(world.outcomes(id)) == 3
    assert world.core.gauges().failed == 0


def test_a_failure_is_remembered_over_a_restart(world: World) -> None:
    """It is tried again at once, and told when it works."""
    refused = failing(world, "bad")
    started(world)
    id = world.publish(port(HOST, "bad", 1))
    world.run()
    world.stop()
    (entry,) = world.disk.entries.values()
    assert (entry.status, entry.detail) == (Status.FAILED, "no room")
    refused.clear()
    started(world)
    assert world.outcomes(id) == [FAILED, APPLIED]


def test_a_newer_revision_ends_the_failure_of_an_older_one(world: World) -> None:
    """Only the latest revision is tried again."""
    refused = failing(world, "p")
    started(world)
    world.publish(port(HOST, "p", 1))
    world.run()
    refused.clear()
    world.publish(port(HOST, "p", 2))
    world.run()
    world.wait(100.0)
    assert world.counters.apply_retries == 0
    assert world.node.resources == expected(port(HOST, "p", 2))


def test_what_depends_on_a_failed_resource_is_not_held_up(world: World) -> None:
    """A failed reference is there as far as the log goes."""
    failing(world, "r")
    started(world)
    world.publish(of_host(HOST, "router", "r", 1))
    world.publish(of_host(HOST, "route", "t", 1, router_id="r"))
    world.run()
    assert world.node.resources == expected(of_host(HOST, "route", "t", 1, router_id="r"))


def test_a_removal_that_fails_is_tried_until_it_works(world: World) -> None:
    """What is absent from a complete snapshot goes, however often that has to be tried."""
    put = port(HOST, "p", 1)
    world.publish(put)
    world.publish(port(HOST, "q", 1))
    started(world)
    held = dict(world.node.resources)
    refused = failing(world, "p")
    world.node.resources.update(held)
    where = world.places(host())[0]
    world.logs[where] = world.logs[where][1:]
    world.feed(ev.PositionLost(world.now, where))
    world.run()
    started(world)
    assert put.key in world.node.resources
    refused.clear()
    world.wait(10.0)
    assert world.node.resources == expected(port(HOST, "q", 1))
    world.stop()
    assert put.key not in world.disk.entries


def test_a_control_record_of_a_later_kind_is_ignored(world: World) -> None:
    """Reserved kinds that this version does not know are counted and passed over."""
    started(world)
    world.write(world.places(host())[0], encode_key(ResourceKey(host(), "!later", "1")), b"\x09")
    world.write(world.places(host())[0], handover_key(host(), 5), None)
    world.run()
    assert world.counters.records_ignored == 2
    assert world.counters.records_quarantined == 0


def test_the_lag_of_live_changes_is_counted(world: World) -> None:
    """From the intended sending to the applier's answer."""
    started(world)
    world.publish(port(HOST, "p", 1), age_s=0.03)
    world.run()
    lag = world.counters.lag
    assert sum(lag.counts) == 1
    assert lag.sum_s == pytest.approx(0.03, abs=1e-3)
