"""Brokers and Redis that are killed, stopped, restarted and wiped, under traffic."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from southbound.edge.admin import apply_topics
from southbound.edge.kafka import KafkaException, new_consumer
from southbound.errors import EdgeError
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import address_of
from southbound.partitioning.topology import Az, Pool, Topology
from southbound.resources import Changeset, Resource, host_scope
from tests.faults.record import Cell
from tests.faults.servers import Trio, redis_of, start_redis
from tests.faults.stage import HOLDS, Stage, stage_on
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import eventually
from tests.live.shards_kit import Shards, small_topology


@pytest.fixture(scope="module")
def topology(fleet: LocalFleet) -> Topology:
    """Small pools, their topics made."""
    return small_topology(fleet)


@pytest.fixture
def stage(fleet: LocalFleet, topology: Topology) -> Iterator[Stage]:
    """Publishers of a test's own: what a fault does to them stays with it."""
    with stage_on(fleet, topology) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param("kill", 0.0, marks=pytest.mark.subset),
        ("restart", 0.0),
        ("stop", 1.0),
        ("stop", 5.0),
        ("stop", 20.0),
        pytest.param("stop", 60.0, marks=pytest.mark.timeout(300)),
    ],
)
def test_a_broker(stage: Stage, fleet: LocalFleet, cell: Cell, name: str, seconds: float) -> None:
    """It is away for some time, one way or another, and comes back."""
    words = {"kill": "SIGKILL", "restart": "ordered restart", "stop": f"SIGSTOP {seconds:g} s"}
    cell.is_about("broker", name, words[name], holds=HOLDS, promises=(1, 2))

    def fault() -> None:
        if name == "stop":
            fleet.pause("c1")
            time.sleep(seconds)
            fleet.resume("c1")
        else:
            {"kill": fleet.kill, "restart": fleet.stop}[name]("c1")
            fleet.start("c1")

    stage.play(cell, "c1", fault)


def test_both_brokers_at_once(stage: Stage, fleet: LocalFleet, cell: Cell) -> None:
    """The journal and the data are away together."""
    cell.is_about("broker", "kill", "SIGKILL of every broker", holds=HOLDS, promises=(1, 2))

    def fault() -> None:
        for name in ("c1", "c2"):
            fleet.kill(name)
        for name in ("c2", "c1"):
            fleet.start(name)

    stage.play(cell, "c2", fault)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("kill", 0.0), pytest.param("flush", 0.0, marks=pytest.mark.subset), ("stop", 5.0)],
)
def test_redis(stage: Stage, fleet: LocalFleet, cell: Cell, name: str, seconds: float) -> None:
    """It is away, or forgets everything; hosts that are registered meanwhile are found again."""
    words = {"kill": "SIGKILL", "flush": "FLUSHALL", "stop": f"SIGSTOP {seconds:g} s"}
    cell.is_about("redis", name, words[name], holds=HOLDS, promises=(1, 2))

    def fault() -> None:
        if name == "flush":
            for _ in range(3):
                stage.shards.kit.redis.flushall()
                time.sleep(0.3)
        elif name == "stop":
            fleet.pause("redis")
            time.sleep(seconds)
            fleet.resume("redis")
        else:
            fleet.kill("redis")
            time.sleep(1.0)
            fleet.start("redis")

    stage.play(cell, "c1", fault)
    new = stage.shards.unique("host")

    def registers() -> bool:
        try:
            return bool(stage.shards.directory.register_hosts({new: "az-a"}))
        except EdgeError:
            return False

    eventually(registers)
    assert stage.shards.directory.verify() == []


def test_a_wiped_cluster(fleet_factory: FleetFactory, cell: Cell) -> None:
    """One copy of everything, and its disk is lost: nodes keep what they have, and go on later."""
    cell.is_about(
        "broker",
        "wipe",
        "the only copy of a cluster's data is lost",
        holds="no node takes anything down; who publishes again reaches every node",
        promises=(2, 4),
    )
    fleet = fleet_factory(2, 1)
    topology = small_topology(fleet)
    with stage_on(fleet, topology) as stage:
        _wipe(stage, fleet, cell)


