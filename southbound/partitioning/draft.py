"""The map while a plan is made: who lives where, and who will. Pure.

The rule: room is only what is there before anything has moved. A slot that is to be left counts as
full until the end, so a plan can be carried out in any order and stopped anywhere without a slot
ever holding more than it may. A host stays in its AZ, a VPC's replica in its cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from southbound.errors import CapacityError
from southbound.partitioning.allocation import (
    Choice,
    Occupancy,
    choose_probe,
    slot_index,
    slot_indexes,
)
from southbound.partitioning.hashing import PROBES_MAX
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.plan import PlannedMove
from southbound.partitioning.topology import Pool, Topology


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made from.

    `occupied`: how many each slot of each pool holds, with reservations; counted from the rows where
    it is not given. `slot_weights`: measured traffic of each slot of each pool, in any unit;
    `host_weights`: of hosts that were measured singly. `unused`: VPC and cluster of replicas that no
    port in the cluster needs; `lacking`: of those that ports need and that are not there.
    """

    topology: Topology
    map_version: int
    hosts: Mapping[str, Placement]
    vpcs: Mapping[str, VpcPlacement]
    occupied: Mapping[str, Sequence[int]] | None = None
    slot_weights: Mapping[str, Sequence[float]] | None = None
    host_weights: Mapping[str, float] = msgspec.field(default_factory=dict)
    unused: frozenset[tuple[str, str]] = frozenset()
    lacking: frozenset[tuple[str, str]] = frozenset()


class Slot(NamedTuple):
    """One slot of a pool, by its number."""

    pool: str
    number: int


class Stream(NamedTuple):
    """One stream that may move: a host's, or one replica of a VPC."""

    cls: str
    id: str
    placement: Placement
    number: int

    @property
    def slot(self) -> Slot:
        """The slot that it is in."""
        return Slot(self.placement.pool, self.number)


