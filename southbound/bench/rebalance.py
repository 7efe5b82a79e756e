"""Filling a new cluster under traffic: how long, how much is copied, and what others notice.

The rule: the fleet is full before the cluster joins, changes go on to all hosts in an open loop, and
"others" are the hosts that stay where they are. The baseline copies the same streams with nothing
but bare clients: it reads each old slot once from its beginning and sends what it keeps to a new one,
without reservations, fences, markers, mending or a record of where it stands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)

from southbound.bench.crew import Crew
from southbound.bench.mover import Mover, Moving
from southbound.bench.quantiles import quantile, quantile_rows
from southbound.bench.result import BenchResult, Row
from southbound.bench.schedule import Schedule
from southbound.bench.tenants import Tenants, settle
from southbound.directory import Directory
from southbound.documents.topology import load_topology
from southbound.edge.admin import apply_topics
from southbound.edge.kafka import consumer_config, producer_config
from southbound.errors import EdgeError
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import Placement, address_of
from southbound.partitioning.plan import Goal
from southbound.partitioning.topology import Cluster, Topology
from southbound.producer import Accepted, Publisher
from southbound.resources import Changeset, host_scope
from southbound.settings import PublisherSettings
from southbound.wire.keys import scope_prefix

Say = Callable[[str], None]

_MS = 1e-3
_PIECE = 10_000
_POLL_EVERY = 500
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceBench:
    """What is measured: `hosts` hosts of `resources` ports each over all clusters but a new one.

    `rate`: changes a second to all hosts meanwhile. `hosts_per_round`, `batch_parts`: as for
    `shards apply`. `rest_s`: how long changes are sent before anything is moved.
    """

    hosts: int = 60_000
    resources: int = 5
    vpcs: int = 20
    rate: float = 200.0
    hosts_per_round: int = 500
    batch_parts: int = 50
    rest_s: float = 15.0
    publisher: PublisherSettings = field(
        default_factory=lambda: PublisherSettings(client_id="bench-rebalance", validate_specs=False)
    )


class Lag(NamedTuple):
    """One change: to which host, when it was due (microseconds), and how long until accepted."""

    host: int
    due_us: int
    ms: float


def run_rebalance(
    fleet: LocalFleet, directory: Directory, bench: RebalanceBench, *, progress: Say | None = None
) -> BenchResult:
    """Measure on a running fleet of one zone, its topics made; it grows by one cluster.

    Raises `CapacityError` where the pools do not hold the hosts, `EdgeError` where a run fails.
    """
    say = progress or (lambda _line: None)
    tenants = Tenants(hosts=bench.hosts, ports=bench.resources, vpcs=bench.vpcs)
    say(f"preparing {bench.hosts} hosts with {bench.resources} ports each")
    settle(directory, tenants)
    before = directory.hosts(tenants.ids)
    new = _grow(fleet, directory, say)
    with (
        Publisher(directory, bench.publisher) as publisher,
        Crew(1, Mover, fleet.redis_url) as crew,
    ):
        traffic = Traffic(publisher, tenants, bench)
        traffic.start()
        say(f"{bench.rate:g} changes a second, nothing moved")
        begun_us = time.time_ns() // 1000
        time.sleep(bench.rest_s)
        rest = (begun_us, time.time_ns() // 1000)
        say(f"filling {new}")
        goal = Goal(kind="fill", what=(new,))
        moving: Moving = crew.ask("move", [(goal, bench.hosts_per_round, bench.batch_parts)])[0]
        lags = traffic.stop()
    moved = {id_ for one in moving.rounds for id_ in one.hosts}
    say(f"{len(moved)} hosts moved in {moving.moved_s:.1f} s; now bare clients")
    bare = _bare_copy(directory.topology, {id_: before[id_] for id_ in moved})
    return _result(bench, directory.topology, Found(moving, moved, lags, rest, bare))


def _grow(fleet: LocalFleet, directory: Directory, say: Say) -> str:
    """Add a cluster, as an operator does; return its id."""
    known = {cluster.id for cluster in directory.topology.clusters}
    fleet.up(len(known) + 1, progress=say)
    topology = load_topology(fleet.topology_file)
    apply_topics(topology)
    directory.put_topology(topology)
    return next(cluster.id for cluster in topology.clusters if cluster.id not in known)


class Traffic:
    """An open loop of changes to all hosts, and how long each took until it was accepted."""

    def __init__(self, publisher: Publisher, tenants: Tenants, bench: RebalanceBench) -> None:
        self._publisher = publisher
        self._tenants = tenants
        self._schedule = Schedule(0, bench.rate, 0, bench.hosts)
        self._lags: list[Lag] = []
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-traffic", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._schedule = self._schedule._replace(start_us=time.time_ns() // 1000)
        self._thread.start()

    def stop(self) -> list[Lag]:
        """End; return what was measured. Raises `EdgeError` when a change was not accepted."""
        self._stopping.set()
        self._thread.join()
        self._publisher.flush(_TIMEOUT_S)
        if self._failures:
            raise EdgeError(f"not accepted: {self._failures[0]}", retryable=True)
        return self._lags

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            due_us = self._schedule.due_us(number)
            time.sleep(max(0.0, due_us * 1e-6 - time.time()))
            host = self._schedule.host(number)
            port = self._tenants.port(host, 0, number + 2)
            changeset = Changeset(f"bench-rebalance-{number}", (port,))
            receipt = self._publisher.publish(changeset, sent_us=due_us)
            receipt.accepted.add_done_callback(partial(self._note, host, due_us))
            number += 1

    def _note(self, host: int, due_us: int, done: Future[Accepted]) -> None:
        error = done.exception()
        if error is not None:
            self._failures.append(error)
            return
        self._lags.append(Lag(host, due_us, (time.time_ns() // 1000 - due_us) * _MS))


class Bare(NamedTuple):
    """The bare copy: seconds, records read, records sent."""

    seconds: float
    read: int
    sent: int


def _bare_copy(topology: Topology, hosts: Mapping[str, Placement]) -> Bare:
    """Read each old slot once, and send the last record of each key of its hosts to a new slot."""
    slots: dict[str, dict[tuple[str, int], list[bytes]]] = {}
    for id_, placement in hosts.items():
        address = address_of("host", id_, placement, topology)
        those = slots.setdefault(address.cluster, {})
        those.setdefault((address.topic, address.partition), []).append(
            scope_prefix(host_scope(id_))
        )
    target = topology.clusters[-1]
    pool = topology.pools_in("host", cluster=target.id)[0]
    producer = Producer(producer_config(target, "bench-bare", linger_ms=5))
    began_s = time.monotonic()
    read = sent = 0
    for cluster, wanted in slots.items():
        prefixes = {slot: tuple(those) for slot, those in wanted.items()}
        kept: dict[bytes, bytes] = {}
        for message in _records(topology.cluster(cluster), list(wanted)):
            read += 1
            key = bytes(message.key() or b"")
            if key.startswith(prefixes[message.topic() or "", message.partition() or 0]):
                kept[key] = bytes(message.value() or b"")
        for key, value in kept.items():
            # Under a key that no host has: nobody takes it for a record of its own.
            topic = f"sb.{pool.id}.{sent % pool.topics:03d}"
            producer.produce(topic, value, b"bench" + key, sent % pool.partitions)
            sent += 1
            if sent % _POLL_EVERY == 0:
                producer.poll(0)
    producer.flush(_TIMEOUT_S)
    return Bare(time.monotonic() - began_s, read, sent)


def _records(cluster: Cluster, slots: Sequence[tuple[str, int]]) -> Iterator[Message]:
    """Yield everything that is in these slots of a cluster now."""
    config = {**consumer_config(cluster, "bench-bare"), "enable.partition.eof": True}
    consumer = Consumer(config)
    consumer.assign([TopicPartition(*slot, OFFSET_BEGINNING) for slot in slots])
    waiting = set(slots)
    deadline_s = time.monotonic() + _TIMEOUT_S
    try:
        while waiting:
            if time.monotonic() > deadline_s:
                raise EdgeError(f"{len(waiting)} slots were not read to their end", retryable=True)
            for message in consumer.consume(_PIECE, 0.1):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard((message.topic() or "", message.partition() or 0))
    finally:
        consumer.close()


class Found(NamedTuple):
    """What the run brought."""

    moving: Moving
    moved: set[str]
    lags: Sequence[Lag]
    rest: tuple[int, int]
    bare: Bare


def _result(bench: RebalanceBench, topology: Topology, found: Found) -> BenchResult:
    moving, bare = found.moving, found.bare
    begun_us, rested_us = found.rest
    still = [one.ms for one in found.lags if begun_us <= one.due_us <= rested_us]
    others = [
        one.ms
        for one in found.lags
        if one.due_us > rested_us and f"bench-host-{one.host:06d}" not in found.moved
    ]
    needed = len(found.moved) * bench.resources
    rows = [
        Row("hosts moved", len(found.moved), "hosts"),
        Row("to plan", moving.planned_s, "s"),
        Row("to move", moving.moved_s, "s"),
        Row("moved", len(found.moved) / moving.moved_s, "hosts/s"),
        Row("records copied per record needed", moving.copied / max(1, needed), "x"),
        *quantile_rows("accepted, others, nothing moved", still, "ms"),
        *quantile_rows("accepted, others, meanwhile", others, "ms"),
    ]
    baseline = (
        Row("bare copy of the same hosts", bare.seconds, "s"),
        Row("bare copy", len(found.moved) / bare.seconds, "hosts/s"),
        Row("bare copy, records read per record sent", bare.read / max(1, bare.sent), "x"),
    )
    ratios = [
        Row("time to move / bare copy", moving.moved_s / bare.seconds, "x"),
        *(
            Row(
                f"accepted, others, meanwhile / nothing moved, {name}",
                quantile(sorted(others), share) / quantile(sorted(still), share),
                "x",
            )
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ),
    ]
    pools = ", ".join(
        f"{one.id} {one.topics}x{one.partitions}" for one in topology.pools_in("host")
    )
    settings = {
        "hosts": f"{bench.hosts}, {bench.resources} ports each, in {bench.vpcs} VPCs",
        "clusters": f"{len(topology.clusters) - 1}, and a new one to be filled",
        "host pools": pools,
        "changes meanwhile": f"{bench.rate:g}/s, in an open loop, to all hosts",
        "hosts per round": f"{bench.hosts_per_round}",
        "publisher linger.ms": f"{bench.publisher.linger_ms:g}",
    }
    return BenchResult("rebalance", tuple(rows), baseline, tuple(ratios), settings)
