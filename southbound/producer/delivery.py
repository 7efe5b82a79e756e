"""Sending records, and knowing when every one of a group is acknowledged.

The rule: one callback serves a whole group and only counts; who failed is looked up when something
has. Topics are spread over several producers of a cluster, since one that has touched ten thousand
partitions walks them all at each wake-up, and records are sent in the order of their slots, since
neighbours in a slot share a request.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from southbound.edge.kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    edge_error,
    new_producer,
)
from southbound.errors import EdgeError, OutcomeUnknown
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Topology
from southbound.producer.core import Parcel, Record, unsent
from southbound.settings import PublisherSettings
from southbound.wire.envelope import Envelope, encode

_POLL_S = 0.2
_FULL_WAIT_S = 0.002
_TOPICS_MAX = 1 << 24
_PARTITIONS_MAX = 1 << 24
_UNKNOWN = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._PURGE_QUEUE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    }
)


class Unit(NamedTuple):
    """What one address gets of one part.

    `order`: by it units are sent, those of one producer, topic and partition side by side. `only`:
    index of the one record that the address gets, or None for all of them.
    """

    order: int
    outlet: Outlet
    keeper: str
    address: Address
    parcel: Parcel
    only: int | None

    @property
    def records(self) -> int:
        """How many records the address gets."""
        return len(self.parcel.records) if self.only is None else 1


class Way(NamedTuple):
    """How a topic is reached, and where it stands in the order of sending."""

    outlet: Outlet
    order: int


class Group:
    """Records sent through one producer for parts kept by one cluster.

    `failures`: by record key, what became of those that were not acknowledged.
    """

    def __init__(
        self, keeper: str, parcels: Sequence[Parcel], records: int, done: Callable[[Group], None]
    ) -> None:
        self.keeper = keeper
        self.parcels = parcels
        self.failures: dict[bytes, EdgeError] = {}
        self._open = records
        self._answered = 0
        self._done = done
        self._ending = threading.Lock()

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report; all of a group's come on the one thread of its outlet."""
        if error is not None:
            self._fail(message.key() or b"", _failure(error))
        self._answered += 1
        if self._answered == self._open:
            self._end()

    def refuse(self, key: bytes, error: EdgeError) -> None:
        """Take a record that the producer did not even take. For the one thread that sends."""
        self._fail(key, error)
        self._open -= 1
        if self._answered == self._open:
            self._end()

    def _end(self) -> None:
        # Both threads may see the last answer; the lock is never given back, so one of them ends it.
        if self._ending.acquire(blocking=False):
            self._done(self)

    def _fail(self, key: bytes | str, error: EdgeError) -> None:
        self.failures[key if isinstance(key, bytes) else key.encode()] = error


def _failure(error: KafkaError) -> EdgeError:
    if error.code() in _UNKNOWN:
        return OutcomeUnknown(f"sending: {error.str()} ({error.name()})")
    return edge_error(error, "sending")


class Outlet:
    """One Kafka producer, and the thread that serves its delivery reports."""

    def __init__(self, producer: Producer, name: str, number: int) -> None:
        self.producer = producer
        self.number = number
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def send(self, units: Sequence[Unit], group: Group) -> None:
        """Hand a group's records to the producer; waits while its buffer is full."""
        for unit in units:
            parcel, only = unit.parcel, unit.only
            topic, partition = unit.address.topic, unit.address.partition
            if only is None:
                for number, record in enumerate(parcel.records):
                    value = _value(parcel, number, record)
                    self._produce(topic, value, record.key, partition, group)
            else:
                record = parcel.records[only]
                value = _value(parcel, only, record)
                self._produce(topic, value, record.key, partition, group)

    def _produce(self, topic: str, value: bytes, key: bytes, partition: int, group: Group) -> None:
        while True:
            try:
                self.producer.produce(topic, value, key, partition, group)
            except BufferError:
                time.sleep(_FULL_WAIT_S)
            except KafkaException as error:
                group.refuse(key, edge_error(error, f"sending to {topic}"))
                return
            else:
                return

    def close(self, timeout_s: float) -> None:
        """Send what is queued, for as long as given; then give up the rest as unknown."""
        if self.producer.flush(timeout_s):
            self.producer.purge()
            self.producer.flush(1.0)
        self._closing = True
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self.producer.poll(_POLL_S)


