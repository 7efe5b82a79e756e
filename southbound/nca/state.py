"""What an agent remembers across restarts: entries, streams, what it still owes. Pure.

The rule: these structs are what one transaction of the store changes as a whole, so that resources,
positions and unsent reports can never disagree, whatever stops the process in between.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import Topology
from southbound.resources import Op, ResourceKey, Scope
from southbound.wire.reports import Outcome, ReportEntry


class Status(enum.IntEnum):
    """What stands between an entry and the node.

    `SETTLED`: nothing (if a report of it is still owed, it is applied once more at a restart).
    `PARKED`: a resource that it refers to is not there. `FAILED`: the applier refused it and is
    asked again. `LEAVING`: it is being removed because the stream no longer speaks of it; it is
    forgotten as soon as that is done.
    """

    SETTLED = 0
    PARKED = 1
    FAILED = 2
    LEAVING = 3


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One resource as it should be on the node. `spec` is msgpack; `detail` explains the status."""

    revision: int
    op: Op
    spec: bytes
    changeset: str
    status: Status = Status.SETTLED
    detail: str = ""


class StreamState(msgspec.Struct, frozen=True):
    """Where a scope's stream is read.

    `next` is the offset to continue at; None: the snapshot is not complete, and begins again.
    `swept`: the applier was told at least once what the whole scope consists of. `doubted`: the log
    has lost something, and is silent about some of the entries. `leader_epoch`: of the record before
    `next`, or of a later one; -1: not known.
    """

    placement: Placement
    next: int | None = None
    swept: bool = False
    doubted: bool = False
    leader_epoch: int = -1


class Due(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a report. `outcome` is None until the applier has answered.

    `deleted` and `needs` as in `wire.reports.ReportEntry`.
    """

    changeset: str
    key: bytes
    revision: int
    outcome: Outcome | None
    detail: str = ""
    deleted: bool = False
    needs: tuple[bytes, ...] = ()


def line_of(due: Due, at_us: int) -> ReportEntry:
    """Return a line as it is told at that time, in microseconds since 1970."""
    outcome = Outcome.PENDING if due.outcome is None else due.outcome
    return ReportEntry(
        due.changeset, due.key, due.revision, outcome, at_us, due.detail, due.deleted, due.needs
    )


class OwedReport(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A report that Kafka has not acknowledged yet."""

    dues: tuple[Due, ...]


class OwedPresence(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A word on the interest topic of `cluster` that Kafka has not acknowledged yet."""

    cluster: str
    vpc: str
    present: bool


Owed = OwedReport | OwedPresence


class Quarantined(msgspec.Struct, frozen=True):
    """A record that could not be read: where it stands and why; the bytes are cut to a limit."""

    cluster: str
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    why: str
    at_us: int


class State(msgspec.Struct):
    """Everything that was loaded, or nothing at all at a first start.

    `kafka_ids` maps a cluster, and `cluster/topic` a topic of it, to the id that the brokers named
    when it was last read. `alone`: the applier has been told once which scopes there are, and that
    there are no others.
    """

    topology: Topology | None = None
    progress_us: int = 0
    kafka_ids: Mapping[str, str] = {}
    entries: Mapping[ResourceKey, Entry] = {}
    streams: Mapping[Scope, StreamState] = {}
    owed: Mapping[int, Owed] = {}
    alone: bool = False


class Transaction(msgspec.Struct):
    """What changes at once. A None value removes the row; `alone` is only ever raised."""

    topology: Topology | None = None
    progress_us: int = 0
    kafka_ids: dict[str, str] = {}
    entries: dict[ResourceKey, Entry | None] = {}
    streams: dict[Scope, StreamState | None] = {}
    owed: dict[int, Owed] = {}
    settled: list[int] = []
    quarantined: list[Quarantined] = []
    alone: bool = False
