"""The survey of unit costs on real servers, tiny: it sees what it says, and formulas fit what it saw."""

from __future__ import annotations

import pytest

from loadgen.capacity import compare
from loadgen.capacity.costs import COSTS
from loadgen.capacity.demand import Aims, Ceilings, Demand
from loadgen.capacity.measured import costs_of
from loadgen.capacity.planner import plan
from loadgen.capacity.survey import Survey, SurveySize, survey
from loadgen.capacity.units import Units

_SIZE = SurveySize(
    topics=4,
    partitions=25,
    vpc_topics=1,
    hosts=60,
    vpcs=6,
    agents=4,
    fetchers=6,
    wait_ms=200,
    connections=20,
    lookups=5,
    changes=40,
    rate=80,
    watch_s=1.0,
    processes=1,
)


@pytest.fixture(scope="module")
def seen() -> Survey:
    """Return one survey, which started and stopped servers of its own."""
    return survey(_SIZE, lambda _line: None)


def test_every_cost_is_measured(seen: Survey) -> None:
    """A broker's partitions take a file and two maps each, whatever else the machine does."""
    costs = costs_of(seen)
    assert set(costs) == set(COSTS)
    assert all(value >= 0 for value in costs.values())
    assert costs["partition_files"] == pytest.approx(1, abs=0.2)
    assert costs["partition_maps"] == pytest.approx(2, abs=0.4)
    assert 60 < costs["record_overhead_bytes"] < 300
    assert costs["agent_connections"] >= 1
    assert 0.5 < seen.fetches.things / seen.fetches.seconds / (6 / 0.2) < 1.5


def test_a_plan_can_be_made_of_them(seen: Survey) -> None:
    """Whatever they are, the shape of the design's plan is the same."""
    found = plan(Demand(), Aims(), Ceilings(broker_cores=1_000), costs_of(seen))
    assert found.shape == "10 clusters x 200 topics x 50 partitions x 10 hosts"


def test_what_was_predicted_stands_beside_what_was_measured(
    seen: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At three scales; a fleet predicted from its own costs has its own files and maps."""
    monkeypatch.setattr(compare, "survey", lambda _size, _progress: seen)
    units = Units(costs_of(seen), {"at": "now"})
    result, versions = compare.run_compare(units, 0.01, lambda _line: None)
    assert versions["kafka"]
    assert len(result.rows) == len(result.baseline) == len(result.ratios) >= 3 * 12
    errors = {row.metric: row.value for row in result.ratios}
    assert errors["broker files, 60 hosts, error"] == pytest.approx(0, abs=10)
    assert errors["broker maps, 60 hosts, error"] == pytest.approx(0, abs=10)
    assert errors["connections of agents, 60 hosts, error"] == pytest.approx(0, abs=1)
    for row, predicted in zip(result.rows, result.baseline, strict=True):
        assert predicted.metric == f"{row.metric}, predicted"
        assert errors[f"{row.metric}, error"] == pytest.approx(
            100 * (predicted.value / row.value - 1)
        )
