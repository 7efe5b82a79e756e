"""A million hosts on a hundred thousand real partitions: all told something new, all seen to have it.

The rule: everything that Southbound promises is done for every host, and seen to be done by simulated
agents that read every partition; beside it, in the same run, bare Kafka clients do the same sends and
the same reads. Whatever is measured happens on warm brokers with what it needs already in memory:
a first round fills, the second is measured. A run whose nodes do not stand as they should has no
result.

Whole clusters are dealt to publishers and to readers. All of them wait while one of them prepares, so
nothing but what is measured works while it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadgen.campaign import register
from loadgen.checker.histogram import Histogram
from loadgen.coordination import Leader, LeaderSettings, Outpost, OutpostSettings
from loadgen.roles import BARE_READER, BARE_SENDER, PUBLISHER, READER, ROLES
from loadgen.share import Share, deal
from loadgen.stage import Keeper
from loadgen.usage import usage
from loadgen.workloads.fleet import Fleet, FleetShape
from loadgen.workloads.sizes import VpcSizes
from southbound.bench.result import BenchResult, Row
from southbound.bench.stage import Progress, Stage
from southbound.errors import ConfigError, Fault, NotConverged

PUBLISHED_AIM_S = 30.0
VERIFIED_AIM_S = 45.0
VPC_AIM_MS = 500.0
AMPLIFICATION_AIM = 10.1
MEMORY_AIM_GIB = 8.0

_TEAM = "million"
_LONG_S = 3_600.0
_GIB = 1 << 30
_VPC_FIRST = 1
_VPC_SHARE = 100
_VPC_SMALLEST = 200
_HOSTS_PER_SMALLEST = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MillionBench:
    """What is measured.

    `ports`: ports of each host, all told in each round. `publishers`, `readers`: processes. `vpc_hosts`:
    about how many hosts the VPC has that is changed `vpc_changes` times, one each `vpc_every_s`.
    `sample`: how many nodes are compared resource by resource.
    """

    hosts: int = 1_000_000
    ports: int = 1
    publishers: int = 2
    readers: int = 2
    validate: bool = True
    vpc_hosts: int = 10_000
    vpc_changes: int = 60
    vpc_every_s: float = 0.5
    sample: int = 1_000
    seed: int = 1

    def shape(self) -> FleetShape:
        """Return the fleet: VPCs from a fifth of a thousandth of all ports, at most 200, to a tenth."""
        ports = self.hosts * self.ports
        smallest = max(10, min(_VPC_SMALLEST, ports // _HOSTS_PER_SMALLEST))
        sizes = VpcSizes(scale=smallest, smallest=smallest, largest=max(smallest, ports // 10))
        return FleetShape(
            hosts=self.hosts, vms_per_host=self.ports, azs=("all",), seed=self.seed, sizes=sizes
        )

    def check(self, clusters: int) -> None:
        """Raise `ConfigError` when there are more processes than clusters."""
        faults = [
            Fault(name, value, f"must be 1 to {clusters}, the number of clusters")
            for name, value in (("publishers", self.publishers), ("readers", self.readers))
            if not 1 <= value <= clusters
        ]
        if faults:
            raise ConfigError("whole clusters are dealt to processes", faults)


def run_million(
    stage: Stage, keeper: Keeper, bench: MillionBench, *, progress: Progress
) -> BenchResult:
    """Measure on a stage whose topics exist. Raises `NotConverged` when a node is not as it should be.

    `EdgeError` names a worker that died or failed; `ConfigError` for more workers than clusters.
    """
    bench.check(len(stage.directory.topology.clusters))
    fleet = Fleet(bench.shape())
    began_s = time.perf_counter()
    register(stage.directory, fleet, progress)
    registering_s = time.perf_counter() - began_s
    outpost = OutpostSettings(
        redis_url=stage.redis_url, team=_TEAM, seats=bench.publishers + bench.readers
    )
    with (
        Outpost(outpost, ROLES),
        Leader(LeaderSettings(redis_url=stage.redis_url, team=_TEAM), progress) as leader,
    ):
        leader.gather(outpost.seats)
        run = _Run(stage, keeper, bench, fleet, leader, progress)
        ours = run.southbound()
        bare = run.bare()
    return _result(stage, bench, fleet, registering_s, ours, bare)


class Round(NamedTuple):
    """One round of changes to all hosts, by several processes side by side (microseconds since 1970)."""

    began_us: int
    accepted_us: int
    changes: int
    cpu_s: float

    @property
    def seconds(self) -> float:
        """From the first call to the last acceptance."""
        return (self.accepted_us - self.began_us) / 1e6


class Ours(NamedTuple):
    """What Southbound did."""

    filled: Round
    published: Round
    read_us: int
    verified_us: int
    reading_cpu_s: float
    amplification: float
    vpc_spans: Histogram
    vpc_hosts: int
    nodes: int
    sampled: int
    peak_bytes: float
    consumers: int


class Bare(NamedTuple):
    """What bare clients did."""

    sent: Round
    read_s: float
    records: int
    consumers: int


class _Run:
    """One run on its workers: the first are publishers, the rest readers."""

    def __init__(
        self,
        stage: Stage,
        keeper: Keeper,
        bench: MillionBench,
        fleet: Fleet,
        leader: Leader,
        progress: Progress,
    ) -> None:
        self._stage = stage
        self._keeper = keeper
        self._bench = bench
        self._fleet = fleet
        self._leader = leader
        self._say = progress
        workers = leader.workers
        self._publishers = workers[: bench.publishers]
        self._readers = workers[bench.publishers :]
        clusters = [cluster.id for cluster in stage.directory.topology.clusters]
        self._shares = {
            worker: Share(redis_url=stage.redis_url, shape=fleet.shape, clusters=some).plain()
            for group in (self._publishers, self._readers)
            for worker, some in zip(group, deal(clusters, len(group)), strict=True)
        }

    # Southbound.

    def southbound(self) -> Ours:
        """Settle the fleet, fill it, and measure."""
        settled, present, first, second, vpc = self._revisions(5)
        self._say("opening publishers")
        self._leader.begin(PUBLISHER, self._publishers)
        self._each(
            self._publishers,
            "open",
            lambda worker: (self._shares[worker], f"loadgen-{worker}", self._bench.validate),
        )
        self._say(f"publishing {self._fleet.vpcs:,} VPCs")
        step = len(self._publishers)
        self._each(
            self._publishers,
            "settle_vpcs",
            lambda worker: (self._publishers.index(worker), step, settled),
        )
        self._all(self._publishers, "make_present", present)
        self._say("opening readers")
        self._leader.begin(READER, self._readers)
        self._each(self._readers, "open", lambda worker: (self._shares[worker],))
        self._all(self._readers, "join")
        filled = self._round("filling", first)
        self._all(self._readers, "read_up")
        return self._measured(filled, second, settled, vpc)

    def _measured(self, filled: Round, revision: int, settled: int, vpc: int) -> Ours:
        self._say("working out what nodes must have")
        self._all(self._readers, "expect", revision, {}, settled)
        published = self._round("publishing", revision)
        began_cpu_s = self._sum(self._readers, "cpu_s")
        read = self._all(self._readers, "read_up")
        read_us = max(one["read_us"] for one in read)
        checked = self._all(self._readers, "verify", 0)
        verified_us = max(one["verified_us"] for one in checked)
        reading_cpu_s = self._sum(self._readers, "cpu_s") - began_cpu_s
        _refuse(checked)
        j, spans = self._vpc_changes(vpc)
        last = vpc + self._bench.vpc_changes - 1
        self._say("comparing nodes with what they must have")
        self._all(self._readers, "expect", revision, {j: last}, settled)
        checked = self._all(self._readers, "verify", self._bench.sample)
        _refuse(checked)
        reads = self._all(self._readers, "reads")
        own = sum(one["own"] for one in reads)
        unsettled = sum(one["unsettled"] for one in reads)
        if unsettled:
            raise NotConverged(f"{unsettled} nodes have something that waits or is held")
        peaks = self._sum([*self._publishers, *self._readers], "peak_bytes")
        return Ours(
            filled=filled,
            published=published,
            read_us=read_us,
            verified_us=verified_us,
            reading_cpu_s=reading_cpu_s,
            amplification=sum(one["read"] for one in reads) / own,
            vpc_spans=spans,
            vpc_hosts=sum(1 for _ in self._fleet.vpc_hosts(j)),
            nodes=sum(one["nodes"] for one in checked),
            sampled=sum(one["sampled"] for one in checked),
            peak_bytes=peaks + usage()["peak_bytes"],
            consumers=sum(one["consumers"] for one in read),
        )

    def _vpc_changes(self, revision: int) -> tuple[int, Histogram]:
        """Change one VPC again and again while its nodes read; return it and how long each took."""
        fleet, bench = self._fleet, self._bench
        j = fleet.vpc_near(bench.vpc_hosts)
        self._say(f"changing a VPC of {fleet.vpc_ports(j):,} ports")
        self._all(self._readers, "follow")
        publisher = self._publishers[0]
        given = (j, revision, bench.vpc_changes, bench.vpc_every_s)
        self._leader.ask("change_vpc", {publisher: given}, _LONG_S)
        spans = Histogram()
        for encoded in self._all(self._readers, "followed"):
            spans.merge(Histogram.decode(encoded))
        return j, spans

    def _round(self, what: str, revision: int) -> Round:
        self._say(f"preparing {what}")
        self._all(self._publishers, "prepare", revision)
        self._say(what)
        made = _round_of(self._all(self._publishers, "publish"))
        rate = made.changes / made.seconds
        self._say(f"{made.changes:,} changes accepted in {made.seconds:.1f} s: {rate:,.0f}/s")
        return made

    # The baseline.

    def bare(self) -> Bare:
        """Do the same sends and reads with bare clients, by the same number of processes."""
        (revision,) = self._revisions(1)
        self._say("opening bare clients")
        self._leader.begin(BARE_SENDER, self._publishers)
        self._leader.begin(BARE_READER, self._readers)
        self._each(self._publishers, "open", lambda worker: (self._shares[worker],))
        self._each(self._readers, "open", lambda worker: (self._shares[worker],))
        self._all(self._publishers, "prepare", revision)
        self._all(self._publishers, "warm")
        self._all(self._readers, "mark")
        self._say("sending with bare clients")
        sent = _round_of(self._all(self._publishers, "send"))
        self._say(f"{sent.changes:,} records acknowledged in {sent.seconds:.1f} s")
        read = self._all(self._readers, "read")
        began_us = min(one["began_us"] for one in read)
        return Bare(
            sent=sent,
            read_s=(max(one["ended_us"] for one in read) - began_us) / 1e6,
            records=sum(one["records"] for one in read),
            consumers=sum(one["consumers"] for one in read),
        )

    # Asking.

    def _revisions(self, count: int) -> list[int]:
        """Take revisions for so many rounds, each with room for a VPC's changes."""
        room = self._bench.vpc_changes + 1
        first = self._keeper.take_revisions(count * room)
        return [first + number * room for number in range(count)]

    def _all(self, workers: Sequence[str], what: str, *arguments: Any) -> list[Any]:
        return self._each(workers, what, lambda _: arguments)

    def _each(
        self, workers: Sequence[str], what: str, arguments: Callable[[str], tuple[Any, ...]]
    ) -> list[Any]:
        given = {worker: arguments(worker) for worker in workers}
        return list(self._leader.ask(what, given, _LONG_S).values())

    def _sum(self, workers: Sequence[str], what: str) -> float:
        return float(sum(one[what] for one in self._all(workers, "usage")))


