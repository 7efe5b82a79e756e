"""One Consumer that reads many partitions for a hall.

The rule: a desk belongs to the thread that turns it, and whatever changes what it reads (a node has
moved into a slot, a slot is to be read again) is left on it as an order and done by that thread,
since an open long poll delays everything else on a Consumer by what is left of it. So fetches wait
50 ms at most here; what a long poll would save a fleet of agents is no concern of a few Consumers.

Ends of partitions are asked by another client.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from loadgen.nodes.hall import Hall, Order
from loadgen.nodes.slots import Slot
from southbound.edge.kafka import (
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
    edge_error,
    new_consumer,
)
from southbound.edge.slots import Place as SlotPlace
from southbound.edge.slots import SlotEnds
from southbound.partitioning.topology import Cluster, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings:
    """How halls are read.

    `partitions_max` for one Consumer (2,500 read 1.8 times as fast as 10,000); `batch_records` are
    taken at once; `poll_s`: how long a thread waits for a record before it looks for orders.
    `idle_s`: how long a thread that goes round many Consumers rests when none had anything.
    `timeout_s` bounds a question for ends. `clock_offset_us` is added to this machine's clock, where
    latencies are counted by another one.
    """

    client_id: str = "loadgen"
    partitions_max: int = 2_500
    batch_records: int = 1_000
    poll_s: float = 0.05
    idle_s: float = 0.002
    fetch_wait_ms: int = 50
    queued_kbytes: int = 8_192
    partition_bytes: int = 65_536
    timeout_s: float = 60.0
    clock_offset_us: int = 0

    def client_config(self) -> dict[str, str | int | float | bool]:
        """Return the settings in which these Consumers differ from any other of the project."""
        return {
            "fetch.wait.max.ms": self.fetch_wait_ms,
            "queued.max.messages.kbytes": self.queued_kbytes,
            "max.partition.fetch.bytes": self.partition_bytes,
        }

    def now_us(self) -> int:
        """Return the time by which latencies are counted, in microseconds since 1970."""
        return time.time_ns() // 1_000 + self.clock_offset_us


Position = tuple[str, int]
"""Topic and partition, within one cluster."""


class Ends:
    """Asks for the ends of partitions, with one client for each cluster. Thread-safe."""

    def __init__(self, topology: Topology, settings: ReaderSettings) -> None:
        self._topology = topology
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[str, SlotEnds] = {}

    def ask(self, cluster: str, positions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset that the next record of each will get. Raises `EdgeError`."""
        places = [SlotPlace(*at) for at in positions]
        with self._lock:
            client = self._clients.get(cluster)
            if client is None:
                found = self._topology.cluster(cluster)
                client = self._clients[cluster] = SlotEnds(found, self._settings.client_id)
            ends = client.ends(places, self._settings.timeout_s)
        return {(place.topic, place.partition): end for place, end in ends.items()}

    def close(self) -> None:
        """Let go of the clients."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


class Reader(NamedTuple):
    """What the desks of one hall share. `lock` guards the hall and the desks' orders."""

    hall: Hall
    lock: threading.Lock
    ends: Ends
    settings: ReaderSettings


class Desk:
    """A Consumer of one cluster, and the slots of a hall that it reads.

    `orders` is filled by whoever holds the reader's lock.
    """

    def __init__(self, cluster: Cluster, reader: Reader) -> None:
        self.cluster = cluster
        self.hall = reader.hall
        self.lock = reader.lock
        self.orders: deque[Order] = deque()
        self.slots: dict[Position, Slot] = {}
        self._settings = reader.settings
        self._ends = reader.ends
        self._consumer: Consumer | None = None

    def open(self, positions: Mapping[Position, int]) -> None:
        """Begin to read these partitions at these offsets. Raises `EdgeError`."""
        settings = self._settings
        self.slots = {at: self.hall.slot(self.cluster.id, *at) for at in positions}
        for slot in self.slots.values():
            slot.ordered = False
        try:
            self._consumer = new_consumer(
                self.cluster, settings.client_id, settings.client_config()
            )
            self._consumer.assign([TopicPartition(*at, offset) for at, offset in positions.items()])
        except KafkaException as error:
            raise edge_error(error, f"assigning in cluster {self.cluster.id}") from error

    def turn(self, wait_s: float) -> int:
        """Take what is there, waiting for the first record; return how many there were.

        Raises `EdgeError` for what trying again cannot mend.
        """
        consumer = self._consumer
        assert consumer is not None, "turned before it was opened"
        messages: list[Message] = []
        if wait_s > 0:
            first = consumer.poll(wait_s)
            if first is not None:
                messages.append(first)
        if messages or wait_s <= 0:
            messages += consumer.consume(self._settings.batch_records - len(messages), 0)
        now_us = self._settings.now_us()
        with self.lock:
            self._feed(messages, now_us)
            orders, self.orders = self.orders, deque()
        for order in orders:
            self._obey(consumer, order)
        return len(messages)

    def ends(self) -> dict[Position, int]:
        """Ask for the ends of its partitions. Raises `EdgeError`."""
        return self._ends.ask(self.cluster.id, tuple(self.slots))

    def close(self) -> None:
        """Stop reading; the slots remember how far they are."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _feed(self, messages: list[Message], now_us: int) -> None:
        hall, slots = self.hall, self.slots
        feed = hall.feed_slot
        for message in messages:
            error = message.error()
            if error is not None:
                failure = edge_error(error, f"reading {message.topic()} of {self.cluster.id}")
                if not failure.retryable:
                    raise failure
                continue
            slot = slots.get((message.topic(), message.partition()))  # type: ignore[arg-type]
            # What comes before an order is obeyed is read again after it.
            if slot is not None and not slot.ordered:
                key, offset = message.key() or b"", message.offset() or 0
                feed(slot, offset, key, message.value(), now_us)
        hall.tick(now_us)

    def _obey(self, consumer: Consumer, order: Order) -> None:
        """Read a partition from where its streams are, whether it was read here before or not."""
        cluster, topic, partition = order.place
        assert cluster == self.cluster.id, order
        at = (topic, partition)
        end = None
        if order.unmarked:
            end = self._ends.ask(cluster, [at])[at]
        with self.lock:
            now_us = self._settings.now_us()
            slot = self.hall.slot(cluster, topic, partition)
            if end is not None:
                self.hall.mark(order.place, end, now_us)
            position, is_new = slot.position, at not in self.slots
            is_read_on = not is_new and not slot.ordered and position >= slot.high
            self.slots[at] = slot
            slot.ordered = False
        if is_read_on:
            return
        try:
            if not is_new:
                consumer.incremental_unassign([TopicPartition(topic, partition)])
            consumer.incremental_assign([TopicPartition(topic, partition, position)])
        except KafkaException as error:
            raise edge_error(error, f"assigning {topic}/{partition} of {cluster}") from error
