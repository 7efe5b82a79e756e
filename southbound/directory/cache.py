"""Placements kept in memory, bounded, and never going back.

The rule: a cached placement may be old, since the fence finds that out, but it is only ever replaced
by one of the same or a higher epoch, and what was read before a `forget` is not taken after it. Two
halves bound it: when the young half is full the old one is dropped and the young becomes the old;
what is asked for is carried over, so what is used stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_Row = TypeVar("_Row")


class Cache(Generic[_Row]):
    """Rows by id. Thread-safe. `epoch_of` tells a row's epoch; at most `size` rows are kept."""

    def __init__(self, size: int, epoch_of: Callable[[_Row], int]) -> None:
        self._half = size // 2
        self._epoch_of = epoch_of
        self._lock = threading.Lock()
        self._young: dict[str, _Row] = {}
        self._old: dict[str, _Row] = {}
        self._age = 0

    @property
    def age(self) -> int:
        """Rises with each `forget`; note it before reading what is then `put`."""
        return self._age

    def __len__(self) -> int:
        return len(self._young) + sum(id not in self._young for id in self._old)

    def split(self, ids: Iterable[str]) -> tuple[dict[str, _Row], list[str]]:
        """Return the rows that are known, and the ids that are not, each once."""
        known: dict[str, _Row] = {}
        missing: dict[str, None] = {}
        young, old = self._young, self._old
        carried: dict[str, _Row] = {}
        for id in ids:
            row = young.get(id)
            if row is None:
                row = old.get(id)
                if row is None:
                    missing[id] = None
                    continue
                carried[id] = row
            known[id] = row
        if carried:
            self._carry(carried, old)
        return known, list(missing)

    def _carry(self, rows: dict[str, _Row], old: dict[str, _Row]) -> None:
        with self._lock:
            if self._old is old:
                for id, row in rows.items():
                    self._insert(id, row)

    def put(self, rows: dict[str, _Row], age: int) -> None:
        """Keep rows that were read at that age; a row already there stays when its epoch is higher."""
        with self._lock:
            if age == self._age and self._half:
                for id, row in rows.items():
                    self._insert(id, row)

    def _insert(self, id: str, row: _Row) -> None:
        there = self._young.get(id) or self._old.get(id)
        if there is not None and self._epoch_of(there) > self._epoch_of(row):
            row = there
        if len(self._young) >= self._half and id not in self._young:
            self._old, self._young = self._young, {}
        self._young[id] = row

    def forget(self) -> None:
        """Drop everything, and whatever is being read right now."""
        with self._lock:
            self._age += 1
            self._young = {}
            self._old = {}
