"""The directory: a Redis that may lie, journals that may not, and each process' way to both.

The rule: what holds for a key is judged by `southbound.directory.verdict`; in which slots a row counts
`southbound.directory.rows` says. Redis is rolled forward from each AZ's journal by compare-and-set of
its position and of the rows, never back; an absence is believed only once every journal was read; what
is decided is read back from the journal before anybody uses it.

Redis fails over to what a replica had (an older memory as a whole), is flushed, and answers some
clients from an isolated old primary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from southbound.directory.cache import Cache
from southbound.directory.keys import public_pool, text_of
from southbound.directory.rows import RowReader
from southbound.directory.verdict import Held, judge
from southbound.errors import EdgeError, PlanError
from southbound.partitioning.allocation import choose_probe, fewest, slot_index, slot_indexes
from southbound.partitioning.hashing import PROBES_MAX
from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import Pool
from southbound.resources import Scope
from southbound.wire.control import JournalEntry, decode_journal, encode_control
from southbound.wire.keys import scope_text
from tests.simulation.fleet import (
    JOURNALS,
    PUBLIC_KIND,
    PUBLIC_PARTITIONS,
    TOPOLOGY,
    az_of,
)
from tests.simulation.loop import DAY, Steps
from tests.simulation.network import REDIS

if TYPE_CHECKING:
    from tests.simulation.world import World

_ATTEMPTS = 20
_BELIEVED_US = 10 * DAY

Slot = tuple[str, int]
"""A pool, or a public kind's name among pools, and the slot's number in it."""


class Change(NamedTuple):
    """A row to be written over the one that it was compared with, and what that changes in slots."""

    text: str
    expected: Held | None
    new: Held
    counts: tuple[tuple[Slot, int], ...]


class Memory(NamedTuple):
    """What a Redis holds: rows, how far into each journal it is, reservations, and counts of slots.

    `partitions`: how many the public kind has by the topology that is stored here.
    """

    rows: Mapping[str, Held] = {}
    positions: Mapping[str, int] = {}
    reserved: Mapping[tuple[str, int], Slot] = {}
    counts: Mapping[Slot, int] = {}
    partitions: int = PUBLIC_PARTITIONS


class Redis:
    """One Redis. Its memories are kept, so that it can fall back to one."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.generation = 0
        self.isolated: dict[str, Memory] = {}
        self.followers: dict[str, Callable[[], None]] = {}
        self._before: list[Memory] = []

    def change(self, memory: Memory) -> None:
        """Hold something else."""
        self._before = [*self._before[-30:], self.memory]
        self.memory = memory

    def fail_over(self, writes: int) -> None:
        """Lose the latest writes; every client has to connect anew."""
        for _ in range(min(writes, len(self._before))):
            self.memory = self._before.pop()
        self.break_connections()

    def flush(self) -> None:
        """Forget everything."""
        self.memory = Memory()
        self._before = []
        self.break_connections()

    def break_connections(self) -> None:
        """Let every client connect anew; those that follow the map notice it at once."""
        self.generation += 1
        for wake in list(self.followers.values()):
            wake()

    def isolate(self, who: str, writes: int) -> None:
        """Let a client read from a primary that has heard nothing of the latest writes, and more."""
        kept = [*self._before, self.memory]
        self.isolated[who] = kept[max(0, len(kept) - 1 - writes)]

    def seen_by(self, who: str) -> Memory:
        """Return what a client reads."""
        return self.isolated.get(who, self.memory)

    def roll(self, az: str, start: int, end: int, changes: Sequence[Change]) -> list[str] | None:
        """Take over a part of a journal, if everything before it was taken: None, if it was not.

        Returns the keys whose rows are not those that were compared; the position stays until all are.
        """
        memory = self.memory
        if memory.positions.get(az, 0) < start:
            return None
        rows, reserved, counts = dict(memory.rows), dict(memory.reserved), dict(memory.counts)
        again = []
        for one in changes:
            now = rows.get(one.text)
            if now not in (one.new, one.expected):
                again.append(one.text)
                continue
            for text, epoch in list(reserved):
                if text == one.text and epoch <= one.new.epoch:
                    _add(counts, reserved.pop((text, epoch)), -1)
            if now != one.new:
                rows[one.text] = one.new
                for slot, by in one.counts:
                    _add(counts, slot, by)
        positions = dict(memory.positions)
        if not again:
            positions[az] = max(positions.get(az, 0), end)
        self.change(Memory(rows, positions, reserved, counts, memory.partitions))
        return again

    def reserve(self, text: str, epoch: int, slot: Slot) -> Slot | Held:
        """Reserve a slot for a scope's placement at an epoch; return which one is reserved.

        Of a scope that has reached the epoch its row is returned, and nothing is reserved.
        """
        row = self.memory.rows.get(text)
        if row is not None and row.epoch >= epoch:
            return row
        known = self.memory.reserved.get((text, epoch))
        if known is not None:
            return known
        reserved, counts = dict(self.memory.reserved), dict(self.memory.counts)
        reserved[text, epoch] = slot
        _add(counts, slot, 1)
        self.change(self.memory._replace(reserved=reserved, counts=counts))
        return slot

    def allocate(
        self, text: str, id: str, pools: Sequence[Pool], probes: int, az: str, end: int
    ) -> str | None:
        """Reserve a slot for a host that comes; return its row. None: no pool has room.

        "behind": a journal is not known to that end, so nothing is known to be absent.
        """
        memory = self.memory
        if memory.positions.get(az, 0) < end or any(
            one not in memory.positions for one in JOURNALS
        ):
            return "behind"
        row = memory.rows.get(text)
        if row is not None:
            return row.row
        known = memory.reserved.get((text, 1))
        if known is not None:
            numbers = slot_indexes("host", id, TOPOLOGY.pool(known[0]), PROBES_MAX)
            return Placement(known[0], numbers.index(known[1])).row()
        for pool in pools:
            numbers = slot_indexes("host", id, pool, PROBES_MAX)
            counts = [memory.counts.get((pool.id, number), 0) for number in numbers[:probes]]
            probe = choose_probe(counts, pool.max_per_slot)
            if probe is not None:
                self.reserve(text, 1, (pool.id, numbers[probe]))
                return Placement(pool.id, probe).row()
        return None

    def name_partitions(self, partitions: int) -> int:
        """Store a topology, if it is newer; return of how many partitions the one here tells."""
        if partitions > self.memory.partitions:
            self.change(self.memory._replace(partitions=partitions))
        return self.memory.partitions

    def reserve_public(self, text: str, partitions: int) -> int:
        """Reserve for a public resource the partition that holds the fewest; return its number.

        Below 0: the topology of whoever asks is another than the one here.
        """
        row = self.memory.rows.get(text)
        if row is not None:
            return int(row.row)
        if partitions != self.memory.partitions:
            return -1
        pool = public_pool(PUBLIC_KIND)
        counts = [self.memory.counts.get((pool, one), 0) for one in range(partitions)]
        found = self.reserve(text, 1, (pool, fewest(counts, 1)[0]))
        assert not isinstance(found, Held)
        return found[1]


