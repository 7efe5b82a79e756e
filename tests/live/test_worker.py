from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from southbound.edge.kafka import (
    OFFSET_BEGINNING,
    Producer,
    TopicPartition,
    end_offsets,
    new_consumer,
    new_producer,
)
from southbound.errors import ConfigError
from southbound.local.fleet import LocalFleet
from southbound.nca.appliers.file import FileApplier, read_tree
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.plan import Plan
from southbound.nca.worker import Worker
from southbound.partitioning.topology import STATUS_TOPIC, Cluster, public_topic_name
from southbound.resources import PUBLIC_SCOPE, Op, ResourceKey
from southbound.wire.envelope import Envelope, encode, encode_spec
from southbound.wire.keys import encode_key
from southbound.wire.reports import Outcome, ReportEntry, decode_report
from tests.live.conftest import SETTINGS, FleetFactory
from tests.live.worker_process import settings, topology

PARTITIONS = 6
SESSION_MS = 2_000
"""Of those that are killed or sent to sleep: their session shall end soon."""
LONG_SESSION_MS = 30_000
"""Of all others: a machine that is slow for a moment takes nothing from them."""
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Return a fleet of one cluster, whose broker allows short sessions."""
    overrides = {**SETTINGS.broker.overrides, "group.min.session.timeout.ms": "500"}
    broker = dataclasses.replace(SETTINGS.broker, overrides=overrides)
    fleet = module_fleet_factory(clusters=1, settings=dataclasses.replace(SETTINGS, broker=broker))
    make_topic(fleet.bootstrap("c1"), STATUS_TOPIC, 4)
    return fleet


def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Create a topic and wait for it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {"cleanup.policy": "compact"} if topic != STATUS_TOPIC else {}
    made = admin.create_topics([NewTopic(topic, num_partitions=partitions, config=config)])
    made[topic].result(30)


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail when it does not come about in time."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if condition():
            return
        time.sleep(0.02)
    pytest.fail(f"in {PATIENCE_S:.0f} s not: {what}")


class Market:
    """One public kind of this test's own: its topic, and records as the directory places them."""

    def __init__(self, fleet: LocalFleet, kind: str) -> None:
        self.kind = kind
        self.bootstrap = fleet.bootstrap("c1")
        self.cluster = Cluster(id="c1", az="az-a", bootstrap=(self.bootstrap,))
        self.topic = public_topic_name(kind)
        self.topology = topology(self.bootstrap, kind, PARTITIONS)
        self._places: dict[str, int] = {}
        self._producer: Producer = new_producer(self.cluster, "test")
        make_topic(self.bootstrap, self.topic, PARTITIONS)

    def key(self, id: str) -> ResourceKey:
        """Return a resource's key."""
        return ResourceKey(PUBLIC_SCOPE, self.kind, id)

    def place(self, id: str) -> int:
        """Return a resource's partition: the one with the fewest, the lowest among equals."""
        return self._places.setdefault(id, len(self._places) % PARTITIONS)

    def put(self, *ids: str, revision: int = 1, op: Op = Op.UPSERT) -> None:
        """Publish one revision of resources."""
        for id in ids:
            spec = encode_spec({} if op is Op.DELETE else {"at": revision})
            sent_us = time.time_ns() // 1000
            envelope = Envelope(revision, op, 1, f"{id}-{revision}", 0, 1, sent_us, 0, spec)
            self.write(self.place(id), encode_key(self.key(id)), encode(envelope))
        assert self._producer.flush(30) == 0

    def write(self, partition: int, key: bytes, value: bytes) -> None:
        """Write a record as it is."""
        self._producer.produce(self.topic, value=value, key=key, partition=partition)

    def worker(
        self, worker_id: str, applier: MemoryApplier, session_ms: int = LONG_SESSION_MS
    ) -> Worker:
        """Return a worker in this process."""
        return Worker(
            kind=self.kind,
            worker_id=worker_id,
            applier=applier,
            topology=self.topology,
            settings=settings(session_ms),
        )


@pytest.fixture
def market(own: LocalFleet, unique: Callable[[str], str]) -> Market:
    """Return a public kind of the test's own."""
    return Market(own, unique("elb"))


@contextlib.contextmanager
def running(*workers: Worker) -> Iterator[None]:
    """Start workers, and stop those that have not been stopped."""
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            worker.stop()


class Process:
    """A worker in a process of its own, with a tree."""

    def __init__(self, market: Market, worker_id: str, root: Path) -> None:
        self.root = root
        given = {
            "bootstrap": market.bootstrap,
            "kind": market.kind,
            "partitions": PARTITIONS,
            "worker_id": worker_id,
            "root": str(root),
            "session_timeout_ms": SESSION_MS,
        }
        program = Path(__file__).with_name("worker_process.py")
        self._log = root.with_suffix(".log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(program), json.dumps(given)],
            stderr=self._log,
            cwd=Path(__file__).resolve().parents[2],
        )

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return the exit status."""
        return self._process.wait(PATIENCE_S)

    def end(self) -> None:
        """End the process, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(PATIENCE_S)
        self._log.close()

    @property
    def ids(self) -> set[str]:
        """Ids on its node."""
        return {key.id for key in read_tree(self.root)}


