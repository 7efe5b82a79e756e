"""The tracker on real topics: reports and presence written by hand, as agents write them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from southbound.edge.admin import apply_topics
from southbound.edge.kafka import Producer, new_producer
from southbound.errors import Closed, EdgeError, NotConverged
from southbound.partitioning.hashing import spread
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import (
    INTEREST_TOPIC,
    STATUS_TOPIC,
    Az,
    Cluster,
    Topology,
)
from southbound.producer.core import Parcel, Record, Route
from southbound.producer.tracker import Tracked, Tracker
from southbound.producer.tracker_core import Applied
from southbound.resources import Op, ResourceKey, Scope, host_scope, vpc_scope
from southbound.wire.keys import encode_key
from southbound.wire.reports import (
    Outcome,
    Presence,
    Report,
    encode_presence,
    encode_report,
    interest_key,
    report_entry,
)
from tests.live.agent_kit import eventually
from tests.live.conftest import FleetFactory

Unique = Callable[[str], str]

_WITHIN_S = 60.0


class Agents:
    """A hand that writes what agents would."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._producers: dict[str, Producer] = {
            cluster.id: new_producer(cluster, "hand", {"linger.ms": 0})
            for cluster in topology.clusters
        }

    def follow(self, cluster: str, vpc: str, host: str, *, leaves: bool = False) -> None:
        """Say that a host follows a VPC, or that it has left."""
        value = None if leaves else encode_presence(Presence(1))
        partition = spread(vpc, self.topology.cluster(cluster).interest_partitions)
        self.write(cluster, INTEREST_TOPIC, partition, interest_key(vpc, host), value)

    def report(
        self, cluster: str, host: str, key: ResourceKey, outcome: Outcome, detail: str = ""
    ) -> None:
        """Report revision 1 of one resource."""
        entry = report_entry("any", key, 1, outcome, 0, detail)
        partition = spread(host, self.topology.cluster(cluster).status_partitions)
        value = encode_report(Report(host, 0, (entry,)))
        self.write(cluster, STATUS_TOPIC, partition, host.encode(), value)

    def write(
        self, cluster: str, topic: str, partition: int, key: bytes, value: bytes | None
    ) -> None:
        """Write one record and wait until it is in the log."""
        producer = self._producers[cluster]
        producer.produce(topic, key=key, value=value, partition=partition)
        assert producer.flush(20) == 0


def _topology(*clusters: Cluster) -> Topology:
    azs = {cluster.az: cluster.id for cluster in clusters}
    return Topology(
        region="test",
        azs=tuple(Az(id=az, journal=journal) for az, journal in azs.items()),
        clusters=clusters,
        pools=(),
    )


@pytest.fixture(scope="module")
def topology(clusters: dict[str, Cluster]) -> Topology:
    """Return the shared clusters with their topics made."""
    made = _topology(*clusters.values())
    apply_topics(made)
    return made


@pytest.fixture
def agents(topology: Topology) -> Agents:
    """Return a hand that writes reports."""
    return Agents(topology)


@pytest.fixture
def tracker(topology: Topology, unique: Unique) -> Iterator[Tracker]:
    """Return a started tracker of both clusters."""
    made = Tracker(lambda: topology, client_id=unique("tracker"), tracked_max=1_000)
    made.start()
    eventually(lambda: made.away == {}, saying=lambda: made.away)
    yield made
    made.close()


def _thing(scope: Scope) -> ResourceKey:
    return ResourceKey(scope, "thing", "t1")


def _parcel(scope: Scope, *clusters: str) -> Parcel:
    addresses = tuple(Address(cluster, "any", 0) for cluster in clusters)
    record = Record(encode_key(_thing(scope)), 1, Op.UPSERT, b"")
    route = Route(epoch=1, addresses=addresses, stays=(1,) * len(clusters), fence=clusters[0])
    return Parcel(scope, "c", (record,), 0, route=route)


def _watch(tracker: Tracker, *parcels: Parcel) -> Tracked:
    return tracker.watch("c", parcels)


def test_a_report_settles_a_hosts_changeset_at_once(
    tracker: Tracker, agents: Agents, unique: Unique
) -> None:
    """From the acknowledged report to the settled future it takes far less than a second."""
    took_s = []
    for _ in range(20):
        host = unique("host")
        tracked = _watch(tracker, _parcel(host_scope(host), "c1"))
        tracker.accepted(tracked)
        begun_s = time.monotonic()
        agents.report("c1", host, _thing(host_scope(host)), Outcome.APPLIED)
        assert tracked.future.result(_WITHIN_S) == Applied("c", applied=(host,))
        took_s.append(time.monotonic() - begun_s)
    # Not of each one: the machine has other work, too.
    assert sorted(took_s)[5] < 0.1, took_s


