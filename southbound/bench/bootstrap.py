"""How long many agents without any state take until their nodes have their whole configuration.

The rule: every agent is a real one with a fresh SQLite file and a consumer of its own, and counts as
done when it has caught up with the log and its applier holds all its ports. Interpreters are up and
modules imported before the clock starts, on both sides: in the field that happens on as many
machines, and `bench agent` measures it. The baseline is a bare consumer for each agent that reads the
same partitions from their starts to their watermarks, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from southbound.bench.crew import Crew, scratch
from southbound.bench.nodes import Nodes
from southbound.bench.quantiles import quantile
from southbound.bench.readers import Readers, reader_config, readings_of
from southbound.bench.result import BenchResult, Row
from southbound.bench.tenants import VPC_RESOURCES, Tenants, settle
from southbound.directory import Directory
from southbound.settings import AgentSettings

Progress = Callable[[str], None]
Took = Sequence[tuple[float, float]]

ALL_AIM = "<= 3"
_ELSEWHERE = "Eucalyptus' network daemon, 10,000 instances: about a minute (published)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapBench:
    """What is measured: `agents` agents with `ports` ports each, started at once.

    `processes`: how many they, and the bare consumers, are dealt to. `rounds`: runs of each side,
    in turns, each from nothing; the medians are told. `timeout_s` bounds one run.
    """

    agents: int = 500
    ports: int = 20
    vpcs: int = 20
    processes: int = 8
    rounds: int = 3
    rest_s: float = 1.0
    timeout_s: float = 120.0


def run_bootstrap(
    directory: Directory,
    redis_url: str,
    bench: BootstrapBench,
    *,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure on the fleet of an open directory, whose topics exist.

    Raises `CapacityError` where the pools do not hold the hosts, `EdgeError` where a run fails.
    """
    say = progress or (lambda _line: None)
    tenants = Tenants(hosts=bench.agents, ports=bench.ports, vpcs=bench.vpcs)
    say(f"publishing {bench.agents * bench.ports} ports of {bench.agents} hosts")
    settle(directory, tenants)
    ours: list[Took] = []
    bare: list[Took] = []
    for number in range(bench.rounds):
        ours.append(_agents(redis_url, tenants, bench))
        bare.append(_consumers(directory, tenants, bench))
        say(
            f"round {number + 1} of {bench.rounds}: agents {_all_s(ours[-1]):.2f} s, "
            f"bare consumers {_all_s(bare[-1]):.2f} s"
        )
    return _result(directory, bench, ours, bare)


def _agents(redis_url: str, tenants: Tenants, bench: BootstrapBench) -> Took:
    with scratch() as folder, Crew(bench.processes, Nodes, redis_url, folder) as crew:
        time.sleep(bench.rest_s)
        shares = crew.deal(tenants.ids)
        orders = [(share, bench.ports, bench.timeout_s) for share in shares]
        return _together(crew.ask("start", orders))


def _consumers(directory: Directory, tenants: Tenants, bench: BootstrapBench) -> Took:
    readings = readings_of(directory, tenants)
    with Crew(bench.processes, Readers) as crew:
        time.sleep(bench.rest_s)
        orders = [(share, bench.timeout_s) for share in crew.deal(readings)]
        return _together(crew.ask("read_all", orders))


def _together(answers: Sequence[Took]) -> Took:
    """Return when each was done, and the CPU that all processes had taken in the end."""
    cpu_s = sum(max((cpu_s for _, cpu_s in took), default=0.0) for took in answers)
    return [(done_s, cpu_s) for took in answers for done_s, _ in took]


def _all_s(took: Took) -> float:
    return max(done_s for done_s, _ in took)


def _median_run(runs: Sequence[Took]) -> Took:
    return sorted(runs, key=_all_s)[len(runs) // 2]


def _result(
    directory: Directory, bench: BootstrapBench, ours: Sequence[Took], bare: Sequence[Took]
) -> BenchResult:
    our_run, bare_run = _median_run(ours), _median_run(bare)
    instances = bench.agents * bench.ports
    rows = [
        Row("all agents fully applied", _all_s(our_run), "s", ALL_AIM),
        *_spread("agent", our_run),
        Row("instances", instances / _all_s(our_run), "1/s"),
        Row("CPU of the agents, each", our_run[0][1] / bench.agents * 1e3, "ms"),
    ]
    baseline = [
        Row("all bare consumers at the watermark", _all_s(bare_run), "s"),
        *_spread("bare consumer", bare_run),
        Row("CPU of the bare consumers, each", bare_run[0][1] / bench.agents * 1e3, "ms"),
    ]
    ratio = _all_s(our_run) / _all_s(bare_run)
    ratios = (Row("agents / bare consumers, all", ratio, "x"),)
    settings = _settings(directory, bench, ours, bare)
    return BenchResult("bootstrap", tuple(rows), tuple(baseline), ratios, settings)


def _spread(who: str, took: Took) -> list[Row]:
    ordered = sorted(done_s for done_s, _ in took)
    return [Row(f"{who} done, {name}", quantile(ordered, share), "s") for name, share in _SHOWN]


_SHOWN = (("p50", 0.5), ("p99", 0.99))


def _settings(
    directory: Directory, bench: BootstrapBench, ours: Sequence[Took], bare: Sequence[Took]
) -> dict[str, str]:
    topology, agent = directory.topology, AgentSettings()
    pools = topology.pools
    return {
        "agents": f"{bench.agents} with {bench.ports} ports each, no neighbours",
        "VPCs": f"{bench.vpcs} of {VPC_RESOURCES} resources; each agent follows one",
        "clusters": f"{len(topology.clusters)}",
        "pools": ", ".join(f"{pool.id} {pool.topics}x{pool.partitions}" for pool in pools),
        "processes": f"{bench.processes}, imports done before the clock starts",
        "shared in a process": "the directory's client, the producer of reports, the counters",
        "applier": "in memory",
        "SQLite": f"a new file each, WAL, synchronous {agent.sqlite_synchronous}",
        "rounds": f"{bench.rounds}, the median one; agents {_each(ours)} s, bare {_each(bare)} s",
        "records a batch": f"{agent.snapshot_batch_records}",
        **{f"consumer {name}": f"{value}" for name, value in reader_config().items()},
        "to beat": _ELSEWHERE,
    }


def _each(runs: Sequence[Took]) -> str:
    return ", ".join(f"{_all_s(run):.2f}" for run in runs)