@contextlib.contextmanager
def processes(market: Market, tmp_path: Path, *names: str) -> Iterator[list[Process]]:
    """Start workers as processes, and end them."""
    started: list[Process] = []
    try:
        started.extend(Process(market, name, tmp_path / name) for name in names)
        yield started
    finally:
        for process in started:
            process.end()


def shared_out(one: set[str], other: set[str], ids: set[str]) -> bool:
    """Tell whether two workers hold halves that differ by at most one resource."""
    return one | other == ids and not one & other and abs(len(one) - len(other)) <= 1


def held(applier: MemoryApplier) -> set[str]:
    """Return the ids in a node's memory, while its worker may be writing it."""
    return {key.id for key in tuple(applier.resources)}


def named(count: int) -> list[str]:
    """Return ids."""
    return [f"lb-{number:03d}" for number in range(count)]


@pytest.mark.parametrize("count", [15, 16, 3])
def test_two_workers_hold_halves(market: Market, count: int) -> None:
    """The second takes its half from the first, to within one resource."""
    ids = named(count)
    market.put(*ids)
    appliers = [MemoryApplier(), MemoryApplier()]
    first, second = (market.worker(f"w{n}", applier) for n, applier in enumerate(appliers))
    with running(first):
        wait_until("the first holds all", lambda: held(appliers[0]) == set(ids))
        with running(second):
            wait_until("halves", lambda: shared_out(held(appliers[0]), held(appliers[1]), set(ids)))
            wait_until("ready", lambda: first.status().ready and second.status().ready)
            shares = (first.status().partitions, second.status().partitions)
            assert sorted(shares[0] + shares[1]) == list(range(PARTITIONS))
    assert first.counters.replays >= PARTITIONS


class Witness(MemoryApplier):
    """Notes when what came to a node and went from it, and takes its time with the going."""

    lock = threading.Lock()

    def __init__(self, name: str, history: list[tuple[str, str, str]]) -> None:
        super().__init__()
        self._name = name
        self._history = history

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Apply the plan; what goes is gone only at the end of it."""
        if any(change.op is Op.DELETE for change in plan.changes):
            time.sleep(0.3)
        failed = super().apply(plan)
        with self.lock:
            for change in plan.changes:
                self._history.append((self._name, change.op.name, change.key.id))
        return failed


def test_what_goes_is_gone_before_another_takes_it(market: Market) -> None:
    """Through a join and a leave, no resource is ever on two nodes."""
    ids = named(12)
    market.put(*ids)
    history: list[tuple[str, str, str]] = []
    nodes = [Witness("w0", history), Witness("w1", history)]
    first, second = (market.worker(f"w{n}", node) for n, node in enumerate(nodes))
    with running(first, second):
        wait_until("halves", lambda: shared_out(held(nodes[0]), held(nodes[1]), set(ids)))
        first.stop()
        wait_until("the second holds all", lambda: held(nodes[1]) == set(ids))
    assert held(nodes[0]) == held(nodes[1]) == set()
    owner: dict[str, str] = {}
    for name, op, id in history:
        if op == Op.UPSERT.name:
            assert owner.setdefault(id, name) == name
        else:
            assert owner.pop(id) == name
    assert owner == {}


def test_a_killed_workers_half_is_taken_over(market: Market, tmp_path: Path) -> None:
    """After its session has ended the other serves all; and when it comes back, it clears its node
    of what others serve by now.
    """
    ids = set(named(13))
    market.put(*sorted(ids))
    with processes(market, tmp_path, "w0", "w1") as (first, second):
        wait_until("halves", lambda: shared_out(first.ids, second.ids, ids))
        left_behind = first.ids
        first.send(signal.SIGKILL)
        first.wait()
        wait_until("the second holds all", lambda: second.ids == ids)
        assert first.ids == left_behind
        market.put("lb-000", revision=2)
        with processes(market, tmp_path, "w0") as (again,):
            wait_until("halves again", lambda: shared_out(again.ids, second.ids, ids))
            trees = read_tree(again.root) | read_tree(second.root)
            assert trees[market.key("lb-000")] == (2, {"at": 2})
            again.send(signal.SIGTERM)
            assert again.wait() == 0
            assert again.ids == set()
        wait_until("the second holds all", lambda: second.ids == ids)


def test_a_worker_that_was_asleep_too_long_lets_go(market: Market, tmp_path: Path) -> None:
    """Its partitions are lost to the other; when it wakes, it releases them and joins anew."""
    ids = set(named(9))
    market.put(*sorted(ids))
    with processes(market, tmp_path, "w0", "w1") as (first, second):
        wait_until("halves", lambda: shared_out(first.ids, second.ids, ids))
        first.send(signal.SIGSTOP)
        wait_until("the second holds all", lambda: second.ids == ids)
        first.send(signal.SIGCONT)
        wait_until("halves again", lambda: shared_out(first.ids, second.ids, ids))
        assert "worker w0 lost 3 partitions" in first.root.with_suffix(".log").read_text()


def statuses(market: Market, *worker_ids: str) -> list[ReportEntry]:
    """Return what workers have told so far of this test's kind."""
    consumer = new_consumer(market.cluster, "test-status", {"fetch.wait.max.ms": 20})
    try:
        ends = {n: end_offsets(consumer, STATUS_TOPIC, n)[1] for n in range(4)}
        left = sum(ends.values())
        consumer.assign(
            [TopicPartition(STATUS_TOPIC, n, OFFSET_BEGINNING) for n, end in ends.items() if end]
        )
        entries: list[ReportEntry] = []
        while left > 0:
            message = consumer.poll(10)
            assert message is not None
            value = message.value()
            assert value is not None
            left -= 1
            report = decode_report(value)
            if report.host in worker_ids:
                entries += report.entries
    finally:
        consumer.close()
    return [entry for entry in entries if entry.resource.kind == market.kind]


