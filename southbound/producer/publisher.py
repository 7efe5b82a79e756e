"""The publisher: changesets in, receipts out.

The rule: a changeset is judged whole before anything of it leaves; then each of its parts is routed,
delivered and looked at, and the receipt says what is known. Nothing here waits for the network but
for room in a bounded buffer. Any number of publishers, in any number of processes, may work at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from southbound import failpoints
from southbound.directory import Directory
from southbound.errors import Closed, OutcomeUnknown, SouthboundError
from southbound.pieces import in_pieces
from southbound.producer.buffer import Buffer
from southbound.producer.checks import SpecJudge, parcels_of
from southbound.producer.core import Parcel, Standing, unsent
from southbound.producer.delivery import Delivery, Group
from southbound.producer.fence import Fencer
from southbound.producer.listener import Listener, listen
from southbound.producer.loads import in_loads, records_of
from southbound.producer.metrics import PublisherCollector, PublisherCounters
from southbound.producer.receipts import Receipt, Receipts, settle
from southbound.producer.resolver import Resolver
from southbound.producer.tracker import Tracker
from southbound.rebalance.seeding import Seeder
from southbound.resources import Changeset
from southbound.settings import DirectorySettings, PublisherSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Publisher:
    """Publishes changesets. Thread-safe; making it does no IO.

    The directory must be open when `start` is called, and stays the caller's to close. `listener`
    is told of every changeset and of its verdict (`southbound.tracker.herald` tells a tracker).
    """

    def __init__(
        self,
        directory: Directory,
        settings: PublisherSettings | None = None,
        *,
        registry: CollectorRegistry | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.settings = settings or PublisherSettings()
        self._listener = listener
        self.counters = PublisherCounters()
        self._directory = directory
        self._owns_directory = False
        self._buffer = Buffer(self.settings.buffer_records, self.settings.buffer_wait_s)
        self._receipts_lock = threading.Lock()
        self._counting = threading.Lock()
        self._fencers: dict[str, Fencer] = {}
        self._fencers_lock = threading.Lock()
        self._delivery = Delivery(lambda: directory.topology, self.settings, self._delivered)
        self._seeder = Seeder(directory, client_id=f"{self.settings.client_id}-seeder")
        self._resolver = Resolver(directory, self._seeder, send=self._send_on, settle=self._settle)
        self._tracker: Tracker | None = None
        self._tracker_lock = threading.Lock()
        self._starting = threading.Lock()
        self._started = False
        self._closed = False
        if registry is not None:
            PublisherCollector(
                self.counters, lambda: self._buffer.used, lambda: self.quarantined
            ).register(registry)

    @classmethod
    def connect(cls, redis_url: str, settings: PublisherSettings | None = None) -> Self:
        """Make a publisher with a directory of its own, open both, and return it started."""
        directory = Directory(DirectorySettings(redis_url=redis_url))
        directory.open()
        publisher = cls(directory, settings)
        publisher._owns_directory = True
        publisher.start()
        return publisher

    @property
    def quarantined(self) -> int:
        """How many records of `sb.moves` could not be read; they stop nothing but their own scopes."""
        with self._fencers_lock:
            return sum(fencer.quarantined for fencer in self._fencers.values())

    # Life.

    def start(self) -> None:
        """Start the threads, and begin to follow what moves in every cluster; again does nothing."""
        with self._starting:
            if self._started:
                return
            self._started = True
        for cluster in self._directory.topology.clusters:
            self._fencer(cluster.id)
        self._resolver.start()
        if self.settings.track:
            self._tracking()

    def close(self, timeout_s: float = 30.0) -> None:
        """Send what was taken in and settle every receipt; what has no answer in time is unknown."""
        if self._closed:
            return
        self._closed = True
        self._buffer.close()
        self._buffer.wait_empty(timeout_s)
        if self._started:
            self._resolver.close()
        self._delivery.close(1.0 if self._buffer.used else timeout_s)
        with self._fencers_lock:
            fencers = list(self._fencers.values())
        for fencer in fencers:
            fencer.close()
        if self._tracker is not None:
            self._tracker.close()
        self._seeder.close()
        if self._owns_directory:
            self._directory.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything taken in has settled. Raises `OutcomeUnknown` when it has not."""
        if not self._buffer.wait_empty(timeout_s):
            raise OutcomeUnknown(f"{self._buffer.used} records have not settled in {timeout_s:g} s")

    # Publishing.

    def publish(
        self, changeset: Changeset, *, track: bool | None = None, sent_us: int | None = None
    ) -> Receipt:
        """Publish one changeset; return at once with its receipt.

        `track`: whether `receipt.applied` is wanted (the settings say, unless told). `sent_us`: when
        it was meant to be sent, in microseconds since 1970, for whoever keeps a schedule. Raises
        `InvalidResource` naming every fault, `BufferFull`, `Closed`.
        """
        parts = self._judged([changeset], sent_us)
        receipt = Receipt(changeset.id, parts[0], self._receipts_lock)
        if self.settings.track if track is None else track:
            self._track(receipt)
        self._count(1)
        if self._listener is not None:
            listen(self._listener, [changeset], [receipt])
        try:
            self._publish(parts[0])
        except SouthboundError as error:
            if self._listener is not None:
                self._listener.settled(changeset.id, error)
            raise
        return receipt

    def publish_many(
        self, changesets: Iterable[Changeset], *, track: bool = False, sent_us: int | None = None
    ) -> Receipts:
        """Publish many changesets, in the order of their slots: several times as fast as singly.

        All are judged before the first is sent. Raises as `publish`; after `BufferFull` what was
        already sent goes on, and publishing all of them again is safe (a listener is told nothing
        then of what was not taken in).
        """
        given = tuple(changesets)
        parts = self._judged(given, sent_us)
        receipts = Receipts([one.id for one in given], parts, self._receipts_lock)
        if track:
            for receipt in receipts:
                self._track(receipt)
        self._count(len(parts))
        if self._listener is not None:
            listen(self._listener, given, receipts)
        self._publish_all([parcel for parcels in parts for parcel in parcels])
        return receipts

    def _judged(
        self, changesets: Sequence[Changeset], sent_us: int | None
    ) -> list[Sequence[Parcel]]:
        """Return the parts of changesets that may all be sent."""
        if self._closed or not self._started:
            raise Closed("the publisher is closed" if self._closed else "start the publisher first")
        sent_us = sent_us or time.time_ns() // 1000
        judge = _spec_judge() if self.settings.validate_specs else None
        return [parcels_of(one, sent_us, judge) for one in changesets]

    def _count(self, changesets: int) -> None:
        with self._counting:
            self.counters.published += changesets

    def _publish(self, parcels: Sequence[Parcel]) -> None:
        """Take in one changeset: all of it, or nothing."""
        self._take_in(parcels)
        routed, rest = self._resolver.try_route(parcels)
        if rest:
            self._resolver.put(rest)
        if routed:
            self._send(routed, bulk=False)

    def _publish_all(self, parcels: Sequence[Parcel]) -> None:
        """Take in many, as much at once as there may be under way."""
        routed, rest = self._resolver.try_route(parcels)
        most = max(1, self.settings.buffer_records // 2)
        for load in in_loads(routed, most):
            self._take_in(load)
            self._send(load, bulk=True)
        for load in in_pieces(rest, most, records_of):
            self._take_in(load)
            self._resolver.put(load)

    def _take_in(self, parcels: Sequence[Parcel]) -> None:
        """Take room for parts. Raises `BufferFull`."""
        records = sum(map(records_of, parcels))
        self._buffer.take(records)
        with self._counting:
            self.counters.records += records
        if failpoints.armed:
            failpoints.armed.reach("publisher.buffer.after")

    # On the way.

    def _send_on(self, parcels: Sequence[Parcel]) -> None:
        """Send parts on; those that are where they should be already are only looked at."""
        away = []
        for parcel in parcels:
            assert parcel.route is not None
            if parcel.sent and not unsent(parcel, parcel.route):
                self._fencer(parcel.route.keeper).put(parcel)
            else:
                away.append(parcel)
        # The same way out for the few as for the one: it is warm, and keeps a scope's order.
        self._send(away, bulk=len(away) >= self.settings.bulk_from)

    def _send(self, parcels: Sequence[Parcel], *, bulk: bool) -> None:
        for keeper in {one.route.keeper for one in parcels if one.route is not None}:
            self._fencer(keeper)
        self._delivery.send(parcels, bulk=bulk)

    def _resend(self, parcels: Sequence[Parcel]) -> None:
        """Send turned parts on, once the VPCs of their ports are where they are to go."""
        with self._counting:
            self.counters.turned += len(parcels)
        away: list[Parcel] = []
        waiting: list[Parcel] = []
        for parcel in parcels:
            # The host may have gone to where a VPC of its ports is not yet, or not any more.
            (away if self._resolver.is_present(parcel) else waiting).append(parcel)
        if waiting:
            self._resolver.put(waiting)
        self._send_on(away)

    def _delivered(self, group: Group) -> None:
        self._fencer(group.keeper).put(group)

    def _fencer(self, cluster: str) -> Fencer:
        found = self._fencers.get(cluster)
        if found is not None:
            return found
        with self._fencers_lock:
            if cluster not in self._fencers:
                fencer = Fencer(
                    self._directory.topology.cluster(cluster),
                    self.settings,
                    lambda: self._directory.topology,
                    resend=self._resend,
                    settle=self._settle,
                    adopt=self._directory.adopt,
                    is_present=self._resolver.is_present,
                )
                fencer.start()
                self._fencers[cluster] = fencer
            return self._fencers[cluster]

    def _settle(self, parcels: Sequence[Parcel]) -> None:
        """Take parts with a verdict: count them, settle their receipts, give their room back."""
        now_us = time.time_ns() // 1000
        accepted = Counter(one.sent_us for one in parcels if one.standing is Standing.ACCEPTED)
        errors = [one.error for one in parcels if one.standing is Standing.FAILED]
        unknown = sum(isinstance(error, OutcomeUnknown) for error in errors)
        with self._counting:
            self.counters.accepted += len(parcels) - len(errors)
            self.counters.unknown += unknown
            self.counters.failed += len(errors) - unknown
            for sent_us, count in accepted.items():
                self.counters.took(max(0.0, (now_us - sent_us) / 1e6), count)
        if failpoints.armed:
            failpoints.armed.reach("publisher.receipt.before")
        settle(parcels, self._receipts_lock)
        self._buffer.give(sum(map(records_of, parcels)))

    # Following what becomes of it.

    def _tracking(self) -> Tracker:
        with self._tracker_lock:
            if self._tracker is None:
                tracker = Tracker(
                    lambda: self._directory.topology,
                    client_id=f"{self.settings.client_id}-tracker",
                    tracked_max=self.settings.tracked_max,
                )
                tracker.start()
                self._tracker = tracker
            return self._tracker

    def _track(self, receipt: Receipt) -> None:
        """Watch for reports on a changeset from before its first record is sent."""
        tracker = self._tracking()
        handle = tracker.watch(receipt.changeset, receipt.parcels)

        def settled() -> None:
            error = receipt.error()
            if error is None:
                tracker.accepted(handle)
            else:
                tracker.failed(handle, error)

        receipt.track(handle.future, lambda: tracker.snapshot(handle), settled)


def _spec_judge() -> SpecJudge:
    # pydantic comes with the `control` extra, and only where specs are judged.
    from southbound.documents.kinds import validate_spec

    return validate_spec