def _round_of(told: Iterable[Mapping[str, Any]]) -> Round:
    each = list(told)
    return Round(
        began_us=min(one["began_us"] for one in each),
        accepted_us=max(one["accepted_us"] for one in each),
        changes=sum(one["changes"] for one in each),
        cpu_s=sum(one["cpu_s"] for one in each),
    )


def _refuse(checked: Iterable[Mapping[str, Any]]) -> None:
    """Raise `NotConverged` when any node is not as it should be."""
    wrong = [words for one in checked for words in one["wrong"]]
    count = sum(one["wrong_count"] for one in checked)
    if count:
        shown = "; ".join(wrong[:5])
        raise NotConverged(f"{count} nodes do not stand as they should: {shown}")


# The result.


def _result(
    stage: Stage,
    bench: MillionBench,
    fleet: Fleet,
    registering_s: float,
    ours: Ours,
    bare: Bare,
) -> BenchResult:
    published, sent = ours.published, bare.sent
    rate, bare_rate = published.changes / published.seconds, sent.changes / sent.seconds
    reading_s = (ours.verified_us - published.accepted_us) / 1e6
    return BenchResult(
        "million",
        rows=(*_rows(ours, rate, reading_s), *_system_rows(stage, registering_s, ours)),
        baseline=(
            Row("bare loop, same records in the same order", sent.seconds, "s"),
            Row("bare loop, rate", bare_rate, "records/s"),
            Row("bare loop, senders' CPU", sent.cpu_s / sent.changes * 1e6, "us/record"),
            Row("bare read of the same partitions", bare.read_s, "s"),
            Row("bare read, records", float(bare.records), "records"),
        ),
        ratios=(
            Row("publish_many / bare loop, same order", rate / bare_rate, "x"),
            Row("read, applied and verified / bare read, time", reading_s / bare.read_s, "x"),
        ),
        settings=_settings(stage, bench, fleet, ours, bare),
    )


