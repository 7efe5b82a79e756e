"""Publishing on real clusters: accepted means that the readers will read it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from southbound.directory import Directory
from southbound.directory.moves import MovesLog
from southbound.edge.kafka import end_offsets, new_consumer
from southbound.edge.tail import RangeReader
from southbound.errors import EdgeError, OutcomeUnknown, UnknownScope
from southbound.local.fleet import LocalFleet
from southbound.local.record import REDIS
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.parts import AgentParts
from southbound.nca.service import Agent
from southbound.partitioning.placement import Address, Placement, address_of
from southbound.partitioning.topology import Topology
from southbound.producer import Publisher
from southbound.resources import Changeset, Resource, Scope, host_scope, vpc_scope
from southbound.settings import PublisherSettings
from southbound.wire.envelope import decode
from southbound.wire.keys import scope_prefix
from tests.live.directory_kit import DirectoryKit, eventually, kit_of, prepared_topology

Unique = Callable[[str], str]
_S = 60.0


class World:
    """A directory, publishers, and a look into slots."""

    def __init__(self, kit: DirectoryKit) -> None:
        self.kit = kit
        self.directory: Directory = kit.directory()
        self.publishers: list[Publisher] = []

    def publisher(self, **settings: object) -> Publisher:
        """Return one more publisher, started."""
        made = Publisher(self.directory, PublisherSettings(**settings))  # type: ignore[arg-type]
        made.start()
        self.publishers.append(made)
        return made

    def host(self, unique: Unique, az: str = "az-a") -> str:
        """Return a new, registered host."""
        host = unique("host")
        self.directory.register_hosts({host: az})
        return host

    def address(self, host: str, placement: Placement | None = None) -> Address:
        """Return where a host's stream is."""
        found = placement or self.directory.hosts([host])[host]
        return address_of("host", host, found, self.directory.topology)

    def revisions(self, scope: Scope, address: Address) -> list[int]:
        """Return the revisions of a scope's records in a slot, in their order."""
        return revisions(self.directory.topology, scope, address)


def revisions(topology: Topology, scope: Scope, address: Address) -> list[int]:
    """Return the revisions of a scope's resource records in a slot, in their order."""
    cluster = topology.cluster(address.cluster)
    asker = new_consumer(cluster, "look")
    low, high = end_offsets(asker, address.topic, address.partition)
    asker.close()
    reader = RangeReader(cluster, address.topic, "look", partition=address.partition)
    messages = reader.read(low, high, _S)
    reader.close()
    prefix = scope_prefix(scope)
    return [
        decode(value).revision
        for message in messages
        if isinstance(key := message.key(), bytes)
        and isinstance(value := message.value(), bytes)
        and key.startswith(prefix)
        and not key[len(prefix) :].startswith(b"!")
    ]


@pytest.fixture(scope="module")
def topology(fleet: LocalFleet) -> Topology:
    """Return the shared fleet's topology, its topics made."""
    return prepared_topology(fleet)


@pytest.fixture
def world(fleet: LocalFleet, topology: Topology) -> Iterator[World]:
    """Return a world on the shared fleet."""
    with kit_of(fleet, topology, 9) as kit:
        made = World(kit)
        made.directory.put_topology(topology)
        yield made
        for publisher in made.publishers:
            publisher.close()


def _change(scope: Scope, revision: int, id: str = "m-1", kind: str = "meter") -> Changeset:
    resource = Resource(scope, kind, id, revision, {"revision": revision})
    return Changeset(f"{id}-{revision}", (resource,))


def _port(host: str, vpc: str, id: str, revision: int = 1) -> Changeset:
    return Changeset(
        f"{id}-{revision}", (Resource(host_scope(host), "port", id, revision, {"vpc_id": vpc}),)
    )


def test_what_is_accepted_stands_in_its_slot(world: World, unique: Unique) -> None:
    """One by one and in bulk, each accepted change can be read where its reader reads."""
    publisher = world.publisher()
    hosts = [world.host(unique) for _ in range(20)]
    for revision in (1, 2):
        publisher.publish(_change(host_scope(hosts[0]), revision)).accepted.result(_S)
    many = publisher.publish_many(_change(host_scope(host), 3) for host in hosts)
    assert many.accepted.result(_S) == len(hosts)
    assert world.revisions(host_scope(hosts[0]), world.address(hosts[0])) == [1, 2, 3]
    for host in hosts[1:]:
        assert world.revisions(host_scope(host), world.address(host)) == [3]
    assert publisher.counters.accepted == 22
    assert publisher.counters.turned == 0


def test_a_moved_host_gets_it_in_its_new_slot(
    world: World, topology: Topology, unique: Unique
) -> None:
    """The cache and Redis still tell the old place; the fence does not."""
    publisher = world.publisher()
    host = world.host(unique)
    scope = host_scope(host)
    publisher.publish(_change(scope, 1)).accepted.result(_S)
    old = world.directory.hosts([host])[host]
    new = Placement("c2-host", 1, old.epoch + 1, 0)
    moves = MovesLog(topology.cluster(topology.pool(old.pool).cluster))
    moves.append(scope, new.epoch, new.row())
    moves.close()
    accepted = publisher.publish(_change(scope, 2)).accepted.result(_S)
    assert accepted.resent == 1
    assert world.revisions(scope, world.address(host, new)) == [2]
    assert publisher.publish(_change(scope, 3)).accepted.result(_S).resent == 0, "it has learned"
    assert world.revisions(scope, world.address(host, new)) == [2, 3]