def test_every_follower_in_both_clusters_is_waited_for(
    tracker: Tracker, agents: Agents, unique: Unique
) -> None:
    """A VPC's change is settled by the last of its followers, wherever it is; who left is not."""
    vpc, near, far, gone = unique("vpc"), unique("host"), unique("host"), unique("host")
    agents.follow("c1", vpc, near)
    agents.follow("c2", vpc, far)
    agents.follow("c2", vpc, gone)
    agents.follow("c2", vpc, gone, leaves=True)
    tracked = _watch(tracker, _parcel(vpc_scope(vpc), "c1", "c2"))
    tracker.accepted(tracked)
    agents.report("c1", near, _thing(vpc_scope(vpc)), Outcome.APPLIED)
    eventually(
        lambda: tracker.snapshot(tracked) == Applied("c", applied=(near,), silent=(far,)),
        saying=lambda: tracker.snapshot(tracked),
    )
    assert not tracked.future.done()
    agents.report("c2", far, _thing(vpc_scope(vpc)), Outcome.FAILED, "no room")
    settled = tracked.future.result(_WITHIN_S)
    assert settled.applied == (near,)
    assert list(settled.failed) == [far]
    assert "no room" in settled.failed[far]
    with pytest.raises(NotConverged, match="no room"):
        tracker.wait(tracked, _WITHIN_S)


def test_reports_before_acceptance_count_and_who_joins_later_is_not_expected(
    tracker: Tracker, agents: Agents, unique: Unique
) -> None:
    """An early report is kept; a host that follows after the acceptance is not waited for."""
    vpc, early, slow, late = unique("vpc"), unique("host"), unique("host"), unique("host")
    agents.follow("c1", vpc, early)
    agents.follow("c1", vpc, slow)
    tracked = _watch(tracker, _parcel(vpc_scope(vpc), "c1"))
    agents.report("c1", early, _thing(vpc_scope(vpc)), Outcome.APPLIED)
    eventually(lambda: early in tracker.snapshot(tracked).applied)
    assert not tracked.future.done()
    tracker.accepted(tracked)
    eventually(lambda: tracker.snapshot(tracked).silent == (slow,))
    agents.follow("c1", vpc, late)
    agents.report("c1", slow, _thing(vpc_scope(vpc)), Outcome.APPLIED)
    applied = tracker.wait(tracked, _WITHIN_S)
    assert applied == Applied("c", applied=tuple(sorted((early, slow))))


def test_presence_written_before_the_tracker_began_is_known(
    topology: Topology, agents: Agents, unique: Unique
) -> None:
    """Interest is read from its beginning, reports from where they ended at the start."""
    vpc, host = unique("vpc"), unique("host")
    agents.follow("c2", vpc, host)
    agents.report("c2", host, _thing(vpc_scope(vpc)), Outcome.APPLIED)
    tracker = Tracker(lambda: topology, client_id=unique("tracker"), tracked_max=10)
    tracker.start()
    try:
        tracked = _watch(tracker, _parcel(vpc_scope(vpc), "c2"))
        tracker.accepted(tracked)
        eventually(lambda: tracker.snapshot(tracked).silent == (host,))
        agents.report("c2", host, _thing(vpc_scope(vpc)), Outcome.SUPERSEDED)
        assert tracker.wait(tracked, _WITHIN_S).superseded == (host,)
    finally:
        tracker.close()


def test_a_vpc_without_followers_is_settled_by_acceptance(tracker: Tracker, unique: Unique) -> None:
    """Nobody follows it, so nobody is waited for."""
    tracked = _watch(tracker, _parcel(vpc_scope(unique("vpc")), "c1", "c2"))
    assert not tracked.future.done()
    tracker.accepted(tracked)
    assert tracker.wait(tracked, _WITHIN_S) == Applied("c")


def test_a_broken_report_is_counted_and_stops_nothing(
    tracker: Tracker, agents: Agents, unique: Unique
) -> None:
    """What follows a record that nobody can read is still heard."""
    host = unique("host")
    tracked = _watch(tracker, _parcel(host_scope(host), "c1"))
    partition = spread(host, agents.topology.cluster("c1").status_partitions)
    agents.write("c1", STATUS_TOPIC, partition, host.encode(), b"\xff broken")
    agents.write("c1", STATUS_TOPIC, partition, host.encode(), None)
    agents.report("c1", host, _thing(host_scope(host)), Outcome.APPLIED)
    assert tracker.wait(tracked, _WITHIN_S).applied == (host,)
    assert tracker.quarantined == 2


