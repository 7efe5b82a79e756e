"""One small fleet, measured phase after phase: what each thing more takes of broker, Redis and clients.

The rule: every phase adds one thing to what stands, and looks before and after, from outside. One
cluster of one broker, started for this alone; a revision of every port is sent before any is
measured, so that the broker has compiled what it runs. Unit costs are differences between phases
(`costs_of`), and the three scales of `compare.py` are the same phases at other sizes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import msgspec

from loadgen.capacity.fetchers import connected, fetching
from loadgen.capacity.units import LOAD
from loadgen.capacity.usage import BrokerUsage, RedisUsage, broker_usage, redis_usage
from southbound.bench.crew import Crew, scratch
from southbound.bench.machine import software
from southbound.bench.nodes import Nodes
from southbound.bench.schedule import Schedule
from southbound.bench.stage import Progress, Stage, StageSettings, staged
from southbound.bench.tenants import VPC_RESOURCES, Tenants, network, register
from southbound.directory import Directory
from southbound.edge.admin import apply_topics
from southbound.edge.topics import TopicSettings, topics_of
from southbound.errors import EdgeError
from southbound.local.layout import LayoutSettings, PoolSize
from southbound.partitioning.placement import address_of
from southbound.partitioning.topology import Pool, Topology
from southbound.producer import Publisher
from southbound.resources import Changeset, ScopeClass
from southbound.settings import DirectorySettings, PublisherSettings
from southbound.wire.envelope import encode_spec

_TINY = LayoutSettings(
    host=PoolSize(topics=1, partitions=1, max_per_slot=1),
    vpc=PoolSize(topics=1, partitions=1, max_per_slot=1),
)

_PER_SLOT_MAX = 10_000
_TIMEOUT_S = 300.0
_SWITCHED_ON_S = 3.0
"""A broker that has just come up is still busy with itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveySize:
    """How much of everything. `watch_s`: how long an idle broker is watched, several times.

    `ports` of each host; `vpcs` of three resources each, which hosts share. `agents`: how many of the
    hosts get a real agent, in `processes` processes; `lookups`: directories opened for one host each. `wait_ms`: poll of the idle consumers.
    """

    topics: int = 60
    partitions: int = 50
    vpc_topics: int = 20
    hosts: int = 20_000
    ports: int = 2
    vpcs: int = 2_000
    agents: int = 80
    fetchers: int = 150
    wait_ms: int = 500
    connections: int = 6_000
    lookups: int = 200
    changes: int = 2_000
    rate: float = 250.0
    watch_s: float = 8.0
    processes: int = 2

    @property
    def tenants(self) -> Tenants:
        """What the hosts hold."""
        return Tenants(hosts=self.hosts, ports=self.ports, vpcs=self.vpcs)


class Spent(NamedTuple):
    """What so many of something took. Seconds of CPU; `seconds` is time."""

    things: int
    seconds: float
    here_s: float
    broker_s: float
    redis_s: float


class Restart(NamedTuple):
    """Agents that started without state. `spent`: `seconds` until the last one had everything.

    `agents_s`: CPU of all of them; `connections`: those that they held then. `online`: the broker
    with all of them.
    """

    spent: Spent
    agents_s: float
    connections: int
    online: BrokerUsage


class Survey(NamedTuple):
    """What was seen. Usages: `base` before the pools were made, `empty` after, `once` when every
    port had been sent once, `filled` when twice, `end` when all clients were gone.

    `idle_base`, `idle`: cores of the broker without clients, before the pools and at the end of the
    fill; `redis_idle`: of Redis. `redis`: without anything, with hosts, with VPCs too. `log_bytes`: of a record.
    """

    size: SurveySize
    system_partitions: int
    spec_bytes: float
    base: BrokerUsage
    empty: BrokerUsage
    once: BrokerUsage
    filled: BrokerUsage
    end: BrokerUsage
    idle_base: float
    idle: float
    redis_idle: float
    redis: tuple[RedisUsage, RedisUsage, RedisUsage]
    register_s: float
    log_bytes: float
    bulk: Spent
    single: Spent
    fetches: Spent
    connection_bytes: float
    lookups: Spent
    restart: Restart
    software: Mapping[str, str]

    @property
    def partitions(self) -> int:
        """Partitions of both pools."""
        return (self.size.topics + self.size.vpc_topics) * self.size.partitions


def survey(size: SurveySize, progress: Progress) -> Survey:
    """Start a cluster and a Redis, go through all phases, and stop them.

    Raises `EdgeError` where a server or a client fails.
    """
    settings = StageSettings(clusters=1, layout=_TINY)
    with staged(settings, progress) as stage:
        return _Walk(stage, size, progress).through()


