"""Report entries that Kafka has not acknowledged yet. Pure.

The rule: an entry is kept until its report is acknowledged, so it is told at least once while the
worker lives; when it does not, whoever replays its partitions tells anew how they stand. It is
bounded: when it is full, the oldest waiting entries are dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from southbound.nca.worker_core import WorkerCounters
from southbound.wire.reports import ReportEntry


class Outbox:
    """Entries in the order in which they are told. One thread uses it."""

    def __init__(self, entries_max: int, counters: WorkerCounters) -> None:
        self._entries_max = entries_max
        self._counters = counters
        self._waiting: deque[ReportEntry] = deque()
        self._in_flight = 0

    def __len__(self) -> int:
        """Return the number of entries not acknowledged."""
        return len(self._waiting) + self._in_flight

    def add(self, entries: Iterable[ReportEntry]) -> None:
        """Take entries to be told."""
        self._waiting.extend(entries)
        self._bound()

    def reports(self, entries_max: int) -> int:
        """Return how many reports of at most so many entries the waiting ones make."""
        return -(-len(self._waiting) // entries_max)

    def take(self, entries_max: int) -> tuple[ReportEntry, ...]:
        """Return the next entries for one report; empty when there are none."""
        size = min(entries_max, len(self._waiting))
        self._in_flight += size
        return tuple(self._waiting.popleft() for _ in range(size))

    def settle(self, entries: tuple[ReportEntry, ...], *, arrived: bool) -> None:
        """Learn whether a report arrived; what did not is told again, before what is newer."""
        self._in_flight -= len(entries)
        if arrived:
            self._counters.reports_sent += len(entries)
        else:
            self._counters.reports_resent += len(entries)
            self._waiting.extendleft(reversed(entries))
            self._bound()

    def _bound(self) -> None:
        while len(self) > self._entries_max and self._waiting:
            self._waiting.popleft()
            self._counters.reports_dropped += 1
