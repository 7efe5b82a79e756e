"""Bytes and time of a restart storm at sizes that nobody runs on one machine. Pure.

The rule: a number that was not measured is computed by a formula that stands here and in the result,
from the bytes that a fleet of that size really has (samples of it are encoded) and the seconds that a
node cost in the largest run measured. Every formula is also held against each measured run, and the
result tells how far it is off.

With h hosts and w VPCs in each slot beside one's own, s VPC slots in a cluster, nodes n, VPCs v, and
mean bytes of a host's part H and of a VPC's part V; a node that follows k VPCs reads d different slots
for them, d = s (1 - (1 - 1/s)^k), with d (w + 1) VPCs in them:

    streams:   bytes a node = H (1 + h) + the bytes of its VPCs + (d (w + 1) - k) V
    broadcast: bytes a node = n H + v V, in the document's encoding
    polling:   bytes a node = H + the bytes of its VPCs, in the document's encoding
    time all   = nodes x seconds a node, measured x bytes a node / bytes a node, measured

Time is that of this one machine doing the work of all nodes and all servers.
"""

from __future__ import annotations

from typing import NamedTuple

from loadgen.storm.expected import Expected
from loadgen.workloads.fleet import Fleet

_HOSTS_SAMPLED = 60
_VPCS_SAMPLED = 600
REVISION = 1


class Burden(NamedTuple):
    """Bytes that each node receives in a storm, in the mean, and that all do."""

    each: float
    nodes: int

    @property
    def total(self) -> float:
        """Bytes of all nodes."""
        return self.each * self.nodes


class Burdens(NamedTuple):
    """Bytes of a storm on each side. `needed`: bytes of records that are a node's own."""

    streams: Burden
    broadcast: Burden
    polling: Burden
    needed: float


class Crowd(NamedTuple):
    """How many others share a slot, in the mean: hosts with a host, VPCs with a VPC.

    `filled`: VPCs of a slot, in the mean over slots. `clusters`: how many the VPCs are dealt to.
    """

    hosts: float
    vpcs: float
    filled: float
    clusters: int

    def strangers(self, vpcs: int, followed: float) -> float:
        """Return how many VPCs of others a node reads that follows so many of a fleet's."""
        slots = max(1.0, vpcs / self.clusters / self.filled)
        different: float = slots * (1 - (1 - 1 / slots) ** followed)
        return max(0.0, different * (self.vpcs + 1) - followed)


def burdens(fleet: Fleet, crowd: Crowd) -> Burdens:
    """Return the bytes of a storm of a whole fleet, from samples of its hosts and VPCs."""
    expected = Expected(fleet, REVISION)
    n, v = fleet.hosts, fleet.vpcs
    vpcs = [expected.vpc(j) for j in _spread(v, _VPCS_SAMPLED)]
    nodes = [expected.parts(i) for i in _spread(n, _HOSTS_SAMPLED)]
    own = _mean([parts[0].record_bytes for parts in nodes])
    followed = _mean([len(parts) - 1 for parts in nodes])
    needed = _mean([sum(part.record_bytes for part in parts) for parts in nodes])
    others = crowd.hosts * own
    others += crowd.strangers(v, followed) * _mean([one.record_bytes for one in vpcs])
    everything = n * _mean([parts[0].document_bytes for parts in nodes])
    everything += v * _mean([one.document_bytes for one in vpcs])
    polled = _mean([sum(part.document_bytes for part in parts) for parts in nodes])
    return Burdens(Burden(needed + others, n), Burden(everything, n), Burden(polled, n), needed)


class Cost(NamedTuple):
    """What a measured storm cost: seconds for so many nodes, and bytes that each received."""

    seconds: float
    nodes: int
    bytes_each: float

    def seconds_for(self, burden: Burden) -> float:
        """Return the seconds of a storm of that burden on the same machine."""
        return self.seconds / self.nodes * burden.nodes * burden.each / self.bytes_each


def _spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` of `count` indices, the same distance apart."""
    taken = min(count, wanted)
    return [(2 * number + 1) * count // (2 * taken) for number in range(taken)]


def _mean(values: list[int] | list[float]) -> float:
    return sum(values) / len(values)
