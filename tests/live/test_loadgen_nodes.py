"""Simulated nodes on real clusters: what they hold is what a real agent holds, however they read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from loadgen.checker.check import check, check_digests
from loadgen.checker.expected import ExpectedDigests
from loadgen.checker.verdict import Fault
from loadgen.histories.events import Accepted, Published, published
from loadgen.histories.files import Histories, HistoryWriter
from loadgen.histories.recorder import Recorder, RecordingApplier
from loadgen.nodes.crowd import Crowd
from loadgen.nodes.desks import ReaderSettings
from loadgen.nodes.hall import Counts, Hall
from loadgen.nodes.readers import SharedReaders, SingleReaders
from southbound.directory import Directory
from southbound.local.fleet import LocalFleet
from southbound.nca.parts import AgentParts
from southbound.nca.service import Agent
from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import Cluster, Topology
from southbound.producer import Publisher
from southbound.resources import Changeset, Op, Resource, host_scope, vpc_scope
from southbound.settings import PublisherSettings
from southbound.wire.keys import encode_key
from tests.live.agent_kit import Kit
from tests.live.directory_kit import DirectoryKit, eventually, kit_of, prepared_topology
from tests.nca.records import port

Unique = Callable[[str], str]
_S = 60.0
_HOSTS = 12
_VPCS = 3


class Cloud:
    """Hosts with two ports each in one of three VPCs, and everything published about them."""

    def __init__(self, kit: DirectoryKit, unique: Unique, folder: Path) -> None:
        self.directory: Directory = kit.directory()
        self.directory.put_topology(kit.topology)
        self.publisher = Publisher(self.directory, PublisherSettings())
        self.publisher.start()
        self.recorder = Recorder(HistoryWriter(folder / "history"))
        self.recorder.open()
        self.history = Histories([folder / "history"])
        self.hosts = [unique("host") for _ in range(_HOSTS)]
        self.vpcs = [unique("vpc") for _ in range(_VPCS)]
        self.digests = ExpectedDigests()
        self.directory.register_hosts(dict.fromkeys(self.hosts, "az-a"))

    def publish(self, changeset: Changeset, *, replacing: tuple[Resource, ...] = ()) -> None:
        """Publish a changeset, wait until it is accepted, and write both down."""
        self.recorder.published(changeset, time.time_ns() // 1_000)
        self.publisher.publish(changeset).accepted.result(_S)
        self.recorder.accepted(changeset.id, time.time_ns() // 1_000)
        self.digests.take(changeset.resources, replacing=replacing)

    def publish_all(self) -> None:
        """Ports first, so that everybody waits for the VPCs."""
        for number, host in enumerate(self.hosts):
            self.publish(Changeset(f"{host}-1", self.ports(number, 1)))
        for vpc in self.vpcs:
            scope = vpc_scope(vpc)
            parts = (
                Resource(scope, "vpc", vpc, 1, {}),
                Resource(scope, "subnet", "s", 1, {"vpc_id": vpc, "cidr": "10.0.0.0/24"}),
                Resource(scope, "security_group", "g", 1, {}),
            )
            self.publish(Changeset(f"{vpc}-1", parts))

    def ports(self, number: int, revision: int) -> tuple[Resource, ...]:
        """Return the ports of a host."""
        spec = {
            "vpc_id": self.vpcs[number % _VPCS],
            "fixed_ips": [{"subnet_id": "s", "ip_address": f"10.0.0.{number}"}],
            "security_groups": ["g"],
            "revision": revision,
        }
        scope = host_scope(self.hosts[number])
        return tuple(Resource(scope, "port", f"p{n}", revision, spec) for n in range(2))

    def change(self) -> None:
        """Change some ports, delete one, and change a VPC's group."""
        for number in range(0, _HOSTS, 2):
            host = self.hosts[number]
            ports = self.ports(number, 2)
            gone = Resource(ports[1].scope, "port", "p1", 2, {}, Op.DELETE)
            self.publish(Changeset(f"{host}-2", (ports[0], gone)), replacing=self.ports(number, 1))
        scope = vpc_scope(self.vpcs[0])
        old = Resource(scope, "security_group", "g", 1, {})
        new = Resource(scope, "security_group", "g", 2, {"description": "tighter"})
        self.publish(Changeset(f"{self.vpcs[0]}-2", (new,)), replacing=(old,))

    def expected(self) -> dict[str, int]:
        """Return the digest that each node must have."""
        return {
            host: self.digests.of_node(host_scope(host), [vpc_scope(self.vpcs[number % _VPCS])])
            for number, host in enumerate(self.hosts)
        }

    def close(self) -> None:
        """Stop publishing."""
        self.publisher.close()
        self.recorder.close()


