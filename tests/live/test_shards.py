"""Moves under traffic on a real Kafka and Redis: nothing lost, nothing backwards, nothing foreign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from southbound.documents.topology import topology_of
from southbound.edge.admin import apply_topics
from southbound.local.fleet import LocalFleet
from southbound.partitioning.plan import Goal
from southbound.partitioning.topology import Pool, Topology
from southbound.resources import host_scope
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import DirectoryKit, kit_of
from tests.live.shards_kit import Shards

Unique = Callable[[str], str]


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Two clusters in one zone."""
    return module_fleet_factory(2, 1)


@pytest.fixture(scope="module")
def topology(own: LocalFleet) -> Topology:
    """Small pools, two of each class in a cluster, their topics made."""
    document = topology_of(own.topology_document())
    classes: dict[str, Literal["host", "vpc"]] = {"h": "host", "i": "host", "v": "vpc", "w": "vpc"}
    pools = tuple(
        Pool(
            id=f"{cluster}-{letter}",
            cluster=cluster,
            cls=cls,
            topics=1,
            partitions=4,
            max_per_slot=60,
        )
        for cluster in ("c1", "c2")
        for letter, cls in classes.items()
    )
    made = Topology(
        region="test", azs=document.azs, clusters=document.clusters, pools=pools, version=0
    )
    apply_topics(made)
    return made


@pytest.fixture(scope="module")
def kit(own: LocalFleet, topology: Topology) -> Iterator[DirectoryKit]:
    """The fleet's Redis, with the topology in the directory."""
    with kit_of(own, topology, 0) as made:
        made.directory().put_topology(topology)
        yield made


@pytest.fixture
def shards(
    kit: DirectoryKit, topology: Topology, unique: Unique, tmp_path: Path
) -> Iterator[Shards]:
    """A test's own hosts, agents, publishers and executors."""
    made = Shards(kit, topology, unique, tmp_path)
    yield made
    made.close()


def test_hosts_move_under_traffic(shards: Shards) -> None:
    """Between clusters, between slots of one cluster, and back, while two publish to them."""
    hosts = shards.hosts(4, "c1")
    for host in hosts:
        shards.agent(host)
    with shards.traffic([host_scope(host) for host in hosts]):
        for to in ("c2", "c2-i", "c1"):
            shards.move(Goal(kind="hosts", what=tuple(hosts), to=to))
            pools = {shards.place(host).pool for host in hosts}
            assert all(pool.startswith(to) for pool in pools)
    shards.check()
