"""Every number of the tracker has a name and an explanation."""

from __future__ import annotations

from dataclasses import fields

from prometheus_client import CollectorRegistry, generate_latest

from southbound.tracker.counters import Seconds, TrackerCounters, TrackerGauges
from southbound.tracker.metrics import HELP, TrackerCollector


def test_every_number_is_explained() -> None:
    """A field without a help text is one that no operator can read; a text without field is stale."""
    registry = CollectorRegistry()
    counters = TrackerCounters(entries={"failed": 2}, gates={"ready": 1}, requests={"200": 3})
    counters.convergence.observe(0.3)
    registry.register(TrackerCollector(counters, lambda: TrackerGauges(hosts=7)))
    text = generate_latest(registry).decode()
    for name in HELP:
        assert f"# HELP southbound_tracker_{name}" in text
    assert len(HELP) == len(fields(TrackerCounters)) + len(fields(TrackerGauges))
    assert "southbound_tracker_hosts 7.0" in text
    assert 'southbound_tracker_entries_total{outcome="failed"} 2.0' in text
    assert 'southbound_tracker_convergence_seconds_bucket{le="0.5"} 1.0' in text
    assert 'southbound_tracker_convergence_seconds_bucket{le="0.25"} 0.0' in text


def test_a_histogram_holds_everything() -> None:
    """What is above the last bound too."""
    seconds = Seconds()
    for value in (0.0, 0.005, 1e9):
        seconds.observe(value)
    assert (seconds.counts[0], seconds.counts[-1], sum(seconds.counts)) == (2, 1, 3)
