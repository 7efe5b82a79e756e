from __future__ import annotations

import time
from dataclasses import fields

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.appliers.timed import TimedApplier
from southbound.nca.counters import Counters, Gauges, Lag
from southbound.nca.metrics import AgentCollector, ApplierCollector, WorkerCollector
from southbound.nca.plan import Plan
from southbound.nca.worker_core import WorkerCounters, WorkerGauges


def scrape(*collectors: AgentCollector | WorkerCollector | ApplierCollector) -> str:
    """Return what Prometheus would read."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry).decode()


def test_an_agents_numbers_have_their_names() -> None:
    """Counters end in `_total`, gauges do not, and no label names a host."""
    counters = Counters(records_own=7)
    counters.resync("long_absence")
    counters.lag.observe(0.004)
    counters.lag.observe(400)
    reached_us = time.time_ns() // 1_000 - 90_000_000
    gauges = Gauges(parked=2, reached_us=reached_us)
    text = scrape(AgentCollector(counters, lambda: gauges))
    assert "southbound_agent_records_own_total 7.0" in text
    assert "southbound_agent_parked 2.0" in text
    assert 'southbound_agent_resyncs_total{reason="long_absence"} 1.0' in text
    assert 'southbound_agent_apply_lag_seconds_bucket{le="0.005"} 1.0' in text
    assert 'southbound_agent_apply_lag_seconds_bucket{le="60.0"} 1.0' in text
    assert 'southbound_agent_apply_lag_seconds_bucket{le="+Inf"} 2.0' in text
    assert "southbound_agent_apply_lag_seconds_count 2.0" in text
    assert "southbound_agent_apply_lag_seconds_sum 400.004" in text
    assert 'host="' not in text
    age_s = float(text.partition("\nsouthbound_agent_position_age_seconds ")[2].split()[0])
    assert 90 <= age_s < 120
    assert "reached_us" not in text


def test_a_workers_numbers_have_their_names() -> None:
    """A worker has names of its own, so one process may run both."""
    worker = WorkerCollector(WorkerCounters(replays=3), lambda: WorkerGauges(partitions=4))
    text = scrape(AgentCollector(Counters(), Gauges), worker)
    assert "southbound_worker_replays_total 3.0" in text
    assert "southbound_worker_partitions 4.0" in text


@pytest.mark.parametrize(
    ("collector", "kinds"),
    [
        (AgentCollector(Counters(), Gauges), (Counters, Gauges)),
        (WorkerCollector(WorkerCounters(), WorkerGauges), (WorkerCounters, WorkerGauges)),
    ],
    ids=["agent", "worker"],
)
def test_every_number_is_explained(
    collector: AgentCollector | WorkerCollector, kinds: tuple[type, ...]
) -> None:
    """A field without a help text is one that no operator can read; a text without field is stale."""
    names = {field.name for kind in kinds for field in fields(kind)} - {"lag", "resyncs"}
    names -= collector.told_otherwise
    assert names <= set(collector.helps)
    shared = set(AgentCollector.helps) & set(WorkerCollector.helps)
    assert set(collector.helps) - shared <= names | {"resyncs"}


def test_the_appliers_time_is_a_histogram() -> None:
    """Each plan is counted, failing ones too, and the applier's answer passes through."""
    applier = TimedApplier(MemoryApplier())
    applier.open()
    assert applier.apply(Plan(())) == {}
    applier.close()
    with pytest.raises(AssertionError, match="before open"):
        applier.apply(Plan(()))
    text = scrape(ApplierCollector(applier))
    assert "southbound_applier_plan_seconds_count 2.0" in text


def test_buckets_hold_what_is_at_most_their_bound() -> None:
    """A value on a bound belongs to it; a clock that ran backwards counts as none."""
    lag = Lag()
    for value in (-3.0, 0.001, 0.0011, 1e9):
        lag.observe(value)
    assert lag.counts[:2] == [2, 1]
    assert lag.counts[-1] == 1