def _rows(ours: Ours, rate: float, reading_s: float) -> tuple[Row, ...]:
    published = ours.published
    verified_s = (ours.verified_us - published.began_us) / 1e6
    vpc = ours.vpc_spans.summary()
    aim = f"<= {VPC_AIM_MS:g}"
    what = f"VPC change to {ours.vpc_hosts} hosts, due to applied"
    return (
        Row("all hosts published, accepted", published.seconds, "s", f"<= {PUBLISHED_AIM_S:g}"),
        Row("publish_many to accepted, rate", rate, "changes/s"),
        Row("publishers' CPU", published.cpu_s / published.changes * 1e6, "us/change"),
        Row("all hosts published and verified", verified_s, "s", f"<= {VERIFIED_AIM_S:g}"),
        Row("accepted to read, applied and verified", reading_s, "s"),
        Row("of which read and applied", (ours.read_us - published.accepted_us) / 1e6, "s"),
        Row("first fill, brokers cold", ours.filled.seconds, "s"),
        Row(f"{what}, p50", vpc.p50 / 1e3, "ms"),
        Row(f"{what}, p99", vpc.p99 / 1e3, "ms", aim),
        Row(f"{what}, max", vpc.largest / 1e3, "ms"),
        Row(f"{what}, samples", float(vpc.count), "resources applied"),
        Row(
            "host records read per record needed, mean",
            ours.amplification,
            "x",
            f"<= {AMPLIFICATION_AIM:g}",
        ),
    )


