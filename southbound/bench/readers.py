"""The baseline of agents: bare consumers, one for each node, on the partitions that its agent reads.

The rule: a bare consumer has an agent's client settings and a thread of its own that blocks in
`poll`. It takes what comes, and that is all: it decodes, keeps, writes and reports nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from southbound.bench.tenants import Tenants
from southbound.directory import Directory
from southbound.edge.kafka import end_offsets, new_consumer
from southbound.errors import EdgeError
from southbound.nca.streams import LEAN
from southbound.partitioning.placement import Address, address_of
from southbound.partitioning.topology import Cluster
from southbound.resources import ScopeClass
from southbound.settings import AgentSettings

_POLL_S = 0.5
_BATCH = 1_000
_END_OFFSET = -1


Arrival = tuple[bytes, bytes, int]
"""Key and value of a record, and when it came (microseconds since 1970)."""


class Reading(NamedTuple):
    """What one bare consumer reads: the partitions of one node's streams, in one cluster."""

    cluster: Cluster
    addresses: tuple[Address, ...]


class Readers:
    """The bare consumers of one process: a hand of a `Crew`."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._arrived: list[list[Arrival]] = []
        self._consumers: list[Consumer] = []

    def follow(self, readings: Sequence[Reading]) -> None:
        """Read these partitions from their ends on, until closed."""
        for reading in readings:
            consumer = _consumer(reading)
            self._consumers.append(consumer)
            ends = consumer.offsets_for_times(
                [TopicPartition(one.topic, one.partition, _END_OFFSET) for one in reading.addresses]
            )
            consumer.assign(ends)
            arrived: list[Arrival] = []
            self._arrived.append(arrived)
            self._start(partial(self._note, consumer, arrived))

    def arrived(self) -> list[list[Arrival]]:
        """Return what each reader has read."""
        return self._arrived

    def read_all(self, readings: Sequence[Reading], timeout_s: float) -> list[tuple[float, float]]:
        """Read these partitions from their starts to the watermarks, each node's side by side.

        Return for each the seconds until then since this call, and of this process' CPU in all.
        Raises `EdgeError` when the time is over first.
        """
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        took: list[tuple[float, float]] = []

        def read(reading: Reading) -> None:
            consumer = _consumer(reading)
            _read_to_ends(consumer, reading, self._stopping)
            took.append((time.perf_counter() - began_s, time.process_time() - began_cpu_s))
            consumer.close()

        for reading in readings:
            self._start(partial(read, reading))
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        if len(took) < len(readings):
            missing = len(readings) - len(took)
            raise EdgeError(f"{missing} not read in {timeout_s:g} s", retryable=True)
        return took

    def cpu_s(self) -> float:
        """Return the CPU that this process has taken."""
        return time.process_time()

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for consumer in self._consumers:
            consumer.close()

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _note(self, consumer: Consumer, arrived: list[Arrival]) -> None:
        while not self._stopping.is_set():
            message = consumer.poll(_POLL_S)
            if message is not None and message.error() is None:
                arrived.append((message.key() or b"", message.value() or b"", _now_us()))


def readings_of(directory: Directory, tenants: Tenants) -> list[Reading]:
    """Return what each host's agent reads: its own slot, and its VPC's in its cluster."""
    topology = directory.topology
    hosts = directory.hosts(tenants.ids)
    vpcs = directory.vpcs({tenants.vpc(number) for number in range(tenants.hosts)})
    readings = []
    for number, id_ in enumerate(tenants.ids):
        own = address_of(ScopeClass.HOST, id_, hosts[id_], topology)
        vpc = tenants.vpc(number)
        replica = vpcs[vpc].in_cluster(own.cluster, topology)
        assert replica is not None, f"{vpc} is not present in {own.cluster}"
        addresses = (own, address_of(ScopeClass.VPC, vpc, replica, topology))
        readings.append(Reading(topology.cluster(own.cluster), addresses))
    return readings


def reader_config() -> dict[str, str | int | float | bool]:
    """Return the settings in which an agent's consumer differs from any other of the project."""
    return {**LEAN, "fetch.wait.max.ms": AgentSettings().fetch_wait_ms}


def _consumer(reading: Reading) -> Consumer:
    return new_consumer(reading.cluster, "bench-bare", reader_config())


def _read_to_ends(consumer: Consumer, reading: Reading, stopping: threading.Event) -> None:
    """Read from each partition's start to its watermark, asked before the first long poll."""
    ends = {
        (one.topic, one.partition): end_offsets(consumer, one.topic, one.partition)
        for one in reading.addresses
    }
    left = {place: high for place, (low, high) in ends.items() if high > low}
    consumer.assign(
        [TopicPartition(topic, number, ends[topic, number][0]) for topic, number in left]
    )
    while left and not stopping.is_set():
        first = consumer.poll(_POLL_S)
        if first is None:
            continue
        for message in (first, *consumer.consume(_BATCH, 0)):
            place = (str(message.topic()), int(message.partition() or 0))
            offset = message.offset()
            if offset is not None and offset + 1 >= left.get(place, math.inf):
                del left[place]


def _now_us() -> int:
    return time.time_ns() // 1000
