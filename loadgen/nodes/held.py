"""What a stream holds back: incomplete changesets, and a snapshot that is being gathered. Pure.

The rules are those of the agent (`southbound.nca.changesets`, `southbound.nca.snapshot`): the
resources of one changeset in one scope are applied in one step; nothing of a snapshot is applied
before its end; only a whole snapshot may say that something is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from loadgen.nodes.entries import DELETE, REVISION_SHIFT
from loadgen.nodes.kinds import Ref


class Arrival(NamedTuple):
    """One record of a resource that could be read: what it would become, and how it was sent.

    `place` is its index among the `size` records of its changeset.
    """

    suffix: bytes
    entry: int
    refs: tuple[Ref, ...]
    changeset: str
    place: int
    size: int
    sent_us: int


class _Set:
    __slots__ = ("arrived", "deadline_us", "held", "weight")

    def __init__(self, deadline_us: int) -> None:
        self.deadline_us = deadline_us
        self.arrived: set[int] = set()
        self.held: dict[int, Arrival] = {}
        self.weight = 1


class Holding:
    """The incomplete changesets of one scope, oldest first."""

    __slots__ = ("_sets", "_weight")

    def __init__(self) -> None:
        self._sets: dict[tuple[str, int], _Set] = {}
        self._weight = 0

    def __len__(self) -> int:
        """Return the number of records held."""
        return sum(len(open_.held) for open_ in self._sets.values())

    @property
    def is_empty(self) -> bool:
        """Whether no changeset is open."""
        return not self._sets

    def take(self, arrival: Arrival, deadline_us: int, *, news: bool) -> list[Arrival]:
        """Take one record of a changeset of several; return what is to be applied now, at once."""
        key = (arrival.changeset, arrival.size)
        open_ = self._sets.get(key)
        if open_ is None:
            open_ = self._sets[key] = _Set(deadline_us)
            self._weight += 1
        open_.arrived.add(arrival.place)
        if news:
            if open_.held:
                open_.weight += 1
                self._weight += 1
            open_.held[arrival.place] = arrival
        if len(open_.arrived) == arrival.size:
            whole = self._close(key)
            return whole if news else [*whole, arrival]
        return [] if news else [arrival]

    def overdue(self, now_us: int) -> Iterator[list[Arrival]]:
        """Yield, and no longer hold, each changeset whose time is over."""
        for key in [key for key, open_ in self._sets.items() if open_.deadline_us <= now_us]:
            yield self._close(key)

    def crowded_out(self, records_max: int) -> list[Arrival]:
        """Return, and no longer hold, the oldest changesets, until the rest fits."""
        out: list[Arrival] = []
        while self._weight > records_max:
            out += self._close(next(iter(self._sets)))
        return out

    def abandon(self) -> int:
        """Forget what is held; return how many changesets that were."""
        return sum(bool(self._close(key)) for key in list(self._sets))

    def _close(self, key: tuple[str, int]) -> list[Arrival]:
        open_ = self._sets.pop(key)
        self._weight -= open_.weight
        return list(open_.held.values())


class Gather:
    """The records of a snapshot, up to the offset `high` (-1 until it is known)."""

    __slots__ = ("_epoch", "_found", "_sealed", "_seen", "at_end", "high", "trusted")

    def __init__(self, epoch: int, high: int) -> None:
        self.high = high
        self.at_end = False
        self.trusted = True
        self._epoch = epoch
        self._sealed = epoch == 1
        self._seen: set[bytes] | None = None
        self._found: dict[bytes, Arrival] = {}

    def see(self, suffix: bytes) -> None:
        """Note that the log speaks of this resource."""
        if self._seen is None:
            self._seen = set()
        self._seen.add(suffix)

    def take(self, arrival: Arrival) -> bool:
        """Keep the record if its revision is the highest; tell whether it or another was beaten."""
        self.see(arrival.suffix)
        rival = self._found.get(arrival.suffix)
        if rival is None:
            self._found[arrival.suffix] = arrival
            return False
        before, now = rival.entry >> REVISION_SHIFT, arrival.entry >> REVISION_SHIFT
        if before < now:
            self._found[arrival.suffix] = arrival
        return before != now

    def erase(self, suffix: bytes) -> None:
        """Take a null: it ends what is left of a delete, and nothing else."""
        found = self._found.get(suffix)
        if found is not None and found.entry & DELETE:
            del self._found[suffix]
            if self._seen is not None:
                self._seen.discard(suffix)

    def seal(self, epoch: int) -> None:
        """Take a `!seal`."""
        if epoch >= self._epoch:
            self._sealed = True

    def drain(self) -> list[Arrival]:
        """Return, once, the highest revision of each resource."""
        found, self._found = list(self._found.values()), {}
        return found

    @property
    def complete(self) -> bool:
        """Whether absence means that a resource is gone."""
        return self.at_end and self._sealed

    def is_absent(self, suffix: bytes) -> bool:
        """Tell whether nothing was said of a resource."""
        return self._seen is None or suffix not in self._seen
