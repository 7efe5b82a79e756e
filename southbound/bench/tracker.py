"""How many reports the tracker handles, and what a host costs it, beside a bare consumer.

The rule: both sides read the same records of the same topics, each in a process of its own that does
nothing else; the bare one decodes reports and counts their lines, on one thread a cluster like the
tracker. Every host tells of a port and of what it needs: nobody has heard of it then. After that many of
them, chosen by chance, tell again: everybody is known, and the tracker goes on from where it stood, with
the store of all of them.
"""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil

from southbound.bench.result import BenchResult, Row
from southbound.edge.kafka import Consumer, TopicPartition, new_consumer, new_producer
from southbound.errors import EdgeError
from southbound.partitioning.hashing import spread
from southbound.partitioning.topology import STATUS_TOPIC, Cluster, Topology
from southbound.resources import ResourceKey, host_scope, vpc_scope
from southbound.settings import TrackerSettings
from southbound.tracker.questions import Questions
from southbound.tracker.service import TrackerService
from southbound.tracker.summary import percentile
from southbound.wire.keys import encode_key
from southbound.wire.reports import Outcome, Report, ReportEntry, decode_report, encode_report

Progress = Callable[[str], None]
Work = Callable[[Topology, "TrackerBench", Path, int], "Run"]
"""One side's work: it takes so many reports."""

_BATCH = 1_000
_LOOK_S = 0.02
_LINES = 4
_SEED = 7
_VPC_HOSTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerBench:
    """What is measured. `hosts` tell, `again` of them once more; then so many `gates` are asked.

    `timeout_s` bounds a run.
    """

    hosts: int = 1_000_000
    again: int = 300_000
    gates: int = 2_000
    timeout_s: float = 1_800.0
    settings: TrackerSettings = field(
        default_factory=lambda: TrackerSettings(client_id="bench-tracker")
    )


class Run(NamedTuple):
    """One process' run. Memory in bytes: before it read anything, and after; `disk` in bytes."""

    reports: int
    seconds: float
    cpu_s: float
    before: int
    after: int
    disk: int = 0
    gate_ms: tuple[float, ...] = ()


def run_tracker(
    topology: Topology, bench: TrackerBench, *, progress: Progress | None = None
) -> BenchResult:
    """Measure on the status topics of a topology, which exist and are empty.

    Raises `EdgeError` where a run does not end in time.
    """
    say = progress or _quiet
    with tempfile.TemporaryDirectory(prefix="southbound-bench-tracker-") as folder:
        say(f"{bench.hosts} hosts tell of {_LINES} resources each")
        chance = random.Random(_SEED)
        _tell(topology, chance.sample(range(bench.hosts), bench.hosts), 1)
        bare = _in_process(_bare, topology, bench, Path(folder), bench.hosts)
        say(f"bare consumer: {_rate(bare):,.0f} reports/s")
        first = _in_process(_track, topology, bench, Path(folder), bench.hosts)
        say(f"tracker, hosts unknown: {_rate(first):,.0f} reports/s")
        again = chance.sample(range(bench.hosts), min(bench.again, bench.hosts))
        _tell(topology, again, 2)
        second = _in_process(_track, topology, bench, Path(folder), len(again))
        say(f"tracker, hosts known: {_rate(second):,.0f} reports/s")
    return _result(topology, bench, bare, (first, second))


def _tell(topology: Topology, hosts: Sequence[int], revision: int) -> None:
    """Write a report of each of these hosts, in this order, to the clusters in turns."""
    clusters = topology.clusters
    producers = [
        new_producer(one, "bench-tell", {"linger.ms": 20, "batch.size": 1 << 18})
        for one in clusters
    ]
    for number in hosts:
        at = number % len(clusters)
        host = _host(number)
        partition = spread(host, clusters[at].status_partitions)
        value = encode_report(_report(number, revision))
        while True:
            try:
                producers[at].produce(STATUS_TOPIC, value, host.encode(), partition)
                break
            except BufferError:
                producers[at].poll(_LOOK_S)
    for producer in producers:
        if producer.flush(300):
            raise EdgeError("the reports could not be written", retryable=True)


