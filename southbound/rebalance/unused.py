"""Which replicas of VPCs nobody needs any more, and which are lacking.

The rule: a replica is there for the ports of its cluster's hosts, and what ports there are the slots
say, not Redis (docs/decisions/0024). Without a port it stays for a grace, counted from when the last
one went; one that has not seen a port yet, from its seal: it was made for a port that is on its way.
What is found here may be outdated when it is acted on; who drops a replica looks before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from southbound.partitioning.draft import Snapshot
from southbound.partitioning.placement import Placement, VpcPlacement, address_of
from southbound.partitioning.topology import Topology
from southbound.rebalance.portbook import PortBook
from southbound.rebalance.ports import Ports
from southbound.rebalance.slots import Slots, taken_us
from southbound.resources import vpc_scope
from southbound.wire.keys import seal_key

_TIMEOUT_S = 30.0
_AT_ONCE = 500

_Replica = tuple[str, str, Placement]
"""A VPC, a cluster, and its replica there."""


def with_ports(snapshot: Snapshot, grace_s: float, now_us: int) -> Snapshot:
    """Return a snapshot that knows which replicas are unused and which are lacking.

    Reads the host slots of all clusters that have any. Raises `EdgeError`.
    """
    topology = snapshot.topology
    slots = Slots(lambda: topology, client_id="southbound-replicas", timeout_s=_TIMEOUT_S)
    ports = Ports(lambda: topology, slots)
    try:
        books = {
            cluster.id: ports.look(cluster.id)
            for cluster in topology.clusters
            if topology.pools_in("vpc", cluster=cluster.id)
        }
        idle = _idle(snapshot.vpcs, books, topology)
        since = {(vpc, at): books[at].gone_us(vpc) for vpc, at, _ in idle}
        sealed = _sealed_us(slots, topology, [one for one in idle if since[one[:2]] is None])
    finally:
        slots.close()
    before_us = now_us - int(grace_s * 1e6)
    return msgspec.structs.replace(
        snapshot,
        unused=frozenset(
            one[:2] for one in idle if (since[one[:2]] or sealed.get(one, now_us)) <= before_us
        ),
        lacking=frozenset(_lacking(snapshot.vpcs, books, topology)),
    )


def _idle(
    vpcs: Mapping[str, VpcPlacement], books: Mapping[str, PortBook], topology: Topology
) -> list[_Replica]:
    """Return the replicas, but not the homes, without a port in their cluster."""
    found: list[_Replica] = []
    for vpc, row in vpcs.items():
        for replica in row.replicas[1:]:
            pool = topology.find_pool(replica.pool)
            if pool is not None and not books[pool.cluster].has(vpc):
                found.append((vpc, pool.cluster, replica))
    return found


def _lacking(
    vpcs: Mapping[str, VpcPlacement], books: Mapping[str, PortBook], topology: Topology
) -> Iterable[tuple[str, str]]:
    for cluster, book in books.items():
        for vpc in book.counts():
            row = vpcs.get(vpc)
            if row is not None and row.in_cluster(cluster, topology) is None:
                yield vpc, cluster


def _sealed_us(
    slots: Slots, topology: Topology, replicas: Sequence[_Replica]
) -> dict[_Replica, int]:
    """Return when replicas were sealed; 0 for one that was a home from the beginning."""
    found = {one: 0 for one in replicas if one[2].epoch == 1}
    rest = [one for one in replicas if one[2].epoch > 1]
    for first in range(0, len(rest), _AT_ONCE):
        piece = {
            one: address_of("vpc", one[0], one[2], topology) for one in rest[first:][:_AT_ONCE]
        }
        ends = slots.ends(piece.values())
        starts: dict[object, int] = {}
        for one, address in piece.items():
            starts[address] = min(one[2].start, starts.get(address, one[2].start))
        read = slots.messages({at: (starts[at], end) for at, end in ends.items()})
        for one, address in piece.items():
            key = seal_key(vpc_scope(one[0]), one[2].epoch)
            times = [taken_us(message) for message in read[address] if message.key() == key]
            if times:
                found[one] = max(times)
    return found
