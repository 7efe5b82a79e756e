"""How long a change takes until it is accepted and until its node has applied it.

The rule: an open loop. Each change is due at a time of its own, which its record carries and from
which everything is counted, whatever became of the one before. Every node's agent is a real one. The
baseline sends as many records of the same size to the same partitions at the same rate, through one
bare producer a cluster to one bare consumer a node, on the same servers after the agents have gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from confluent_kafka import KafkaError, Message, Producer

from southbound.bench.crew import Crew, scratch
from southbound.bench.nodes import Nodes
from southbound.bench.quantiles import quantile, quantile_rows
from southbound.bench.readers import Readers, Reading, reader_config, readings_of
from southbound.bench.result import BenchResult, Row
from southbound.bench.schedule import Schedule
from southbound.bench.tenants import Tenants, settle
from southbound.directory import Directory
from southbound.edge.kafka import producer_config
from southbound.errors import EdgeError
from southbound.producer import Accepted, Publisher
from southbound.resources import Changeset
from southbound.settings import AgentSettings, PublisherSettings
from southbound.wire.envelope import Envelope, encode, encode_spec
from southbound.wire.keys import encode_key

Progress = Callable[[str], None]

APPLIED_AIMS = {"p50": "<= 6", "p99": "<= 40"}
_LOOK_S = 0.05
_MS = 1e-3
_PREFIX = "bench-latency-"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyBench:
    """What is measured: `rate` changes a second to `hosts` nodes, for `seconds`.

    `processes`: how many the agents, and the bare consumers, are dealt to. `rest_s`: how long the
    agents may stand before anything is sent: by then their long polls are as they stay.
    `warm_s`: how long changes are sent before those that count, so that brokers have compiled what
    they run. `timeout_s` bounds each wait.
    """

    hosts: int = 300
    vpcs: int = 20
    rate: float = 1_000.0
    seconds: float = 30.0
    warm_s: float = 15.0
    rest_s: float = 22.0
    processes: int = 8
    timeout_s: float = 120.0
    publisher: PublisherSettings = field(
        default_factory=lambda: PublisherSettings(client_id="bench-latency")
    )


class Lags(NamedTuple):
    """What one side's changes took, in milliseconds from when they were due.

    `late`: until they were handed to the client. `superseded`: how many a newer one of their node
    came along with, and took the place of. `cpu_s`: by who computed.
    """

    late: list[float]
    accepted: list[float]
    arrived: list[float]
    superseded: int
    cpu_s: Mapping[str, float]


def run_latency(
    directory: Directory,
    redis_url: str,
    bench: LatencyBench,
    *,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure on the fleet of an open directory, whose topics exist.

    Raises `CapacityError` where the pools do not hold the hosts, `EdgeError` where a run fails.
    """
    say = progress or (lambda _line: None)
    tenants = Tenants(hosts=bench.hosts, vpcs=bench.vpcs)
    say(f"preparing {bench.hosts} hosts")
    settle(directory, tenants)
    ours = _ours(directory, redis_url, tenants, bench, say)
    say(f"applied: p50 {quantile(sorted(ours.arrived), 0.5):.1f} ms; now bare clients")
    bare = _bare(directory, tenants, bench, say)
    return _result(bench, directory, ours, bare)


# Agents and a publisher.


def _ours(
    directory: Directory, redis_url: str, tenants: Tenants, bench: LatencyBench, say: Progress
) -> Lags:
    with scratch() as folder, Crew(bench.processes, Nodes, redis_url, folder) as crew:
        say(f"starting {bench.hosts} agents in {bench.processes} processes")
        shares = crew.deal(tenants.ids)
        crew.ask("start", [(share, tenants.ports, bench.timeout_s) for share in shares])
        time.sleep(bench.rest_s)
        with Publisher(directory, bench.publisher) as publisher:
            say(f"{bench.rate:g} changes a second")
            sending = _Publishing(publisher, tenants, bench)
            before = _cpu(crew)
            schedule = _send_all(bench, sending.send)
            sending.wait()
            applied = _wait_applied(crew, schedule, bench)
            cpu_s = _difference(_cpu(crew), before)
    return _lags(bench, schedule, sending, applied, cpu_s)


