"""How fast `publish_many` gets changes accepted, beside bare clients that do the same sends.

The rule: both sides run on the same servers, in turns, with their clients connected and the topics'
metadata known, and every record carries a revision of its own run. The bare loop gets what the
publisher works out as a gift: records encoded beforehand, slots computed, in the publisher's order,
over as many producers with the same settings; it only produces, counts delivery reports and looks at
no fence. Beside it stands the same loop that encodes each record itself, as any sender must, and the
naive loop, which is what one writes first: one producer a cluster, in the order of the input.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from southbound.bench.result import BenchResult, Row
from southbound.directory import Directory
from southbound.edge.kafka import producer_config
from southbound.errors import EdgeError
from southbound.partitioning.placement import address_of
from southbound.partitioning.topology import Topology, topic_name
from southbound.producer import Publisher
from southbound.resources import Changeset, Resource, host_scope
from southbound.settings import PublisherSettings
from southbound.wire.envelope import Envelope, encode, encode_spec
from southbound.wire.keys import encode_key

Progress = Callable[[str], None]

SAME_ORDER_AIM = ">= 0.7"
NAIVE_AIM = ">= 4"
_POLL_EVERY = 500
_FULL_WAIT_S = 0.05
_SEED = 7
_BARE_TIMEOUT_MS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishBench:
    """What is measured. Each host gets one port, in one of `vpcs` VPCs, in each run.

    `rounds`: runs of the publisher and of the bare loop, in turns; medians are compared.
    `pause_s`: how long the servers may rest before each run. `timeout_s` bounds one run.
    """

    hosts: int = 200_000
    vpcs: int = 20
    rounds: int = 3
    pause_s: float = 1.0
    timeout_s: float = 300.0
    publisher: PublisherSettings = field(
        default_factory=lambda: PublisherSettings(client_id="bench-publish")
    )


class Sent(NamedTuple):
    """One record on its way."""

    cluster: str
    producer: int
    topic: str
    partition: int
    key: bytes
    value: bytes


class Unencoded(NamedTuple):
    """One record that is still to be encoded."""

    cluster: str
    producer: int
    topic: str
    partition: int
    changeset: Changeset
    epoch: int

    def encoded(self) -> Sent:
        """Return it ready to be sent."""
        cluster, producer, topic, partition, changeset, epoch = self
        resource = changeset.resources[0]
        value = _value(changeset, resource, epoch)
        return Sent(cluster, producer, topic, partition, encode_key(resource.key), value)


class Run(NamedTuple):
    """One run: how long, and how much of it this process computed."""

    seconds: float
    cpu_s: float


def run_publish(
    directory: Directory, bench: PublishBench, *, progress: Progress | None = None
) -> BenchResult:
    """Measure on the fleet of an open directory, whose topics exist.

    Raises `CapacityError` where the pools do not hold the hosts, `EdgeError` where a run fails.
    """
    say = progress or _quiet
    say(f"registering {bench.hosts} hosts")
    work = _Work(directory, bench, _registered(directory, bench.hosts))
    with Publisher(directory, bench.publisher) as publisher:
        say("warming both sides")
        work.warm(publisher)
        runs = _rounds(work, publisher, bench, say)
    naive = work.naive()
    say(f"random order: {_rate(bench.hosts, naive):,.0f} records/s")
    return _result(
        bench,
        directory.topology,
        work.slots,
        _Runs(runs["ours"], runs["bare"], runs["encoding"], naive),
    )


def _rounds(
    work: _Work, publisher: Publisher, bench: PublishBench, say: Progress
) -> dict[str, list[Run]]:
    """Let the three take turns, and take turns in who begins."""
    sides: dict[str, Callable[[], Run]] = {
        "bare": work.bare,
        "ours": lambda: work.ours(publisher),
        "encoding": work.encoding,
    }
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for number in range(bench.rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            runs[side].append(sides[side]())
        say(
            f"round {number + 1} of {bench.rounds}: "
            f"publish_many {_rate(bench.hosts, runs['ours'][-1]):,.0f} changes/s, "
            f"bare loop {_rate(bench.hosts, runs['bare'][-1]):,.0f} records/s, "
            f"encoding too {_rate(bench.hosts, runs['encoding'][-1]):,.0f} records/s"
        )
    return runs


def _registered(directory: Directory, count: int) -> list[str]:
    azs = [
        az.id
        for az in directory.topology.azs
        for _ in directory.topology.pools_in("host", az=az.id)
    ]
    wanted = {f"bench-host-{number:07d}": azs[number % len(azs)] for number in range(count)}
    directory.register_hosts(wanted)
    return list(wanted)


class _Work:
    """The changes of each run, whose revision rises with the runs."""

    def __init__(self, directory: Directory, bench: PublishBench, hosts: Sequence[str]) -> None:
        self._directory = directory
        self._bench = bench
        self._hosts = hosts
        self._revision = 0
        self._producers = producers_of_topics(
            directory.topology, bench.publisher.partitions_per_producer
        )
        self._bare = BareLoop(directory.topology, bench.publisher)
        self.slots = 0

    def warm(self, publisher: Publisher) -> None:
        """Let each side run once unmeasured: clients connect, VPCs are made present, slots open."""
        sends = self._sends(self._changesets())
        self.slots = len({(one.cluster, one.topic, one.partition) for one in sends})
        self._bare.run(sends, self._bench.timeout_s)
        publisher.publish_many(self._changesets()).accepted.result(self._bench.timeout_s)

    def ours(self, publisher: Publisher) -> Run:
        """Publish to every host; return when all of it is accepted."""
        changesets = self._changesets()
        time.sleep(self._bench.pause_s)
        clock = _Clock()
        publisher.publish_many(changesets).accepted.result(self._bench.timeout_s)
        return clock.run()

    def bare(self) -> Run:
        """Do the same sends in the same order without the publisher."""
        sends = self._sends(self._changesets())
        time.sleep(self._bench.pause_s)
        return self._bare.run(sends, self._bench.timeout_s)

    def encoding(self) -> Run:
        """Do the same sends in the same order, encoding each record as it is sent."""
        unencoded = self._unencoded(self._changesets())
        time.sleep(self._bench.pause_s)
        return self._bare.run((one.encoded() for one in unencoded), self._bench.timeout_s)

    def naive(self) -> Run:
        """Do them in random order, with one producer a cluster."""
        loop = BareLoop(self._directory.topology, self._bench.publisher)
        sends = [one._replace(producer=0) for one in self._sends(self._changesets())]
        random.Random(_SEED).shuffle(sends)
        loop.run(first_of_topics(sends), self._bench.timeout_s)
        time.sleep(self._bench.pause_s)
        return loop.run(sends, self._bench.timeout_s)

    def _changesets(self) -> list[Changeset]:
        self._revision = max(self._revision + 1, time.time_ns() // 1_000_000)
        return [
            Changeset(f"bench-{self._revision}-{number}", (self._port(number, host),))
            for number, host in enumerate(self._hosts)
        ]

    def _port(self, number: int, host: str) -> Resource:
        spec = {
            "vpc_id": f"bench-vpc-{number % self._bench.vpcs}",
            "name": f"port of {host}",
            "mac_address": f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
            "fixed_ips": [
                {"subnet_id": "bench-subnet", "ip_address": f"10.{number >> 16}.0.{number & 255}"}
            ],
            "security_groups": ["bench-security-group"],
            "admin_state_up": True,
        }
        return Resource(host_scope(host), "port", f"port-{number:07d}", self._revision, spec)

    def _sends(self, changesets: Sequence[Changeset]) -> list[Sent]:
        """Return every record, in the order in which the publisher sends them."""
        return [one.encoded() for one in self._unencoded(changesets)]

    def _unencoded(self, changesets: Sequence[Changeset]) -> list[Unencoded]:
        topology = self._directory.topology
        placements = self._directory.hosts(self._hosts)
        unencoded = []
        for changeset in changesets:
            host = changeset.resources[0].scope.id
            placement = placements[host]
            address = address_of("host", host, placement, topology)
            cluster, topic, partition = address.cluster, address.topic, address.partition
            producer = self._producers[cluster, topic]
            unencoded.append(
                Unencoded(cluster, producer, topic, partition, changeset, placement.epoch)
            )
        unencoded.sort(key=lambda one: one[:4])
        return unencoded


def _value(changeset: Changeset, resource: Resource, epoch: int) -> bytes:
    spec = encode_spec(resource.spec)
    sent_us = time.time_ns() // 1000
    return encode(
        Envelope(resource.revision, resource.op, epoch, changeset.id, 0, 1, sent_us, 0, spec)
    )


def producers_of_topics(
    topology: Topology, partitions_per_producer: int
) -> dict[tuple[str, str], int]:
    """Deal the topics of each cluster's host pools to as many producers as the publisher uses."""
    dealt: dict[tuple[str, str], int] = {}
    for cluster in topology.clusters:
        slots = sum(pool.slots for pool in topology.pools if pool.cluster == cluster.id)
        slots += sum(kind.partitions for kind in topology.public if kind.cluster == cluster.id)
        producers = max(1, math.ceil(slots / partitions_per_producer))
        names = [
            topic_name(pool.id, topic)
            for pool in topology.pools_in("host", cluster=cluster.id)
            for topic in range(pool.topics)
        ]
        dealt |= {(cluster.id, name): at % producers for at, name in enumerate(names)}
    return dealt