def _wipe(stage: Stage, fleet: LocalFleet, cell: Cell) -> None:
    shards = stage.shards
    with stage.served(2, "c2") as hosts:
        pass
    shards.check()
    before = {host: dict(shards.agents[host].node.state) for host in hosts}
    fleet.kill("c2")
    shutil.rmtree(fleet.state_dir / "servers" / "c2" / "data")
    fleet.start("c2")
    apply_topics(stage.shards.topology)
    # One goes on as it is; the other begins anew, with the state that it has.
    node = shards.stop(hosts[1])
    shards.agent(hosts[1], node)
    publisher = shards.publisher()
    key = next(key for key in before[hosts[0]] if key.id == "one")
    for host in hosts:
        scope = host_scope(host)
        revision = 1_000_000
        made = Changeset(
            shards.unique("again"), (Resource(scope, key.kind, "one", revision, {"n": 1}),)
        )
        publisher.publish(made).accepted.result(30)
        node = shards.agents[host].node
        eventually(
            lambda node=node: 1_000_000 in node.state.values(),  # type: ignore[misc]
            within_s=45,
            saying=lambda host=host: shards.agents[host].agent.status(),  # type: ignore[misc]
        )
        left = {key for key, kept in before[host].items() if node.state.get(key, 0) < kept}
        assert not left, f"{host} lost {left}"
        assert node.faults == []
    cell.count(operations=sum(map(len, before.values())), faults=1)


# Three brokers, every record on two of them at least before it counts.


@pytest.mark.timeout(400)
def test_a_replicated_cluster_loses_its_leader(server_dir: Path, cell: Cell) -> None:
    """The leader of a host's slot is killed, then the next one is stopped for longer than it may."""
    cell.is_about(
        "broker",
        "leader",
        "SIGKILL of the leader, then SIGSTOP of its successor, of three with min.insync.replicas 2",
        holds=HOLDS,
        promises=(1, 2),
    )
    trio, redis = Trio(server_dir), redis_of(server_dir)
    start_redis(redis)
    trio.start()
    topology = Topology(
        region="test",
        azs=(Az(id="az-a", journal="c1"),),
        clusters=(trio.cluster,),
        pools=(
            Pool(id="c1-h", cluster="c1", cls="host", topics=1, partitions=3, max_per_slot=60),
            Pool(id="c1-v", cluster="c1", cls="vpc", topics=1, partitions=3, max_per_slot=60),
        ),
    )
    apply_topics(topology)
    try:
        with stage_on(None, topology, redis.url) as stage:
            _lose_leaders(stage, trio, cell)
    finally:
        trio.stop()
        redis.daemon.stop(5)


def _lose_leaders(stage: Stage, trio: Trio, cell: Cell) -> None:
    shards = stage.shards
    with stage.served(3) as hosts:
        for fault in ("kill", "stop"):
            leader = _leader(shards, hosts[0])
            broker = trio.brokers[leader]
            began_s = time.monotonic()
            if fault == "kill":
                broker.daemon.kill()
            else:
                broker.daemon.signal(signal.SIGSTOP)
            eventually(
                lambda was=leader: _leader(shards, hosts[0]) not in {was, -1},  # type: ignore[misc]
                within_s=30,
            )
            cell.seen[f"{fault}_new_leader_s"] = round(time.monotonic() - began_s, 2)
            seen = len(shards.agents[hosts[0]].node.delays)
            eventually(
                lambda seen=seen: len(shards.agents[hosts[0]].node.delays) > seen + 5,  # type: ignore[misc]
                # A connection to a leader that is frozen is given up after a minute.
                within_s=100,
            )
            cell.seen[f"{fault}_goes_on_s"] = round(time.monotonic() - began_s, 2)
            if fault == "kill":
                broker.start(trio.program)
                broker.wait_ready()
            else:
                broker.daemon.signal(signal.SIGCONT)
    shards.check()
    cell.count(operations=stage.accepted, faults=2)


def _leader(shards: Shards, host: str, unknown: int = -1) -> int:
    """Return the node that leads the slot of a host; `unknown` when none is told."""
    topology = shards.topology
    address = address_of("host", host, shards.place(host), topology)
    client = new_consumer(topology.cluster("c1"), "leader", {"socket.timeout.ms": 3_000})
    try:
        told = client.list_topics(address.topic, timeout=3)
        return int(told.topics[address.topic].partitions[address.partition].leader)
    except KafkaException:
        return unknown
    finally:
        client.close()