@pytest.fixture(scope="module")
def topology(fleet: LocalFleet) -> Topology:
    """Return the shared fleet's topology, its topics made."""
    return prepared_topology(fleet)


@pytest.fixture
def cloud(fleet: LocalFleet, topology: Topology, unique: Unique, tmp_path: Path) -> Iterator[Cloud]:
    """Return a cloud on the shared fleet."""
    with kit_of(fleet, topology, 14) as kit:
        made = Cloud(kit, unique, tmp_path)
        yield made
        made.close()


class Watchers:
    """The same nodes three times: in one hall, each by itself, and the first one as a real agent."""

    def __init__(self, cloud: Cloud, topology: Topology, folder: Path) -> None:
        hosts = cloud.directory.hosts(cloud.hosts)
        vpcs = cloud.directory.vpcs(cloud.vpcs)
        hall, now_us = Hall(topology), time.time_ns() // 1_000
        for host, placement in hosts.items():
            hall.join(host, placement, high=None, watch=cloud.recorder.watch(host, now_us))
        for vpc, replicas in vpcs.items():
            hall.place(vpc, replicas, high=None)
        self.shared = SharedReaders(topology, hall, ReaderSettings(partitions_max=3))
        self.single = SingleReaders(topology, hosts, vpcs)
        self.recorder = Recorder(HistoryWriter(folder / "real"))
        self.recorder.open()
        self.host = cloud.hosts[0]
        self.applier = RecordingApplier(self.host, self.recorder)
        self.parts = AgentParts.make(lambda: cloud.directory, client_id="loadgen-real")
        self.agent = Agent.sharing(
            self.parts, host=self.host, state_dir=folder / "agent", applier=self.applier
        )

    def start(self) -> None:
        """Let all of them read."""
        self.shared.start()
        self.single.start()
        self.agent.start()

    def close(self) -> None:
        """Stop them."""
        self.agent.stop()
        self.parts.close()
        self.shared.close()
        self.single.close()
        self.recorder.close()


@pytest.fixture
def watchers(cloud: Cloud, topology: Topology, tmp_path: Path) -> Iterator[Watchers]:
    """Return readers of a cloud whose first state is published."""
    cloud.publish_all()
    made = Watchers(cloud, topology, tmp_path)
    made.start()
    yield made
    made.close()


def test_shared_single_and_real_nodes_hold_the_same(
    cloud: Cloud, watchers: Watchers, tmp_path: Path
) -> None:
    """Equal digests as expected, a clean history, exact amplification; then a fault is planted."""
    shared, single = watchers.shared, watchers.single
    shared.wait(_S)
    assert shared.digests() == cloud.expected()
    cloud.change()
    shared.wait(_S)
    expected = cloud.expected()
    assert check_digests(expected, shared.digests()).clean
    eventually(lambda: single.digests() == expected)
    eventually(lambda: watchers.applier.digest == expected[watchers.host])
    # However often a slot was read: what each node would have read of it by itself is the same. (A
    # node has what it needs before its reader has come to the end of a slot.)
    eventually(
        lambda: _taken(single.counts()) == _taken(shared.counts()),
        saying=lambda: (shared.counts(), single.counts()),
    )
    ours, theirs = shared.counts(), single.counts()
    assert ours.unsettled == ours.quarantined == theirs.unsettled == 0
    assert shared.spans()[0].count >= 6
    watchers.close()
    cloud.recorder.close()
    assert check(cloud.history).samples == []
    told = [event for event in cloud.history if isinstance(event, Published | Accepted)]
    real = check([*told, *Histories([tmp_path / "real"])])
    assert real.samples == []
    assert real.nodes == 1
    _plant(cloud, shared)