class _Publishing:
    """Sends each change through the publisher, and notes when it was handed over and accepted."""

    def __init__(self, publisher: Publisher, tenants: Tenants, bench: LatencyBench) -> None:
        self._publisher = publisher
        self._tenants = tenants
        self._timeout_s = bench.timeout_s
        self._last: dict[int, int] = {}
        self.handed: dict[int, int] = {}
        self.answered: dict[int, int] = {}
        self._failures: list[BaseException] = []

    def send(self, number: int, host: int, due_us: int) -> None:
        """Publish change `number`, a newer revision of the host's port."""
        revision = self._last[host] = self._last.get(host, 1) + 1
        port = self._tenants.port(host, 0, revision)
        receipt = self._publisher.publish(Changeset(f"{_PREFIX}{number}", (port,)), sent_us=due_us)
        self.handed[number] = _now_us()
        receipt.accepted.add_done_callback(lambda done: self._note(number, done))

    def wait(self) -> None:
        """Wait until everything has an answer. Raises `EdgeError` when it is not a good one."""
        self._publisher.flush(self._timeout_s)
        _until(
            lambda: len(self.answered) + len(self._failures) >= len(self.handed), self._timeout_s
        )
        if self._failures:
            raise EdgeError(f"not accepted: {self._failures[0]}", retryable=True)

    def _note(self, number: int, done: Future[Accepted]) -> None:
        error = done.exception()
        if error is None:
            self.answered[number] = _now_us()
        else:
            self._failures.append(error)


def _wait_applied(crew: Crew, schedule: Schedule, bench: LatencyBench) -> dict[int, int]:
    """Return when each change was applied; a superseded one has no time of its own."""
    deadline_s = time.monotonic() + bench.timeout_s
    last = {schedule.host(number): number for number in range(schedule.changes)}
    while True:
        applied = {
            int(changeset.removeprefix(_PREFIX)): at_us
            for notes in crew.ask_all("applied")
            for changeset, at_us in notes
            if changeset.startswith(_PREFIX) and at_us >= schedule.start_us
        }
        missing = [number for number in last.values() if number not in applied]
        if not missing:
            return applied
        if time.monotonic() > deadline_s:
            raise EdgeError(f"{len(missing)} nodes lack their last change", retryable=True)
        time.sleep(_LOOK_S)


# Bare clients.


def _bare(directory: Directory, tenants: Tenants, bench: LatencyBench, say: Progress) -> Lags:
    readings = readings_of(directory, tenants)
    with Crew(bench.processes, Readers) as crew:
        say(f"starting {bench.hosts} bare consumers in {bench.processes} processes")
        crew.ask("follow", [(share,) for share in crew.deal(readings)])
        time.sleep(bench.rest_s)
        with _BareSending(readings, tenants, bench) as sending:
            say(f"{bench.rate:g} records a second")
            before = _cpu(crew)
            schedule = _send_all(bench, sending.send)
            sending.wait()
            arrived = _wait_arrived(crew, tenants, schedule, bench)
            cpu_s = _difference(_cpu(crew), before)
    return _lags(bench, schedule, sending, arrived, cpu_s)


