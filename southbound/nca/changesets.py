"""Changesets are held until they are whole. Pure.

The rule: the resources of one changeset in one scope reach the applier in one step. One whose
publisher died half-way is released singly after a time, and so is the oldest when there is no room;
both are counted. While records are held, the position that is remembered stays before them, so a
restart reads them again.

Records that bring nothing new (the sender repeats a changeset) are passed on at once; only their
arrival is noted, so that the rest of their changeset can still become whole.
"""

from __future__ import annotations

from typing import NamedTuple

from southbound.nca.incoming import Incoming
from southbound.resources import Scope


class _SetKey(NamedTuple):
    scope: Scope
    changeset: str
    size: int


class _Set:
    """One incomplete changeset: which places have arrived, and the records held of them."""

    __slots__ = ("arrived", "deadline_s", "held", "weight")

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.arrived: set[int] = set()
        self.held: dict[int, Incoming] = {}
        self.weight = 1


class Holding:
    """All incomplete changesets of an agent, oldest first.

    `hold_s` is how long one may stay; `records_max` bounds the records held (each changeset counts
    as at least one).
    """

    def __init__(self, hold_s: float, records_max: int) -> None:
        self._hold_s = hold_s
        self._records_max = records_max
        self._sets: dict[_SetKey, _Set] = {}
        self._weight = 0

    def __len__(self) -> int:
        """Return the number of records held."""
        return sum(len(open_.held) for open_ in self._sets.values())

    def take(self, incoming: Incoming, now_s: float, *, news: bool) -> list[Incoming]:
        """Take one record of a changeset of several; return what is to be applied now, in one step.

        `news`: whether the record's revision is newer than what the node has.
        """
        key = _SetKey(incoming.key.scope, incoming.entry.changeset, incoming.count)
        open_ = self._sets.get(key)
        if open_ is None:
            open_ = self._sets[key] = _Set(now_s + self._hold_s)
            self._weight += 1
        open_.arrived.add(incoming.index)
        if news:
            if open_.held:
                open_.weight += 1
                self._weight += 1
            open_.held[incoming.index] = incoming
        if len(open_.arrived) == incoming.count:
            self._close(key)
            whole = list(open_.held.values())
            return whole if news else [*whole, incoming]
        return [] if news else [incoming]

    def overdue(self, now_s: float) -> list[Incoming]:
        """Return, and no longer hold, the records of changesets whose time is over."""
        late = [key for key, open_ in self._sets.items() if open_.deadline_s <= now_s]
        return [incoming for key in late for incoming in self._close(key)]

    def crowded_out(self) -> list[Incoming]:
        """Return, and no longer hold, the oldest changesets, until the rest fits."""
        released: list[Incoming] = []
        while self._weight > self._records_max:
            released += self._close(next(iter(self._sets)))
        return released

    def abandon(self, scope: Scope) -> int:
        """Forget what is held of a scope; return how many changesets that were."""
        keys = [key for key in self._sets if key.scope == scope]
        return sum(bool(self._close(key)) for key in keys)

    def held_of(self, scope: Scope) -> list[Incoming]:
        """Return the records held of a scope."""
        return [
            incoming
            for key, open_ in self._sets.items()
            if key.scope == scope
            for incoming in open_.held.values()
        ]

    def first_offset(self, scope: Scope) -> int | None:
        """Return the lowest offset held of a scope: where a restart has to read again from."""
        if not self._sets:
            return None
        return min((incoming.offset for incoming in self.held_of(scope)), default=None)

    def deadline_s(self) -> float | None:
        """Return when the next changeset is overdue."""
        return min((open_.deadline_s for open_ in self._sets.values()), default=None)

    def _close(self, key: _SetKey) -> list[Incoming]:
        open_ = self._sets.pop(key)
        self._weight -= open_.weight
        return list(open_.held.values())