def test_a_cluster_that_joins_later_is_followed_without_a_gap(
    topology: Topology, agents: Agents, unique: Unique
) -> None:
    """A report written in it between the watch and its joining is found."""
    known = [_topology(topology.cluster("c1"))]
    tracker = Tracker(lambda: known[0], client_id=unique("tracker"), tracked_max=10)
    tracker.start()
    try:
        host = unique("host")
        tracked = _watch(tracker, _parcel(host_scope(host), "c2"))
        agents.report("c2", host, _thing(host_scope(host)), Outcome.APPLIED)
        known[0] = topology
        assert tracker.wait(tracked, _WITHIN_S).applied == (host,)
    finally:
        tracker.close()


def test_a_cluster_that_is_away_is_named_and_holds_nobody_else_up(
    topology: Topology, agents: Agents, unique: Unique
) -> None:
    """Its changesets stay open until the tracker is closed; those of others are settled."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{closed.getsockname()[1]}"
        lost = Cluster(id="c9", az="az-b", bootstrap=(nowhere,))
        partly = _topology(topology.cluster("c1"), lost)
        tracker = Tracker(lambda: partly, client_id=unique("tracker"), tracked_max=10)
        tracker.start()
        try:
            eventually(lambda: list(tracker.away) == ["c9"], saying=lambda: tracker.away)
            stuck = _watch(tracker, _parcel(vpc_scope(unique("vpc")), "c1", "c9"))
            tracker.accepted(stuck)
            host = unique("host")
            fine = _watch(tracker, _parcel(host_scope(host), "c1"))
            agents.report("c1", host, _thing(host_scope(host)), Outcome.APPLIED)
            assert tracker.wait(fine, _WITHIN_S).applied == (host,)
            with pytest.raises(NotConverged, match="has not answered"):
                tracker.wait(stuck, 0.01)
        finally:
            tracker.close()
    with pytest.raises(Closed):
        stuck.future.result(0)


def test_what_was_not_accepted_or_is_too_much_ends_with_an_error(
    topology: Topology, unique: Unique
) -> None:
    """The future raises why; after closing nothing is watched any more."""
    tracker = Tracker(lambda: topology, client_id=unique("tracker"), tracked_max=1)
    tracker.start()
    try:
        refused = _watch(tracker, _parcel(host_scope(unique("host")), "c1"))
        tracker.failed(refused, EdgeError("the fence is away", retryable=True))
        with pytest.raises(EdgeError, match="fence is away"):
            refused.future.result(0)
        oldest = _watch(tracker, _parcel(host_scope(unique("host")), "c1"))
        newer = _watch(tracker, _parcel(host_scope(unique("host")), "c1"))
        with pytest.raises(EdgeError, match="too many"):
            oldest.future.result(0)
        assert not newer.future.done()
    finally:
        tracker.close()
    with pytest.raises(Closed):
        newer.future.result(0)
    with pytest.raises(Closed):
        _watch(tracker, _parcel(host_scope(unique("host")), "c1"))


def test_a_cluster_that_comes_back_is_followed_from_where_it_was_left(
    fleet_factory: FleetFactory, unique: Unique
) -> None:
    """A broker's crash is named, a question asked meanwhile is answered later, no report is lost."""
    fleet = fleet_factory(clusters=1)
    entry = fleet.topology_document()["clusters"][0]
    here = _topology(Cluster(id=entry["id"], az=entry["az"], bootstrap=tuple(entry["bootstrap"])))
    apply_topics(here)
    agents = Agents(here)
    tracker = Tracker(lambda: here, client_id=unique("tracker"), tracked_max=10)
    tracker.start()
    try:
        vpc, host = unique("vpc"), unique("host")
        agents.follow("c1", vpc, host)
        tracked = _watch(tracker, _parcel(vpc_scope(vpc), "c1"))
        fleet.kill("c1")
        eventually(lambda: list(tracker.away) == ["c1"], saying=lambda: tracker.away)
        tracker.accepted(tracked)
        assert tracker.snapshot(tracked).silent == (f"vpc:{vpc}",)
        fleet.start("c1")
        agents.report("c1", host, _thing(vpc_scope(vpc)), Outcome.APPLIED)
        assert tracker.wait(tracked, 60) == Applied("c", applied=(host,))
        eventually(lambda: tracker.away == {}, saying=lambda: tracker.away)
        assert tracker.gaps == 0
    finally:
        tracker.close()
