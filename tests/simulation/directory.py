"""The directory: a Redis that may lie, a journal that may not, and each process' way to both.

The rule: what holds for a key is judged by `southbound.directory.verdict`; Redis is rolled forward
from the journal by compare-and-set of its position, never back; an absence is believed only once the
whole journal was read; what is decided is read back from the journal before anybody uses it.

Redis fails over to what a replica had (an older memory as a whole), is flushed, and answers some
clients from an isolated old primary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from southbound.directory.cache import Cache
from southbound.directory.verdict import Held, judge
from southbound.errors import EdgeError, PlanError
from southbound.resources import Scope
from southbound.wire.control import JournalEntry, decode_journal, encode_control
from southbound.wire.keys import scope_text
from tests.simulation.fleet import JOURNAL
from tests.simulation.loop import Steps
from tests.simulation.network import REDIS

if TYPE_CHECKING:
    from tests.simulation.world import World

_ATTEMPTS = 20


class Memory(NamedTuple):
    """What a Redis holds: rows, how far into the journal it is (-1: it does not know), reservations."""

    rows: Mapping[str, Held]
    position: int = -1
    reserved: Mapping[tuple[str, int], str] = {}


class Redis:
    """One Redis. Its memories are kept, so that it can fall back to one."""

    def __init__(self) -> None:
        self.memory = Memory({})
        self.generation = 0
        self.isolated: dict[str, Memory] = {}
        self._before: list[Memory] = []

    def change(self, memory: Memory) -> None:
        """Hold something else."""
        self._before = [*self._before[-30:], self.memory]
        self.memory = memory

    def fail_over(self, writes: int) -> None:
        """Lose the latest writes; every client has to connect anew."""
        for _ in range(min(writes, len(self._before))):
            self.memory = self._before.pop()
        self.generation += 1

    def flush(self) -> None:
        """Forget everything."""
        self.memory = Memory({})
        self._before = []
        self.generation += 1

    def isolate(self, who: str, writes: int) -> None:
        """Let a client read from a primary that has heard nothing of the latest writes, and more."""
        kept = [*self._before, self.memory]
        self.isolated[who] = kept[max(0, len(kept) - 1 - writes)]

    def seen_by(self, who: str) -> Memory:
        """Return what a client reads."""
        return self.isolated.get(who, self.memory)

    def roll(self, start: int, end: int, held: Mapping[str, Held]) -> bool:
        """Take over a part of the journal, if everything before it was taken."""
        if max(self.memory.position, 0) != start:
            return False
        rows = dict(self.memory.rows)
        for text, one in held.items():
            if text not in rows or rows[text].epoch <= one.epoch:
                rows[text] = one
        self.change(Memory(rows, end, self.memory.reserved))
        return True

    def reserve(self, text: str, epoch: int, slot: str) -> str:
        """Reserve a slot for a scope's placement at an epoch; return which one is reserved."""
        known = self.memory.reserved.get((text, epoch))
        if known is None:
            reserved = {**self.memory.reserved, (text, epoch): slot}
            self.change(self.memory._replace(reserved=reserved))
            return slot
        return known


class Directory:
    """One process' client. `visitor`: it keeps no cache."""

    def __init__(self, world: World, who: str, *, visitor: bool = False) -> None:
        self._world = world
        self._who = who
        self._cache: Cache[Held] = Cache(0 if visitor else 1_000, lambda held: held.epoch)
        self._generation = -1

    # Looking up.

    def known(self, scope: Scope) -> Held | None:
        """Return where a scope lives as far as it is known here."""
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
        yield from self._settle()
        age = self._cache.age
        memory = yield from self._ask()
        found = memory.rows.get(text)
        if found is None:
            yield from self._to_end()
            found = (yield from self._ask_primary()).rows.get(text)
        if found is not None:
            self._cache.put({text: found}, age)
        return found

    def _settle(self) -> Steps[None]:
        """On a new connection roll Redis forward, and forget what was resolved."""
        if self._generation != self._world.redis.generation:
            self._generation = self._world.redis.generation
            yield from self._to_end()
            self._cache.forget()

    def _ask(self) -> Steps[Memory]:
        redis = self._world.redis
        return (
            yield from self._world.network.call(self._who, REDIS, lambda: redis.seen_by(self._who))
        )

    # Deciding.

    def reserve(self, scope: Scope, epoch: int, slot: str) -> Steps[None]:
        """Reserve a slot. Raises `EdgeError`, `PlanError` when another move has reserved another."""
        redis, text = self._world.redis, scope_text(scope)
        found = yield from self._world.network.call(
            self._who, REDIS, lambda: redis.reserve(text, epoch, slot)
        )
        if found != slot:
            raise PlanError(f"{scope}: {found} is reserved for epoch {epoch}")

    def decide(self, proposals: Mapping[str, Held]) -> Steps[dict[str, Held]]:
        """Propose rows; return those that hold, all of at least that epoch. Raises `EdgeError`."""
        for _ in range(_ATTEMPTS):
            end = yield from self._to_end()
            memory = yield from self._ask_primary()
            new = {
                text: held
                for text, held in proposals.items()
                if text not in memory.rows or memory.rows[text].epoch < held.epoch
            }
            there = {text: memory.rows[text] for text in proposals if text not in new}
            if not new:
                return there
            offsets = yield from self._append(new.items())
            held = yield from self._through(end, max(offsets) + 1)
            if held is not None:
                return {**there, **{text: held[text] for text in new}}
        raise EdgeError("Redis and the journal do not come together", retryable=True)

    def _ask_primary(self) -> Steps[Memory]:
        redis = self._world.redis
        return (yield from self._world.network.call(self._who, REDIS, lambda: redis.memory))

    def _append(
        self, entries: Iterable[tuple[str, Held]], *, mended: bool = False
    ) -> Steps[list[int]]:
        now_us = self._world.loop.now_us
        items = [
            (
                text.encode(),
                encode_control(JournalEntry(one.epoch, one.row, self._who, now_us, mended)),
            )
            for text, one in entries
        ]
        return (yield from self._world.network.produce(self._who, JOURNAL, items))

    def _to_end(self) -> Steps[int]:
        """Bring Redis up to the journal's end; return that end. Raises `EdgeError`."""
        for _ in range(_ATTEMPTS):
            memory = yield from self._ask_primary()
            end = yield from self._world.network.end(self._who, JOURNAL)
            start = max(memory.position, 0)
            if start >= end and memory.position >= 0:
                return end
            if (yield from self._through(start, end)) is not None:
                return end
        raise EdgeError("Redis keeps forgetting", retryable=True)

    def _through(self, start: int, end: int) -> Steps[dict[str, Held] | None]:
        """Take over a part of the journal; None: Redis is not where it was."""
        network, redis = self._world.network, self._world.redis
        journal = self._world.clusters[JOURNAL.cluster].at(JOURNAL)
        records = yield from network.call(
            self._who, JOURNAL.cluster, lambda: journal.read(start, end)
        )
        entries = [
            (one.key.decode(), decode_journal(one.value))
            for one in records
            if one.value is not None
        ]
        memory = yield from self._ask_primary()
        if max(memory.position, 0) != start:
            return None
        verdict = judge(memory.rows, entries)
        if verdict.mend:
            yield from self._append(verdict.mend.items(), mended=True)
        rolled = yield from network.call(
            self._who, REDIS, lambda: redis.roll(start, end, verdict.held)
        )
        return verdict.held if rolled else None
