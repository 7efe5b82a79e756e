"""The fleet that is simulated: two AZs, three clusters, pools of hosts and of VPCs, one public kind.

The rule: as small as can be while every way of moving exists: within a cluster, to another, back,
and homes of VPCs to another AZ's cluster. A host stays in its AZ, whose journal records it.
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
    PublicKind,
    Topology,
    public_topic_name,
    topic_name,
)
from southbound.resources import Scope, ScopeClass
from southbound.wire.keys import scope_text

CLUSTERS = ("c1", "c2", "c3")
HOST_POOLS = {"ha": "c1", "hb": "c2", "hc": "c3", "hd": "c1", "he": "c3"}
VPC_POOLS = {"va": "c1", "vb": "c2", "vc": "c3", "vd": "c1"}
CROWD_POOLS = {"hx": "c1", "hy": "c2"}
"""Where hosts come that are registered while everything runs."""
CROWD_MAX = 2
PUBLIC_KIND = "elb"
PUBLIC_PARTITIONS = 3
"""How many the public kind's topic has at first; it may grow."""


def _pool(cls: Literal["host", "vpc"], id: str, cluster: str) -> Pool:
    return Pool(id=id, cluster=cluster, cls=cls, topics=1, partitions=1, max_per_slot=9)


TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="az-a", journal="c1"), Az(id="az-b", journal="c3")),
    clusters=tuple(
        Cluster(id=id, az=az, bootstrap=(f"{id}:9092",))
        for id, az in zip(CLUSTERS, ("az-a", "az-a", "az-b"), strict=True)
    ),
    pools=(
        *(_pool("host", id, at) for id, at in HOST_POOLS.items()),
        *(_pool("vpc", id, at) for id, at in VPC_POOLS.items()),
        *(
            Pool(id=id, cluster=at, cls="host", topics=2, partitions=2, max_per_slot=CROWD_MAX)
            for id, at in CROWD_POOLS.items()
        ),
    ),
    public=(PublicKind(kind=PUBLIC_KIND, cluster="c2", partitions=PUBLIC_PARTITIONS),),
    version=1,
)
JOURNALS = {az.id: Address(az.journal, DIRECTORY_TOPIC, 0) for az in TOPOLOGY.azs}
"""The journal of each AZ."""


def pools_beside(pool: str) -> list[str]:
    """Return the pools of hosts of the same AZ, where a host of this one may go."""
    az = az_of_pool(pool)
    return [id for id in HOST_POOLS if az_of_pool(id) == az]


def az_of_pool(pool: str) -> str:
    """Return the AZ that a pool is in."""
    return TOPOLOGY.cluster(TOPOLOGY.pool(pool).cluster).az


def az_of(text: str, row: str) -> str:
    """Return the AZ whose journal records a key: a host's own; of others, by hash over the AZs."""
    if text.startswith("h"):
        return az_of_pool(parse_placement(row).pool)
    return TOPOLOGY.journal_az(text).id


def az_of_scope(scope: Scope) -> str | None:
    """Return the AZ whose journal records a scope, as far as its name tells; None: a host's."""
    return None if scope.cls is ScopeClass.HOST else TOPOLOGY.journal_az(scope_text(scope)).id


def moves_of(cluster: str) -> Address:
    """Return `sb.moves` of a cluster."""
    return Address(cluster, MOVES_TOPIC, 0)


def status_of(cluster: str) -> Address:
    """Return the status topic of a cluster."""
    return Address(cluster, STATUS_TOPIC, 0)


def interest_of(cluster: str) -> Address:
    """Return the interest topic of a cluster."""
    return Address(cluster, INTEREST_TOPIC, 0)


def public_slot(partition: int) -> Address:
    """Return a partition of the public kind's topic."""
    cluster = TOPOLOGY.public_kind(PUBLIC_KIND).cluster
    return Address(cluster, public_topic_name(PUBLIC_KIND), partition)


def public_slots(count: int = PUBLIC_PARTITIONS) -> list[Address]:
    """Return the partitions of the public kind's topic, when it has so many."""
    return [public_slot(partition) for partition in range(count)]


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


def slots(*, crowded: bool = False) -> list[Address]:
    """Return every slot of hosts and VPCs; `crowded`: also those of the pools for hosts that come."""
    found = [Address(at, f"sb.{id}.000", 0) for id, at in (HOST_POOLS | VPC_POOLS).items()]
    if crowded:
        for id, at in CROWD_POOLS.items():
            pool = TOPOLOGY.pool(id)
            found += [
                Address(at, topic_name(id, topic), partition)
                for topic in range(pool.topics)
                for partition in range(pool.partitions)
            ]
    return found


def host_slots(cluster: str) -> list[Address]:
    """Return every slot of hosts in a cluster."""
    return [Address(at, f"sb.{id}.000", 0) for id, at in HOST_POOLS.items() if at == cluster]
