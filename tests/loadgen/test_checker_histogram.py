"""Histograms: three digits, whatever the size; merging is adding."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.checker.histogram import Histogram, bucket_of, highest_of
from southbound.errors import WireError

_values = st.lists(st.integers(0, 1 << 50), min_size=1, max_size=200)
_SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)


@given(st.integers(0, 1 << 62))
def test_a_bucket_is_narrow(value: int) -> None:
    """A bucket holds its value, and none that is more than 0.1 % larger; the next begins behind it."""
    bucket = bucket_of(value)
    assert value <= highest_of(bucket) <= value * (1 + 1 / 1_024)
    assert bucket_of(highest_of(bucket)) == bucket
    assert bucket_of(highest_of(bucket) + 1) == bucket + 1


@given(_values)
def test_quantiles_are_those_of_the_samples(values: list[int]) -> None:
    """Nearest rank, at most 0.1 % too large; the largest is exact."""
    histogram = Histogram()
    histogram.add_all(values)
    ordered = sorted(values)
    for share in _SHARES:
        exact = ordered[math.ceil(share * len(ordered)) - 1]
        assert exact <= histogram.quantile(share) <= exact * (1 + 1 / 1_024)
    assert histogram.quantile(1) == histogram.largest == ordered[-1]
    assert histogram.smallest == ordered[0]
    assert math.isclose(histogram.mean, sum(values) / len(values))


@given(_values, _values)
def test_merged_is_as_if_counted_together(one: list[int], other: list[int]) -> None:
    """Also across an encoding, and one by one."""
    together, first, second = Histogram(), Histogram(), Histogram()
    together.add_all([*one, *other])
    for value in one:
        first.add(value)
    second.add_all(other)
    first.merge(Histogram.decode(second.encode()))
    assert first.encode() == together.encode()
    assert first.summary() == together.summary()


def test_times_count_as_often() -> None:
    """A value may be counted for thousands of nodes at once; clocks that disagree count as 0."""
    histogram = Histogram()
    histogram.add(10, 9_999)
    histogram.add(-5)
    assert histogram.count == 10_000
    assert histogram.smallest == 0
    assert histogram.quantile(0.5) == 10


def test_nothing_has_a_summary_too() -> None:
    """Zeros, and a merge with nothing changes nothing."""
    histogram = Histogram()
    assert histogram.summary().count == 0
    histogram.merge(Histogram())
    assert histogram.count == 0


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x94\x01\x02\x03", b"\x91" * 9_000, b"\x80"])
def test_what_is_no_histogram_is_a_wire_error(data: bytes) -> None:
    """Another process said it."""
    with pytest.raises(WireError, match="histogram"):
        Histogram.decode(data)
