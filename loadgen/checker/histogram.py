"""Counts of values in buckets whose width grows with the value, so that quantiles can be merged. Pure.

The rule: the buckets are those of Gil Tene's HdrHistogram: each power of two is cut into 1,024 equal
parts, so a value is told to within 0.1 % (three significant digits), whatever its size, and two
histograms add up by adding their counts. Kept sparse: a run fills a few thousand buckets at most.
`count`, `smallest` and `largest` are exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from southbound.errors import WireError

_BITS = 11
"""Values below 2^11 have buckets of their own; beyond, 2^10 buckets for each power of two."""

_HALF = 1 << (_BITS - 1)


def bucket_of(value: int) -> int:
    """Return the number of the bucket that holds a whole number from 0 on."""
    shift = value.bit_length() - _BITS
    return value if shift <= 0 else (shift << (_BITS - 1)) + (value >> shift)


def highest_of(bucket: int) -> int:
    """Return the largest value that a bucket holds."""
    if bucket < 2 * _HALF:
        return bucket
    shift = (bucket >> (_BITS - 1)) - 1
    return ((bucket - (shift << (_BITS - 1)) + 1) << shift) - 1


class Summary(msgspec.Struct, frozen=True):
    """The usual quantiles, in the unit of the values; all 0 when there are none."""

    count: int
    mean: float
    p50: int
    p90: int
    p99: int
    p999: int
    largest: int


class Histogram:
    """Counts of whole numbers from 0 on; what is below 0 (clocks that disagree) counts as 0."""

    __slots__ = ("_counts", "_total", "count", "largest", "smallest")

    def __init__(self) -> None:
        self.count = 0
        self.smallest = 0
        self.largest = 0
        self._total = 0
        self._counts: Counter[int] = Counter()

    def add(self, value: int, times: int = 1) -> None:
        """Count a value so many times."""
        assert times > 0, times
        value = max(value, 0)
        self._note(value, value, value * times, times)
        self._counts[bucket_of(value)] += times

    def add_all(self, values: Iterable[int]) -> None:
        """Count many values."""
        good = [max(0, value) for value in values]
        if good:
            self._note(min(good), max(good), sum(good), len(good))
            self._counts.update(map(bucket_of, good))

    def merge(self, other: Histogram) -> None:
        """Take in what another has counted."""
        if other.count:
            self._note(other.smallest, other.largest, other._total, other.count)
            self._counts.update(other._counts)

    def quantile(self, share: float) -> int:
        """Return a value that at least `share` of all do not exceed, at most 0.1 % too large.

        Nearest rank; the largest for 1.
        """
        assert self.count, "no values"
        assert 0 < share <= 1, share
        rank = math.ceil(share * self.count)
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min(highest_of(bucket), self.largest)
        raise AssertionError("counts do not add up")

    @property
    def mean(self) -> float:
        """The exact mean; 0 when there is nothing."""
        return self._total / self.count if self.count else 0.0

    def summary(self) -> Summary:
        """Return the usual quantiles."""
        if not self.count:
            return Summary(0, 0.0, 0, 0, 0, 0, 0)
        p50, p90, p99, p999 = map(self.quantile, (0.5, 0.9, 0.99, 0.999))
        return Summary(self.count, self.mean, p50, p90, p99, p999, self.largest)

    def encode(self) -> bytes:
        """Return it as bytes, for another process."""
        fields = (self.smallest, self.largest, self._total, sorted(self._counts.items()))
        return msgspec.msgpack.encode(fields)

    @classmethod
    def decode(cls, data: bytes) -> Histogram:
        """Read what `encode` returned. Raises `WireError`."""
        fields: Any = tuple[int, int, int, list[tuple[int, int]]]
        try:
            smallest, largest, total, counts = msgspec.msgpack.decode(data, type=fields)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise WireError(f"not a histogram: {error}") from error
        made = cls()
        made._counts.update(dict(counts))
        made.count = sum(made._counts.values())
        made.smallest, made.largest, made._total = smallest, largest, total
        return made

    def _note(self, smallest: int, largest: int, total: int, count: int) -> None:
        self.smallest = min(self.smallest, smallest) if self.count else smallest
        self.largest = max(self.largest, largest)
        self._total += total
        self.count += count
