"""Percentiles, and what is left out of a long answer."""

from __future__ import annotations

import pytest

from southbound.producer.tracker_core import Applied
from southbound.tracker.summary import Summary, convergence, named, percentile, shortened


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)]
)
def test_percentiles_are_of_the_nearest_rank(share: float, value: float) -> None:
    """Of 1 to 100, the nth is the nth."""
    assert percentile([float(number) for number in range(1, 101)], share) == value


def test_one_host_is_every_percentile() -> None:
    """And nobody at all has none."""
    found = convergence({"h": 3_000_000}, 1_000_000, "sent")
    assert found is not None
    assert (found.p50_s, found.p99_s, found.max_s, found.hosts) == (2.0, 2.0, 2.0, 1)
    assert convergence({}, 0, "sent") is None


def test_the_slowest_come_first_and_clocks_may_differ() -> None:
    """A host whose clock is behind took no time, rather than less than none."""
    found = convergence({"fast": 0, "slow": 9_000_000, "mid": 5_000_000}, 1_000_000, "sent")
    assert found is not None
    assert found.slowest == (("slow", 8.0), ("mid", 4.0), ("fast", 0.0))


def test_a_summary_is_complete_only_when_nobody_lacks() -> None:
    """Settled with a failure is settled, and not complete."""
    fine = named(Summary("c", "accepted", settled=True), Applied("c", ("a", "b")), 1)
    assert fine.complete
    assert fine.applied == ("a",)
    assert fine.counts["applied"] == 2
    bad = named(fine, Applied("c", ("a",), failed={"b": "why", "d": "why"}), 9)
    assert not bad.complete
    assert dict(shortened(bad, 1).failed) == {"b": "why"}
    assert shortened(bad, 1).counts["failed"] == 2
    assert bad.applied_state().failed == {"b": "why", "d": "why"}
