"""The restart storm, run: streams, broadcast and polling, one after the other, on one machine.

The rule: every side gets the same nodes with the same resources, with nothing kept from before, in
the same run; servers and processes are up before its clock starts. What is too much for one machine
(a document with everything to each of thousands of nodes) is served to as many nodes as a budget of
bytes allows; each number says whether it was measured or computed, and from what.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from loadgen.storm.bulletin import Bulletin
from loadgen.storm.formulas import REVISION, Burdens, Cost, Crowd, burdens
from loadgen.storm.guests import Guests, Visit
from loadgen.storm.restarts import Restart, Restarts
from loadgen.workloads.fleet import Fleet, FleetShape
from southbound.bench.crew import Crew
from southbound.bench.quantiles import quantile
from southbound.bench.stage import Progress, Stage, StageSettings, staged
from southbound.directory import Directory
from southbound.local.layout import LayoutSettings, PoolSize
from southbound.partitioning.placement import Address, address_of
from southbound.partitioning.topology import Topology
from southbound.producer import Publisher
from southbound.resources import Changeset, ScopeClass
from southbound.settings import PublisherSettings

_PARTITIONS = 50
_PUBLISHED_TOGETHER = 20_000
_TURN = 200
"""Nodes of each process between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormBench:
    """What is measured.

    `instances`: one storm for each number of them, on `vms_per_host` a node. `hosts_per_slot`,
    `vpcs_per_slot`: how many share one in the mean. `together`: ports of a VPC on one node. VPCs of at
    most `neighbors_max` ports tell of their neighbours. `at_once`: nodes of a process that read streams at a time. `broadcast_bytes`:
    how much of the broadcast is really sent. `sizes`: nodes of the fleets that are only computed.
    """

    instances: tuple[int, ...] = (10_000, 100_000)
    vms_per_host: int = 20
    hosts_per_slot: int = 10
    vpcs_per_slot: int = 10
    together: int = 1
    neighbors_max: int = 100
    clusters: int = 3
    processes: int = 4
    at_once: int = 8
    broadcast_bytes: int = 4 << 30
    poll_every_s: float = 5.0
    polls_s: float = 3.0
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    seed: int = 1
    timeout_s: float = 1_800.0

    def shape(self, nodes: int, azs: Sequence[str]) -> FleetShape:
        """Return a fleet of so many nodes. Its VPCs keep to their AZ, so each has one replica."""
        return FleetShape(
            hosts=max(nodes, len(azs)),
            vms_per_host=self.vms_per_host,
            azs=tuple(azs),
            seed=self.seed,
            local_vms=self.vms_per_host,
            together=self.together,
            neighbors_max=self.neighbors_max,
        )

    def layout(self, nodes: int) -> LayoutSettings:
        """Return pools in which nodes and VPCs share slots as in the capacity plan."""
        fleet = Fleet(self.shape(nodes, [f"{number}" for number in range(self.clusters)]))
        return LayoutSettings(
            host=self._pool(fleet.hosts, self.hosts_per_slot),
            vpc=self._pool(fleet.vpcs, self.vpcs_per_slot),
        )

    def _pool(self, count: int, per_slot: int) -> PoolSize:
        slots = math.ceil(count / self.clusters / per_slot)
        topics = math.ceil(slots / _PARTITIONS)
        # AZs are equal, but no two are alike: a slot may hold far more than the mean.
        return PoolSize(
            topics=topics, partitions=math.ceil(slots / topics), max_per_slot=64 * per_slot
        )


class Side(NamedTuple):
    """One side of one storm. `seconds`: until the last of the nodes `seen` held everything."""

    seconds: float
    seen: int
    p50_s: float
    bytes_each: float

    @property
    def cost(self) -> Cost:
        """What it cost."""
        return Cost(self.seconds, self.seen, self.bytes_each)


class Storm(NamedTuple):
    """One storm, measured. `amplification`: records read for each that was needed.

    `polls_per_s`: how many "nothing new" the polling server gave, asked without a pause.
    """

    nodes: int
    instances: int
    azs: tuple[str, ...]
    crowd: Crowd
    streams: Side
    broadcast: Side
    polling: Side
    amplification: float
    document_bytes: int
    encode_s: float
    polls_per_s: float
    burdens: Burdens


class Report(NamedTuple):
    """All storms, and the fleets that were only computed."""

    bench: StormBench
    storms: Sequence[Storm]
    computed: Mapping[int, Burdens]
    topologies: Sequence[str]


@contextmanager
def storms(
    bench: StormBench, state_dir: Path | None, progress: Progress
) -> Iterator[tuple[Report, str]]:
    """Measure all storms, each on servers of its own.

    Yields while the last storm's servers are still up, with the URL of their Redis.
    Raises `ConfigError` or `EdgeError`.
    """
    found: list[Storm] = []
    described: list[str] = []
    for number, instances in enumerate(bench.instances, 1):
        nodes = math.ceil(instances / bench.vms_per_host)
        settings = StageSettings(
            clusters=bench.clusters,
            azs=bench.clusters,
            layout=bench.layout(nodes),
            state_dir=state_dir,
        )
        with staged(settings, progress) as stage:
            found.append(_storm(stage, bench, nodes, progress))
            described.append(_described(stage.directory.topology))
            if number == len(bench.instances):
                yield _report(bench, found, described, progress), stage.redis_url


def _report(
    bench: StormBench, found: Sequence[Storm], described: Sequence[str], progress: Progress
) -> Report:
    last = found[-1]
    computed = {}
    for nodes in bench.sizes:
        if all(storm.nodes != nodes for storm in found):
            progress(f"computing a storm of {nodes:,} nodes")
            computed[nodes] = burdens(Fleet(bench.shape(nodes, last.azs)), last.crowd)
    return Report(bench, tuple(found), computed, tuple(described))