class _BareSending:
    """One producer a cluster, a thread for its delivery reports, and nothing else."""

    def __init__(self, readings: Sequence[Reading], tenants: Tenants, bench: LatencyBench) -> None:
        self._places = [(one.cluster.id, one.addresses[0]) for one in readings]
        self._producers = {
            one.cluster.id: Producer(
                producer_config(one.cluster, "bench-bare", linger_ms=bench.publisher.linger_ms)
            )
            for one in readings
        }
        self._records = [_bare_record(tenants, host) for host in range(tenants.hosts)]
        self._timeout_s = bench.timeout_s
        self.handed: dict[int, int] = {}
        self.answered: dict[int, int] = {}
        self._failures: list[str] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._attend, args=(producer,), daemon=True)
            for producer in self._producers.values()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def send(self, number: int, host: int, _due_us: int) -> None:
        """Produce record `number`."""
        cluster, address = self._places[host]
        key, value = self._records[host]

        def told(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                self.answered[number] = _now_us()
            else:
                self._failures.append(error.str())

        self._producers[cluster].produce(
            address.topic, value + number.to_bytes(8, "big"), key, address.partition, told
        )
        self.handed[number] = _now_us()

    def wait(self) -> None:
        """Wait until everything has an answer. Raises `EdgeError` when it is not a good one."""
        _until(
            lambda: len(self.answered) + len(self._failures) >= len(self.handed), self._timeout_s
        )
        if self._failures:
            raise EdgeError(f"a bare send failed: {self._failures[0]}", retryable=True)

    def _attend(self, producer: Producer) -> None:
        while not self._stopping.is_set():
            producer.poll(0.2)


def _bare_record(tenants: Tenants, host: int) -> tuple[bytes, bytes]:
    """Return a key that no agent takes for its own, and a value as long as a change's."""
    port = tenants.port(host, 0, 2)
    spec = encode_spec(port.spec)
    value = encode(Envelope(2, port.op, 1, f"{_PREFIX}0", 0, 1, _now_us(), 0, spec))
    return b"bare" + encode_key(port.key)[4:], value[8:]


def _wait_arrived(
    crew: Crew, tenants: Tenants, schedule: Schedule, bench: LatencyBench
) -> dict[int, int]:
    """Return when each record came to the consumer of its own node."""
    keys = [_bare_record(tenants, host)[0] for host in range(tenants.hosts)]
    shares = crew.deal(keys)
    deadline_s = time.monotonic() + bench.timeout_s
    while True:
        arrived = {
            int.from_bytes(value[-8:], "big"): at_us
            for own, readers in zip(shares, crew.ask_all("arrived"), strict=True)
            for key, notes in zip(own, readers, strict=True)
            for found, value, at_us in notes
            if found == key
        }
        if len(arrived) >= schedule.changes:
            return arrived
        if time.monotonic() > deadline_s:
            missing = schedule.changes - len(arrived)
            raise EdgeError(f"{missing} bare records have not arrived", retryable=True)
        time.sleep(_LOOK_S)


# The loop, and what came of it.


def _send_all(bench: LatencyBench, send: Callable[[int, int, int], None]) -> Schedule:
    """Send every change when it is due; one that is late goes at once."""
    changes = max(bench.hosts, round((bench.warm_s + bench.seconds) * bench.rate))
    schedule = Schedule(_now_us() + 100_000, bench.rate, changes, bench.hosts)
    for number in range(changes):
        due_us = schedule.due_us(number)
        ahead_us = due_us - _now_us()
        if ahead_us > 0:
            time.sleep(ahead_us * 1e-6)
        send(number, schedule.host(number), due_us)
    return schedule


def _lags(
    bench: LatencyBench,
    schedule: Schedule,
    sending: _Publishing | _BareSending,
    arrived: Mapping[int, int],
    cpu_s: Mapping[str, float],
) -> Lags:
    counted = range(min(round(bench.warm_s * bench.rate), schedule.changes - 1), schedule.changes)
    at_us, superseded = standing(schedule, arrived)

    def lag_ms(times: Mapping[int, int]) -> list[float]:
        return [(times[number] - schedule.due_us(number)) * _MS for number in counted]

    return Lags(lag_ms(sending.handed), lag_ms(sending.answered), lag_ms(at_us), superseded, cpu_s)


def standing(schedule: Schedule, applied: Mapping[int, int]) -> tuple[dict[int, int], int]:
    """Return when each change stood on its node, and how many had no time of their own.

    A change that came together with a newer one of its node is never applied itself: it stands when
    the newer one does. The last change of each node must be in `applied`.
    """
    stood: dict[int, int] = {}
    for number in range(schedule.changes - 1, -1, -1):
        newer = stood.get(number + schedule.hosts)
        at_us = applied.get(number, newer)
        assert at_us is not None, f"change {number} was never applied"
        stood[number] = at_us
    return stood, schedule.changes - len(applied)


def _result(bench: LatencyBench, directory: Directory, ours: Lags, bare: Lags) -> BenchResult:
    rows = [
        *quantile_rows("publish to applied", ours.arrived, "ms", APPLIED_AIMS),
        *quantile_rows("publish to accepted", ours.accepted, "ms"),
        Row("handed over late, p99", quantile(sorted(ours.late), 0.99), "ms"),
        Row("changes that a newer one overtook", ours.superseded, "changes"),
        *_cpu_rows(bench, ours),
    ]
    baseline = [
        *quantile_rows("bare send to consumer's hands", bare.arrived, "ms"),
        *quantile_rows("bare send to delivery report", bare.accepted, "ms"),
        Row("bare, handed over late, p99", quantile(sorted(bare.late), 0.99), "ms"),
        *_cpu_rows(bench, bare),
    ]
    ratios = [
        Row(
            f"applied / consumer's hands, {name}",
            quantile(sorted(ours.arrived), share) / quantile(sorted(bare.arrived), share),
            "x",
        )
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    ]
    settings = _settings(bench, directory)
    return BenchResult("latency", tuple(rows), tuple(baseline), tuple(ratios), settings)


def _cpu_rows(bench: LatencyBench, lags: Lags) -> list[Row]:
    changes = (bench.warm_s + bench.seconds) * bench.rate
    return [
        Row(f"CPU of {who}", spent_s / changes * 1e6, "us/change")
        for who, spent_s in lags.cpu_s.items()
    ]


def _settings(bench: LatencyBench, directory: Directory) -> dict[str, str]:
    topology = directory.topology
    agent = AgentSettings()
    reader, sender = reader_config(), producer_config(topology.clusters[0], "", linger_ms=1)
    pools = topology.pools
    return {
        "nodes": f"{bench.hosts}, in {bench.vpcs} VPCs",
        "clusters": f"{len(topology.clusters)}",
        "pools": ", ".join(f"{pool.id} {pool.topics}x{pool.partitions}" for pool in pools),
        "changes": f"{bench.rate:g}/s for {bench.seconds:g} s, after {bench.warm_s:g} s uncounted",
        "one change": "a port of one host, of a newer revision, in a changeset of its own",
        "processes": f"1 that publishes; agents, and bare consumers, dealt to {bench.processes}",
        "applier": "in memory",
        "SQLite": f"WAL, synchronous {agent.sqlite_synchronous}, one transaction a batch",
        "specs validated": f"{bench.publisher.validate_specs}",
        "agent fetch.wait.max.ms": f"{agent.fetch_wait_ms}",
        "agent report linger": f"{agent.report_linger_ms:g} ms",
        "publisher linger.ms": f"{bench.publisher.linger_ms:g}",
        **{f"bare consumer {name}": f"{value}" for name, value in reader.items()},
        **{f"producer {name}": f"{sender[name]}" for name in ("acks", "enable.idempotence")},
        "bare producers": f"{len(topology.clusters)}, linger.ms {bench.publisher.linger_ms:g}",
    }


def _cpu(crew: Crew) -> dict[str, float]:
    return {"this process": time.process_time(), "the nodes": sum(crew.ask_all("cpu_s"))}


def _difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in after.items()}


def _until(done: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            raise EdgeError(f"no answer in {timeout_s:g} s", retryable=True)
        time.sleep(_LOOK_S)


def _now_us() -> int:
    return time.time_ns() // 1000