class BareLoop:
    """Bare producers, one callback that counts, and nothing else."""

    def __init__(self, topology: Topology, settings: PublisherSettings) -> None:
        self._topology = topology
        self._settings = settings
        self._producers: dict[tuple[str, int], Producer] = {}

    def run(self, sends: Iterable[Sent], timeout_s: float) -> Run:
        """Send all; return when all are acknowledged. Raises `EdgeError` when one is not."""
        acknowledged = 0
        failed: list[str] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            nonlocal acknowledged
            if error is None:
                acknowledged += 1
            else:
                failed.append(error.str())

        clock = _Clock()
        number = 0
        for number, (cluster, shard, topic, partition, key, value) in enumerate(sends, 1):
            producer = self._producers.get((cluster, shard)) or self._open(cluster, shard)
            while True:
                try:
                    producer.produce(topic, value, key, partition, on_delivery)
                    break
                except BufferError:
                    producer.poll(_FULL_WAIT_S)
            if number % _POLL_EVERY == 0:
                producer.poll(0)
        for producer in self._producers.values():
            producer.flush(timeout_s)
        run = clock.run()
        if failed or acknowledged != number:
            why = failed[0] if failed else "no answer in time"
            raise EdgeError(f"{number - acknowledged} bare sends failed: {why}", retryable=True)
        return run

    def _open(self, cluster: str, number: int) -> Producer:
        made = Producer(
            producer_config(
                self._topology.cluster(cluster),
                f"bench-bare-{cluster}-{number}",
                linger_ms=self._settings.bulk_linger_ms,
                timeout_ms=_BARE_TIMEOUT_MS,
            )
        )
        self._producers[cluster, number] = made
        return made