def test_unknown_hosts_are_refused(world: World, unique: Unique) -> None:
    """Nothing is guessed, and the error says what to do."""
    receipt = world.publisher().publish(_change(host_scope(unique("host")), 1))
    with pytest.raises(UnknownScope, match="register it"):
        receipt.accepted.result(_S)


def test_a_vpc_change_goes_once_to_each_cluster(
    world: World, topology: Topology, unique: Unique
) -> None:
    """Ports in two clusters make two replicas; what was published before is in both."""
    publisher = world.publisher()
    vpc = unique("vpc")
    scope = vpc_scope(vpc)
    first, second = world.host(unique, "az-a"), world.host(unique, "az-b")
    publisher.publish(_port(first, vpc, "port-1")).accepted.result(_S)
    publisher.publish(_change(scope, 1)).accepted.result(_S)
    publisher.publish(_port(second, vpc, "port-2")).accepted.result(_S)
    publisher.publish(_change(scope, 2)).accepted.result(_S)
    row = world.directory.vpcs([vpc])[vpc]
    assert [topology.pool(one.pool).cluster for one in row.replicas] == ["c1", "c2"]
    for replica in row.replicas:
        assert world.revisions(scope, address_of("vpc", vpc, replica, topology)) == [1, 2]


def test_the_sender_learns_what_was_applied(world: World, unique: Unique, tmp_path: Path) -> None:
    """A real agent reports a port that it applied, and the change of a VPC that it follows."""
    publisher = world.publisher(track=True)
    host, vpc = world.host(unique), unique("vpc")
    parts = AgentParts.make(lambda: Directory(world.kit.settings(visitor=True)))
    applier = MemoryApplier()
    agent = Agent.sharing(parts, host=host, state_dir=tmp_path, applier=applier)
    agent.start()
    try:
        network = Changeset(
            unique("network"), (Resource(vpc_scope(vpc), "vpc", vpc, 1, {"name": "n"}),)
        )
        publisher.publish(network).accepted.result(_S)
        launched = publisher.publish(_port(host, vpc, "port-1")).applied.result(_S)
        assert launched.applied == (host,)
        eventually(lambda: any(key.kind == "vpc" for key in applier.resources))
        renamed = msgspec.structs.replace(
            network,
            id=unique("network"),
            resources=(msgspec.structs.replace(network.resources[0], revision=2),),
        )
        eventually(
            lambda: publisher.publish(renamed).applied.result(_S).applied == (host,), within_s=_S
        )
    finally:
        agent.stop()
        parts.close()


_STREAM = """
import sys
from southbound.producer import Publisher
from southbound.resources import Changeset, Op, Resource, host_scope
publisher = Publisher.connect(sys.argv[1])
for revision in range(1, 1_000_000):
    resource = Resource(host_scope(sys.argv[2]), "meter", "m-1", revision, {})
    receipt = publisher.publish(Changeset(f"set-{revision}", (resource,)))
    receipt.accepted.add_done_callback(
        lambda future, revision=revision: print(revision, future.exception() is None, flush=True)
    )
    if revision % 50 == 0:
        receipt.accepted.result(20)
"""


def test_a_killed_publisher_loses_nothing_it_had_accepted(world: World, unique: Unique) -> None:
    """What the process said was accepted stands in the log when the process is gone."""
    host = world.host(unique)
    process = subprocess.Popen(
        [sys.executable, "-c", _STREAM, world.kit.redis_url, host],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    said = [line.split() for line in lines if line.endswith("\n")]
    accepted = {int(revision) for revision, verdict in said if verdict == "True"}
    assert len(accepted) >= 300
    found = world.revisions(host_scope(host), world.address(host))
    assert accepted <= set(found)
    assert found == sorted(found)


def test_outages(fleet_factory: Callable[..., LocalFleet], unique: Unique) -> None:
    """Without Redis known hosts go on; a broker killed under traffic costs no accepted change."""
    fleet = fleet_factory(clusters=1)
    with kit_of(fleet, prepared_topology(fleet), 0) as kit:
        world = World(kit)
        world.directory.put_topology(kit.topology)
        publisher = world.publisher(delivery_timeout_ms=60_000)
        scope = host_scope(world.host(unique))
        publisher.publish(_change(scope, 1)).accepted.result(_S)
        fleet.stop(REDIS)
        publisher.publish(_change(scope, 2)).accepted.result(_S)
        stranger = publisher.publish(_change(host_scope(unique("host")), 1))
        with pytest.raises(EdgeError):
            stranger.accepted.result(_S)
        fleet.start(REDIS)

        receipts = []
        for revision in range(3, 203):
            receipts.append(publisher.publish(_change(scope, revision)))
            if revision == 100:
                fleet.kill("c1")
                fleet.start("c1")
            time.sleep(0.002)
        outcomes = [receipt.accepted.exception(90) for receipt in receipts]
        assert all(one is None or isinstance(one, OutcomeUnknown) for one in outcomes)
        accepted = {
            revision
            for revision, outcome in zip(range(3, 203), outcomes, strict=True)
            if outcome is None
        }
        assert len(accepted) > 100
        found = world.revisions(scope, world.address(scope.id))
        assert accepted <= set(found)
        publisher.close()
