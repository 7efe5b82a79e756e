"""`southbound bench`: each benchmark beside its baseline, in one run, on servers of its own."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.progress import say
from southbound.cli.session import Session
from southbound.cli.table import show, show_json

if TYPE_CHECKING:
    from southbound.bench.result import BenchResult
    from southbound.bench.stage import Stage, StageSettings
    from southbound.local.layout import LayoutSettings

app = noun("Benchmarks, each beside its baseline in one run, on a fleet of their own.")

StateDir = Annotated[
    Path | None,
    typer.Option(help="Folder for the servers' data; a temporary one unless named."),
]
Clusters = Annotated[int, typer.Option(min=1, max=10, help="Kafka clusters.")]
Scale = Annotated[
    float, typer.Option(min=0.0001, help="Multiplies the sizes: 0.01 for a quick look.")
]
Processes = Annotated[int, typer.Option(min=1, help="Processes that the nodes are dealt to.")]

_RESULTS = Path("bench")


@app.command(cls=Verb)
def publish(
    ctx: typer.Context,
    hosts: Annotated[int, typer.Option(min=1, help="Hosts; each gets one change a run.")] = 200_000,
    topics: Annotated[int, typer.Option(min=1, help="Topics of each cluster's host pool.")] = 200,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 50,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each side, in turns.")] = 3,
    validate: Annotated[bool, typer.Option(help="Judge each spec before it is sent.")] = True,
    clusters: Clusters = 3,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """Changes to many hosts until accepted, beside bare Kafka clients that do the same sends."""
    from southbound.bench.publish import PublishBench, run_publish
    from southbound.bench.stage import StageSettings
    from southbound.local.layout import LayoutSettings, PoolSize
    from southbound.settings import PublisherSettings

    count = max(1, round(hosts * scale))
    # Twice the mean, and some: two probes keep slots far closer together than that.
    per_slot = 16 + 2 * count // (clusters * topics * partitions)
    size = PoolSize(topics=topics, partitions=partitions, max_per_slot=per_slot)
    bench = PublishBench(
        hosts=count,
        rounds=rounds,
        publisher=PublisherSettings(client_id="bench-publish", validate_specs=validate),
    )
    stage = StageSettings(clusters=clusters, layout=LayoutSettings(host=size), state_dir=state_dir)
    _measure(ctx, stage, lambda on: run_publish(on.directory, bench, progress=say))


@app.command(cls=Verb)
def directory(
    ctx: typer.Context,
    hosts: Annotated[int, typer.Option(min=1, help="Hosts to be placed.")] = 1_000_000,
    topics: Annotated[int, typer.Option(min=1, help="Topics of each pool.")] = 200,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 50,
    clusters: Clusters = 3,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """Hosts placed, looked up, compared and rebuilt, beside bare redis-py with the same rows."""
    from southbound.bench.directory import DirectoryBench, run_directory
    from southbound.bench.stage import StageSettings

    count = max(1, round(hosts * scale))
    bench = DirectoryBench(
        hosts=count, singles=min(20_000, count), topics=topics, partitions=partitions
    )
    _measure(
        ctx,
        StageSettings(clusters=clusters, state_dir=state_dir),
        lambda on: run_directory(on.directory, on.redis_url, bench, progress=say),
    )


@app.command(cls=Verb)
def latency(
    ctx: typer.Context,
    hosts: Annotated[int, typer.Option(min=1, help="Nodes, each with a real agent.")] = 300,
    rate: Annotated[float, typer.Option(min=1, help="Changes a second, in an open loop.")] = 1000.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long changes count.")] = 30.0,
    warm: Annotated[float, typer.Option(min=0, help="How long others are sent before.")] = 15.0,
    rest: Annotated[float, typer.Option(min=0, help="Seconds that agents stand before.")] = 22.0,
    processes: Processes = 8,
    clusters: Clusters = 3,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """Single changes until accepted and until applied by the node, beside bare Kafka clients."""
    from southbound.bench.latency import LatencyBench, run_latency
    from southbound.bench.stage import StageSettings

    bench = LatencyBench(
        hosts=max(1, round(hosts * scale)),
        rate=max(1.0, rate * scale),
        seconds=seconds,
        warm_s=warm,
        rest_s=rest,
        processes=processes,
    )
    stage = StageSettings(clusters=clusters, layout=_node_layout(), state_dir=state_dir)
    _measure(ctx, stage, lambda on: run_latency(on.directory, on.redis_url, bench, progress=say))


@app.command(cls=Verb)
def bootstrap(
    ctx: typer.Context,
    agents: Annotated[int, typer.Option(min=1, help="Agents without any state.")] = 500,
    ports: Annotated[int, typer.Option(min=1, help="Ports of each one's host.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each side, in turns.")] = 3,
    processes: Processes = 8,
    clusters: Clusters = 3,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """Agents without state until all is applied, beside bare consumers of the same partitions."""
    from southbound.bench.bootstrap import BootstrapBench, run_bootstrap
    from southbound.bench.stage import StageSettings

    bench = BootstrapBench(
        agents=max(1, round(agents * scale)), ports=ports, rounds=rounds, processes=processes
    )
    stage = StageSettings(clusters=clusters, layout=_node_layout(), state_dir=state_dir)
    _measure(ctx, stage, lambda on: run_bootstrap(on.directory, on.redis_url, bench, progress=say))


@app.command(cls=Verb)
def agent(
    ctx: typer.Context,
    ports: Annotated[int, typer.Option(min=1, help="Ports of the agent's host.")] = 20,
    starts: Annotated[int, typer.Option(min=1, help="Starts without state.")] = 7,
    rest: Annotated[float, typer.Option(min=0, help="Seconds before it counts as idle.")] = 20.0,
    idle: Annotated[float, typer.Option(min=0.1, help="Seconds that it is watched idle.")] = 60.0,
    clusters: Clusters = 1,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """One agent's memory, idle cost and start, beside a process with a bare consumer."""
    from southbound.bench.agent import AgentBench, run_agent_bench
    from southbound.bench.stage import StageSettings

    bench = AgentBench(
        ports=ports,
        starts=max(1, round(starts * scale)),
        rest_s=rest * min(scale, 1.0),
        idle_s=max(0.1, idle * scale),
    )
    stage = StageSettings(clusters=clusters, state_dir=state_dir)
    _measure(
        ctx, stage, lambda on: run_agent_bench(on.directory, on.redis_url, bench, progress=say)
    )