class Delivery:
    """Every way out of this process. Thread-safe.

    `done` gets each group when all of it is answered, on a thread of its outlet.
    """

    def __init__(
        self,
        topology: Callable[[], Topology],
        settings: PublisherSettings,
        done: Callable[[Group], None],
    ) -> None:
        self._topology = topology
        self._settings = settings
        self._done = done
        self._lock = threading.Lock()
        self._outlets: dict[tuple[str, int, bool], Outlet] = {}
        self._ways: dict[bool, dict[str, Way]] = {False: {}, True: {}}
        self._topics: dict[tuple[str, bool], int] = {}

    def send(self, parcels: Iterable[Parcel], *, bulk: bool) -> None:
        """Send parts to the addresses of their routes that were not sent to yet.

        Each part's `awaited` is set before the first record leaves.
        """
        units: list[Unit] = []
        for parcel in parcels:
            self._add_units(parcel, units, bulk=bulk)
        units.sort(key=itemgetter(0))
        size = self._settings.group_records if bulk else 1
        for (outlet, keeper), those in _gathered(units).items():
            for first in range(0, len(those), size):
                piece = those[first : first + size]
                records = sum(unit.records for unit in piece)
                group = Group(keeper, [unit.parcel for unit in piece], records, self._done)
                outlet.send(piece, group)

    def _add_units(self, parcel: Parcel, units: list[Unit], *, bulk: bool) -> None:
        """Add what each new address of a part's route gets."""
        route = parcel.route
        assert route is not None
        keeper = route.keeper
        addresses = route.addresses if route.fence is None else unsent(parcel, route)
        for index, address in enumerate(addresses):
            way = self._ways[bulk].get(address.topic) or self._new_way(address, bulk=bulk)
            order = way.order + address.partition
            only = None if route.fence is not None else index
            units.append(Unit(order, way.outlet, keeper, address, parcel, only))
        parcel.mark_sent()
        parcel.awaited = len(addresses)

    def close(self, timeout_s: float) -> None:
        """Flush and close every outlet."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            outlets = list(self._outlets.values())
        for outlet in outlets:
            outlet.close(max(0.1, deadline - time.monotonic()))

    def _new_way(self, address: Address, *, bulk: bool) -> Way:
        """Give a topic an outlet: those of a cluster take its topics in turn."""
        cluster = address.cluster
        with self._lock:
            known = self._ways[bulk].get(address.topic)
            if known is not None:
                return known
            number = self._topics.get((cluster, bulk), 0)
            self._topics[cluster, bulk] = number + 1
            place = number % self._outlets_wanted(cluster)
            outlet = self._outlets.get((cluster, place, bulk))
            if outlet is None:
                outlet = self._open(cluster, place, bulk=bulk)
                self._outlets[cluster, place, bulk] = outlet
            way = Way(outlet, (outlet.number * _TOPICS_MAX + number) * _PARTITIONS_MAX)
            self._ways[bulk][address.topic] = way
            return way

    def _outlets_wanted(self, cluster: str) -> int:
        topology = self._topology()
        slots = sum(pool.slots for pool in topology.pools if pool.cluster == cluster)
        slots += sum(kind.partitions for kind in topology.public if kind.cluster == cluster)
        return max(1, math.ceil(slots / self._settings.partitions_per_producer))

    def _open(self, cluster: str, place: int, *, bulk: bool) -> Outlet:
        settings = self._settings
        name = f"{settings.client_id}-{'bulk' if bulk else 'single'}-{cluster}-{place}"
        producer = new_producer(
            self._topology().cluster(cluster),
            name,
            {
                "linger.ms": settings.bulk_linger_ms if bulk else settings.linger_ms,
                "message.timeout.ms": settings.delivery_timeout_ms,
                "queue.buffering.max.messages": settings.buffer_records,
            },
        )
        return Outlet(producer, f"southbound-{name}", len(self._outlets))


def _gathered(units: Iterable[Unit]) -> dict[tuple[Outlet, str], list[Unit]]:
    """Put together what goes out by one outlet and is kept by one cluster."""
    gathered: dict[tuple[Outlet, str], list[Unit]] = {}
    for unit in units:
        way = (unit[1], unit[2])
        those = gathered.get(way)
        if those is None:
            gathered[way] = [unit]
        else:
            those.append(unit)
    return gathered


def _value(parcel: Parcel, index: int, record: Record) -> bytes:
    route = parcel.route
    assert route is not None
    return encode(
        Envelope(
            record.revision,
            record.op,
            route.epoch,
            parcel.changeset,
            index,
            len(parcel.records),
            parcel.sent_us,
            0,
            record.spec,
        )
    )
