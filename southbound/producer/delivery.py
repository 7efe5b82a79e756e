"""Sending records, and knowing when every one of a group is acknowledged.

The rule: one callback serves a whole group and only counts; who failed is looked up when something
has. Topics are spread over several producers of a cluster, since one that has touched ten thousand
partitions walks them all at each wake-up, and records are sent in the order of their slots, since
neighbours in a slot share a request. Two producers keep no order between them: while anything for a
slot is under way, what follows takes the same way out.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from operator import attrgetter
from typing import NamedTuple

import msgspec

from southbound import failpoints
from southbound.edge.kafka import KafkaError, Message, edge_error
from southbound.errors import EdgeError, OutcomeUnknown
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Topology
from southbound.producer.core import Parcel, Record, unsent
from southbound.producer.loads import by_route
from southbound.producer.outlets import Outlet, Outlets
from southbound.settings import PublisherSettings
from southbound.wire.envelope import Envelope, encode

_SERVE_EVERY = 250
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


class Unit(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What one address gets of parts that take the same route.

    `order`: by it units are sent, those of one producer, topic and partition side by side. `only`:
    index of the one record that the address gets, or None for all of each part. `is_whole`: no other
    address gets anything of these parts.
    """

    order: int
    outlet: Outlet
    keeper: str
    address: Address
    parcels: Sequence[Parcel]
    only: int | None
    is_whole: bool

    @property
    def records(self) -> int:
        """How many records the address gets."""
        if self.only is not None:
            return 1
        return sum([len(parcel.records) for parcel in self.parcels])


class UnderWay(msgspec.Struct):
    """Units on their way to one slot, and by which way they all went."""

    bulk: bool
    units: int


class Way(NamedTuple):
    """How a topic is reached, and where it stands in the order of sending."""

    outlet: Outlet
    order: int


