"""The fleet that is simulated: three clusters of one AZ, a pool of hosts and one of VPCs in each.

The rule: as small as can be while every way of moving exists: within a cluster (two pools of
each class in the first), to another, and back.
"""

from __future__ import annotations

from typing import Literal

from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    address_of,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.topology import (
    DIRECTORY_TOPIC,
    INTEREST_TOPIC,
    MOVES_TOPIC,
    STATUS_TOPIC,
    Az,
    Cluster,
    Pool,
    Topology,
)
from southbound.resources import Scope, ScopeClass

CLUSTERS = ("c1", "c2", "c3")
JOURNAL = Address("c1", DIRECTORY_TOPIC, 0)
HOST_POOLS = ("ha", "hb", "hc", "hd")
VPC_POOLS = ("va", "vb", "vc", "vd")


def _pool(cls: Literal["host", "vpc"], id: str, cluster: str) -> Pool:
    return Pool(id=id, cluster=cluster, cls=cls, topics=1, partitions=1, max_per_slot=9)


TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="az", journal="c1"),),
    clusters=tuple(Cluster(id=id, az="az", bootstrap=(f"{id}:9092",)) for id in CLUSTERS),
    pools=(
        *(_pool("host", id, at) for id, at in zip(HOST_POOLS, (*CLUSTERS, "c1"), strict=True)),
        *(_pool("vpc", id, at) for id, at in zip(VPC_POOLS, (*CLUSTERS, "c1"), strict=True)),
    ),
    version=1,
)


def moves_of(cluster: str) -> Address:
    """Return `sb.moves` of a cluster."""
    return Address(cluster, MOVES_TOPIC, 0)


def status_of(cluster: str) -> Address:
    """Return the status topic of a cluster."""
    return Address(cluster, STATUS_TOPIC, 0)


def interest_of(cluster: str) -> Address:
    """Return the interest topic of a cluster."""
    return Address(cluster, INTEREST_TOPIC, 0)


def address(scope: Scope, placement: Placement) -> Address:
    """Return the slot that a placement means."""
    return address_of(scope.cls.value, scope.id, placement, TOPOLOGY)


def cluster_of(placement: Placement) -> str:
    """Return the cluster of a placement."""
    return TOPOLOGY.pool(placement.pool).cluster


def placements(scope: Scope, row: str) -> tuple[Placement, ...]:
    """Return a host's placement or a VPC's replicas, the home first."""
    if scope.cls is ScopeClass.VPC:
        return parse_vpc_placement(row).replicas
    return (parse_placement(row),)


def replica_in(row: VpcPlacement, cluster: str) -> Placement | None:
    """Return a VPC's replica in a cluster, if it has one there."""
    return row.in_cluster(cluster, TOPOLOGY)


def slots() -> list[Address]:
    """Return every slot of the fleet."""
    return [Address(pool.cluster, f"sb.{pool.id}.000", 0) for pool in TOPOLOGY.pools]