def _plant(cloud: Cloud, shared: SharedReaders) -> None:
    """Say that something was accepted which nobody has sent."""
    port = cloud.ports(3, 9)[0]
    changeset = Changeset("never-sent", (port,))
    cloud.digests.take(changeset.resources, replacing=cloud.ports(3, 1)[:1])
    found = check_digests(cloud.expected(), shared.digests())
    assert found.counts == {Fault.DIVERGED: 1}
    assert found.samples[0].node == cloud.hosts[3]
    planted = [*cloud.history, published(changeset, 0), Accepted(changeset.id, 0)]
    verdict = check(planted)
    assert set(verdict.counts) == {Fault.LOST, Fault.UNCONVERGED}
    assert {sample.node for sample in verdict.samples} == {cloud.hosts[3]}


@pytest.mark.parametrize("neighbour", [True, False])
def test_readers_follow_a_move(
    clusters: Mapping[str, Cluster], unique: Unique, neighbour: bool
) -> None:
    """Into a slot that is read far beyond where the node begins, or that nobody reads yet."""
    kit = Kit(clusters, unique, partitions=1)
    hall = Hall(kit.topology)
    mover, other = kit.host("c1"), kit.host("c2")
    hosts = (mover, other) if neighbour else (mover,)
    for host in hosts:
        hall.join(host, kit.locator.rows[host])
    readers = SharedReaders(kit.topology, hall)
    readers.start()
    try:
        kit.publish(port(mover, "p", 1))
        kit.publish(port(other, "p", 1))
        (old,) = kit.addresses(host_scope(mover))
        (target,) = kit.addresses(host_scope(other))
        start = kit.end(target)
        new = Placement(kit.pool("host", "c2").id, 0, 2, start)
        kit.locator.rows[mover] = new
        kit.publish(port(mover, "p", 1))
        kit.publish(port(other, "p", 2))
        readers.wait(_S)
        kit.mark(host_scope(mover), old, 2, new)
        kit.publish(port(mover, "p", 2))
        key = encode_key(port(mover, "p", 1).key)
        eventually(lambda: hall.nodes[mover].revision_of(key) == 2)
        readers.wait(_S)
        counts = readers.counts()
        # The mover: its own and the marker there, then from `start` on: a copy, one that is not
        # its own, and one that is. The neighbour: all four that its slot has.
        assert counts.host.own == 2 + 2 + 2 * neighbour
        assert counts.host.read == 2 + 3 + 4 * neighbour
        readers.stop(["c2"])
        kit.publish(port(mover, "p", 3))
        assert hall.nodes[mover].revision_of(key) == 2
        readers.start(["c2"])
        eventually(lambda: hall.nodes[mover].revision_of(key) == 3)
    finally:
        readers.close()


def test_a_crowd_reads_in_several_processes(cloud: Cloud, topology: Topology) -> None:
    """Its nodes end as expected; what was counted in each process is added up."""
    cloud.publish_all()
    hosts = cloud.directory.hosts(cloud.hosts)
    vpcs = cloud.directory.vpcs(cloud.vpcs)
    hall = Hall(topology)
    for host, placement in hosts.items():
        hall.join(host, placement, high=None)
    for vpc, replicas in vpcs.items():
        hall.place(vpc, replicas, high=None)
    shared = SharedReaders(topology, hall)
    with Crowd(topology, hosts, vpcs, per_process=6) as crowd:
        shared.start()
        crowd.start()
        shared.wait(_S)
        crowd.wait(cloud.expected(), 2 * _S)
        assert crowd.digests() == shared.digests()
        eventually(
            lambda: _taken(crowd.counts()) == _taken(shared.counts()),
            saying=lambda: (shared.counts(), crowd.counts()),
        )
        assert crowd.counts().nodes == _HOSTS
        shared.close()


def _taken(counts: Counts) -> tuple[int, ...]:
    """Return how many records nodes have read, and how many of them they needed."""
    return counts.host.read, counts.host.own, counts.vpc.read, counts.vpc.own
