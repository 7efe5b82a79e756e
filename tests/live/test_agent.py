"""Agents on real clusters, with records written by hand."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from southbound.local.fleet import LocalFleet
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.parts import AgentParts
from southbound.nca.service import Agent
from southbound.nca.store import FILE, Store, _sum
from southbound.partitioning.placement import Placement, VpcPlacement, address_of
from southbound.partitioning.topology import INTEREST_TOPIC, Cluster
from southbound.resources import Op, ResourceKey, host_scope, vpc_scope
from southbound.settings import AgentSettings
from southbound.wire.envelope import FLAG_COPIED
from southbound.wire.keys import encode_key, handover_key
from southbound.wire.reports import Outcome, interest_key
from tests.live.agent_kit import Kit, eventually
from tests.nca.records import Place, Put, expected, gone, of_host, of_vpc, port, value_of

_ROOT = Path(__file__).parents[2]

# A test waits for a grace period and for a hold, not for a production node's patience.
SETTINGS = AgentSettings(poll_s=0.2, interest_grace_s=1.0, changeset_hold_s=2.0)


@dataclass
class Node:
    """A host of a kit: its agent, whichever is running, and what it has applied."""

    kit: Kit
    host: str
    folder: Path
    applier: MemoryApplier = field(default_factory=MemoryApplier)
    parts: AgentParts | None = None
    agent: Agent | None = None
    settings: AgentSettings = SETTINGS

    def start(self) -> Agent:
        """Start an agent on this host's state."""
        self.parts = AgentParts.make(lambda: self.kit.locator)
        self.agent = Agent.sharing(
            self.parts,
            host=self.host,
            state_dir=self.folder,
            applier=self.applier,
            az="az-a",
            settings=self.settings,
        )
        self.agent.start()
        return self.agent

    def stop(self) -> None:
        """Stop the agent, if one runs."""
        agent, self.agent = self.agent, None
        if agent is not None:
            agent.stop()
        if self.parts is not None:
            self.parts.close()

    def restart(self) -> Agent:
        """Stop the agent and start another."""
        self.stop()
        return self.start()

    def ready(self) -> Agent:
        """Wait until the agent has caught up."""
        agent = self.agent
        assert agent is not None
        eventually(lambda: agent.status().ready, saying=agent.status)
        return agent

    def has(self, *puts: Put) -> None:
        """Wait until the node has exactly these."""
        wanted = expected(*puts)
        eventually(
            lambda: self.applier.resources == wanted,
            saying=lambda: (self.applier.resources, self.agent and self.agent.status()),
        )


@pytest.fixture
def kit(clusters: Mapping[str, Cluster], unique: Callable[[str], str]) -> Kit:
    """Return pools and topics of this test's own in both clusters."""
    return Kit(clusters, unique)


