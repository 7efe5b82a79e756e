"""What the formulas said of three small fleets, beside what was measured of them.

The rule: a fleet that is measured here is predicted by the very formulas of a plan, given its size
and the unit costs, which come from a fleet of another size; nothing is fitted. Errors are printed as
they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from loadgen.capacity.demand import Aims, Ceilings, Demand, named
from loadgen.capacity.expression import Expression
from loadgen.capacity.formulas import evaluate
from loadgen.capacity.survey import Survey, SurveySize, busy, scaled, settings_of, survey
from loadgen.capacity.units import Units
from southbound.bench.result import BenchResult, Row
from southbound.bench.stage import Progress
from southbound.bench.tenants import VPC_RESOURCES

NAME = "capacity"
SCALES: tuple[SurveySize, ...] = (
    SurveySize(
        topics=10,
        vpc_topics=4,
        hosts=2_000,
        vpcs=200,
        agents=20,
        fetchers=40,
        changes=800,
        rate=100,
    ),
    SurveySize(
        topics=30, vpc_topics=10, hosts=8_000, vpcs=800, agents=50, fetchers=100, changes=1_600
    ),
    SurveySize(
        topics=90,
        vpc_topics=30,
        hosts=30_000,
        vpcs=3_000,
        agents=120,
        fetchers=240,
        changes=3_200,
        rate=400,
    ),
)

SHARED_RESTART = Expression("agents * (restart_agent_us + restart_broker_us) / cores / 1000000")
"""A restart where agents and broker share one machine's cores, as they do here."""


class Compared(NamedTuple):
    """One quantity of one fleet."""

    what: str
    unit: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """How much more was predicted than measured, as a share."""
        return self.predicted / self.measured - 1


class _Pair(NamedTuple):
    """A quantity of the formulas, in what situation it was measured, and what was seen."""

    what: str
    name: str
    situation: str
    seen: Callable[[Survey], float]


def compared(seen: Survey, costs: Mapping[str, float], cores: int) -> list[Compared]:
    """Return what was predicted of a surveyed fleet beside what was seen. `cores`: of the machine."""
    predicted = {name: _predicted(seen, costs, name, cores) for name in _SITUATIONS}
    units = {one.name: one.unit for one in evaluate(_given(seen, costs))}
    found = [
        Compared(
            pair.what,
            units[pair.name],
            predicted[pair.situation][pair.name],
            pair.seen(seen),
        )
        for pair in _PAIRS
    ]
    values = {**costs, "agents": seen.restart.spent.things, "cores": cores}
    restart_s = seen.restart.spent.seconds
    together = Compared("restart, all on these cores", "s", SHARED_RESTART(values), restart_s)
    # What was not seen at all (less CPU than the kernel's clock ticks) can have no error.
    return [one for one in (*found, together) if one.measured > 0]


def result_of(
    surveys: Sequence[tuple[Survey, Sequence[Compared]]], settings: Mapping[str, str]
) -> BenchResult:
    """Return the comparison as a benchmark's outcome: measured, predicted, and the error."""
    rows, baseline, ratios = [], [], []
    for seen, found in surveys:
        for one in found:
            what = f"{one.what}, {seen.size.hosts} hosts"
            rows.append(Row(what, one.measured, one.unit))
            baseline.append(Row(f"{what}, predicted", one.predicted, one.unit))
            ratios.append(Row(f"{what}, error", 100 * one.error, "%"))
    return BenchResult(NAME, tuple(rows), tuple(baseline), tuple(ratios), settings)


def run_compare(
    units: Units, scale: float, progress: Progress
) -> tuple[BenchResult, Mapping[str, str]]:
    """Survey three fleets one after the other; return the comparison and the versions of servers.

    `scale` multiplies the counts of each. Raises `EdgeError` where a server or a client fails.
    """
    before, cores = busy(), len(os.sched_getaffinity(0))
    surveys = []
    for size in SCALES:
        seen = survey(scaled(size, scale), progress)
        surveys.append((seen, compared(seen, units.costs, cores)))
    largest = surveys[-1][0]
    settings = {
        "fleets": ", ".join(str(seen.size.hosts) for seen, _ in surveys) + " hosts",
        "error": "predicted / measured - 1",
        "cores": str(cores),
        **{f"unit costs, {name}": value for name, value in units.provenance.items()},
        **{f"the largest, {name}": value for name, value in settings_of(largest, before).items()},
    }
    return result_of(surveys, settings), largest.software