def _system_rows(stage: Stage, registering_s: float, ours: Ours) -> tuple[Row, ...]:
    servers = stage.fleet.status()
    brokers = sum(one.rss_bytes or 0 for one in servers if one.kind == "kafka")
    redis = sum(one.rss_bytes or 0 for one in servers if one.kind == "redis")
    peak = ours.peak_bytes / _GIB
    return (
        Row("nodes verified by digest", float(ours.nodes), "nodes"),
        Row("nodes compared in full", float(ours.sampled), "nodes"),
        Row("readers' CPU", ours.reading_cpu_s / ours.published.changes * 1e6, "us/change"),
        Row("generator's memory, sum of peaks", peak, "GiB", f"<= {MEMORY_AIM_GIB:g}"),
        Row("brokers' memory", brokers / _GIB, "GiB"),
        Row("Redis' memory", redis / _GIB, "GiB"),
        Row("registering, or finding registered", registering_s, "s"),
    )


def _settings(
    stage: Stage, bench: MillionBench, fleet: Fleet, ours: Ours, bare: Bare
) -> dict[str, str]:
    topology = stage.directory.topology
    pools = topology.pools_in("host")
    return {
        "hosts": f"{fleet.hosts}, {bench.ports} ports each",
        "clusters": f"{len(topology.clusters)} in {len(topology.azs)} zones",
        "host pools": f"{len(pools)}, of {pools[0].topics} topics x {pools[0].partitions}",
        "host partitions": str(sum(pool.slots for pool in pools)),
        "VPCs": f"{fleet.vpcs}, {fleet.shape.sizes}",
        "publishers": f"{bench.publishers} processes; bare senders as many",
        "readers": f"{bench.readers} processes, {ours.consumers} consumers of host partitions; "
        f"bare ones {bare.consumers}",
        "specs validated": str(bench.validate),
        "VPC changes": f"{bench.vpc_changes}, one each {bench.vpc_every_s:g} s",
        "seed": str(bench.seed),
    }