@pytest.fixture
def nodes(kit: Kit, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Return a function that registers a host and makes its node; its agent ends with the test."""
    made: list[Node] = []

    def make(cluster: str = "c1") -> Node:
        host = kit.host(cluster)
        made.append(Node(kit, host, tmp_path / host))
        return made[-1]

    yield make
    for node in made:
        node.stop()


def test_a_fresh_agent_reads_its_state_and_then_lives(kit: Kit, nodes: Callable[..., Node]) -> None:
    """Snapshot, then live changes, deletes included; each is reported once as applied."""
    node = nodes()
    first, second = port(node.host, "p", 1, name="one"), port(node.host, "q", 1)
    kit.publish(first)
    kit.publish(second)
    node.start()
    node.has(first, second)
    changed, deleted = port(node.host, "p", 2, name="two"), gone(second, 2)
    ids = [kit.publish(changed), kit.publish(deleted)]
    node.has(changed)
    node.stop()
    told = [entry for entry in kit.reports("c1", node.host) if entry.changeset in ids]
    assert [(entry.changeset, entry.outcome) for entry in told] == [
        (id, Outcome.APPLIED) for id in ids
    ]


def test_an_unknown_host_registers_itself(kit: Kit, tmp_path: Path) -> None:
    """A first start with an AZ needs no other sign-up."""
    host = kit.unique("newcomer")
    node = Node(kit, host, tmp_path)
    node.start()
    try:
        node.ready()
        assert kit.locator.rows[host].pool == kit.pool("host", "c1").id
    finally:
        node.stop()


def test_a_neighbours_records_are_never_applied(kit: Kit, nodes: Callable[..., Node]) -> None:
    """Hosts that share a slot get their own, in the snapshot and live."""
    first = nodes()
    # Hosts whose placement hashes to the same partition share it.
    second = next(
        node
        for node in iter(nodes, None)
        if kit.addresses(host_scope(node.host)) == kit.addresses(host_scope(first.host))
    )
    puts = {node.host: [port(node.host, "p", 1)] for node in (first, second)}
    for node in (first, second):
        kit.publish(*puts[node.host])
        node.start()
    for node in (first, second):
        node.has(*puts[node.host])
    for number in range(20):
        for node in (first, second):
            kit.publish(port(node.host, f"live-{number}", 1))
    for node in (first, second):
        live = [port(node.host, f"live-{number}", 1) for number in range(20)]
        node.has(*puts[node.host], *live)
        assert all(
            key.scope == host_scope(node.host)
            for plan in node.applier.plans
            for key in [change.key for change in plan.changes]
        )
        assert node.agent is not None
        assert node.agent.counters.records_foreign >= 20


def test_malformed_records_go_to_quarantine(kit: Kit, nodes: Callable[..., Node]) -> None:
    """Each kind of broken record is put aside with its place, and what follows is applied."""
    node = nodes()
    node.start()
    node.ready()
    scope = host_scope(node.host)
    (where,) = kit.addresses(scope)
    good = value_of(port(node.host, "p", 1), "c")
    key = encode_key(ResourceKey(scope, "port", "p"))
    broken = [
        (key, b""),
        (key, b"\x02" + good[1:]),
        (key, good[:-3]),
        (key[:-2], good),
        (key + b"\x00", good),
        (encode_key(ResourceKey(scope, "port", "spec")), good[:-1] + b"\xc1"),
        (handover_key(scope, 9), b"\x01\x00"),
    ]
    for bad_key, value in broken:
        kit.write(where, bad_key, value)
    put = port(node.host, "after", 1)
    kit.publish(put)
    node.has(put)
    node.stop()
    store = Store(node.folder, node.host)
    store.open()
    rows = store.quarantined()
    store.close()
    assert [(row.key, row.value) for row in rows] == broken
    assert {(row.cluster, row.topic, row.partition) for row in rows} == {
        (where.cluster, where.topic, where.partition)
    }


def test_a_vpc_is_joined_and_left(kit: Kit, nodes: Callable[..., Node]) -> None:
    """The first port brings the VPC, the last one's leaving takes it away; both are told."""
    node, vpc = nodes(), kit.vpc("c1")
    things = [of_vpc(vpc, "vpc", vpc, 1), of_vpc(vpc, "subnet", "s", 1, vpc_id=vpc)]
    for put in things:
        kit.publish(put)
    node.start()
    node.ready()
    assert node.applier.resources == {}
    here = port(node.host, "p", 1, vpc, fixed_ips=[{"subnet_id": "s"}])
    kit.publish(here)
    node.has(*things, here)
    neighbor = of_vpc(vpc, "neighbor", "n", 1, vpc_id=vpc, subnet_id="s")
    kit.publish(neighbor)
    node.has(*things, here, neighbor)
    kit.publish(gone(here, 2))
    node.has()
    node.stop()
    words = kit.read_topic("c1", INTEREST_TOPIC)
    said = [value is not None for key, value in words if key == interest_key(vpc, node.host)]
    assert said == [True, False]


def test_live_changes_come_at_once_right_after_joining_a_vpc(
    kit: Kit, nodes: Callable[..., Node]
) -> None:
    """A long poll that holds only some of the partitions would delay the others by half a minute."""
    node, vpc = nodes(), kit.vpc("c1")
    node.settings = replace(SETTINGS, fetch_wait_ms=30_000)
    kit.publish(of_vpc(vpc, "vpc", vpc, 1))
    kit.publish(port(node.host, "p", 1, vpc))
    node.start()
    node.has(of_vpc(vpc, "vpc", vpc, 1), port(node.host, "p", 1, vpc))
    begun_s = time.monotonic()
    kit.publish(port(node.host, "p", 2, vpc))
    kit.publish(of_vpc(vpc, "vpc", vpc, 2))
    node.has(of_vpc(vpc, "vpc", vpc, 2), port(node.host, "p", 2, vpc))
    assert time.monotonic() - begun_s < 10.0


def test_a_changeset_is_applied_whole(kit: Kit, nodes: Callable[..., Node]) -> None:
    """Half of one waits for the rest, and is released after its time."""
    node = nodes()
    # Nothing but the rest of it ends the wait of the first one.
    node.settings = replace(SETTINGS, changeset_hold_s=600.0)
    node.start()
    node.ready()
    scope = host_scope(node.host)
    (where,) = kit.addresses(scope)
    puts = [of_host(node.host, "router", f"r{number}", 1) for number in range(3)]
    sent_us = int(time.time() * 1e6)
    for index in (0, 1):
        value = value_of(puts[index], "half", Place(index, 3, 0, sent_us))
        kit.write(where, encode_key(puts[index].key), value)
    other = port(node.host, "p", 1)
    kit.publish(other)
    node.has(other)
    kit.write(where, encode_key(puts[2].key), value_of(puts[2], "half", Place(2, 3, 0, sent_us)))
    node.has(other, *puts)
    assert len(node.applier.plans[-1].changes) == 3
    assert node.agent is not None
    assert node.agent.counters.changesets_released == 0
    node.settings = SETTINGS
    node.restart()
    node.ready()
    alone = port(node.host, "alone", 1)
    kit.write(where, encode_key(alone.key), value_of(alone, "never", Place(0, 2, 0, sent_us)))
    node.has(other, *puts, alone)
    assert node.agent is not None
    assert node.agent.counters.changesets_released == 1


def test_a_restart_resumes_where_it_was(kit: Kit, nodes: Callable[..., Node]) -> None:
    """Nothing is applied twice, and what came meanwhile is applied."""
    node = nodes()
    first, second = port(node.host, "p", 1), port(node.host, "q", 1)
    kit.publish(first)
    node.start()
    node.has(first)
    node.stop()
    plans = len(node.applier.plans)
    kit.publish(second)
    node.start()
    node.has(first, second)
    assert [change.key for change in node.applier.plans[-1].changes] == [second.key]
    assert len(node.applier.plans) == plans + 1


def test_a_position_out_of_range_is_an_explicit_resync(
    kit: Kit, nodes: Callable[..., Node]
) -> None:
    """Nothing is applied again or taken down, and the resync is counted with its reason."""
    node = nodes()
    put, stray = port(node.host, "p", 1), port(node.host, "stray", 1)
    kit.publish(put)
    node.start()
    node.has(put)
    node.stop()
    with sqlite3.connect(node.folder / FILE) as connection:
        connection.create_function("row_sum", -1, lambda *row: _sum(row), deterministic=True)
        connection.execute("UPDATE streams SET next = 1000000")
        connection.execute("UPDATE streams SET sum = row_sum(scope, placement, next, swept)")
        connection.execute(
            "INSERT INTO resources VALUES (?, 1, 0, 0, 'c', '', x'80', row_sum(?, 1, 0, 0, 'c', '', x'80'))",
            (encode_key(stray.key),) * 2,
        )
    connection.close()
    node.applier.resources[stray.key] = (1, {})
    agent = node.start()
    later = port(node.host, "later", 1)
    kit.publish(later)
    # A log that has lost a position lost something, and is silent about what that was.
    node.has(put, stray, later)
    assert agent.counters.resyncs == {"position_lost": 1}
    changes = [change.key for plan in list(node.applier.plans)[1:] for change in plan.changes]
    assert changes == [later.key]


def test_a_broken_state_file_is_read_anew_from_the_log(
    kit: Kit, nodes: Callable[..., Node]
) -> None:
    """The file is moved aside; the node keeps what it has, and ends as the log says."""
    node = nodes()
    put = port(node.host, "p", 1)
    kit.publish(put)
    node.start()
    node.has(put)
    node.stop()
    (node.folder / FILE).write_bytes(b"no database" * 1_000)
    agent = node.start()
    node.ready()
    node.has(put)
    assert agent.counters.resyncs == {"store_broken": 1}
    assert (node.folder / f"{FILE}.broken").exists()


def test_an_agent_starts_with_everything_else_away(kit: Kit, nodes: Callable[..., Node]) -> None:
    """Neither the directory nor a broker answers: the node keeps its last good configuration, and
    the agent goes on by itself when they are back.
    """
    node = nodes()
    put = port(node.host, "p", 1)
    kit.publish(put)
    node.start()
    node.has(put)
    node.stop()
    topology = kit.locator.topology
    nowhere = tuple(
        msgspec.structs.replace(cluster, bootstrap=("127.0.0.1:1",))
        for cluster in topology.clusters
    )
    kit.locator.topology = msgspec.structs.replace(topology, clusters=nowhere, version=1)
    agent = node.start()
    eventually(lambda: any("broker" in why for why in agent.status().reasons), saying=agent.status)
    kit.locator.is_away = True
    agent = node.restart()
    eventually(lambda: len(agent.status().reasons) == 2, saying=agent.status)
    assert agent.status().live
    assert node.applier.resources == expected(put)
    later = port(node.host, "later", 1)
    kit.publish(later)
    kit.locator.topology = msgspec.structs.replace(topology, version=2)
    kit.locator.is_away = False
    node.has(put, later)
    node.ready()


# Handovers.


def test_a_marker_leads_to_another_slot(kit: Kit, nodes: Callable[..., Node]) -> None:
    """The agent reads on there from the start; what an earlier stay left is not read."""
    node = nodes()
    scope = host_scope(node.host)
    put = port(node.host, "p", 1)
    kit.publish(put)
    node.start()
    node.has(put)
    (old,) = kit.addresses(scope)
    moved = _another_slot(kit, node.host)
    new = address_of("host", node.host, moved, kit.topology)
    stale = port(node.host, "stale", 9)
    kit.write(new, encode_key(stale.key), value_of(stale, "earlier stay"))
    kit.flush()
    moved = msgspec.structs.replace(moved, start=kit.end(new))
    kit.write(new, encode_key(put.key), value_of(put, "c", Place(flags=FLAG_COPIED)))
    kit.flush()
    kit.mark(scope, old, 2, moved)
    kit.locator.rows[node.host] = moved
    kit.seal(scope, new, 2)
    later = port(node.host, "q", 1)
    kit.publish(later)
    node.has(put, later)
    fresh = Node(kit, node.host, node.folder / "fresh")
    fresh.start()
    try:
        fresh.has(put, later)
    finally:
        fresh.stop()
    node.restart()
    kit.publish(port(node.host, "q", 2))
    node.has(put, port(node.host, "q", 2))


def _another_slot(kit: Kit, host: str) -> Placement:
    """Return a placement of epoch 2 in another partition of the same pool."""
    (old,) = kit.addresses(host_scope(host))
    pool = kit.pool("host", old.cluster)
    return next(
        placement
        for placement in (Placement(pool.id, probe, 2) for probe in range(1, 16))
        if address_of("host", host, placement, kit.topology) != old
    )


def test_a_marker_leads_to_another_cluster(kit: Kit, nodes: Callable[..., Node]) -> None:
    """Host and VPC are read in the new cluster; interest and reports go there too."""
    node, vpc = nodes("c1"), kit.vpc("c1")
    scope = host_scope(node.host)
    network = of_vpc(vpc, "vpc", vpc, 1)
    here = port(node.host, "p", 1, vpc)
    kit.publish(network)
    kit.publish(here)
    node.start()
    node.has(network, here)
    (old,) = kit.addresses(scope)
    moved = Placement(kit.pool("host", "c2").id, 0, 2)
    replica = Placement(kit.pool("vpc", "c2").id, 0, 2)
    home = kit.locator.vpc_rows[vpc].home
    copies = ((scope, "host", moved, here), (vpc_scope(vpc), "vpc", replica, network))
    for copied, cls, placement, put in copies:
        where = address_of(cls, copied.id, placement, kit.topology)
        kit.write(where, encode_key(put.key), value_of(put, "c", Place(flags=FLAG_COPIED)))
        kit.flush()
        kit.seal(copied, where, 2)
    kit.locator.vpc_rows[vpc] = VpcPlacement(2, (home, replica))
    kit.locator.rows[node.host] = moved
    kit.mark(scope, old, 2, moved)
    changed = port(node.host, "p", 2, vpc)
    id = kit.publish(changed)
    node.has(network, changed)
    subnet = of_vpc(vpc, "subnet", "s", 1, vpc_id=vpc)
    where = address_of("vpc", vpc, replica, kit.topology)
    kit.write(where, encode_key(subnet.key), value_of(subnet, "c2 only"))
    kit.flush()
    node.has(network, changed, subnet)
    node.stop()
    assert id in {entry.changeset for entry in kit.reports("c2", node.host)}
    for cluster, said in (("c1", [True, False]), ("c2", [True])):
        words = kit.read_topic(cluster, INTEREST_TOPIC)
        key = interest_key(vpc, node.host)
        assert [value is not None for name, value in words if name == key] == said


# Compaction, kills, restarts.


def test_a_compacted_log_still_holds_the_exact_state(
    clusters: Mapping[str, Cluster], unique: Callable[[str], str], tmp_path: Path
) -> None:
    """After the broker has thinned the log, changesets and deletes included, a fresh agent ends in
    exactly the state that was published last.
    """
    config = {
        "min.cleanable.dirty.ratio": "0.01",
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": "1000",
        "segment.ms": "1000",
        "delete.retention.ms": "60000",
    }
    kit = Kit({"c1": clusters["c1"]}, unique, topic_config=config)
    host = kit.host("c1")
    rolls = random.Random(7)
    final: dict[ResourceKey, Put] = {}
    for revision in range(1, 61):
        puts = [port(host, f"p{number}", revision) for number in rolls.sample(range(8), 3)]
        if revision % 7 == 0:
            puts = [gone(put, revision) for put in puts]
        kit.publish(*puts, age_s=3_600.0)
        final.update((put.key, put) for put in puts)
    (where,) = kit.addresses(host_scope(host))

    def records() -> int:
        # A roll of the segment lets the cleaner at what stands before it.
        kit.write(where, encode_key(ResourceKey(host_scope("roll"), "port", "x")), b"x")
        kit.flush()
        return sum(
            key.startswith(b"h\x1f" + host.encode()) for key, _ in kit.read_topic("c1", where.topic)
        )

    eventually(lambda: records() <= 12, within_s=60.0, saying=records)
    node = Node(kit, host, tmp_path)
    node.start()
    try:
        node.ready()
        node.has(*final.values())
    finally:
        node.stop()


def _replay(log: Path) -> dict[str, tuple[int, Any]]:
    """Return what the plans of a log amount to; revisions must never go down."""
    held: dict[str, tuple[int, Any]] = {}
    highest: dict[str, int] = {}
    for line in log.read_bytes().splitlines():
        for key, revision, op, spec in msgspec.json.decode(line):
            assert revision >= highest.get(key, 0), (key, revision, highest[key])
            highest[key] = revision
            if op == Op.DELETE:
                held.pop(key, None)
            else:
                held[key] = (revision, spec)
    return held


def test_an_agent_killed_at_random_ends_exactly_as_published(kit: Kit, tmp_path: Path) -> None:
    """SIGKILL during a stream of changesets: nothing is lost, nothing goes backwards."""
    host, vpc = kit.host("c1"), kit.vpc("c1")
    kit.save(tmp_path / "directory.json")
    log = tmp_path / "log"
    final: dict[str, Put] = {}

    def publish() -> None:
        rolls = random.Random(1)
        kit.publish(of_vpc(vpc, "vpc", vpc, 1))
        final["vpc"] = of_vpc(vpc, "vpc", vpc, 1)
        for revision in range(1, 400):
            names = rolls.sample(range(12), rolls.randint(1, 4))
            puts = [port(host, f"p{name}", revision, vpc, n=revision) for name in names]
            if revision % 9 == 0:
                puts = [gone(put, revision) for put in puts]
            kit.publish(*puts)
            final.update((put.id, put) for put in puts)
            if revision % 40 == 0:
                final["n"] = of_vpc(vpc, "neighbor", "n", revision, vpc_id=vpc)
                kit.publish(final["n"])
            time.sleep(0.02)

    publisher = threading.Thread(target=publish)
    publisher.start()
    arguments = [host, str(tmp_path / "state"), str(tmp_path / "directory.json"), str(log)]
    command = [sys.executable, "-m", "tests.live.agent_child", *arguments]
    waits = random.Random(2)
    kills = 0
    while publisher.is_alive():
        child = subprocess.Popen(command, cwd=_ROOT)
        try:
            child.wait(waits.uniform(0.3, 1.5))
        except subprocess.TimeoutExpired:
            kills += 1
        child.kill()
        child.wait()
    publisher.join()
    child = subprocess.Popen(command, cwd=_ROOT)
    final["last"] = port(host, "last", 1, vpc)
    kit.publish(final["last"])
    wanted = {
        encode_key(key).decode(): (revision, spec)
        for key, (revision, spec) in expected(*final.values()).items()
    }
    try:
        eventually(
            lambda: log.exists() and _replay(log) == wanted,
            within_s=40.0,
            saying=lambda: (_replay(log), wanted),
        )
    finally:
        child.terminate()
        assert child.wait(20) == 0
    assert kills >= 4


def test_a_broker_that_comes_back_is_read_on(
    fleet_factory: Callable[..., LocalFleet], unique: Callable[[str], str], tmp_path: Path
) -> None:
    """A killed broker costs nothing but the time until it is back."""
    fleet = fleet_factory(clusters=1)
    (entry,) = fleet.topology_document()["clusters"]
    cluster = Cluster(id="c1", az=entry["az"], bootstrap=tuple(entry["bootstrap"]))
    kit = Kit({"c1": cluster}, unique)
    node = Node(kit, kit.host("c1"), tmp_path)
    put = port(node.host, "p", 1)
    kit.publish(put)
    agent = node.start()
    try:
        node.has(put)
        fleet.kill("c1")
        eventually(lambda: bool(agent.status().reasons), within_s=30.0, saying=agent.status)
        assert node.applier.resources == expected(put)
        fleet.start("c1")
        later = port(node.host, "q", 1)
        kit.publish(later)
        node.has(put, later)
        eventually(lambda: agent.status().reasons == (), within_s=30.0, saying=agent.status)
        assert agent.counters.resyncs == {}
    finally:
        node.stop()
