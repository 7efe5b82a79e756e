"""Where a host or a VPC lives, as a small row.

The rule: a row and the topology are all that either side needs to find a stream. A host has one
placement; a VPC has one in each cluster where it is present, the home first, under one epoch that
rises by one with every change of the set.

Row of a placement: `pool:probe:epoch:start`. Row of a VPC: `epoch|row|row...`, the home first.
"""

from __future__ import annotations

import msgspec

from southbound.errors import WireError
from southbound.partitioning.hashing import PROBES_MAX, Slot, slot_of
from southbound.partitioning.topology import Pool, Topology, topic_name

_UNSIGNED_MAX = 2**63 - 1
_DIGITS_MAX = 19
_ROW_CHARS_MAX = 65_536


class Placement(msgspec.Struct, frozen=True, gc=False):
    """One stream's place: its slot is computed from pool and probe, and it begins at `start`.

    `epoch` counts from 1. `start` is the offset in the slot where the stream begins: 0 unless it
    moved in.
    """

    pool: str
    probe: int
    epoch: int = 1
    start: int = 0

    def row(self) -> str:
        """Return the row's text, which `parse_placement` reads."""
        return f"{self.pool}:{self.probe}:{self.epoch}:{self.start}"

    def slot(self, cls: str, id: str, pool: Pool) -> Slot:
        """Return the slot that this placement means for one host or VPC."""
        return slot_of(cls, id, probe=self.probe, topics=pool.topics, partitions=pool.partitions)


class VpcPlacement(msgspec.Struct, frozen=True):
    """Where a VPC's replicas are: at most one in each cluster, the home first.

    `epoch` rises by one whenever a replica is added, removed or moved; a replica's own epoch is the
    one at which it was last placed.
    """

    epoch: int
    replicas: tuple[Placement, ...]

    @property
    def home(self) -> Placement:
        """The replica whose cluster's `sb.moves` fences this VPC."""
        return self.replicas[0]

    def row(self) -> str:
        """Return the row's text, which `parse_vpc_placement` reads."""
        return "|".join([str(self.epoch), *(replica.row() for replica in self.replicas)])

    def in_cluster(self, cluster: str, topology: Topology) -> Placement | None:
        """Return the replica in `cluster`, or None when the VPC is not present there."""
        for replica in self.replicas:
            if topology.pool(replica.pool).cluster == cluster:
                return replica
        return None


class Address(msgspec.Struct, frozen=True, gc=False):
    """Where to send to or read from: a partition of a topic of a cluster."""

    cluster: str
    topic: str
    partition: int


def address_of(cls: str, id: str, placement: Placement, topology: Topology) -> Address:
    """Return the partition that holds the stream of a host or VPC.

    Raises `PlanError` when the topology does not know the placement's pool.
    """
    pool = topology.pool(placement.pool)
    slot = placement.slot(cls, id, pool)
    return Address(pool.cluster, topic_name(pool.id, slot.topic), slot.partition)


def _number(text: str, row: str) -> int:
    is_short = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    if not is_short or int(text) > _UNSIGNED_MAX:
        raise WireError(f"not a placement row: {row[:80]!r}")
    return int(text)


def parse_placement(row: str) -> Placement:
    """Read a placement's row. Raises `WireError` when the text is not one."""
    parts = row.split(":", 4)
    if len(parts) != 4 or not parts[0]:
        raise WireError(f"not a placement row: {row[:80]!r}")
    probe, epoch, start = (_number(part, row) for part in parts[1:])
    if epoch < 1:
        raise WireError(f"not a placement row (epochs count from 1): {row[:80]!r}")
    if probe >= PROBES_MAX:
        raise WireError(f"not a placement row (probes are 0 to {PROBES_MAX - 1}): {row[:80]!r}")
    return Placement(parts[0], probe, epoch, start)


def parse_vpc_placement(row: str) -> VpcPlacement:
    """Read a VPC's row. Raises `WireError` when the text is not one."""
    epoch, *replicas = row.split("|") if len(row) <= _ROW_CHARS_MAX else (row,)
    if not replicas:
        raise WireError(f"not a VPC row: {row[:80]!r}")
    return VpcPlacement(_number(epoch, row), tuple(parse_placement(part) for part in replicas))
