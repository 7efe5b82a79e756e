"""Sending records, and knowing when every one of a group is acknowledged.

The rule: one callback serves a whole group and only counts; who failed is looked up when something
has. Topics are spread over several producers of a cluster, since one that has touched ten thousand
partitions walks them all at each wake-up, and records are sent in the order of their slots, since
neighbours in a slot share a request. Two producers keep no order between them: while a part of a
scope is under way, those that follow it take the same way out.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from southbound.edge.kafka import KafkaError, Message, edge_error
from southbound.errors import EdgeError, OutcomeUnknown
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Topology
from southbound.producer.core import Parcel, Record, unsent
from southbound.producer.outlets import Outlet, Outlets
from southbound.resources import Scope
from southbound.settings import PublisherSettings
from southbound.wire.envelope import Envelope, encode

_LOCKED_MAX = 2_000
"""How many parts are gone through without letting another thread in."""
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


_Item = TypeVar("_Item")


class Unit(msgspec.Struct, frozen=True, gc=False, eq=False):
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
        self._under_way: dict[Scope, tuple[Parcel, bool]] = {}

    def send(self, parcels: Sequence[Parcel], *, bulk: bool) -> None:
        """Send parts to the addresses of their routes that were not sent to yet.

        Each part's `awaited` is set before the first record leaves. `bulk`: by which way out, where
        no part of the same scope is under way.
        """
        units: list[Unit] = []
        pieces = [parcels] if len(parcels) == 1 else list(_pieces(parcels, _LOCKED_MAX))
        for piece in pieces:
            with self._lock:
                for parcel in piece:
                    self._add_units(parcel, units, bulk=bulk)
        units.sort(key=attrgetter("order"))
        for (outlet, keeper), those in _gathered(units).items():
            for some in _pieces(those, self._settings.group_records if bulk else 1):
                self._send_group(outlet, keeper, some)
        for outlets in self._outlets.values():
            outlets.sent()

    def settled(self, parcels: Sequence[Parcel]) -> None:
        """Forget parts that are no longer under way."""
        under_way = self._under_way
        for piece in _pieces(parcels, _LOCKED_MAX):
            with self._lock:
                for parcel in piece:
                    last = under_way.get(parcel.scope)
                    if last is not None and last[0] is parcel:
                        del under_way[parcel.scope]

    def close(self, timeout_s: float) -> None:
        """Send what is queued, for as long as given; the rest is unknown then."""
        for outlets in self._outlets.values():
            outlets.close(timeout_s)

    def _add_units(self, parcel: Parcel, units: list[Unit], *, bulk: bool) -> None:
        """Add what each new address of a part's route gets. The lock is held."""
        last = self._under_way.get(parcel.scope)
        if last is not None:
            bulk = last[1]
        self._under_way[parcel.scope] = (parcel, bulk)
        route = parcel.route
        assert route is not None
        is_public = route.fence is None
        addresses = route.addresses if is_public or not parcel.sent else unsent(parcel, route)
        ways, keeper = self._ways[bulk], route.keeper
        for index, address in enumerate(addresses):
            way = ways.get(address.topic) or self._new_way(address, bulk=bulk)
            only = index if is_public else None
            order = way.order + address.partition
            units.append(Unit(order, way.outlet, keeper, address, parcel, only))
        parcel.sent += (route,)
        parcel.awaited = len(addresses)

    def _send_group(self, outlet: Outlet, keeper: str, units: Sequence[Unit]) -> None:
        records = sum([unit.records for unit in units])
        group = Group(keeper, [unit.parcel for unit in units], records, self._done)
        for unit in units:
            parcel, address = unit.parcel, unit.address
            numbers = range(len(parcel.records)) if unit.only is None else (unit.only,)
            for number in numbers:
                record = parcel.records[number]
                value = _value(parcel, number, record)
                refused = outlet.produce(address.topic, value, record.key, address.partition, group)
                if refused is not None:
                    group.refuse(record.key, refused)

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


def _pieces(items: Sequence[_Item], size: int) -> Iterable[Sequence[_Item]]:
    return (items[first : first + size] for first in range(0, len(items), size))


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