class _Clock:
    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._at_s = time.perf_counter()

    def run(self) -> Run:
        return Run(time.perf_counter() - self._at_s, time.process_time() - self._cpu_s)


def first_of_topics(sends: Iterable[Sent]) -> list[Sent]:
    """Return one record of each topic, by which a client learns of all of them."""
    return list({(one.cluster, one.topic): one for one in sends}.values())


def _quiet(_line: str) -> None:
    """Take a line of progress and show it to nobody."""


def _rate(records: int, run: Run) -> float:
    return records / run.seconds


class _Runs(NamedTuple):
    ours: Sequence[Run]
    bare: Sequence[Run]
    encoding: Sequence[Run]
    naive: Run


def _result(bench: PublishBench, topology: Topology, slots: int, runs: _Runs) -> BenchResult:
    our_rate = statistics.median(_rate(bench.hosts, run) for run in runs.ours)
    bare_rate = statistics.median(_rate(bench.hosts, run) for run in runs.bare)
    encoding_rate = statistics.median(_rate(bench.hosts, run) for run in runs.encoding)
    naive_rate = _rate(bench.hosts, runs.naive)
    same, other = "bare loop, same order", "bare loop, random order, one producer a cluster"
    itself = f"{same}, encoding each record"
    return BenchResult(
        "publish",
        rows=(
            Row("publish_many to accepted", our_rate, "changes/s"),
            Row("publish_many, this process' CPU", _cpu_us(bench, runs.ours), "us/change"),
        ),
        baseline=(
            Row(same, bare_rate, "records/s"),
            Row(f"{same}, this process' CPU", _cpu_us(bench, runs.bare), "us/record"),
            Row(itself, encoding_rate, "records/s"),
            Row(other, naive_rate, "records/s"),
        ),
        ratios=(
            Row(f"publish_many / {same}", our_rate / bare_rate, "x", SAME_ORDER_AIM),
            Row(f"publish_many / {itself}", our_rate / encoding_rate, "x"),
            Row(f"{same} / {other}", bare_rate / naive_rate, "x"),
            Row(f"publish_many / {other}", our_rate / naive_rate, "x", NAIVE_AIM),
        ),
        settings=_settings(bench, topology, slots),
    )


def _cpu_us(bench: PublishBench, runs: Sequence[Run]) -> float:
    return statistics.median(run.cpu_s for run in runs) / bench.hosts * 1e6


def _settings(bench: PublishBench, topology: Topology, slots: int) -> dict[str, str]:
    config = producer_config(topology.clusters[0], "", linger_ms=bench.publisher.bulk_linger_ms)
    named = ("enable.idempotence", "acks", "linger.ms", "max.in.flight.requests.per.connection")
    pools = topology.pools_in("host")
    dealt = producers_of_topics(topology, bench.publisher.partitions_per_producer)
    producers = {(cluster, number) for (cluster, _), number in dealt.items()}
    return {
        "hosts": f"{bench.hosts}",
        "clusters": f"{len(topology.clusters)}",
        "host pools": ", ".join(f"{pool.id} {pool.topics}x{pool.partitions}" for pool in pools),
        "slots written to": f"{slots}",
        "producers": f"{len(producers)}; {len(topology.clusters)} in random order",
        "partitions per producer": f"{bench.publisher.partitions_per_producer}",
        "specs validated": f"{bench.publisher.validate_specs}",
        "rounds": f"{bench.rounds}, medians; random order once",
        **{name: f"{config[name]}" for name in named},
    }