def _given(seen: Survey, costs: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that a plan of this very fleet would be made from."""
    size = seen.size
    demand = Demand(
        hosts=size.hosts,
        azs=1,
        ports_per_host=size.ports,
        resource_bytes=seen.spec_bytes,
        changes_per_s=0,
        vpc_changes_per_s=0,
        ports_per_vpc=size.hosts * size.ports / size.vpcs,
        vpcs_per_host=1,
        vpc_resources=VPC_RESOURCES,
        online=size.agents / size.hosts,
    )
    aims = Aims(replication=1, segments=1, partitions=size.partitions)
    values = {**named(demand, aims, Ceilings()), **costs}
    del values["restart_s"]
    return {
        **values,
        "clusters": 1,
        "brokers": 1,
        "publishers": 1,
        "host_topics": size.topics,
        "vpc_topics": size.vpc_topics,
    }


def _predicted(
    seen: Survey, costs: Mapping[str, float], situation: str, cores: int
) -> dict[str, float]:
    values = {**_given(seen, costs), **_SITUATIONS[situation](seen, cores)}
    return {one.name: one.value for one in evaluate(values)}


def _standing(seen: Survey, _cores: int) -> dict[str, float]:
    # When the agents were looked at the publisher had ended.
    return {"connections_on_broker": seen.restart.connections}


def _waiting(seen: Survey, _cores: int) -> dict[str, float]:
    wait_s = seen.size.wait_ms / 1e3
    return {"agents": seen.size.fetchers, "brokers_read": 1, "fetch_wait_s": wait_s}


def _streaming(seen: Survey, _cores: int) -> dict[str, float]:
    rate = seen.single.things / seen.single.seconds
    return {"changes_per_s": rate, "agents": 0, "online": 0}


def _filling(_seen: Survey, cores: int) -> dict[str, float]:
    # The publisher has one of the cores.
    return {"broker_cores": max(1, cores - 1)}


def _restarting(_seen: Survey, _cores: int) -> dict[str, float]:
    return {"broker_cores": 1}


def _looking_up(seen: Survey, _cores: int) -> dict[str, float]:
    return {"hosts": seen.lookups.things, "online": 1}


_SITUATIONS: Mapping[str, Callable[[Survey, int], dict[str, float]]] = {
    "agents on": _standing,
    "consumers wait": _waiting,
    "single changes": _streaming,
    "fill": _filling,
    "restart": _restarting,
    "look-ups": _looking_up,
}

_PAIRS: tuple[_Pair, ...] = (
    _Pair(
        "connections of agents",
        "connections_of_agents",
        "agents on",
        lambda seen: seen.restart.connections,
    ),
    _Pair("broker memory", "broker_memory", "agents on", lambda seen: seen.restart.online.memory),
    _Pair("broker files", "broker_files", "agents on", lambda seen: seen.restart.online.files),
    _Pair("broker maps", "broker_maps", "agents on", lambda seen: seen.restart.online.maps),
    _Pair("broker disk", "broker_disk", "agents on", lambda seen: seen.once.disk - seen.base.disk),
    _Pair("Redis memory", "redis_memory", "agents on", lambda seen: seen.redis[2].memory),
    _Pair(
        "idle fetches",
        "idle_fetches",
        "consumers wait",
        lambda seen: seen.fetches.things / seen.fetches.seconds,
    ),
    _Pair(
        "broker CPU, idle fetches",
        "broker_cpu",
        "consumers wait",
        lambda seen: seen.fetches.broker_s / seen.fetches.seconds,
    ),
    _Pair(
        "broker CPU, single changes",
        "broker_cpu",
        "single changes",
        lambda seen: seen.single.broker_s / seen.single.seconds,
    ),
    _Pair(
        "publisher CPU, single changes",
        "publisher_cpu",
        "single changes",
        lambda seen: seen.single.here_s / seen.single.seconds,
    ),
    _Pair("registering", "register_s", "fill", lambda seen: seen.register_s),
    _Pair("fill", "fill_s", "fill", lambda seen: seen.bulk.seconds),
    _Pair(
        "restart, broker CPU", "restart_cpu_s", "restart", lambda seen: seen.restart.spent.broker_s
    ),
    _Pair(
        "look-ups of agents that start, Redis CPU",
        "restart_redis_s",
        "look-ups",
        lambda seen: seen.lookups.redis_s,
    ),
)