def scaled(size: SurveySize, scale: float) -> SurveySize:
    """Return a size with its counts multiplied, none below what there must be."""
    counts = (
        "topics",
        "vpc_topics",
        "hosts",
        "vpcs",
        "agents",
        "fetchers",
        "connections",
        "lookups",
        "changes",
    )
    changes: dict[str, Any] = {name: max(1, round(getattr(size, name) * scale)) for name in counts}
    return replace(size, **changes, watch_s=size.watch_s * min(1.0, max(0.1, scale)))


def busy() -> str:
    """Return how many processes wanted the machine in the last minute, as the kernel counts them."""
    return f"{os.getloadavg()[0]:.1f}"


def settings_of(seen: Survey, before: str) -> dict[str, str]:
    """Return what was measured, in words. `before`: how busy the machine was then."""
    size = seen.size
    return {
        "clusters": "1, of one broker",
        "pools": f"{size.topics}x{size.partitions} of hosts, {size.vpc_topics}x{size.partitions} of VPCs",
        "hosts": f"{size.hosts} with {size.ports} ports each, of {seen.spec_bytes:g} bytes",
        "VPCs": f"{size.vpcs} of {VPC_RESOURCES} resources",
        "agents": f"{size.agents}, in {size.processes} processes",
        "idle consumers": f"{size.fetchers}, polls of {size.wait_ms} ms",
        "single changes": f"{size.changes}, {size.rate:g} a second",
        LOAD: f"{before}, {busy()}",
    }