def _storm(stage: Stage, bench: StormBench, nodes: int, progress: Progress) -> Storm:
    topology = stage.directory.topology
    azs = tuple(az.id for az in topology.azs)
    shape = bench.shape(nodes, azs)
    fleet = Fleet(shape)
    progress(f"publishing {fleet.port_count:,} ports of {fleet.hosts:,} hosts")
    _fill(stage.directory, fleet, bench.timeout_s)
    crowd = _crowd(stage.directory, fleet)
    progress(f"{fleet.hosts:,} nodes restart into their streams")
    with Crew(bench.processes, Restarts, stage.redis_url, shape, bench.at_once) as crew:
        restarts = _Turns(crew, bench, progress).all("restart", (), range(fleet.hosts))
    with Crew(1, Bulletin, shape) as server, Crew(bench.processes, Guests, shape) as guests:
        opened = server.ask_all("open")[0]
        shown = min(fleet.hosts, max(bench.processes, bench.broadcast_bytes // opened.whole_bytes))
        turns, port = _Turns(guests, bench, progress), (opened.port,)
        progress(f"{shown:,} of {fleet.hosts:,} nodes are sent {opened.whole_bytes:,} bytes each")
        broadcast = turns.all("broadcast", port, range(shown))
        progress(f"{fleet.hosts:,} nodes poll")
        polling = turns.all("poll", port, range(fleet.hosts))
        asked = sum(guests.ask_all("ask_unchanged", opened.port, bench.polls_s))
    return Storm(
        fleet.hosts,
        fleet.port_count,
        azs,
        crowd,
        _side(restarts),
        _side(broadcast),
        _side(polling),
        sum(one.records for one in restarts) / sum(one.own for one in restarts),
        opened.whole_bytes,
        opened.encode_s,
        asked / bench.polls_s,
        burdens(fleet, crowd),
    )


class _Turns:
    """Storms of a crew's nodes, turn by turn, so that it is told how far they are."""

    def __init__(self, crew: Crew, bench: StormBench, progress: Progress) -> None:
        self._crew = crew
        self._bench = bench
        self._progress = progress

    def all(self, order: str, first: tuple[Any, ...], hosts: range) -> list[Any]:
        """Let all these nodes do what the order says; return what became of each, then judge it."""
        crew = self._crew
        crew.ask_all("begin", self._bench.timeout_s)
        shares, done = crew.deal(hosts), list[Any]()
        for at in range(0, max(map(len, shares)), _TURN):
            turn = crew.ask(order, [(*first, share[at : at + _TURN]) for share in shares])
            done += chain.from_iterable(turn)
            if len(done) < len(hosts):
                self._progress(f"{len(done):,} of {len(hosts):,} nodes hold everything")
        crew.ask_all("judge")
        return done


def _side(nodes: Sequence[Restart] | Sequence[Visit]) -> Side:
    done = sorted(one.done_s for one in nodes)
    each = sum(one.bytes for one in nodes) / len(nodes)
    return Side(done[-1], len(done), quantile(done, 0.5), each)


def _fill(directory: Directory, fleet: Fleet, timeout_s: float) -> None:
    """Register the hosts and publish everything; a VPC's only replica is where its hosts are."""
    topology = directory.topology
    directory.register_hosts({fleet.host(i): fleet.az(i) for i in range(fleet.hosts)})
    cluster_of = {
        az.id: topology.pools_in(ScopeClass.VPC, az=az.id)[0].cluster for az in topology.azs
    }
    homes = {
        fleet.vpc(j): cluster_of[fleet.az(next(fleet.vpc_hosts(j)))] for j in range(fleet.vpcs)
    }
    directory.ensure_vpcs(homes)
    with Publisher(directory, PublisherSettings(client_id="bench-storm")) as publisher:
        for together in _batches(_everything(fleet)):
            publisher.publish_many(together).accepted.result(timeout_s)


def _everything(fleet: Fleet) -> Iterator[Changeset]:
    for j in range(fleet.vpcs):
        yield fleet.vpc_changeset(j, REVISION)
        if fleet.has_neighbors(j):
            yield from fleet.neighbor_changesets(j, REVISION)
    for i in range(fleet.hosts):
        yield fleet.host_changeset(i, REVISION)


def _batches(changesets: Iterator[Changeset]) -> Iterator[list[Changeset]]:
    together: list[Changeset] = []
    for changeset in changesets:
        together.append(changeset)
        if len(together) == _PUBLISHED_TOGETHER:
            yield together
            together = []
    if together:
        yield together


def _crowd(directory: Directory, fleet: Fleet) -> Crowd:
    """Return how many others share a slot, as the directory has placed them."""
    topology = directory.topology
    hosts = directory.hosts(fleet.host(i) for i in range(fleet.hosts))
    vpcs = directory.vpcs(fleet.vpc(j) for j in range(fleet.vpcs))
    in_host_slots = Counter(
        address_of(ScopeClass.HOST, id, at, topology) for id, at in hosts.items()
    )
    in_vpc_slots = Counter(
        address_of(ScopeClass.VPC, id, at.home, topology) for id, at in vpcs.items()
    )
    slots = sum(pool.slots for pool in topology.pools_in(ScopeClass.VPC))
    return Crowd(
        _others(in_host_slots), _others(in_vpc_slots), fleet.vpcs / slots, len(topology.clusters)
    )


def _others(slots: Counter[Address]) -> float:
    """Return how many others one of them finds in its slot, in the mean over all of them."""
    return sum(count * count for count in slots.values()) / slots.total() - 1


def _described(topology: Topology) -> str:
    return ", ".join(f"{pool.id} {pool.topics}x{pool.partitions}" for pool in topology.pools)