class Group:
    """Units sent through one producer for parts kept by one cluster.

    `failures`: by record key, what became of those that were not acknowledged. `is_whole`: nothing
    of these parts is in another group.
    """

    def __init__(self, keeper: str, units: Sequence[Unit], done: Callable[[Group], None]) -> None:
        self.keeper = keeper
        self.units = units
        self.is_whole = all(unit.is_whole for unit in units)
        self.failures: dict[bytes, EdgeError] = {}
        self._open = sum([unit.records for unit in units])
        self._answered = 0
        self._done = done
        self._ending = threading.Lock()

    def parcels(self) -> Iterator[Parcel]:
        """Yield the parts, each as often as a unit of the group holds it."""
        for unit in self.units:
            yield from unit.parcels

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report; those of one group come on one thread at a time."""
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
        self._outlets = {bulk: Outlets(settings, bulk=bulk) for bulk in (False, True)}
        self._ways: dict[bool, dict[str, Way]] = {False: {}, True: {}}
        self._topics: dict[tuple[str, bool], int] = {}
        self._under_way: dict[tuple[str, int], UnderWay] = {}

    def send(self, parcels: Sequence[Parcel], *, bulk: bool) -> None:
        """Send parts to the addresses of their routes that were not sent to yet.

        Each part's `awaited` is set before the first record leaves. `bulk`: by which way out, where
        nothing is under way to the same slot.
        """
        units: list[Unit] = []
        for those in _by_route(parcels):
            with self._lock:
                self._add_units(those, units, bulk=bulk)
        units.sort(key=attrgetter("order"))
        records_max = self._settings.group_records if bulk else 1
        outlets = self._outlets[True]
        with outlets.handing_over() if bulk else nullcontext():
            for (outlet, keeper), gathered in _gathered(units).items():
                for some in _pieces(gathered, records_max):
                    self._send_group(outlet, keeper, some)
                    if bulk:
                        outlets.serve()
        if failpoints.armed:
            failpoints.armed.reach("publisher.produce.after")
        # A single change may have taken the way of bulk work, too.
        outlets.sent()

    def close(self, timeout_s: float) -> None:
        """Send what is queued, for as long as given; the rest is unknown then."""
        for outlets in self._outlets.values():
            outlets.close(timeout_s)

    def _add_units(self, parcels: Sequence[Parcel], units: list[Unit], *, bulk: bool) -> None:
        """Add what each new address of a route gets of the parts that take it. The lock is held."""
        first = parcels[0]
        route = first.route
        assert route is not None
        is_public = route.fence is None
        addresses = route.addresses if is_public or not first.sent else unsent(first, route)
        sent, awaited = (*first.sent, route), len(addresses)
        for parcel in parcels:
            parcel.sent, parcel.awaited = sent, awaited
        for index, address in enumerate(addresses):
            way = self._way(address, bulk=bulk)
            order = way.order + address.partition
            only = index if is_public else None
            units.append(
                Unit(order, way.outlet, route.keeper, address, parcels, only, awaited == 1)
            )

    def _send_group(self, outlet: Outlet, keeper: str, units: Sequence[Unit]) -> None:
        group = Group(keeper, units, self._ended)
        sent = 0
        for unit in units:
            if sent > _SERVE_EVERY:
                outlet.serve()
                sent = 0
            sent += len(unit.parcels)
            topic, partition = unit.address.topic, unit.address.partition
            for parcel in unit.parcels:
                numbers = range(len(parcel.records)) if unit.only is None else (unit.only,)
                for number in numbers:
                    record = parcel.records[number]
                    value = _value(parcel, number, record)
                    refused = outlet.produce(topic, value, record.key, partition, group)
                    if refused is not None:
                        group.refuse(record.key, refused)

    def _ended(self, group: Group) -> None:
        """Forget what is no longer under way, and hand the group on."""
        under_way = self._under_way
        with self._lock:
            for unit in group.units:
                slot = (unit.address.topic, unit.address.partition)
                there = under_way[slot]
                there.units -= 1
                if not there.units:
                    del under_way[slot]
        self._done(group)

    def _way(self, address: Address, *, bulk: bool) -> Way:
        """Return the way to a slot that what is under way there took. The lock is held."""
        slot = (address.topic, address.partition)
        there = self._under_way.get(slot)
        if there is None:
            self._under_way[slot] = UnderWay(bulk, 1)
        else:
            there.units += 1
            bulk = there.bulk
        return self._ways[bulk].get(address.topic) or self._new_way(address, bulk=bulk)

    def _new_way(self, address: Address, *, bulk: bool) -> Way:
        """Give a topic an outlet: those of a cluster take its topics in turn. The lock is held."""
        cluster = address.cluster
        number = self._topics.get((cluster, bulk), 0)
        self._topics[cluster, bulk] = number + 1
        place = number % self._outlets_wanted(cluster)
        outlet = self._outlets[bulk].get(self._topology().cluster(cluster), place)
        way = Way(outlet, (outlet.number * _TOPICS_MAX + number) * _PARTITIONS_MAX)
        self._ways[bulk][address.topic] = way
        return way

    def _outlets_wanted(self, cluster: str) -> int:
        topology = self._topology()
        slots = sum(pool.slots for pool in topology.pools if pool.cluster == cluster)
        slots += sum(kind.partitions for kind in topology.public if kind.cluster == cluster)
        return max(1, math.ceil(slots / self._settings.partitions_per_producer))


def _by_route(parcels: Sequence[Parcel]) -> Iterable[Sequence[Parcel]]:
    """Put together the parts that go out for the first time, whole, on one and the same route."""
    if len(parcels) == 1:
        return [parcels]
    alone: list[Sequence[Parcel]] = []
    first: list[Parcel] = []
    for parcel in parcels:
        assert parcel.route is not None
        if parcel.sent or parcel.route.fence is None:
            alone.append([parcel])
        else:
            first.append(parcel)
    return [*by_route(first), *alone]


def _pieces(units: Iterable[Unit], records_max: int) -> Iterable[list[Unit]]:
    """Cut units, in their order, into groups that end where they reach so many records."""
    piece: list[Unit] = []
    records = 0
    for unit in units:
        piece.append(unit)
        records += unit.records
        if records >= records_max:
            yield piece
            piece, records = [], 0
    if piece:
        yield piece


def _gathered(units: Iterable[Unit]) -> dict[tuple[Outlet, str], list[Unit]]:
    """Put together what goes out by one outlet and is kept by one cluster."""
    gathered: dict[tuple[Outlet, str], list[Unit]] = {}
    for unit in units:
        way = (unit.outlet, unit.keeper)
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