class _Walk:
    """The phases, in order; each leaves the fleet larger than it found it."""

    def __init__(self, stage: Stage, size: SurveySize, say: Progress) -> None:
        self._stage = stage
        self._size = size
        self._say = say
        self._revision = 0

    def through(self) -> Survey:
        """Go through all phases."""
        size, tenants = self._size, self._size.tenants
        say = self._say
        time.sleep(min(_SWITCHED_ON_S, size.watch_s))
        base, idle_base, redis_base = self._look(), self._idle(), self._redis()
        say(f"making {size.topics + size.vpc_topics} topics of {size.partitions} partitions")
        self._make_pools()
        empty = self._look()
        say(f"registering {size.hosts} hosts")
        register_s = _seconds(lambda: register(self._stage.directory, tenants.ids))
        redis_hosts = self._redis()
        with Publisher(self._stage.directory, PublisherSettings(client_id="bench-units")) as out:
            say(f"publishing {size.vpcs} VPCs, then {size.hosts * size.ports} ports, twice")
            out.publish_many(_networks(tenants)).accepted.result(_TIMEOUT_S)
            redis_vpcs = self._redis()
            self._bulk(out)
            once = self._look()
            bulk = self._bulk(out)
            filled = self._look()
            single = self._single(out)
        idle = self._idle()
        return Survey(
            size=size,
            system_partitions=self._system_partitions(),
            spec_bytes=len(encode_spec(tenants.port(0, 0, 1).spec)),
            base=base,
            empty=empty,
            once=once,
            filled=filled,
            idle_base=idle_base.broker_s / idle_base.seconds,
            idle=idle.broker_s / idle.seconds,
            redis_idle=idle.redis_s / idle.seconds,
            redis=(redis_base, redis_hosts, redis_vpcs),
            register_s=register_s,
            log_bytes=(filled.log - once.log) / (size.hosts * size.ports),
            bulk=bulk,
            single=single,
            fetches=self._fetches(),
            connection_bytes=self._connection_bytes(),
            lookups=self._lookups(),
            restart=self._restart(),
            end=self._look(),
            software=software(self._stage.redis_url, os.environ),
        )

    # What stands.

    def _look(self) -> BrokerUsage:
        return broker_usage(self._stage)

    def _redis(self) -> RedisUsage:
        return redis_usage(self._stage.redis_url)

    def _idle(self) -> Spent:
        """Return what servers take while nobody asks anything."""
        self._say(f"watching the broker for {self._size.watch_s:g} s")
        return self._spent(1, lambda: time.sleep(self._size.watch_s))

    def _spent(self, things: int, work: Callable[[], object]) -> Spent:
        broker_s, redis_s, here_s = self._look().cpu_s, self._redis().cpu_s, time.process_time()
        seconds = _seconds(work)
        return Spent(
            things,
            seconds,
            time.process_time() - here_s,
            self._look().cpu_s - broker_s,
            self._redis().cpu_s - redis_s,
        )

    @property
    def _topology(self) -> Topology:
        return self._stage.directory.topology

    def _system_partitions(self) -> int:
        topology = msgspec.structs.replace(self._topology, pools=())
        specs = topics_of(topology, topology.clusters[0], TopicSettings())
        return sum(spec.partitions for spec in specs)

    def _make_pools(self) -> None:
        size, (cluster,) = self._size, self._topology.clusters
        shares: tuple[tuple[Literal["host", "vpc"], int], ...] = (
            ("host", size.topics),
            ("vpc", size.vpc_topics),
        )
        pools = tuple(
            Pool(
                id=f"units-{cls}",
                cluster=cluster.id,
                cls=cls,
                topics=topics,
                partitions=size.partitions,
                max_per_slot=_PER_SLOT_MAX,
            )
            for cls, topics in shares
        )
        wanted = msgspec.structs.replace(self._topology, pools=pools)
        apply_topics(wanted)
        self._stage.directory.put_topology(wanted)

    # Publishing.

    def _bulk(self, publisher: Publisher) -> Spent:
        self._revision += 1
        tenants = self._size.tenants
        revision = self._revision
        changesets = [
            Changeset(f"bulk-{revision}-{host}-{port}", (tenants.port(host, port, revision),))
            for host in range(tenants.hosts)
            for port in range(tenants.ports)
        ]
        return self._spent(
            len(changesets),
            lambda: publisher.publish_many(changesets).accepted.result(_TIMEOUT_S),
        )

    def _single(self, publisher: Publisher) -> Spent:
        size = self._size
        self._revision += 1
        self._say(f"publishing {size.changes} single changes, {size.rate:g} a second")
        schedule = Schedule(time.time_ns() // 1000, size.rate, size.changes, size.hosts)

        def send() -> None:
            receipts = []
            for number in range(size.changes):
                due_us = schedule.due_us(number)
                time.sleep(max(0.0, due_us / 1e6 - time.time()))
                port = size.tenants.port(schedule.host(number), 0, self._revision)
                receipts.append(publisher.publish(Changeset(f"single-{number}", (port,))))
            for receipt in receipts:
                receipt.accepted.result(_TIMEOUT_S)

        return self._spent(size.changes, send)

    # Clients.

    def _fetches(self) -> Spent:
        """Let consumers wait for nothing; count what they fetch."""
        size, directory = self._size, self._stage.directory
        ids = size.tenants.ids[: size.fetchers]
        addresses = [
            address_of(ScopeClass.HOST, id_, placement, self._topology)
            for id_, placement in directory.hosts(ids).items()
        ]
        self._say(f"{len(addresses)} consumers wait for nothing")
        with fetching(self._topology.clusters[0], addresses, size.wait_ms) as fetchers:
            fetchers.wait(min(_SWITCHED_ON_S, size.watch_s))
            before = fetchers.fetches
            spent = self._spent(1, lambda: fetchers.wait(size.watch_s))
            return spent._replace(things=fetchers.fetches - before)

    def _connection_bytes(self) -> float:
        count = self._size.connections
        self._say(f"{count} connections that say one thing")
        before = self._look().memory
        with connected(self._topology.clusters[0].bootstrap[0], count):
            return max(0.0, (self._look().memory - before) / count)

    def _lookups(self) -> Spent:
        """Ask the directory for a host and its VPC as an agent without state does: a client each."""
        size, url = self._size, self._stage.redis_url
        settings = DirectorySettings(redis_url=url, client_id="bench-units", visitor=True)
        ids, numbers = size.tenants.ids, range(min(size.lookups, size.hosts))
        self._say(f"{len(numbers)} directories are opened for a host each")

        def look_up() -> None:
            for number in numbers:
                with Directory(settings) as directory:
                    directory.hosts((ids[number],))
                    directory.vpcs((size.tenants.vpc(number),))

        return self._spent(len(numbers), look_up)

    def _restart(self) -> Restart:
        """Start agents without state, all at once; wait until each has its whole configuration."""
        size, tenants = self._size, self._size.tenants
        self._say(f"{size.agents} agents start without state")
        before = self._look().connections
        url = self._stage.redis_url
        with scratch() as folder, Crew(size.processes, Nodes, url, folder) as crew:
            orders = [
                (share, size.ports, _TIMEOUT_S) for share in crew.deal(tenants.ids[: size.agents])
            ]
            told: list[list[Sequence[tuple[float, float]]]] = []
            spent = self._spent(size.agents, lambda: told.append(crew.ask("start", orders)))
            cpu_s = sum(max(cpu_s for _, cpu_s in took) for took in told[0])
            done_s = max(done_s for took in told[0] for done_s, _ in took)
            online = self._look()
            connections = online.connections - before
        if connections < size.agents:
            raise EdgeError("agents are ready that have no connection", retryable=False)
        return Restart(spent._replace(seconds=done_s), cpu_s, connections, online)


def _networks(tenants: Tenants) -> list[Changeset]:
    named = dict.fromkeys(tenants.vpc(host) for host in range(tenants.hosts))
    return [network(vpc) for vpc in named]


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