@app.command(cls=Verb)
def handover(
    ctx: typer.Context,
    hosts: Annotated[int, typer.Option(min=1, help="Hosts that are moved.")] = 1_000,
    watched: Annotated[
        int, typer.Option(min=1, help="How many of them have a real agent; half of the changes.")
    ] = 60,
    singles: Annotated[int, typer.Option(min=1, help="How many move one by one.")] = 1_000,
    rate: Annotated[float, typer.Option(min=1, help="Changes a second, in an open loop.")] = 500.0,
    rest: Annotated[float, typer.Option(min=0.1, help="Seconds with nothing moved.")] = 15.0,
    processes: Processes = 4,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """Pause of each host that is moved under traffic, beside stopping, draining and switching."""
    from southbound.bench.handover import HandoverBench, run_handover
    from southbound.bench.stage import StageSettings

    bench = HandoverBench(
        hosts=max(2, round(hosts * scale)),
        watched=max(1, round(watched * min(1.0, scale**0.5))),
        singles=max(1, round(singles * scale)),
        stopped=max(1, round(50 * min(1.0, scale))),
        rate=max(1.0, rate * scale),
        rest_s=rest,
        processes=processes,
    )
    stage = StageSettings(clusters=2, azs=1, layout=_node_layout(), state_dir=state_dir)
    _measure(ctx, stage, lambda on: run_handover(on.directory, on.redis_url, bench, progress=say))


@app.command(cls=Verb)
def rebalance(
    ctx: typer.Context,
    hosts: Annotated[int, typer.Option(min=1, help="Hosts before the cluster joins.")] = 60_000,
    resources: Annotated[int, typer.Option(min=1, help="Ports of each host.")] = 5,
    rate: Annotated[float, typer.Option(min=1, help="Changes a second, in an open loop.")] = 200.0,
    hosts_per_round: Annotated[int, typer.Option(min=1, help="Hosts moved together.")] = 500,
    clusters: Clusters = 3,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """Filling a new cluster under traffic, beside a bare copy of the same streams."""
    from southbound.bench.rebalance import RebalanceBench, run_rebalance
    from southbound.bench.stage import StageSettings
    from southbound.local.layout import LayoutSettings, PoolSize

    bench = RebalanceBench(
        hosts=max(1, round(hosts * scale)),
        resources=resources,
        rate=rate,
        hosts_per_round=hosts_per_round,
    )
    layout = LayoutSettings(host=PoolSize(topics=20, partitions=25, max_per_slot=512))
    stage = StageSettings(clusters=clusters, azs=1, layout=layout, state_dir=state_dir)
    _measure(ctx, stage, lambda on: run_rebalance(on.fleet, on.directory, bench, progress=say))


def _node_layout() -> LayoutSettings:
    """Return pools in which a few hundred hosts have a slot each, or nearly."""
    from southbound.local.layout import LayoutSettings, PoolSize

    return LayoutSettings(host=PoolSize(topics=10, partitions=10, max_per_slot=64))


@app.command(cls=Verb)
def tracker(
    ctx: typer.Context,
    hosts: Annotated[int, typer.Option(min=1, help="Hosts that tell.")] = 1_000_000,
    again: Annotated[int, typer.Option(min=1, help="How many of them tell once more.")] = 300_000,
    clusters: Clusters = 3,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """Reports handled by the tracker, and what a host costs it, beside a bare consumer."""
    from southbound.bench.stage import StageSettings
    from southbound.bench.tracker import TrackerBench, run_tracker

    bench = TrackerBench(hosts=max(1, round(hosts * scale)), again=max(1, round(again * scale)))
    _measure(
        ctx,
        StageSettings(clusters=clusters, state_dir=state_dir),
        lambda on: run_tracker(on.directory.topology, bench, progress=say),
    )


@app.command(cls=Verb)
def units(
    ctx: typer.Context,
    write: Annotated[
        Path | None, typer.Option(help="Write the document to this file too, for `--units`.")
    ] = None,
    scale: Scale = 1.0,
) -> None:
    """Unit costs for `plan-capacity`: what a partition, a fetch, a host, a start costs here."""
    from loadgen.capacity.measured import costs_of
    from loadgen.capacity.survey import SurveySize, busy, scaled, settings_of, survey
    from loadgen.capacity.units import result_of

    before = busy()
    seen = survey(scaled(SurveySize(), scale), say)
    result = result_of(costs_of(seen), settings_of(seen, before))
    file = keep(session_of(ctx), result, seen.software)
    if write is not None:
        write.write_bytes(file.read_bytes())


@app.command(cls=Verb)
def capacity(
    ctx: typer.Context,
    units: Annotated[
        Path | None,
        typer.Option(help="Unit costs: a document of `bench units`; else those of the package."),
    ] = None,
    scale: Scale = 1.0,
) -> None:
    """Three small fleets of growing size: what `plan-capacity` says of them, beside what is measured."""
    from loadgen.capacity.compare import run_compare
    from loadgen.capacity.units import read_units, shipped

    costs = read_units(units) if units else shipped()
    result, versions = run_compare(costs, scale, say)
    keep(session_of(ctx), result, versions)


@app.command(cls=Verb)
def million(
    ctx: typer.Context,
    hosts: Annotated[
        int, typer.Option(min=10, help="Hosts; each is told all its ports.")
    ] = 1_000_000,
    ports: Annotated[int, typer.Option(min=1, help="Ports of each host.")] = 1,
    clusters: Annotated[
        int | None, typer.Option(min=1, max=10, help="Kafka clusters; 10 at full scale.")
    ] = None,
    publishers: Annotated[int, typer.Option(min=1, help="Processes that publish.")] = 2,
    readers: Annotated[int, typer.Option(min=1, help="Processes that read for all nodes.")] = 2,
    vpc_changes: Annotated[int, typer.Option(min=1, help="Changes of one large VPC.")] = 60,
    validate: Annotated[bool, typer.Option(help="Judge each spec before it is sent.")] = True,
    fresh: Annotated[bool, typer.Option(help="Make the servers' data anew.")] = False,
    seed: Annotated[int, typer.Option(help="Which fleet it is.")] = 1,
    scale: Scale = 1.0,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the servers' data, kept and reused; var/million."),
    ] = None,
) -> None:
    """A million hosts on 100,000 real partitions, told and verified, beside bare clients."""
    from loadgen.million import MillionBench, run_million
    from loadgen.stage import Keeper, StageSettings, StageSize, kept_stage

    count = max(10, round(hosts * scale))
    bench = MillionBench(
        hosts=count,
        ports=ports,
        publishers=publishers,
        readers=readers,
        validate=validate,
        vpc_hosts=max(1, round(10_000 * scale)),
        vpc_changes=vpc_changes,
        seed=seed,
    )
    size = StageSize.for_hosts(count, clusters or clusters_at(scale))
    bench.check(size.clusters)
    folder = state_dir or Path("var") / ("million" if scale == 1 else f"million-{scale:g}")
    settings = StageSettings(folder=folder, size=size, fleet=str(bench.shape()), fresh=fresh)
    with kept_stage(settings, say) as stage:
        result = run_million(stage, Keeper(folder), bench, progress=say)
        report(session_of(ctx), result, stage.redis_url)


@app.command(cls=Verb)
def storm(
    ctx: typer.Context,
    instances: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Instances whose nodes restart; may be repeated."),
    ] = None,
    vms: Annotated[int, typer.Option(min=1, help="Instances of a node.")] = 20,
    vpcs_per_slot: Annotated[int, typer.Option(min=1, help="VPCs that share a slot.")] = 10,
    together: Annotated[int, typer.Option(min=1, help="Ports of a VPC on one node.")] = 1,
    neighbors: Annotated[
        int, typer.Option(min=0, help="VPCs of at most so many ports tell of their neighbours.")
    ] = 100,
    processes: Processes = 4,
    clusters: Clusters = 3,
    scale: Scale = 1.0,
    state_dir: StateDir = None,
) -> None:
    """All nodes at once from empty state, beside broadcast of everything and beside polling."""
    from loadgen.storm.rows import result_of
    from loadgen.storm.storm import StormBench, storms

    counts = instances or [10_000, 100_000]
    bench = StormBench(
        instances=tuple(sorted({max(1, round(count * scale)) for count in counts})),
        vms_per_host=vms,
        vpcs_per_slot=vpcs_per_slot,
        together=together,
        neighbors_max=neighbors,
        processes=processes,
        clusters=clusters,
    )
    with storms(bench, state_dir, say) as (found, redis_url):
        report(session_of(ctx), result_of(found), redis_url)


def clusters_at(scale: float) -> int:
    """Return how many clusters a scale has: fewer and smaller ones on a smaller machine."""
    return max(2, min(10, round(10 * math.sqrt(scale))))


@app.command("report", cls=Verb)
def report_page(
    ctx: typer.Context,
    source: Annotated[
        Path, typer.Option("--from", help="Folder of the documents that benchmarks left.")
    ] = _RESULTS,
    target: Annotated[
        Path | None,
        typer.Option("--to", help="Folder for the page and the pictures [FROM/report]."),
    ] = None,
    hosts: Annotated[
        int, typer.Option(min=100, help="Hosts placed for each pool shape of the amplification.")
    ] = 100_000,
) -> None:
    """One page, and pictures, of the newest run of each benchmark."""
    from southbound.errors import ConfigError

    try:
        from loadgen.report.report import ReportSettings, write_report
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ConfigError(
            "pictures are drawn by matplotlib: install southbound with its `report` extra"
        ) from error

    settings = ReportSettings(source=source, target=target or source / "report", hosts=hosts)
    written = write_report(settings, say)
    for sentence in written.missing:
        say(sentence)
    rows = [("page", str(written.page)), *(("picture", str(one)) for one in written.pictures)]
    show(session_of(ctx), ("kind", "file"), rows)


def _measure(ctx: typer.Context, stage: StageSettings, run: Callable[[Stage], BenchResult]) -> None:
    """Start servers, measure on them, and report before they are stopped."""
    from southbound.bench.stage import staged

    with staged(stage, say) as running:
        report(session_of(ctx), run(running), running.redis_url)


def report(session: Session, result: BenchResult, redis_url: str) -> None:
    """Print a result with the machine, and keep it as a file of its own."""
    from southbound.bench.machine import software

    keep(session, result, software(redis_url, os.environ))


def keep(session: Session, result: BenchResult, versions: Mapping[str, str]) -> Path:
    """Print a result with the machine and the versions of what took part; return its file."""
    from southbound.bench.machine import machine
    from southbound.bench.result import write_result

    at = datetime.now(UTC)
    document = {
        **result.document(),
        "command": shlex.join(["southbound", *sys.argv[1:]]),
        "machine": machine(),
        "software": dict(versions),
        "at": at.isoformat(timespec="seconds"),
    }
    file = write_result(document, _RESULTS, at)
    if session.is_json:
        show_json(document)
    else:
        _show(session, document)
    say(f"kept in {file}")
    return file


def _show(session: Session, document: Mapping[str, Any]) -> None:
    numbers = [
        (part, row["metric"], amount(row["value"]), row["unit"], row["aim"] or None)
        for part, name in (("measured", "rows"), ("baseline", "baseline"), ("ratio", "ratios"))
        for row in document[name]
    ]
    show(session, ("part", "metric", "value", "unit", "aim"), numbers, document["name"])
    facts = [
        (part, name, value)
        for part in ("settings", "machine", "software")
        for name, value in document[part].items()
    ]
    typer.echo()
    show(session, ("part", "name", "value"), facts)


def amount(value: float) -> str:
    """Return a number with three digits that count, or whole where it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