def _add(counts: dict[Slot, int], slot: Slot, by: int) -> None:
    counts[slot] = max(0, counts.get(slot, 0) + by)


class Directory:
    """One process' client. `visitor`: it keeps no cache, and rolls nothing forward that is known."""

    def __init__(self, world: World, who: str, *, visitor: bool = False) -> None:
        self._world = world
        self._who = who
        self._visitor = visitor
        self._cache: Cache[Held] = Cache(0 if visitor else 1_000, lambda held: held.epoch)
        self._generation = -1
        self._heard_us = 0
        self._reader = RowReader()
        self.partitions = PUBLIC_PARTITIONS

    # Looking up.

    def known(self, scope: Scope) -> Held | None:
        """Return where a scope lives as far as it is known here."""
        if self._world.loop.now_us - self._heard_us > _BELIEVED_US:
            self._cache.forget()
        return self._cache.split([scope_text(scope)])[0].get(scope_text(scope))

    def adopt(self, scope: Scope, held: Held) -> None:
        """Keep what a fence told."""
        self._cache.put({scope_text(scope): held}, self._cache.age)

    def find(self, scope: Scope) -> Steps[Held | None]:
        """Look a scope up; None: nobody has placed it. Raises `EdgeError`."""
        known = self.known(scope)
        if known is not None:
            return known
        return (yield from self.look_up(scope))

    def look_up(self, scope: Scope) -> Steps[Held | None]:
        """Ask Redis; where it does not know, after it was rolled forward. Raises `EdgeError`."""
        text = scope_text(scope)
        yield from self.settle()
        age = self._cache.age
        memory = yield from self._ask()
        self._heard_us = self._world.loop.now_us
        found = memory.rows.get(text)
        if found is None and (yield from self._must_roll(memory)):
            for az in JOURNALS:
                yield from self._to_end(az)
            found = (yield from self._ask_primary()).rows.get(text)
        if found is not None:
            self._cache.put({text: found}, age)
        return found

    def _must_roll(self, memory: Memory) -> Steps[bool]:
        """Tell whether an absence says nothing yet; visitors believe a Redis that knows journals."""
        yield 0
        return not self._visitor or any(az not in memory.positions for az in JOURNALS)

    def settle(self) -> Steps[None]:
        """On a new connection roll Redis forward, and forget what was resolved."""
        if self._generation != self._world.redis.generation:
            generation = self._world.redis.generation
            if not self._visitor:
                for az in JOURNALS:
                    yield from self._try(az)
            self._generation = generation
            self._cache.forget()

    def _try(self, az: str) -> Steps[None]:
        """Roll forward from a journal; one that does not answer keeps nobody from the others."""
        try:
            yield from self._to_end(az)
        except EdgeError as error:
            if not self._world.network.reaches(self._who, REDIS):
                raise
            self._world.note(self._who, f"the journal of {az}: {error}")

    def _ask(self) -> Steps[Memory]:
        redis = self._world.redis
        return (
            yield from self._world.network.call(self._who, REDIS, lambda: redis.seen_by(self._who))
        )

    # Deciding.

    def reserve(self, scope: Scope, epoch: int, placement: Placement) -> Steps[Held | None]:
        """Reserve a placement's slot; return the row of a scope that has reached the epoch.

        Raises `EdgeError`, `PlanError` when another move has reserved another slot.
        """
        pool = TOPOLOGY.pool(placement.pool)
        slot = pool.id, slot_index(scope.cls.value, scope.id, pool, placement.probe)
        redis, text = self._world.redis, scope_text(scope)
        found = yield from self._world.network.call(
            self._who, REDIS, lambda: redis.reserve(text, epoch, slot)
        )
        if isinstance(found, Held):
            return found
        if found != slot:
            raise PlanError(f"{scope}: {found} is reserved for epoch {epoch}")
        return None

    def roll(self, az: str) -> Steps[int]:
        """Bring Redis up to a journal's end; return that end. Raises `EdgeError`."""
        return (yield from self._to_end(az))

    def totals(self) -> Steps[dict[str, int]]:
        """Return how many each pool holds."""
        totals: Counter[str] = Counter()
        for (pool, _), count in (yield from self._ask_primary()).counts.items():
            totals[pool] += count
        return totals

    def place_public(self, id: str) -> Steps[int]:
        """Return a public resource's partition, giving it one if it has none. Raises `EdgeError`."""
        text = text_of("p", f"{PUBLIC_KIND}\x1f{id}")
        for az in JOURNALS:
            yield from self._to_end(az)
        redis = self._world.redis
        # The newer of the two topologies is the one that both hold then.
        yield from self.match_topology()
        partitions = self.partitions

        def act() -> int:
            is_new = text not in redis.memory.rows and (text, 1) not in redis.memory.reserved
            found = redis.reserve_public(text, partitions)
            if is_new and found >= 0:
                self._world.invariants.shared_out(text, found)
            return found

        found = yield from self._world.network.call(self._who, REDIS, act)
        if found < 0:
            raise EdgeError("the topology has changed", retryable=True)
        held = yield from self.decide({text: Held(1, str(found))})
        return int(held[text].row)

    def decide(self, proposals: Mapping[str, Held]) -> Steps[dict[str, Held]]:
        """Propose rows; return those that hold, all of at least that epoch. Raises `EdgeError`."""
        found: dict[str, Held] = {}
        for az in sorted({az_of(text, held.row) for text, held in proposals.items()}):
            part = {text: one for text, one in proposals.items() if az_of(text, one.row) == az}
            found.update((yield from self._decide(az, part)))
        return found

    def _decide(self, az: str, proposals: Mapping[str, Held]) -> Steps[dict[str, Held]]:
        for _ in range(_ATTEMPTS):
            end = yield from self._to_end(az)
            memory = yield from self._ask_primary()
            new = {
                text: held
                for text, held in proposals.items()
                if text not in memory.rows or memory.rows[text].epoch < held.epoch
            }
            there = {text: memory.rows[text] for text in proposals if text not in new}
            if not new:
                return there
            offsets = yield from self._append(az, new.items())
            held = yield from self._through(az, end, max(offsets) + 1)
            if held is not None:
                return {**there, **{text: held[text] for text in new}}
        raise EdgeError("Redis and the journal do not come together", retryable=True)

    def match_topology(self) -> Steps[None]:
        """Make Redis and this process hold the same topology, the newer of the two."""
        redis = self._world.redis
        self.partitions = yield from self._world.network.call(
            self._who, REDIS, lambda: redis.name_partitions(self.partitions)
        )

    def _ask_primary(self) -> Steps[Memory]:
        redis = self._world.redis
        return (yield from self._world.network.call(self._who, REDIS, lambda: redis.memory))

    def _append(
        self, az: str, entries: Iterable[tuple[str, Held]], *, mended: bool = False
    ) -> Steps[list[int]]:
        now_us = self._world.loop.now_us
        items = [
            (
                text.encode(),
                encode_control(JournalEntry(one.epoch, one.row, self._who, now_us, mended)),
            )
            for text, one in entries
        ]
        return (yield from self._world.network.produce(self._who, JOURNALS[az], items))

    def _to_end(self, az: str) -> Steps[int]:
        """Bring Redis up to a journal's end; return that end. Raises `EdgeError`."""
        for _ in range(_ATTEMPTS):
            memory = yield from self._ask_primary()
            end = yield from self._world.network.end(self._who, JOURNALS[az])
            start = memory.positions.get(az, -1)
            if start >= end:
                return end
            if (yield from self._through(az, max(start, 0), end)) is not None:
                return end
        raise EdgeError("Redis keeps forgetting", retryable=True)

    def _through(self, az: str, start: int, end: int) -> Steps[dict[str, Held] | None]:
        """Take over a part of a journal; None: Redis is not where it was."""
        network, redis = self._world.network, self._world.redis
        entries = yield from self._read(az, start, end)
        memory = yield from self._ask_primary()
        mended: dict[str, Held] = {}
        for _ in range(_ATTEMPTS):
            verdict = judge(memory.rows, entries)
            mend = {text: one for text, one in verdict.mend.items() if mended.get(text) != one}
            if mend:
                yield from self._append(az, mend.items(), mended=True)
                mended.update(mend)
            changes = self._changes(memory.rows, verdict.held)
            again = yield from network.call(
                self._who,
                REDIS,
                lambda: redis.roll(az, start, end, changes),  # noqa: B023  # called at once
            )
            if again is None:
                return None
            if not again:
                return verdict.held
            memory = yield from self._ask_primary()
        return None

    def _read(self, az: str, start: int, end: int) -> Steps[list[tuple[str, JournalEntry]]]:
        where = JOURNALS[az]
        journal = self._world.clusters[where.cluster].at(where)
        records = yield from self._world.network.call(
            self._who, where.cluster, lambda: journal.read(start, end)
        )
        return [
            (one.key.decode(), decode_journal(one.value))
            for one in records
            if one.value is not None
        ]

    def _changes(self, before: Mapping[str, Held], after: Mapping[str, Held]) -> list[Change]:
        """Return what to write, and in which slots that counts, one less where it was."""
        found = []
        for text, held in after.items():
            was = before.get(text)
            if was == held:
                continue
            gone = () if was is None else self._reader.slots(text, was.row, TOPOLOGY)
            come = self._reader.slots(text, held.row, TOPOLOGY)
            counts = (*((slot, -1) for slot in gone), *((slot, 1) for slot in come))
            found.append(Change(text, was, held, counts))
        return found


def counts_of(rows: Mapping[str, Held]) -> dict[Slot, int]:
    """Return how many placements each slot holds by the rows alone."""
    counts: dict[Slot, int] = {}
    reader = RowReader()
    for text, held in rows.items():
        for slot in reader.slots(text, held.row, TOPOLOGY):
            _add(counts, slot, 1)
    return counts
