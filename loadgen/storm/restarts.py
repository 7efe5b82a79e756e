"""Nodes of Southbound's side: each reads its streams from the log, as if no other node were there.

The rule: nothing is shared between nodes but the directory's client of their process. Each asks the
directory where it lives, has Consumers of its own (one for its slot, and a new one once it knows its
VPCs, as an agent makes), reads whole slots with what is of others in them, and keeps its state in a
hall of its own. It is done when the snapshots of all its streams are whole, nothing waits, and the
digest of what stands is that of what was published.

Not part of it: SQLite, the applier and reports. `bench bootstrap` measures whole agents.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from loadgen.nodes.compact import CompactNode
from loadgen.nodes.hall import Hall, Place
from loadgen.storm.expected import Expected
from loadgen.storm.formulas import REVISION
from loadgen.workloads.fleet import Fleet, FleetShape
from southbound.directory import Directory
from southbound.edge.kafka import KafkaError, Message, edge_error, new_consumer
from southbound.errors import EdgeError
from southbound.nca.streams import LEAN
from southbound.partitioning.placement import address_of
from southbound.partitioning.topology import Cluster
from southbound.resources import ScopeClass
from southbound.settings import DirectorySettings

_OFFSET_END = -1
_LOOK_S = 0.1
_POLL_S = 0.5
_BATCH = 1_000
_CLIENT = "bench-storm"
READER = {**LEAN, "fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 10}
"""Settings of a node's Consumer. Its polls are short: who catches up waits for nothing."""


class Restart(NamedTuple):
    """One node's storm. `records` and `bytes` (keys and values) are all that it received.

    `own`: records that were of its own scopes. `done_s`: seconds since the storm's begin.
    """

    done_s: float
    bytes: int
    records: int
    own: int


class Restarts:
    """A hand of a `Crew`: some nodes, `at_once` of them reading at a time."""

    def __init__(self, redis_url: str, shape: FleetShape, at_once: int) -> None:
        self._fleet = Fleet(shape)
        self._at_once = at_once
        self._began_s = self._until_s = 0.0
        self._digests: dict[int, int] = {}
        settings = DirectorySettings(redis_url=redis_url, client_id=_CLIENT, visitor=True)
        self._directory = Directory(settings)

    def begin(self, timeout_s: float) -> None:
        """Start the clock of a storm that may take so long."""
        self._directory.open()
        self._began_s = time.perf_counter()
        self._until_s = self._began_s + timeout_s

    def restart(self, hosts: Sequence[int]) -> list[Restart]:
        """Bring some of the storm's nodes from nothing to their whole configuration.

        Raises `EdgeError` when one does not get there in time.
        """
        with ThreadPoolExecutor(self._at_once) as threads:
            return list(threads.map(self._restart, hosts))

    def judge(self) -> None:
        """Compare what stands on each node with what was published, after the clock was read.

        Raises `EdgeError` when it is something else.
        """
        expected = Expected(self._fleet, REVISION)
        for i, digest in self._digests.items():
            if digest != expected.digest(i):
                host = self._fleet.host(i)
                raise EdgeError(f"{host} holds something else than was published", retryable=False)

    def close(self) -> None:
        """Let go of the directory."""
        self._directory.close()

    def _restart(self, i: int) -> Restart:
        host, directory = self._fleet.host(i), self._directory
        topology = directory.topology
        placement = directory.hosts([host])[host]
        hall = Hall(topology)
        node = hall.join(host, placement, high=None)
        address = address_of(ScopeClass.HOST, host, placement, topology)
        reading = _Reading(hall, topology.cluster(address.cluster), self._until_s)
        reading.catch_up()
        while True:
            for vpc, row in directory.vpcs(hall.unplaced()).items():
                hall.place(vpc, row, high=None)
            reading.catch_up()
            if hall.is_settled(node):
                break
            # As an agent does, it looks again for what it has not found.
            if time.perf_counter() > self._until_s:
                raise EdgeError(
                    f"{host} has read everything and waits: {_why(node)}", retryable=True
                )
            time.sleep(_LOOK_S)
        done_s = time.perf_counter() - self._began_s
        self._digests[i] = node.digest()
        counts = hall.counts()
        return Restart(done_s, reading.bytes, reading.records, counts.host.own + counts.vpc.own)


def _why(node: CompactNode) -> str:
    """Say what a node's streams wait for."""
    return "; ".join(
        f"{stream.scope} gathers {stream.is_gathering}, parked {len(stream.parked or ())}, "
        f"holds {len(stream.holding or ())}, placed {getattr(stream, 'placed', True)}"
        for stream in node.streams()
    )


class _Reading:
    """What one node reads: a Consumer for each assignment, up to the ends noted before it."""

    def __init__(self, hall: Hall, cluster: Cluster, until_s: float) -> None:
        self._hall = hall
        self._cluster = cluster
        self._until_s = until_s
        self.bytes = 0
        self.records = 0

    def catch_up(self) -> None:
        """Read all slots whose ends the hall waits for, up to there."""
        places = self._hall.unmarked()
        if not places:
            return
        consumer = new_consumer(self._cluster, _CLIENT, READER)
        try:
            self._read(consumer, self._ends(consumer, places))
        finally:
            consumer.close()

    def _ends(self, consumer: Consumer, places: set[Place]) -> dict[tuple[str, int], int]:
        """Ask the ends, tell the hall, and return those before which something is to be read."""
        asked = [TopicPartition(topic, number, _OFFSET_END) for _, topic, number in places]
        left: dict[tuple[str, int], int] = {}
        for end in consumer.offsets_for_times(asked, timeout=self._left_s()):
            if end.error is not None:
                raise edge_error(end.error, f"asking for the end of {end.topic}/{end.partition}")
            place = (self._cluster.id, end.topic, end.partition)
            self._hall.mark(place, end.offset, _now_us())
            if end.offset > self._hall.positions()[place]:
                left[end.topic, end.partition] = end.offset
        return left

    def _read(self, consumer: Consumer, left: dict[tuple[str, int], int]) -> None:
        positions = self._hall.positions()
        consumer.assign(
            [
                TopicPartition(topic, number, positions[self._cluster.id, topic, number])
                for topic, number in left
            ]
        )
        while left:
            first = consumer.poll(min(_POLL_S, self._left_s()))
            if first is None:
                continue
            for message in (first, *consumer.consume(_BATCH, 0)):
                self._take(message, left)

    def _take(self, message: Message, left: dict[tuple[str, int], int]) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return
            raise edge_error(error, f"reading {message.topic()}")
        address = (str(message.topic()), int(message.partition() or 0))
        if address not in left:
            # Behind the end that was noted.
            return
        offset, key, value = int(message.offset() or 0), message.key() or b"", message.value()
        self.records += 1
        self.bytes += len(key) + len(value or b"")
        self._hall.feed((self._cluster.id, *address), offset, key, value, _now_us())
        # Nothing was compacted since: the record before the end is there.
        if offset + 1 >= left[address]:
            del left[address]

    def _left_s(self) -> float:
        left_s = self._until_s - time.perf_counter()
        if left_s <= 0:
            raise EdgeError("the storm is not over in time", retryable=True)
        return left_s


def _now_us() -> int:
    return time.time_ns() // 1000