def _report(number: int, revision: int) -> Report:
    now_us = time.time_ns() // 1_000
    host, vpc = _host(number), f"bench-vpc-{number // _VPC_HOSTS}"
    needs = tuple(
        encode_key(ResourceKey(vpc_scope(vpc), kind, id))
        for kind, id in (("vpc", vpc), ("subnet", "s-1"), ("security_group", "g-1"))
    )
    launch, network = f"launch-{revision}-{number}", f"network-{revision}-{vpc}"
    port = ReportEntry(
        launch, _port(number), revision, Outcome.APPLIED, now_us, "", deleted=False, needs=needs
    )
    rest = (ReportEntry(network, key, revision, Outcome.APPLIED, now_us) for key in needs)
    return Report(host, now_us, (port, *rest))


def _host(number: int) -> str:
    return f"bench-host-{number:07d}"


def _port(number: int) -> bytes:
    return encode_key(ResourceKey(host_scope(_host(number)), "port", f"port-{number:07d}"))


# What runs in a process of its own.


def _in_process(
    work: Work, topology: Topology, bench: TrackerBench, folder: Path, reports: int
) -> Run:
    """Run one side alone; return what it measured. Raises `EdgeError`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, work, topology, bench, folder, reports))
    process.start()
    theirs.close()
    try:
        if not ours.poll(bench.timeout_s + 60):
            raise EdgeError("a run of the benchmark did not end in time", retryable=True)
        answer = ours.recv()
    except EOFError as error:
        raise EdgeError("a process of the benchmark ended early", retryable=True) from error
    finally:
        process.terminate()
        process.join()
    if isinstance(answer, str):
        raise EdgeError(answer, retryable=True)
    assert isinstance(answer, Run)
    return answer


def _child(
    pipe: Connection,
    work: Work,
    topology: Topology,
    bench: TrackerBench,
    folder: Path,
    reports: int,
) -> None:
    try:
        pipe.send(work(topology, bench, folder, reports))
    except EdgeError as error:
        pipe.send(str(error))


def _track(topology: Topology, bench: TrackerBench, folder: Path, reports: int) -> Run:
    """Go on with the tracker of a folder until it has taken so many reports more."""
    service = TrackerService(lambda: topology, folder, bench.settings)
    clock = _Clock()
    service.start()
    try:
        _wait(lambda: service.counters.reports, reports, bench.timeout_s)
        took = clock.run(reports)
        gate_ms = _gates(service, bench)
    finally:
        service.close()
    return took._replace(disk=service.store.bytes, gate_ms=gate_ms)


def _gates(service: TrackerService, bench: TrackerBench) -> tuple[float, ...]:
    """Return how long gates take that need not wait, in ms, shortest first."""
    questions, chance = Questions(service), random.Random(_SEED)
    took = []
    for _ in range(bench.gates):
        number = chance.randrange(bench.hosts)
        resource = ResourceKey(host_scope(_host(number)), "port", f"port-{number:07d}")
        begun_s = time.perf_counter()
        gate = questions.gate(_host(number), resource, None, 0.0)
        took.append((time.perf_counter() - begun_s) * 1e3)
        assert gate.ready, gate
    return tuple(sorted(took))


def _bare(topology: Topology, bench: TrackerBench, _folder: Path, reports: int) -> Run:
    """Read and decode as many reports, and count their lines."""
    clock = _Clock()
    counts = dict.fromkeys((one.id for one in topology.clusters), 0)
    threads = [
        threading.Thread(target=_count, args=(one, counts, bench)) for one in topology.clusters
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sum(counts.values()) < reports:
        raise EdgeError("the bare consumer did not read everything in time", retryable=True)
    return clock.run(reports)


def _count(cluster: Cluster, counts: dict[str, int], bench: TrackerBench) -> None:
    consumer = new_consumer(
        cluster,
        "bench-bare",
        {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "queued.max.messages.kbytes": 16_384},
    )  # fmt: skip
    consumer.assign(_places(consumer))
    end_s, lines = time.monotonic() + bench.timeout_s, 0
    while sum(counts.values()) < bench.hosts and time.monotonic() < end_s:
        first = consumer.poll(0.1)
        if first is None:
            continue
        for message in (first, *consumer.consume(_BATCH - 1, 0)):
            if message.error() is None:
                lines += len(decode_report(message.value() or b"").entries)
                counts[cluster.id] += 1
    consumer.close()
    assert lines == counts[cluster.id] * _LINES


def _places(consumer: Consumer) -> list[TopicPartition]:
    partitions = consumer.list_topics(STATUS_TOPIC, timeout=10).topics[STATUS_TOPIC].partitions
    return [TopicPartition(STATUS_TOPIC, number, 0) for number in partitions]


class _Clock:
    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._cpu_s = time.process_time()
        self._at_s = time.perf_counter()

    def run(self, reports: int) -> Run:
        seconds = time.perf_counter() - self._at_s
        cpu_s = time.process_time() - self._cpu_s
        return Run(reports, seconds, cpu_s, self._before, self._process.memory_info().rss)


def _wait(done: Callable[[], int], wanted: int, timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while done() < wanted:
        if time.monotonic() > end_s:
            raise EdgeError(f"{done()} of {wanted} reports in {timeout_s:g} s", retryable=True)
        time.sleep(_LOOK_S)


def _quiet(_line: str) -> None:
    """Take a line of progress and show it to nobody."""


def _rate(run: Run) -> float:
    return run.reports / run.seconds


def _result(
    topology: Topology, bench: TrackerBench, bare: Run, ours: tuple[Run, Run]
) -> BenchResult:
    first, second = ours
    return BenchResult(
        "tracker",
        rows=(
            Row("reports, hosts unknown", _rate(first), "reports/s"),
            Row("reports, hosts known", _rate(second), "reports/s"),
            Row("lines, hosts known", _rate(second) * _LINES, "lines/s"),
            Row("CPU, hosts known", second.cpu_s / second.reports * 1e6, "us/report"),
            Row("memory", second.after, "bytes"),
            Row(
                "memory per host tracked",
                max(one.after - one.before for one in ours) / bench.hosts,
                "bytes",
            ),
            Row("disk per host tracked", second.disk / bench.hosts, "bytes"),
            Row("gate that need not wait, p50", percentile(second.gate_ms, 0.5), "ms"),
            Row("gate that need not wait, p99", percentile(second.gate_ms, 0.99), "ms"),
        ),
        baseline=(
            Row("bare consumer", _rate(bare), "reports/s"),
            Row("bare consumer, CPU", bare.cpu_s / bare.reports * 1e6, "us/report"),
            Row("bare consumer, memory", bare.after, "bytes"),
        ),
        ratios=(
            Row("tracker, hosts known / bare consumer", _rate(second) / _rate(bare), "x"),
            Row("memory / bare consumer's", second.after / bare.after, "x"),
        ),
        settings=_settings(topology, bench),
    )


def _settings(topology: Topology, bench: TrackerBench) -> Mapping[str, str]:
    return {
        "hosts": f"{bench.hosts}, of which {min(bench.again, bench.hosts)} tell again",
        "lines per report": f"{_LINES}",
        "clusters": f"{len(topology.clusters)}",
        "status partitions": f"{topology.clusters[0].status_partitions} a cluster",
        "store": f"SQLite, WAL, synchronous NORMAL, cache {bench.settings.cache_mib} MiB",
        "batch": f"at most {_BATCH} records, one transaction each",
    }
