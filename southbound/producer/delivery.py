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

Unit = tuple[Address, Parcel, Sequence[Record], Sequence[bytes]]
"""What one address gets of one part: records and their values, side by side."""


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
        self._left = records
        self._done = done
        self._lock = threading.Lock()

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report."""
        if error is not None:
            self._fail(message.key() or b"", _failure(error))
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._done(self)

    def refuse(self, key: bytes, error: EdgeError) -> None:
        """Take a record that the producer did not even take."""
        self._fail(key, error)
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._done(self)

    def _fail(self, key: bytes | str, error: EdgeError) -> None:
        self.failures[key if isinstance(key, bytes) else key.encode()] = error


def _failure(error: KafkaError) -> EdgeError:
    if error.code() in _UNKNOWN:
        return OutcomeUnknown(f"sending: {error.str()} ({error.name()})")
    return edge_error(error, "sending")


class Outlet:
    """One Kafka producer, and the thread that serves its delivery reports."""

    def __init__(self, producer: Producer, name: str) -> None:
        self.producer = producer
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def send(self, address: Address, key: bytes, value: bytes, group: Group) -> None:
        """Hand one record to the producer; waits while its buffer is full."""
        while True:
            try:
                self.producer.produce(
                    address.topic, value, key, partition=address.partition, on_delivery=group
                )
            except BufferError:
                time.sleep(_FULL_WAIT_S)
            except KafkaException as error:
                group.refuse(key, edge_error(error, f"sending to {address.topic}"))
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
        self._of_topic: dict[tuple[str, str, bool], Outlet] = {}
        self._topics: dict[tuple[str, bool], int] = {}

    def send(self, parcels: Iterable[Parcel], *, bulk: bool) -> None:
        """Send parts to the addresses of their routes that were not sent to yet.

        Each part's `awaited` is set before the first record leaves.
        """
        units: list[Unit] = []
        for parcel in parcels:
            units.extend(_units(parcel))
        units.sort(key=_place)
        size = self._settings.group_records if bulk else 1
        gathered: dict[tuple[int, str], list[tuple[Outlet, Unit]]] = {}
        for unit in units:
            outlet = self._outlet(unit[0], bulk=bulk)
            route = unit[1].route
            assert route is not None
            gathered.setdefault((id(outlet), route.keeper), []).append((outlet, unit))
        for (_, keeper), those in gathered.items():
            for first in range(0, len(those), size):
                self._send_group(keeper, those[first : first + size])

    def close(self, timeout_s: float) -> None:
        """Flush and close every outlet."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            outlets = list(self._outlets.values())
        for outlet in outlets:
            outlet.close(max(0.1, deadline - time.monotonic()))

    def _send_group(self, keeper: str, those: Sequence[tuple[Outlet, Unit]]) -> None:
        parcels = [unit[1] for _, unit in those]
        records = sum(len(unit[2]) for _, unit in those)
        group = Group(keeper, parcels, records, self._done)
        for outlet, (address, _, sent, values) in those:
            for record, value in zip(sent, values, strict=True):
                outlet.send(address, record.key, value, group)

    def _outlet(self, address: Address, *, bulk: bool) -> Outlet:
        found = self._of_topic.get((address.cluster, address.topic, bulk))
        return found if found is not None else self._new_outlet(address, bulk=bulk)

    def _new_outlet(self, address: Address, *, bulk: bool) -> Outlet:
        """Give a topic an outlet: those of a cluster take its topics in turn."""
        cluster = address.cluster
        with self._lock:
            number = self._topics.get((cluster, bulk), 0)
            self._topics[cluster, bulk] = number + 1
            place = number % self._outlets_wanted(cluster)
            outlet = self._outlets.get((cluster, place, bulk))
            if outlet is None:
                outlet = self._open(cluster, place, bulk=bulk)
                self._outlets[cluster, place, bulk] = outlet
            self._of_topic[cluster, address.topic, bulk] = outlet
            return outlet

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
        return Outlet(producer, f"southbound-{name}")


def _place(unit: Unit) -> tuple[str, str, int]:
    address = unit[0]
    return (address.cluster, address.topic, address.partition)


def _units(parcel: Parcel) -> list[Unit]:
    """Return what each new address of a part's route gets; its values are encoded once."""
    route = parcel.route
    assert route is not None
    values = [
        encode(
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
        for index, record in enumerate(parcel.records)
    ]
    if route.fence is None:
        units: list[Unit] = [
            (address, parcel, parcel.records[index : index + 1], values[index : index + 1])
            for index, address in enumerate(route.addresses)
        ]
    else:
        units = [(address, parcel, parcel.records, values) for address in unsent(parcel, route)]
    parcel.sent.update(zip(route.addresses, route.stays, strict=True))
    parcel.awaited = len(units)
    return units
