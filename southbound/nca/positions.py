"""The streams an agent reads, and how far it is in each. Pure.

The rule: a stream is one scope's records in one partition. Several may share a partition at
different positions: the partition is read from the lowest, and each stream takes only what lies at
or beyond its own. Whose a record is follows from its key's prefix alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from southbound.errors import PlanError
from southbound.nca.effects import Assignment
from southbound.nca.snapshot import Reason, Snapshot
from southbound.nca.state import StreamState
from southbound.partitioning.placement import Address, Placement, address_of
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey, Scope
from southbound.wire.keys import scope_prefix


class Stream:
    """One scope's stream.

    `address` is None while the topology does not know the placement's pool. `next` is the offset
    that is read next, `leader_epoch` that of the record before it (-1: not known), which tells a log
    that was cut and has grown again from the one that was read. `snapshot` is None once the stream is live; a snapshot at its end that is not
    complete stays, and the stream is read as a live one beside it. `doubts` are resources that stand
    on the node and of which the log, having lost something, has not spoken again.
    """

    def __init__(self, scope: Scope, placement: Placement, *, swept: bool = False) -> None:
        self.scope = scope
        self.prefix = scope_prefix(scope)
        self.placement = placement
        self.address: Address | None = None
        self.next = placement.start
        self.leader_epoch = -1
        self.snapshot: Snapshot | None = None
        self.swept = swept
        self.doubts: set[ResourceKey] = set()

    @property
    def gathering(self) -> bool:
        """Whether records are gathered for a snapshot rather than applied as they come."""
        return self.snapshot is not None and not self.snapshot.at_end

    @property
    def unmarked(self) -> bool:
        """Whether a snapshot cannot begin yet, since the watermarks are not known."""
        return self.snapshot is not None and self.snapshot.high is None

    @property
    def is_waiting(self) -> bool:
        """Whether a snapshot at its end has to know if its log is the one that was read before."""
        snapshot = self.snapshot
        return snapshot is not None and snapshot.at_end and not snapshot.is_same_log

    @property
    def behind(self) -> bool:
        """Whether the end of the snapshot has not been reached."""
        return self.address is None or self.gathering

    def locate(self, topology: Topology | None) -> None:
        """Find the partition that the placement means, if the topology knows it."""
        self.address = None
        if topology is not None:
            try:
                self.address = address_of(
                    self.scope.cls.value, self.scope.id, self.placement, topology
                )
            except PlanError:
                return

    def restart(self, reason: Reason, *, doubted: bool = False) -> None:
        """Read a snapshot from the placement's start; `doubted`: the log is known to lack something."""
        self.snapshot = Snapshot(self.placement, reason)
        if doubted:
            self.snapshot.doubt()
        self.go_to(self.placement.start)

    def go_to(self, offset: int, leader_epoch: int = -1) -> None:
        """Read on from an offset. `leader_epoch`: of the record before it, if that was read."""
        self.next = offset
        self.leader_epoch = leader_epoch

    def state(self, first_held: int | None) -> StreamState:
        """Return what is remembered of it, with a position before everything still held."""
        if self.snapshot is not None:
            doubted = self.snapshot.doubted or bool(self.doubts)
            return StreamState(self.placement, None, self.swept, doubted)
        next_ = self.next if first_held is None else min(self.next, first_held)
        return StreamState(self.placement, next_, self.swept, bool(self.doubts), self.leader_epoch)


class Positions:
    """All streams, by scope and by partition."""

    def __init__(self) -> None:
        self._streams: dict[Scope, Stream] = {}
        self._at: dict[Address, dict[bytes, Stream]] = {}

    def __iter__(self) -> Iterator[Stream]:
        """Yield all streams."""
        return iter(self._streams.values())

    def __len__(self) -> int:
        """Return the number of streams."""
        return len(self._streams)

    def get(self, scope: Scope) -> Stream | None:
        """Return the stream of a scope, or None when it is not read."""
        return self._streams.get(scope)

    def put(self, stream: Stream) -> None:
        """Add a stream, or note that its address has changed."""
        self.drop(stream.scope)
        self._streams[stream.scope] = stream
        if stream.address is not None:
            self._at.setdefault(stream.address, {})[stream.prefix] = stream

    def drop(self, scope: Scope) -> Stream | None:
        """Read a scope no more; return its stream, if there was one."""
        stream = self._streams.pop(scope, None)
        if stream is not None:
            self._unindex(stream)
        return stream

    def at(self, address: Address) -> Mapping[bytes, Stream]:
        """Return the streams of a partition by their keys' prefix."""
        return self._at.get(address, {})

    def assignment(self) -> Assignment:
        """Return what is to be read: each partition from the lowest position of its streams.

        A stream whose snapshot does not know its end yet waits for its partition's watermarks.
        """
        positions: dict[Address, int] = {}
        leader_epochs: dict[Address, int] = {}
        marks: set[Address] = set()
        for address, streams in self._at.items():
            known = [
                (stream.next, stream.leader_epoch)
                for stream in streams.values()
                if not stream.unmarked
            ]
            if known:
                positions[address], leader_epoch = min(known, key=lambda at: (at[0], -at[1]))
                if leader_epoch >= 0:
                    leader_epochs[address] = leader_epoch
            if len(known) < len(streams):
                marks.add(address)
        return Assignment(positions, frozenset(marks), leader_epochs)

    def _unindex(self, stream: Stream) -> None:
        for address, streams in list(self._at.items()):
            if streams.get(stream.prefix) is stream:
                del streams[stream.prefix]
                if not streams:
                    del self._at[address]
