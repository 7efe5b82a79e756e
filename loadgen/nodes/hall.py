"""All simulated nodes of one process. Pure: whoever reads brings the records and the time.

The rule: a record is brought once, with the partition that it was read from, and everything that
follows for all nodes there is done before the next one: it is counted for whoever would have read
it, applied to the one scope that it is of, and what it sets free elsewhere stands. A host's marker
takes it to its new slot at once.

Not thread-safe: several threads that bring records take turns.

Before anything is brought, hosts join, and then VPCs are placed where the directory has them: those
in clusters where hosts have joined are read from the beginning, others once a node wants them. What
a node wants and nobody has placed is told by `unplaced`; what has to be read anew, or in addition,
by `orders`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from loadgen.checker.histogram import Histogram
from loadgen.nodes.compact import CompactNode, Home, Names, VpcStream
from loadgen.nodes.slots import Slot
from loadgen.nodes.stream import Outcome, Stream, Watch
from loadgen.nodes.tally import Limits, Tally
from southbound.partitioning.placement import Address, Placement, VpcPlacement, address_of
from southbound.partitioning.topology import Topology
from southbound.resources import ScopeClass

Place = tuple[str, str, int]
"""Cluster, topic, partition."""


class Reads(msgspec.Struct):
    """What the nodes would have read, each by itself, and how much of that was theirs."""

    read: int = 0
    own: int = 0

    @property
    def amplification(self) -> float:
        """Records read for each record that was the reader's own; 0 when there were none."""
        return self.read / self.own if self.own else 0.0


