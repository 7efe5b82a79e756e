"""The other benchmarks on real servers, tiny: each measures what it says, beside its baseline."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from southbound.bench.agent import AgentBench, run_agent_bench
from southbound.bench.bootstrap import BootstrapBench, run_bootstrap
from southbound.bench.latency import LatencyBench, run_latency
from southbound.bench.result import BenchResult
from southbound.directory import Directory
from southbound.local.fleet import LocalFleet
from tests.live.directory_kit import kit_of, prepared_topology


class Stage:
    """An open directory on the shared fleet, and its Redis."""

    def __init__(self, directory: Directory, redis_url: str) -> None:
        self.directory = directory
        self.redis_url = redis_url


@pytest.fixture
def stage(fleet: LocalFleet) -> Iterator[Stage]:
    """Return a stage of this test's own."""
    topology = prepared_topology(fleet)
    with kit_of(fleet, topology, 13) as kit:
        directory = kit.directory()
        directory.put_topology(topology)
        yield Stage(directory, kit.redis_url)


def _value(result: BenchResult, metric: str) -> float:
    rows = {row.metric: row.value for row in (*result.rows, *result.baseline)}
    return rows[metric]


def test_every_change_is_accepted_and_applied_in_time_order(stage: Stage) -> None:
    """Latencies of both sides are there, none is negative, and quantiles rise."""
    bench = LatencyBench(
        hosts=4, vpcs=2, rate=40, seconds=1, warm_s=0.2, rest_s=0, processes=1, timeout_s=60
    )
    result = run_latency(stage.directory, stage.redis_url, bench)
    for what in ("publish to applied", "publish to accepted", "bare send to consumer's hands"):
        shown = [_value(result, f"{what}, {name}") for name in ("p50", "p99", "p99.9", "max")]
        assert shown == sorted(shown)
        assert shown[0] > 0
    assert all(row.value > 0 for row in result.ratios)


def test_agents_without_state_get_all_their_ports(stage: Stage) -> None:
    """All are done, and each side's last one comes no sooner than its median."""
    bench = BootstrapBench(agents=4, ports=3, vpcs=2, processes=2, rounds=1, rest_s=0, timeout_s=60)
    result = run_bootstrap(stage.directory, stage.redis_url, bench)
    assert _value(result, "all agents fully applied") >= _value(result, "agent done, p50") > 0
    assert _value(result, "all bare consumers at the watermark") > 0
    assert _value(result, "instances") == pytest.approx(
        12 / _value(result, "all agents fully applied")
    )


def test_one_agent_is_measured_from_outside(stage: Stage) -> None:
    """Its memory is that of its parts and what is its own, and it costs more than a bare consumer."""
    # For longer than a broker holds a fetch.
    bench = AgentBench(ports=2, starts=1, rest_s=0, idle_s=10.5, timeout_s=60)
    result = run_agent_bench(stage.directory, stage.redis_url, bench)
    parts = [row.value for row in result.rows if row.metric.startswith("of which ")]
    assert len(parts) == 10
    assert sum(parts) == pytest.approx(_value(result, "agent, resident memory"))
    assert _value(result, "agent, resident memory") > _value(
        result, "bare consumer, resident memory"
    )
    assert _value(result, "agent, fetches while idle") > 0
    assert _value(result, "agent, exec to snapshot applied") > 0
