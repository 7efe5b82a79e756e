"""One scenario on workers of several machines: shares handed out, waited for, and merged.

The rule: every host belongs to one worker, which publishes what is due to it and simulates its node;
every VPC's own changes are published by one worker, and read by all that have nodes in it. All begin
at one moment by one clock, and nothing passes between workers but through Redis and Kafka. A run
whose nodes do not stand as the scenario leaves them has no result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.checker.histogram import Histogram
from loadgen.coordination import Leader, LeaderSettings
from loadgen.coordination.clock import ask_clock
from loadgen.enactable import FILL, scenario_of
from loadgen.roles import ENACTOR
from loadgen.share import Share
from loadgen.stage import directory_settings
from loadgen.workloads.fleet import Fleet, FleetShape
from southbound.bench.result import BenchResult, Row
from southbound.bench.stage import Progress
from southbound.directory import Directory
from southbound.errors import NotConverged

_LONG_S = 3_600.0
_REGISTERED_AT_ONCE = 100_000
_REVISIONS = 1_000_000
"""More than any scenario raises a resource's revision by."""
_BEGIN_IN_US = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignSettings:
    """Which scenario, on which fleet, by how many workers of which team.

    `seconds`: how long its changes go on; the scenario's own where None.
    """

    scenario: str
    workers: int = 1
    hosts: int = 10_000
    vms: int = 20
    seconds: float | None = None
    seed: int = 1
    team: str = "default"
    gather_timeout_s: float = 60.0

    def shape(self) -> FleetShape:
        """Return the fleet."""
        return FleetShape(hosts=self.hosts, vms_per_host=self.vms, azs=("all",), seed=self.seed)


def run_campaign(redis_url: str, settings: CampaignSettings, *, progress: Progress) -> BenchResult:
    """Lead one run. The topology's topics must exist.

    Raises `ConfigError` for an unknown scenario, `EdgeError` naming a worker that died or failed,
    `NotConverged` when a node is not as it should be.
    """
    scenario_of(settings.scenario, 1, settings.seconds)
    fleet = Fleet(settings.shape())
    leading = LeaderSettings(
        redis_url=redis_url, team=settings.team, gather_timeout_s=settings.gather_timeout_s
    )
    with (
        Directory(directory_settings(redis_url)) as directory,
        Leader(leading, progress) as leader,
    ):
        leader.gather(settings.workers)
        revision = leader.board.take_revisions(str(fleet.shape), 2 * _REVISIONS)
        register(directory, fleet, progress)
        clusters = tuple(cluster.id for cluster in directory.topology.clusters)
        share = Share(redis_url=redis_url, shape=fleet.shape, clusters=clusters)
        told = _enacted(leader, settings, share, revision, progress)
    return _result(settings, fleet, told)


def register(directory: Directory, fleet: Fleet, progress: Progress) -> None:
    """Register the fleet, as many hosts in each cluster; those that have a place keep it.

    Raises `EdgeError`, and `CapacityError` when the host pools are too small.
    """
    azs = [cluster.az for cluster in directory.topology.clusters]
    for first in range(0, fleet.hosts, _REGISTERED_AT_ONCE):
        hosts = range(first, min(fleet.hosts, first + _REGISTERED_AT_ONCE))
        directory.register_hosts({fleet.host(i): azs[i % len(azs)] for i in hosts})
        progress(f"hosts registered: {hosts.stop:,} of {fleet.hosts:,}")


def _enacted(
    leader: Leader, settings: CampaignSettings, share: Share, revision: int, say: Progress
) -> list[dict[str, Any]]:
    """Let the workers fill the fleet, enact the scenario, and compare; return what each found."""
    workers = leader.workers
    say(f"{len(workers)} workers open their shares")
    leader.begin(ENACTOR, workers)
    leader.ask(
        "open",
        {worker: (share.plain(), at, len(workers)) for at, worker in enumerate(workers)},
        _LONG_S,
    )
    if settings.scenario != FILL:
        _all(leader, "join")
        say("filling the fleet")
        _all(leader, "settle_vpcs", revision)
        _all(leader, "settle_hosts", revision)
        _all(leader, "catch_up")
        _all(leader, "forget_spans")
    else:
        _all(leader, "join")
    say(f"enacting {settings.scenario}")
    begin_us = ask_clock(leader.board).now_us() + _BEGIN_IN_US
    told = _all(
        leader, "enact", settings.scenario, revision + _REVISIONS, settings.seconds, begin_us
    )
    say("reading up")
    _all(leader, "catch_up")
    found = _all(leader, "found")
    return [
        {**one, **other, "worker": worker}
        for one, other, worker in zip(told, found, workers, strict=True)
    ]


def _all(leader: Leader, what: str, *arguments: Any) -> list[dict[str, Any]]:
    given = dict.fromkeys(leader.workers, arguments)
    return list(leader.ask(what, given, _LONG_S).values())


def _result(
    settings: CampaignSettings, fleet: Fleet, told: Iterable[Mapping[str, Any]]
) -> BenchResult:
    each = list(told)
    wrong = [words for one in each for words in one["wrong"]]
    if wrong:
        raise NotConverged(f"nodes do not stand as they should: {'; '.join(wrong[:5])}")
    own = sum(one["own"] for one in each)
    read = sum(one["read"] for one in each)
    rows = [
        Row("changesets published", float(sum(one["changesets"] for one in each)), "changesets"),
        Row("nodes verified", float(sum(one["nodes"] for one in each)), "nodes"),
        *_quantiles("due to accepted", each, "accepted"),
        *_quantiles("host's change, due to applied", each, "host_spans"),
        *_quantiles("VPC's change, due to applied", each, "vpc_spans"),
        Row("host records read per record needed, mean", read / own if own else 0.0, "x"),
        Row("worst error of a clock", max(one["clock_error_us"] for one in each) / 1e3, "ms"),
        Row("workers' memory, sum of peaks", sum(one["peak_bytes"] for one in each) / 2**30, "GiB"),
    ]
    return BenchResult(
        f"scenario-{settings.scenario}",
        rows=tuple(rows),
        settings={
            "scenario": settings.scenario,
            "workers": ", ".join(one["worker"] for one in each),
            "hosts": f"{fleet.hosts}, {settings.vms} VMs each",
            "VPCs": str(fleet.vpcs),
            "seed": str(settings.seed),
        },
    )


def _quantiles(what: str, each: Iterable[Mapping[str, Any]], field: str) -> list[Row]:
    merged = Histogram()
    for one in each:
        merged.merge(Histogram.decode(one[field]))
    if not merged.count:
        return []
    summary = merged.summary()
    return [
        Row(f"{what}, p50", summary.p50 / 1e3, "ms"),
        Row(f"{what}, p99", summary.p99 / 1e3, "ms"),
        Row(f"{what}, max", summary.largest / 1e3, "ms"),
    ]
