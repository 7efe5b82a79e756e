"""Kafka, as far as promises rest on it: replicated, compacted partitions in clusters.

The rule: what was acknowledged stands below the high watermark and stays, through any change of
leader; what stands above it may vanish. Readers see only what is below. Compaction drops a record
for a later one of its key only when that is older than the lag, and a null once it is older than the
retention of deletes; offsets stay. `truncate` and `wipe` break what Kafka promises: they are disasters.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

from southbound.partitioning.placement import Address

Sequence_ = tuple[str, int]
"""Who produced a record, and as which of its own: an idempotent producer's number."""


class Stored(NamedTuple):
    """One record of a partition."""

    offset: int
    key: bytes
    value: bytes | None
    at_us: int


class Lost(Exception):
    """What a leader had and its followers had not is gone; whoever waits for it sends it again."""


class Partition:
    """One partition. `high`: offsets below it are acknowledged. `auditor` sees what a leader takes."""

    def __init__(self, auditor: Callable[[Stored], None] | None = None) -> None:
        self.auditor = auditor
        self.records: list[Stored] = []
        self.end = 0
        self.high = 0
        self.watchers: dict[str, Callable[[], None]] = {}
        self._numbers: dict[Sequence_, int] = {}
        self._leaders = [0]

    def append(self, key: bytes, value: bytes | None, at_us: int, number: Sequence_) -> int:
        """Let the leader take a record, once; return its offset. It is not acknowledged yet."""
        known = self._numbers.get(number)
        if known is not None:
            return known
        offset = self.end
        stored = Stored(offset, key, value, at_us)
        if self.auditor is not None:
            self.auditor(stored)
        self.records.append(stored)
        self._numbers[number] = offset
        self.end += 1
        return offset

    def commit(self, number: Sequence_) -> None:
        """Let followers have everything up to a record. Raises `Lost` when it is not there."""
        offset = self._numbers.get(number)
        if offset is None:
            raise Lost
        if offset >= self.high:
            self.high = offset + 1
            for watcher in self.watchers.values():
                watcher()

    def change_leader(self) -> int:
        """Let a follower lead on: return how many records that nobody had acknowledged vanish."""
        gone = self.end - self.high
        self._cut(self.high)
        return gone

    def truncate(self, end: int) -> None:
        """Lose acknowledged records."""
        self._cut(end)

    def _cut(self, end: int) -> None:
        self.records = [one for one in self.records if one.offset < end]
        self._numbers = {number: at for number, at in self._numbers.items() if at < end}
        self.end = self.high = end
        self._leaders = [*(min(start, end) for start in self._leaders), end]

    def leader_epoch(self, offset: int) -> int:
        """Return the epoch of the leader that took what stands at an offset."""
        return bisect_right(self._leaders, offset) - 1

    def end_of(self, leader_epoch: int) -> int:
        """Return where the records of a leader's epoch, and of earlier ones, end."""
        later = self._leaders[leader_epoch + 1 :]
        return later[0] if later else self.end

    def read(self, start: int, end: int) -> list[Stored]:
        """Return what stands from one offset to before another, as far as it is acknowledged."""
        first = bisect_left(self.records, start, key=lambda one: one.offset)
        last = bisect_left(self.records, min(end, self.high), key=lambda one: one.offset)
        return self.records[first:last]

    def compact(self, now_us: int, lag_us: int, retention_us: int) -> int:
        """Clean up to the first record younger than the lag; return how many records went."""
        edge = next((one.offset for one in self.records if one.at_us > now_us - lag_us), self.high)
        edge = min(edge, self.high)
        last = {one.key: one.offset for one in self.records if one.offset < edge}
        before = len(self.records)
        self.records = [
            one
            for one in self.records
            if one.offset >= edge
            or (
                last[one.key] == one.offset
                and (one.value is not None or one.at_us > now_us - retention_us)
            )
        ]
        return before - len(self.records)


class Cluster:
    """One cluster. `kafka_id` is another one after its data folder was wiped.

    `audit` is told of every record that a leader takes, and where.
    """

    def __init__(self, id: str, audit: Callable[[Address, Stored], None] | None = None) -> None:
        self.id = id
        self.audit = audit
        self.life = 1
        self.partitions: dict[tuple[str, int], Partition] = {}

    @property
    def kafka_id(self) -> str:
        """The id that its brokers name."""
        return f"{self.id}-{self.life}"

    def partition(self, topic: str, partition: int = 0) -> Partition:
        """Return a partition."""
        found = self.partitions.get((topic, partition))
        if found is None:
            found = Partition(self._auditor(Address(self.id, topic, partition)))
            self.partitions[topic, partition] = found
        return found

    def _auditor(self, address: Address) -> Callable[[Stored], None] | None:
        audit = self.audit
        return None if audit is None else lambda stored: audit(address, stored)

    def at(self, address: Address) -> Partition:
        """Return the partition of an address."""
        return self.partition(address.topic, address.partition)

    def wipe(self, topics: Callable[[str], bool]) -> None:
        """Lose the data of some topics; their readers stay connected."""
        self.life += 1
        for (topic, _), partition in self.partitions.items():
            if topics(topic):
                partition.truncate(0)