class Draft:
    """Gathers moves over a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.topology = snapshot.topology
        self.moves: list[PlannedMove] = []
        self.occupancy = Occupancy(self.topology.pools)
        self._moved: set[tuple[str, str, str]] = set()
        self._left: Counter[Slot] = Counter()
        self._left_pool: Counter[str] = Counter()
        self._going: list[tuple[Stream, Slot]] = []
        self._streams = self._by_pool()
        self.occupied_by = Counter(
            stream.slot for streams in self._streams.values() for stream in streams
        )
        for pool in self.topology.pools:
            self._count(pool)

    def _by_pool(self) -> dict[str, list[Stream]]:
        found: dict[str, list[Stream]] = {pool.id: [] for pool in self.topology.pools}
        for cls, id, placement in self._placements():
            pool = self.topology.find_pool(placement.pool)
            if pool is not None:
                index = slot_index(cls, id, pool, placement.probe)
                found[pool.id].append(Stream(cls, id, placement, index))
        for streams in found.values():
            streams.sort(key=lambda stream: stream.id)
        return found

    def _placements(self) -> Iterator[tuple[str, str, Placement]]:
        for host, placement in self.snapshot.hosts.items():
            yield "host", host, placement
        for vpc, row in self.snapshot.vpcs.items():
            for replica in row.replicas:
                yield "vpc", vpc, replica

    def _count(self, pool: Pool) -> None:
        given = self.snapshot.occupied
        if given is not None:
            for index, count in enumerate(given[pool.id]):
                if count:
                    self.occupancy.add(pool.id, index, count)
        else:
            for stream in self._streams[pool.id]:
                self.occupancy.add(pool.id, stream.number)

    # Looking.

    def streams(self, pool: str) -> Sequence[Stream]:
        """Return the streams that lived in a pool when the snapshot was taken, in order of id."""
        return self._streams[pool]

    def held(self, slot: Slot) -> int:
        """Return how many a slot holds once everything gathered so far has moved."""
        return self.occupancy.counts[slot.pool][slot.number] - self._left[slot]

    def total(self, pool: str) -> int:
        """Return how many a pool holds once everything gathered so far has moved."""
        return self.occupancy.totals[pool] - self._left_pool[pool]

    def load(self, pool: Pool) -> float:
        """Return how many a slot of a pool holds then, on average."""
        return self.total(pool.id) / pool.slots

    def peers(self, pool: Pool) -> list[Pool]:
        """Return the pools among which a pool's streams may be spread, itself included."""
        if pool.cls == "host":
            return self.topology.pools_in("host", az=self.topology.cluster(pool.cluster).az)
        return self.topology.pools_in("vpc", cluster=pool.cluster)

    def counts(self, *, after: bool) -> dict[str, list[int]]:
        """Return how many each slot of each pool holds, before or after the moves."""
        found = {pool: list(counts) for pool, counts in self.occupancy.counts.items()}
        for move in self.moves:
            if not after and move.action == "move":
                pool = self.topology.pool(move.pool)
                found[move.pool][slot_index(move.cls, move.id, pool, move.probe)] -= 1
        if after:
            for slot, count in self._left.items():
                found[slot.pool][slot.number] -= count
        return found

    def weight(self, stream: Stream) -> float:
        """Return a stream's measured traffic, or else its share of its slot's."""
        known = self.snapshot.host_weights
        if stream.cls == "host" and stream.id in known:
            return known[stream.id]
        given = (self.snapshot.slot_weights or {}).get(stream.placement.pool)
        if given is None:
            return 0.0
        held = self.occupied_by[stream.slot]
        return given[stream.number] / max(1, held)

    def traffic(self, *, after: bool) -> dict[str, list[float]]:
        """Return the measured traffic of each slot of each pool, before or after the moves."""
        given = self.snapshot.slot_weights or {}
        found = {
            pool.id: list(given.get(pool.id, [0.0] * pool.slots)) for pool in self.topology.pools
        }
        for stream, slot in self._going if after else ():
            weight = self.weight(stream)
            found[stream.slot.pool][stream.number] -= weight
            found[slot.pool][slot.number] += weight
        return found

    # Moving.

    def by_load(self, pools: Sequence[Pool]) -> list[Pool]:
        """Return the pools, the emptiest first; equals keep their order."""
        return sorted(pools, key=self.load)

    def try_move(
        self, stream: Stream, pools: Sequence[Pool], barred: frozenset[Slot] = frozenset()
    ) -> Choice | None:
        """Move a stream into the first of `pools` that has room; None when none has.

        `barred` slots are never entered, nor is the one that the stream is in.
        """
        own = stream.slot
        for pool in pools:
            choice = self._choose(stream, pool, barred | {own})
            if choice is not None:
                self._note(stream, pool, choice)
                return choice
        return None

    def move(
        self, stream: Stream, pools: Sequence[Pool], barred: frozenset[Slot] = frozenset()
    ) -> None:
        """Do the same, or raise `CapacityError`."""
        if self.try_move(stream, pools, barred) is None:
            names = ", ".join(pool.id for pool in pools) or "none"
            raise CapacityError(
                f"no slot has room for {stream.cls} {stream.id!r} (pools that it may have: {names})"
            )

    def enter(self, stream: Stream, pool: Pool, probe: int) -> None:
        """Move a stream to the slot of a probe."""
        index = slot_index(stream.cls, stream.id, pool, probe)
        self.occupancy.add(pool.id, index)
        self._note(stream, pool, Choice(pool.id, probe, index))

    def _choose(self, stream: Stream, pool: Pool, barred: frozenset[Slot]) -> Choice | None:
        indexes = slot_indexes(stream.cls, stream.id, pool, PROBES_MAX)
        held = self.occupancy.counts[pool.id]
        full = pool.max_per_slot
        counts = [
            full if Slot(pool.id, index) in barred else min(held[index], full) for index in indexes
        ]
        probe = choose_probe(counts, full)
        if probe is None:
            return None
        self.occupancy.add(pool.id, indexes[probe])
        return Choice(pool.id, probe, indexes[probe])

    def _note(self, stream: Stream, pool: Pool, choice: Choice) -> None:
        mark = (stream.cls, stream.id, stream.placement.pool)
        assert mark not in self._moved, "a stream is moved once in a plan"
        self._moved.add(mark)
        self._leave(stream)
        self._going.append((stream, Slot(pool.id, choice.slot)))
        self.moves.append(
            PlannedMove(
                cls="host" if stream.cls == "host" else "vpc",
                id=stream.id,
                action="move",
                old=stream.placement.row(),
                cluster=pool.cluster,
                pool=pool.id,
                probe=choice.probe,
            )
        )

    def has_moved(self, stream: Stream) -> bool:
        """Tell whether a stream is among the moves already."""
        return (stream.cls, stream.id, stream.placement.pool) in self._moved

    def rehome(self, vpc: str, row: VpcPlacement, cluster: str) -> None:
        """Make a cluster the home of a VPC; what was the home stays a replica."""
        self.moves.append(
            PlannedMove(cls="vpc", id=vpc, action="home", old=row.home.row(), cluster=cluster)
        )

    def add(self, vpc: str, row: VpcPlacement, cluster: str) -> None:
        """Give a VPC a replica in a cluster."""
        self.moves.append(
            PlannedMove(cls="vpc", id=vpc, action="add", old=row.home.row(), cluster=cluster)
        )

    def drop(self, stream: Stream) -> None:
        """Take a replica from a VPC."""
        self._leave(stream)
        cluster = self.topology.pool(stream.placement.pool).cluster
        old = stream.placement.row()
        self.moves.append(
            PlannedMove(cls="vpc", id=stream.id, action="drop", old=old, cluster=cluster)
        )

    def _leave(self, stream: Stream) -> None:
        self._left[stream.slot] += 1
        self._left_pool[stream.placement.pool] += 1
