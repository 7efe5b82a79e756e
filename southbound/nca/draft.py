"""The transaction that is being put together. Pure.

The rule: what the node or a sender is about to learn makes the draft urgent, and it is written at the
end of the step. The rest (positions, where streams are, debts struck out, progress) costs no
transaction of its own and waits for the next one, or for `flush_s`: lost, it is found again from an
earlier position, which only leads to the same place once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from southbound.nca.state import Entry, Owed, Quarantined, StreamState, Transaction
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey, Scope


class Draft:
    """What will be written next. `flush_s`: how long what is not urgent may wait."""

    def __init__(self, flush_s: float) -> None:
        self._flush_s = flush_s
        self._next = Transaction()
        self._moved: set[Scope] = set()
        self._urgent = False
        self._touched = False
        self._waiting_since_s: float | None = None

    def entries(self, entries: Mapping[ResourceKey, Entry | None]) -> None:
        """Write these entries; traces of what is gone can wait."""
        self._next.entries.update(entries)
        if any(entry is not None for entry in entries.values()):
            self._urgent = True

    def stream(self, scope: Scope) -> None:
        """Write where a stream stands, or that it is not read any more."""
        self._moved.add(scope)

    def owed(self, owed: Mapping[int, Owed], *, urgent: bool = True) -> None:
        """Write down new debts. One that a restart would make again by itself is not urgent."""
        if owed:
            self._next.owed.update(owed)
            self._urgent |= urgent

    def settled(self, seq: int) -> None:
        """Strike a debt out; one not written yet needs no writing at all."""
        if self._next.owed.pop(seq, None) is None:
            self._next.settled.append(seq)

    def topology(self, topology: Topology) -> None:
        """Write the topology."""
        self._next.topology = topology
        self._touched = True

    def kafka_ids(self, ids: Mapping[str, str]) -> None:
        """Write which logs were read: as in `state.State`."""
        self._next.kafka_ids.update(ids)
        self._touched = True

    def quarantine(self, quarantined: Quarantined) -> None:
        """Write down a record that could not be read."""
        self._next.quarantined.append(quarantined)
        self._urgent = True

    def alone(self) -> None:
        """Write that the applier knows which scopes there are."""
        self._next.alone = True
        self._touched = True

    def touch(self) -> None:
        """Write at least that there was progress."""
        self._touched = True

    def is_due(self, now_s: float, *, at_once: bool = False) -> bool:
        """Tell whether the draft is to be written now."""
        if self._urgent:
            return True
        waiting = self._next
        if not (self._touched or self._moved or waiting.settled or waiting.entries or waiting.owed):
            return False
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        return at_once or now_s >= self._waiting_since_s + self._flush_s

    def deadline_s(self) -> float | None:
        """Return when what is waiting has to be written."""
        return None if self._waiting_since_s is None else self._waiting_since_s + self._flush_s

    def close(
        self, progress_us: int, state_of: Callable[[Scope], StreamState | None]
    ) -> Transaction:
        """Return the transaction and begin a new draft."""
        transaction = self._next
        transaction.progress_us = progress_us
        transaction.streams = {scope: state_of(scope) for scope in self._moved}
        self._next, self._moved = Transaction(), set()
        self._urgent, self._touched, self._waiting_since_s = False, False, None
        return transaction