def test_changes_are_applied_and_told(market: Market, unique: Callable[[str], str]) -> None:
    """Upserts, changes and deletes reach the node and are reported; what is broken is set aside;
    and going away is told to nobody.
    """
    market.put("old")
    applier = MemoryApplier()
    worker = market.worker(unique("w"), applier)
    with running(worker):
        wait_until("ready", lambda: worker.status().ready)
        market.write(market.place("old"), encode_key(market.key("old")), b"\xff broken")
        market.write(0, b"h\x1fsomebody\x1fport\x1fp1", b"\x01")
        market.put("a", "b")
        market.put("a", revision=2)
        market.put("b", revision=2, op=Op.DELETE)
        wait_until(
            "the node follows",
            lambda: (
                applier.resources
                == {market.key("a"): (2, {"at": 2}), market.key("old"): (1, {"at": 1})}
            ),
        )
        wait_until("told", lambda: worker.gauges().owed == 0 and worker.status().ready)
        assert worker.counters.records_quarantined == 2
    told = {
        (entry.resource.id, entry.revision, entry.outcome)
        for entry in statuses(market, worker.worker_id)
    }
    changes = {("a", 2), ("b", 2), ("old", 1)}
    assert {
        (id, revision) for id, revision, outcome in told if outcome is Outcome.APPLIED
    } >= changes
    assert told >= {(id, revision, Outcome.APPLIED) for id, revision in changes}
    assert {entry[2] for entry in told} <= {Outcome.APPLIED, Outcome.SUPERSEDED}
    assert held(applier) == set()


def test_a_worker_outlives_its_broker(market: Market, own: LocalFleet) -> None:
    """With the broker away the node stays as it is; when it is back, changes go on."""
    market.put("a")
    applier = MemoryApplier()
    worker = market.worker("w0", applier, SESSION_MS)
    with running(worker):
        wait_until("ready", lambda: worker.status().ready)
        own.kill("c1")
        wait_until("it is noticed", lambda: bool(worker.status().reasons))
        assert worker.status().live
        own.start("c1")
        market.put("a", revision=2)
        wait_until("it goes on", lambda: applier.resources.get(market.key("a")) == (2, {"at": 2}))
        wait_until(
            "nothing stands against it",
            lambda: worker.status().ready and not worker.status().reasons,
        )


def test_more_workers_than_partitions(own: LocalFleet, market: Market) -> None:
    """Who gets no partition is ready all the same, and steps in for who leaves."""
    market.put("a")
    appliers = [MemoryApplier() for _ in range(PARTITIONS + 1)]
    workers = [market.worker(f"w{n}", applier) for n, applier in enumerate(appliers)]
    with running(*workers):
        wait_until(
            "all ready",
            lambda: (
                all(worker.status().ready for worker in workers)
                and sum(len(worker.status().partitions) for worker in workers) == PARTITIONS
            ),
        )
        assert min(len(worker.status().partitions) for worker in workers) == 0
        (holder,) = [n for n, applier in enumerate(appliers) if held(applier)]
        workers[holder].stop()
        wait_until("another holds it", lambda: sum(len(held(applier)) for applier in appliers) == 1)


def test_an_unknown_kind_is_refused(market: Market, tmp_path: Path) -> None:
    """The mistake names what there is, and takes nothing."""
    applier = FileApplier(tmp_path)
    worker = Worker(kind="elbow", worker_id="w", applier=applier, topology=market.topology)
    with pytest.raises(ConfigError, match=rf"kind: .*it has {market.kind}.*'elbow'"):
        worker.start()
    applier.open()
    applier.close()
