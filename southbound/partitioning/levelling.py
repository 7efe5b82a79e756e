"""Evening out: pools among their peers, slots within them, and measured traffic. Pure.

The rule: only what stands above its share gives, and only what stands below takes; when either has
come to its share, it is over. So of a map that is level nothing moves, and no stream moves twice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from southbound.partitioning.allocation import slot_indexes
from southbound.partitioning.draft import Draft, Slot, Stream
from southbound.partitioning.hashing import PROBES_MAX
from southbound.partitioning.topology import Pool

_SLACK = 2
"""By how many a slot may exceed the mean, rounded up: two choices leave it about there (design §3)."""
_TOLERANCE = 0.25
"""By which share a slot's traffic may exceed the mean before streams leave it."""


def level_pools(draft: Draft, peers: Sequence[Pool], only: Pool | None = None) -> None:
    """Move streams from pools above their share of the peers' sum into those below theirs.

    `only`: the one pool that takes.
    """
    total = sum(draft.total(pool.id) for pool in peers)
    slots = sum(pool.slots for pool in peers)
    most = {pool.id: math.ceil(total * pool.slots / slots) for pool in peers}
    least = {pool.id: math.floor(total * pool.slots / slots) for pool in peers}
    queues = {pool.id: _fullest_first(draft, pool) for pool in peers}
    takers = [pool for pool in peers if only is None or pool is only]
    while True:
        lacking = [pool for pool in takers if draft.total(pool.id) < least[pool.id]]
        givers = [
            pool
            for pool in peers
            if draft.total(pool.id) > most[pool.id] and pool.id in queues and pool not in lacking
        ]
        if not lacking or not givers:
            return
        giver = max(givers, key=draft.load)
        stream = next(queues[giver.id], None)
        if stream is None:
            del queues[giver.id]
        else:
            draft.try_move(stream, draft.by_load(lacking))


def _fullest_first(draft: Draft, pool: Pool) -> Iterator[Stream]:
    """Yield a pool's streams so that what is taken always comes from its fullest slots."""
    in_slot: defaultdict[int, int] = defaultdict(int)
    ranked = []
    for stream in draft.streams(pool.id):
        held = draft.held(stream.slot) - in_slot[stream.number]
        in_slot[stream.number] += 1
        ranked.append((-held, stream.number, stream.id, stream))
    ranked.sort(key=lambda one: one[:3])
    return (stream for *_, stream in ranked if not draft.has_moved(stream))


def level_slots(draft: Draft, peers: Sequence[Pool]) -> None:
    """Move streams out of slots that hold more than the mean and a little, where that helps."""
    total = sum(draft.total(pool.id) for pool in peers)
    limit = math.ceil(total / sum(pool.slots for pool in peers)) + _SLACK
    for pool in peers:
        over = frozenset(
            Slot(pool.id, index)
            for index in range(pool.slots)
            if draft.held(Slot(pool.id, index)) > limit
        )
        for stream in draft.streams(pool.id) if over else ():
            own = stream.slot
            if own in over and draft.held(own) > limit and not draft.has_moved(stream):
                _relieve(draft, stream, pool, limit)


def _relieve(draft: Draft, stream: Stream, pool: Pool, limit: int) -> None:
    """Move a stream to its emptiest slot of the same pool, if it does not overfill that one."""
    indexes = slot_indexes(stream.cls, stream.id, pool, PROBES_MAX)
    counts = draft.occupancy.counts[pool.id]
    probe = min(range(len(indexes)), key=lambda one: counts[indexes[one]])
    if counts[indexes[probe]] < min(limit, pool.max_per_slot) and indexes[probe] != stream.number:
        draft.enter(stream, pool, probe)


def level_traffic(draft: Draft, peers: Sequence[Pool]) -> None:
    """Move streams out of slots whose traffic is far above the mean, the heaviest slots first.

    A slot whose traffic is one stream's cannot be relieved so: that stream stays.
    """
    traffic = _Traffic(draft, peers)
    for slot in traffic.heaviest():
        for stream in traffic.streams(slot):
            if traffic.is_heavy(slot) and not draft.has_moved(stream):
                traffic.relieve(slot, stream)


class _Traffic:
    """What each slot of some pools carries, and will carry."""

    def __init__(self, draft: Draft, peers: Sequence[Pool]) -> None:
        self._draft = draft
        self._peers = peers
        self._in: defaultdict[Slot, list[Stream]] = defaultdict(list)
        given = draft.snapshot.slot_weights or {}
        self._now = {
            Slot(pool.id, index): float(weight)
            for pool in peers
            for index, weight in enumerate(given.get(pool.id, [0.0] * pool.slots))
        }
        for pool in peers:
            for stream in draft.streams(pool.id):
                self._in[stream.slot].append(stream)
        mean = sum(self._now.values()) / max(1, len(self._now))
        self._limit = mean * (1 + _TOLERANCE)

    def heaviest(self) -> list[Slot]:
        """Return the slots above the limit, the heaviest first."""
        return sorted(filter(self.is_heavy, self._now), key=lambda slot: (-self._now[slot], slot))

    def is_heavy(self, slot: Slot) -> bool:
        """Tell whether a slot carries more than it should."""
        return self._now[slot] > self._limit

    def streams(self, slot: Slot) -> list[Stream]:
        """Return the streams of a slot, the heaviest first."""
        return sorted(self._in[slot], key=lambda one: (-self._draft.weight(one), one.id))

    def relieve(self, slot: Slot, stream: Stream) -> None:
        """Move a stream to the least busy of its slots, if that is less busy than this one then."""
        weight = self._draft.weight(stream)
        best: tuple[float, Pool, int, Slot] | None = None
        for pool in self._peers:
            for probe, index in enumerate(slot_indexes(stream.cls, stream.id, pool, PROBES_MAX)):
                there = Slot(pool.id, index)
                room = self._draft.occupancy.counts[pool.id][index] < pool.max_per_slot
                if there == slot or not room:
                    continue
                if best is None or self._now[there] < best[0]:
                    best = (self._now[there], pool, probe, there)
        if best is None or weight <= 0 or best[0] + weight >= self._now[slot]:
            return
        self._now[slot] -= weight
        self._now[best[3]] += weight
        self._draft.enter(stream, best[1], best[2])