class Counts(msgspec.Struct):
    """What a hall has counted. Halls of several processes add up.

    `host` and `vpc`: reads in host slots and in VPC slots. `strays`: records of nobody in this hall.
    `applied`: changes that came to stand, for a VPC's once for all followers. `older`, `equal`,
    `conflicting`: by the revision rule. `released`, `abandoned`: changesets. `removed`: resources that
    a snapshot did not speak of. `unsettled`: nodes that have something waiting or held, are not at
    the end of a snapshot, or still read a VPC where it was before they moved.
    """

    nodes: int = 0
    host: Reads = msgspec.field(default_factory=Reads)
    vpc: Reads = msgspec.field(default_factory=Reads)
    strays: int = 0
    applied: int = 0
    older: int = 0
    equal: int = 0
    conflicting: int = 0
    quarantined: int = 0
    ignored: int = 0
    handovers: int = 0
    released: int = 0
    abandoned: int = 0
    removed: int = 0
    snapshots: int = 0
    unsettled: int = 0

    def merge(self, other: Counts) -> None:
        """Add what another hall has counted."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, Reads):
                mine.read += theirs.read
                mine.own += theirs.own
            else:
                setattr(self, name, mine + theirs)


class Order(NamedTuple):
    """A partition that has to be read from an offset on. `unmarked`: its end is wanted first."""

    place: Place
    offset: int
    unmarked: bool


class Hall:
    """Nodes, slots and VPC streams of one process.

    `host_spans` and `vpc_spans`: microseconds from a change's intended send to the moment it stood
    on a node; of a VPC's change once for each node that follows.
    """

    def __init__(self, topology: Topology, limits: Limits | None = None) -> None:
        self.topology = topology
        self.tally = Tally(limits)
        self.names = Names()
        self.nodes: dict[str, CompactNode] = {}
        self.host_spans = Histogram()
        self.vpc_spans = Histogram()
        self.orders: deque[Order] = deque()
        self._homes: dict[str, Home] = {}
        self._slots: dict[Place, Slot] = {}
        self._slot_of: dict[Stream, Slot] = {}
        self._placed: dict[str, VpcPlacement] = {}
        self._turning: dict[tuple[CompactNode, str], None] = {}
        self._retired = Reads()

    # Who is here, and where.

    def join(
        self,
        host: str,
        placement: Placement,
        *,
        high: int | None = 0,
        watch: Watch | None = None,
        now_us: int = 0,
    ) -> CompactNode:
        """Take in a node whose stream is at `placement`.

        `high`: the end of its partition, before which everything is a snapshot; None: told later
        by `mark`. `watch` is told of everything that comes to stand on it.
        """
        address = address_of(ScopeClass.HOST, host, placement, self.topology)
        node = CompactNode(host, self._home(address.cluster), self.tally)
        node.watch = watch
        self.nodes[host] = node
        self._enter(node, placement, high)
        self._add(node, address, now_us)
        return node

    def place(
        self, vpc: str, placement: VpcPlacement, *, high: int | None = 0, now_us: int = 0
    ) -> None:
        """Say where a VPC's replicas are; those in clusters where hosts have joined are read."""
        self._placed[vpc] = placement
        for home in self._homes.values():
            stream = home.streams.get(vpc) or VpcStream(vpc, self.tally)
            if not stream.placed and self._place(stream, home, high, now_us):
                home.streams[vpc] = stream

    def unplaced(self) -> set[str]:
        """Return the VPCs that nodes want and nobody has placed, in some cluster."""
        return {
            vpc
            for home in self._homes.values()
            for vpc, stream in home.streams.items()
            if not stream.placed and stream.followers
        }

    def slot(self, cluster: str, topic: str, partition: int) -> Slot:
        """Return a partition's slot."""
        place = (cluster, topic, partition)
        slot = self._slots.get(place)
        if slot is None:
            slot = self._slots[place] = Slot(cluster, topic, partition)
        return slot

    def positions(self) -> dict[Place, int]:
        """Return the offset from which each partition has to be read."""
        return {place: slot.position for place, slot in self._slots.items()}

    def unmarked(self) -> set[Place]:
        """Return the partitions whose ends are wanted, by `mark`."""
        return {place for place, slot in self._slots.items() if slot.is_unmarked}

    def mark(self, place: Place, high: int, now_us: int) -> None:
        """Take the end of a partition, where snapshots wait for it."""
        self._slots[place].mark(high, now_us)

    # Records.

    def feed(
        self, place: Place, offset: int, key: bytes, value: bytes | None, now_us: int
    ) -> Outcome:
        """Take the next record of a partition, read at `now_us` (microseconds since 1970)."""
        return self.feed_slot(
            self._slots.get(place) or self.slot(*place), offset, key, value, now_us
        )

    def feed_slot(
        self, slot: Slot, offset: int, key: bytes, value: bytes | None, now_us: int
    ) -> Outcome:
        """Take the next record of a slot."""
        outcome = slot.feed(offset, key, value, now_us)
        tally = self.tally
        if tally.moves or tally.apart or tally.fresh:
            self._rearrange(now_us)
        return outcome

    def tick(self, now_us: int) -> None:
        """Do what time, or the last records, have made due; call it after each batch."""
        tally = self.tally
        for stream in list(tally.holders):
            stream.release_overdue(now_us)
        while tally.leaving:
            (node, vpc), until_us = next(iter(tally.leaving.items()))
            if until_us > now_us:
                break
            del tally.leaving[node, vpc]
            self._leave(node, vpc, now_us)
        if self._turning:
            self._turn(now_us)
        self._rearrange(now_us)
        self._flush()

    # What is asked afterwards.

    def digests(self) -> Iterator[tuple[str, int]]:
        """Yield each node with the digest of what stands on it."""
        for host, node in self.nodes.items():
            yield host, node.digest()

    def is_settled(self, node: CompactNode) -> bool:
        """Tell whether nothing of a node is held, parked or still to be read for a snapshot."""
        return not any(
            stream.is_gathering
            or stream.parked
            or stream.holding
            or (isinstance(stream, VpcStream) and not stream.placed)
            for stream in node.streams()
        )

    def counts(self) -> Counts:
        """Return what was counted so far; walks through all nodes."""
        tally = self.tally
        counts = Counts(
            nodes=len(self.nodes),
            vpc=Reads(self._retired.read, self._retired.own),
            strays=sum(slot.strays for slot in self._slots.values()),
            unsettled=len({node for node, _ in self._turning}),
        )
        for name in ("applied", "older", "equal", "conflicting", "quarantined", "ignored"):
            setattr(counts, name, getattr(tally, name))
        for name in ("handovers", "released", "abandoned", "removed", "snapshots"):
            setattr(counts, name, getattr(tally, name))
        for node in self.nodes.values():
            counts.host.read += self._reads(node)
            counts.host.own += node.own
            counts.unsettled += not self.is_settled(node)
            self._count_vpcs(node, counts.vpc)
        return counts

    # The parts of it.

    def _home(self, cluster: str) -> Home:
        home = self._homes.get(cluster)
        if home is None:
            home = self._homes[cluster] = Home(cluster, self.names, self.tally)
        return home

    def _enter(self, stream: Stream, placement: Placement, high: int | None) -> None:
        if placement.epoch == 1 and placement.start == 0 and high == 0:
            # A stream of its own from the very first record is live at once; most are.
            stream.epoch = 1
        else:
            stream.enter(placement, -1 if high is None else high)

    def _add(self, stream: Stream, address: Address, now_us: int) -> Slot:
        slot = self.slot(address.cluster, address.topic, address.partition)
        slot.add(stream, now_us)
        self._slot_of[stream] = slot
        return slot

    def _place(self, stream: VpcStream, home: Home, high: int | None, now_us: int) -> bool:
        """Read a VPC's stream where its replica in a cluster is; tell whether there is one."""
        replica = self._placed[stream.vpc].in_cluster(home.cluster, self.topology)
        if replica is None:
            return False
        stream.placed = True
        self._enter(stream, replica, high)
        address = address_of(ScopeClass.VPC, stream.vpc, replica, self.topology)
        self._order(self._add(stream, address, now_us))
        return True

    def _order(self, slot: Slot) -> None:
        """Let a slot be read from where its streams now are."""
        place = (slot.cluster, slot.topic, slot.partition)
        position = slot.position
        slot.ordered = slot.ordered or position < slot.high
        self.orders.append(Order(place, position, slot.is_unmarked))

    def _rearrange(self, now_us: int) -> None:
        """Take streams to where markers point, and begin those that nodes need for themselves."""
        tally = self.tally
        while tally.moves:
            stream, placement = tally.moves.pop()
            old = self._slot_of[stream]
            old.remove(stream)
            scope = stream.scope
            address = address_of(scope.cls.value, scope.id, placement, self.topology)
            self._order(self._add(stream, address, now_us))
            if isinstance(stream, CompactNode) and address.cluster != old.cluster:
                self._change_home(stream, self._home(address.cluster))
        while tally.fresh:
            home, shared = tally.fresh.pop()
            if shared.vpc in self._placed and not shared.placed:
                self._place(shared, home, None, now_us)
        while tally.apart:
            node, stream = tally.apart.pop()
            if stream.vpc in self._placed:
                self._place(stream, node.home, None, now_us)

    def _change_home(self, node: CompactNode, home: Home) -> None:
        """Read a node's VPCs where they were, until those of its new cluster say the same."""
        node.change_home(home)
        for vpc in node.vpcs():
            home.stream(vpc)
        self._turning.update(((node, vpc), None) for vpc in node.vpcs())

    def _turn(self, now_us: int) -> None:
        for node, vpc in list(self._turning):
            apart = (node.apart or {}).get(vpc)
            shared = node.home.streams.get(vpc)
            if apart is None or apart is shared:
                del self._turning[node, vpc]
            elif shared is not None and _says_the_same(shared, apart):
                self._retire(apart)
                node.share(vpc, now_us)
                del self._turning[node, vpc]

    def _leave(self, node: CompactNode, number: int, now_us: int) -> None:
        stream = node.stream_of(number)
        self._retire(stream)
        node.forget(number, now_us)
        slot = self._slot_of.get(stream)
        if slot is not None and stream is not self._home(slot.cluster).streams.get(stream.vpc):
            del self._slot_of[stream]
            slot.remove(stream)

    def _retire(self, stream: Stream) -> None:
        self._retired.read += self._reads(stream)
        self._retired.own += stream.own

    def _reads(self, stream: Stream) -> int:
        slot = self._slot_of.get(stream)
        return 0 if slot is None else slot.reads(stream)

    def _count_vpcs(self, node: CompactNode, reads: Reads) -> None:
        """Add what a node has read for its VPCs; two of them in one slot are read together."""
        by_slot: dict[Slot, int] = {}
        for stream in node.streams():
            slot = self._slot_of.get(stream)
            if stream is not node and slot is not None:
                by_slot[slot] = max(by_slot.get(slot, 0), slot.reads(stream))
                reads.own += stream.own
        reads.read += sum(by_slot.values())

    def _flush(self) -> None:
        tally = self.tally
        if tally.spans:
            self.host_spans.add_all(tally.spans)
            tally.spans.clear()
        for span_us, followers in tally.wide_spans:
            self.vpc_spans.add(span_us, followers)
        tally.wide_spans.clear()


def _says_the_same(shared: VpcStream, apart: VpcStream) -> bool:
    """Tell whether two replicas' streams agree on what stands and on what waits."""
    if not shared.placed or shared.is_gathering or shared.total != apart.total:
        return False
    return shared.waits() == apart.waits()
