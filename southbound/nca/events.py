"""What can happen to an agent, as frozen structs. Pure.

The rule: the core learns of the world only through these. Each carries `now`, since the core has no
clock; whoever performs effects reads the clock once for each event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from southbound.partitioning.placement import Address, Placement, VpcPlacement
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey


class Now(NamedTuple):
    """One reading of both clocks: `s` is monotonic seconds, `us` is microseconds since 1970."""

    s: float
    us: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it was read. `leader_epoch`: of the leader that took it; -1: not told."""

    address: Address
    offset: int
    key: bytes | None
    value: bytes | None
    leader_epoch: int = -1


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A partition's watermarks at one moment: the first offset it has, and the next it will give."""

    low: int
    high: int


class Started(msgspec.Struct, frozen=True):
    """The agent has loaded its state and may begin."""

    now: Now


class Batch(msgspec.Struct, frozen=True):
    """Records in the order of their offsets within each partition.

    `reached` maps partitions to the offset that reading has reached where that is not told by a
    record's own offset: an end of partition, or a position behind a transaction's marker.
    """

    now: Now
    records: tuple[Record, ...]
    reached: Mapping[Address, int] = {}


class Marked(msgspec.Struct, frozen=True):
    """Watermarks that the core's `assignment()` asked for, before those partitions are read."""

    now: Now
    marks: Mapping[Address, Mark]


class PositionLost(msgspec.Struct, frozen=True):
    """The broker has no record at the position that was asked for, and none was guessed."""

    now: Now
    address: Address


class ClusterSeen(msgspec.Struct, frozen=True):
    """A cluster has answered; `kafka_id` is the id that its brokers name.

    `topics`: the ids of those that are read, as far as they are there and have any.
    """

    now: Now
    cluster: str
    kafka_id: str
    topics: Mapping[str, str] = {}


class Located(msgspec.Struct, frozen=True):
    """The directory has answered.

    `host` is None when nobody has registered the host; a VPC maps to None when it has no row.
    """

    now: Now
    topology: Topology
    host: Placement | None
    vpcs: Mapping[str, VpcPlacement | None]


class Applied(msgspec.Struct, frozen=True):
    """The plan of the last `Apply` effect is done; `failures` holds a reason for each that failed.

    `raised`: the applier ended with an error that no resource is to blame for.
    """

    now: Now
    failures: Mapping[ResourceKey, str]
    raised: bool = False


class Settled(msgspec.Struct, frozen=True):
    """Kafka has acknowledged what was owed under these numbers, or (`lost`) has not."""

    now: Now
    seqs: tuple[int, ...]
    lost: tuple[int, ...] = ()


class Tick(msgspec.Struct, frozen=True):
    """Time has passed; at the latest at the core's `deadline()`."""

    now: Now


class Stopping(msgspec.Struct, frozen=True):
    """The agent is about to end: what waits for the next transaction is written now."""

    now: Now


Event = (
    Started
    | Batch
    | Marked
    | PositionLost
    | ClusterSeen
    | Located
    | Applied
    | Settled
    | Tick
    | Stopping
)
