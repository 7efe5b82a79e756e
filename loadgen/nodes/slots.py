"""One partition as the nodes that live in it read it: each by itself, though it is read once. Pure.

The rule: whoever reads a slot alone reads every record in it from his own position on. Here each
record is brought once; a slot counts its records, and each stream remembers the count at which it
began, so how much a node has read is one subtraction, for any number of nodes. Streams that are not
where the slot is (moved in at an offset that the slot has passed, or not reached yet) are few, and
are counted one by one until they are.

A slot that is read again from an earlier offset brings what is passed to those that lag, and to
nobody else.
"""

from __future__ import annotations

import sys

from loadgen.nodes.stream import Outcome, Stream

_SEPARATOR = b"\x1f"
_FOREIGN, _PASSED = Outcome.FOREIGN, Outcome.PASSED
_NEVER = sys.maxsize


class Slot:
    """The streams of one partition.

    `high` is the offset behind the last record that came, `count` how many came for the first time;
    `strays` how many of them were of nobody here. `ordered`: it is to be read again from `position`,
    and what still comes from further on would be taken by streams that lag before what they lack.
    """

    __slots__ = (
        "_apart",
        "_beside",
        "_end_at",
        "_ending",
        "cluster",
        "count",
        "high",
        "ordered",
        "partition",
        "strays",
        "streams",
        "topic",
    )

    def __init__(self, cluster: str, topic: str, partition: int) -> None:
        self.cluster = cluster
        self.topic = topic
        self.partition = partition
        self.high = 0
        self.count = 0
        self.strays = 0
        self.ordered = False
        self.streams: dict[bytes, Stream] = {}
        self._beside: dict[bytes, list[Stream]] | None = None
        self._apart: dict[Stream, None] | None = None
        self._ending: list[Stream] | None = None
        self._end_at = _NEVER

    def add(self, stream: Stream, now_us: int) -> None:
        """Let a stream be read here from its `next` on; what it has read before stays counted.

        A second stream of a scope (a node's own beside the shared one) is read beside the first.
        """
        first = self.streams.setdefault(stream.prefix, stream)
        if first is not stream:
            if self._beside is None:
                self._beside = {}
            self._beside.setdefault(stream.prefix, []).append(stream)
        stream.base = self.count - stream.base
        if stream.next != self.high or _is_unmarked(stream):
            self._set_apart(stream)
        self._expect_end(stream, now_us)

    def remove(self, stream: Stream) -> None:
        """Read a stream here no more; its `base` is what it has read."""
        stream.base = self.reads(stream)
        beside = self._beside or {}
        others = beside.get(stream.prefix, [])
        if self.streams.get(stream.prefix) is stream:
            del self.streams[stream.prefix]
            if others:
                self.streams[stream.prefix] = others.pop(0)
        else:
            others.remove(stream)
        if self._beside is not None and not others:
            self._beside.pop(stream.prefix, None)
            self._beside = self._beside or None
        if self._apart is not None:
            self._apart.pop(stream, None)
            self._apart = self._apart or None
        if self._ending is not None and stream in self._ending:
            self._ending.remove(stream)
            self._note_end()

    def mark(self, high: int, now_us: int) -> None:
        """Take the end of the partition, for the snapshots that do not know theirs."""
        for stream in list(self._apart or ()):
            if _is_unmarked(stream):
                stream.mark(high)
                if stream.next == self.high and self._apart is not None:
                    del self._apart[stream]
                    self._apart = self._apart or None
                self._expect_end(stream, now_us)

    @property
    def position(self) -> int:
        """The offset from which this partition has to be read for everybody."""
        behind = [one.next for one in self._apart or () if not _is_unmarked(one)]
        return min([self.high, *behind])

    @property
    def is_unmarked(self) -> bool:
        """Whether a snapshot waits for the end of this partition."""
        return any(map(_is_unmarked, self._apart or ()))

    def reads(self, stream: Stream) -> int:
        """Return how many records who follows a stream would have read here, and in slots before."""
        return self.count - stream.base

    def all_streams(self) -> list[Stream]:
        """Return every stream of this slot."""
        beside = self._beside or {}
        return [*self.streams.values(), *(one for many in beside.values() for one in many)]

    def feed(self, offset: int, key: bytes, value: bytes | None, now_us: int) -> Outcome:
        """Take the next record of the partition."""
        prefix = key[: key.find(_SEPARATOR, 2) + 1]
        if self._apart is not None or self._beside is not None:
            return self._feed_each(prefix, offset, key, value, now_us)
        if offset < self.high:
            return _PASSED
        self.high = offset + 1
        self.count += 1
        stream = self.streams.get(prefix)
        if stream is None:
            self.strays += 1
            outcome = _FOREIGN
        else:
            stream.own += 1
            outcome = stream.take(key, value, now_us)
        if offset + 1 >= self._end_at:
            self._end(now_us)
        return outcome

    def _feed_each(
        self, prefix: bytes, offset: int, key: bytes, value: bytes | None, now_us: int
    ) -> Outcome:
        """Take a record while some streams are at other offsets than the rest."""
        is_new = offset >= self.high
        apart = self._apart or {}
        readers = [self.streams[prefix]] if prefix in self.streams else []
        if self._beside is not None:
            readers += self._beside.get(prefix, [])
        takers = [one for one in readers if (is_new if one not in apart else _takes(one, offset))]
        if is_new:
            self.high = offset + 1
            self.count += 1
            self.strays += not readers
        for one in list(apart):
            self._count_apart(one, offset, is_new=is_new)
        outcome = _FOREIGN if not readers else _PASSED
        for one in takers:
            one.own += 1
            outcome = one.take(key, value, now_us)
        if offset + 1 >= self._end_at:
            self._end(now_us)
        return outcome

    def _count_apart(self, stream: Stream, offset: int, *, is_new: bool) -> None:
        if not _takes(stream, offset):
            stream.base += is_new
            return
        stream.base -= not is_new
        stream.next = offset + 1
        if is_new and self._apart is not None:
            del self._apart[stream]
            self._apart = self._apart or None

    def _set_apart(self, stream: Stream) -> None:
        if self._apart is None:
            self._apart = {}
        self._apart[stream] = None

    def _expect_end(self, stream: Stream, now_us: int) -> None:
        if not stream.is_gathering or _is_unmarked(stream):
            return
        stream.reached(self._at(stream), now_us)
        if stream.is_gathering:
            if self._ending is None:
                self._ending = []
            self._ending.append(stream)
            self._note_end()

    def _end(self, now_us: int) -> None:
        """Let the snapshots end whose ends are read."""
        for stream in self._ending or ():
            stream.reached(self._at(stream), now_us)
        self._ending = [one for one in self._ending or () if one.is_gathering] or None
        self._note_end()

    def _note_end(self) -> None:
        ends = [one.gather.high for one in self._ending or () if one.gather is not None]
        self._end_at = min(ends, default=_NEVER)

    def _at(self, stream: Stream) -> int:
        return stream.next if self._apart is not None and stream in self._apart else self.high


def _is_unmarked(stream: Stream) -> bool:
    return stream.gather is not None and stream.gather.high < 0


def _takes(stream: Stream, offset: int) -> bool:
    return not _is_unmarked(stream) and offset >= stream.next
