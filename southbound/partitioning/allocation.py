"""Which slot a new host or VPC gets: the least loaded pool, then the emptier of two probes.

The rule: of the slots that probes 0 and 1 mean, the emptier wins (probe 0 when they are equal);
when both hold `max_per_slot`, probes 2 to 15 are taken in turn; when none has room, the next pool
is tried, the least loaded first. Two choices keep the fullest slot of a million hosts in 100,000
slots at 13 with a mean of 10, where one choice gives 26 (docs/design.md §3).

The directory's Lua scripts follow the same rule inside Redis, and a test holds them to this file.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from southbound.partitioning.hashing import PROBES_MAX, slot_of
from southbound.partitioning.topology import Pool

FIRST_PROBES = 2


class Choice(NamedTuple):
    """A pool, the probe taken in it, and the number of the slot that the probe means there."""

    pool: str
    probe: int
    slot: int


def slot_index(cls: str, id: str, pool: Pool, probe: int) -> int:
    """Return the slot of a probe as one number: topic x partitions + partition."""
    slot = slot_of(cls, id, probe=probe, topics=pool.topics, partitions=pool.partitions)
    return slot.topic * pool.partitions + slot.partition


def slot_indexes(cls: str, id: str, pool: Pool, probes: int = PROBES_MAX) -> list[int]:
    """Return the slot indexes that the first `probes` probes mean, in order."""
    return [slot_index(cls, id, pool, probe) for probe in range(probes)]


def by_load(pools: Sequence[Pool], totals: Mapping[str, int]) -> list[Pool]:
    """Return the pools, the one with the fewest entries a slot first; equals keep their order."""
    return sorted(pools, key=lambda pool: totals.get(pool.id, 0) / pool.slots)


def share_out(pools: Sequence[Pool], totals: Mapping[str, int], count: int) -> list[Pool]:
    """Return the pool for each of `count` newcomers, each going where the load is least by then."""
    if not pools:
        return []
    heap = [
        (totals.get(pool.id, 0) / pool.slots, place, totals.get(pool.id, 0))
        for place, pool in enumerate(pools)
    ]
    heapq.heapify(heap)
    chosen = []
    for _ in range(count):
        _, place, total = heap[0]
        pool = pools[place]
        chosen.append(pool)
        heapq.heapreplace(heap, ((total + 1) / pool.slots, place, total + 1))
    return chosen


def choose_probe(counts: Sequence[int], max_per_slot: int) -> int | None:
    """Return the probe to take, given how many each probe's slot holds; None when all are full."""
    first = min(range(min(FIRST_PROBES, len(counts))), key=lambda probe: counts[probe])
    if counts[first] < max_per_slot:
        return first
    for probe in range(FIRST_PROBES, len(counts)):
        if counts[probe] < max_per_slot:
            return probe
    return None


class Occupancy:
    """How many entries each slot of some pools holds; the plain counterpart of Redis' counts."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self.counts = {
            pool.id: array("L", bytes(array("L").itemsize * pool.slots)) for pool in pools
        }
        self.totals = dict.fromkeys(self.counts, 0)

    def add(self, pool: str, index: int, delta: int = 1) -> None:
        """Count one slot up or down."""
        self.counts[pool][index] += delta
        self.totals[pool] += delta

    def allocate(self, cls: str, id: str, pools: Sequence[Pool]) -> Choice | None:
        """Choose and count a slot in the first of `pools` that has room; None when none has.

        Give the pools in the order of `by_load`, or let `share_out` choose the first.
        """
        for pool in pools:
            indexes = slot_indexes(cls, id, pool, FIRST_PROBES)
            held = self.counts[pool.id]
            probe = choose_probe([held[index] for index in indexes], pool.max_per_slot)
            if probe is None:
                indexes = slot_indexes(cls, id, pool)
                probe = choose_probe([held[index] for index in indexes], pool.max_per_slot)
            if probe is not None:
                self.add(pool.id, indexes[probe])
                return Choice(pool.id, probe, indexes[probe])
        return None


def fewest(counts: Sequence[int], newcomers: int) -> list[int]:
    """Return the partition for each of `newcomers` public resources.

    Each goes to the partition that holds the fewest by then, the lowest number among equals, so
    that the counts of a kind differ by at most one where they did before.
    """
    heap = [(count, partition) for partition, count in enumerate(counts)]
    heapq.heapify(heap)
    chosen = []
    for _ in range(newcomers):
        count, partition = heap[0]
        chosen.append(partition)
        heapq.heapreplace(heap, (count + 1, partition))
    return chosen
