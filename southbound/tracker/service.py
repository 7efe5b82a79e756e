"""The tracker at work: feeds of all clusters, the store, the board, and those who wait.

The rule: a batch is written with its positions, heard by the board once that is committed, and then
told to those who wait; what the disk refuses is read again, and what it refuses of the board is written
with whatever is written next. Questions are answered from what is committed, so no answer is ever taken
back by a restart. What is too old is told by the stamps of the logs that are read, not by this machine's
clock.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from southbound.edge.bookmarks import Bookmark, Place
from southbound.edge.feed import ASK_S, ClusterFeed
from southbound.edge.kafka import Consumer, Message, end_offsets
from southbound.edge.log_time import LogTime
from southbound.errors import EdgeError, SouthboundError, WireError
from southbound.partitioning.hashing import spread
from southbound.partitioning.topology import INTEREST_TOPIC, STATUS_TOPIC, Cluster, Topology
from southbound.resources import Scope
from southbound.settings import TrackerSettings
from southbound.tracker.bells import Bells
from southbound.tracker.board import Announcement, Board, Followed
from southbound.tracker.counters import TrackerCounters, TrackerGauges
from southbound.tracker.store import ChangesetRow, Presence, Read, Reader, Store, Writing
from southbound.tracker.summary import Summary, shortened
from southbound.wire.reports import Report, decode_report, parse_interest_key

log = logging.getLogger(__name__)

ClustersOf = Callable[[str], Collection[str]]

_NOTE_S = 5.0
_TOPOLOGY_EVERY_S = 1.0
_AGAIN_S = 0.5
_HEARD_EVERY_S = 1.0
_AHEAD_US = 600_000_000
_definitions = msgspec.msgpack.Decoder(Announcement)
_summaries = msgspec.msgpack.Decoder(Summary)
_encoder = msgspec.msgpack.Encoder()


class TrackerStatus(msgspec.Struct, frozen=True):
    """`live`: it works, or waits for what comes back by itself. `ready`: it has read every cluster to
    its end, and follows them all. `reasons`: what stands against it.
    """

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()


class TrackerService:
    """Follows every cluster of a topology, also those that join later. Making it does no IO.

    `clusters_of` tells in which clusters a VPC has replicas, and so followers: only those need answer
    to know who must apply its changes. Where it is missing, or raises `EdgeError`, all must.
    """

    def __init__(
        self,
        topology_of: Callable[[], Topology],
        state_dir: Path,
        settings: TrackerSettings | None = None,
        *,
        clusters_of: ClustersOf | None = None,
    ) -> None:
        self.settings = settings or TrackerSettings()
        self.counters = TrackerCounters()
        self.bells = Bells()
        self.store = Store(state_dir, cache_mib=self.settings.cache_mib)
        self._topology_of = topology_of
        self._clusters_of = clusters_of
        self._topology: Topology | None = None
        self._lock = threading.Lock()
        self._board = Board(self.settings.tracked_max, self.counters.convergence.observe)
        self._followings: dict[str, _Following] = {}
        # Holds ids of changesets on the board, so it is bounded with that.
        self._wondering: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._heard_at_s = 0.0
        self._counts = (0, 0)
        self._since_s = time.monotonic()
        self.log_time = LogTime()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"southbound-tracker-{work.__name__}", daemon=True)
            for work in (self._keep_up, self._wonder)
        ]

    # Life.

    def start(self) -> None:
        """Open the store, begin again what was open, and follow every cluster from where it stood.

        Raises `ConfigError` or `EdgeError` for the store. A cluster that is away is retried.
        """
        self.store.open()
        self._since_s = time.monotonic()
        self._restore()
        self._follow()
        deadline_s = time.monotonic() + _NOTE_S
        for following in self._followings.values():
            following.feed.wait_noted(max(0.0, deadline_s - time.monotonic()))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop following; everything that was told of is written."""
        self._closing.set()
        self._wondering.put(None)
        self.bells.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for following in self._followings.values():
            following.feed.close()
        self.store.close()

    def status(self) -> TrackerStatus:
        """Return whether it lives and is ready. For any thread."""
        reasons = [
            f"cluster {cluster}: {why}"
            for cluster, one in tuple(self._followings.items())
            if (why := one.feed.trouble or (not one.feed.is_caught_up and "not read to its end"))
        ]
        dead = [cluster for cluster, one in self._followings.items() if not one.feed.is_alive]
        live = not dead and all(thread.is_alive() for thread in self._threads)
        return TrackerStatus(live, live and not reasons, tuple(reasons))

    def gauges(self) -> TrackerGauges:
        """Return how it stands; hosts and what is unfinished as of the last sweep."""
        feeds = [one.feed for one in tuple(self._followings.values())]
        with self._lock:
            followed, still_open = len(self._board), self._board.open
        return TrackerGauges(
            hosts=self._counts[0],
            unfinished=self._counts[1],
            changesets_followed=followed,
            changesets_open=still_open,
            clusters_followed=len(feeds),
            clusters_away=sum(feed.trouble is not None for feed in feeds),
            clusters_behind=sum(not feed.is_caught_up for feed in feeds),
            waiting=len(self.bells),
            store_bytes=self.store.bytes,
        )

    # Announced changesets.

    def announce(self, announcements: Sequence[Announcement]) -> None:
        """Follow changesets, each from before anything of it is sent. Raises `WireError`."""
        with self._lock, self._transaction() as writing:
            for announcement in announcements:
                followed, given_up = self._board.announce(announcement)
                self.counters.announced += 1
                self.counters.given_up += len(given_up)
                self._recall(writing, followed)
        self.bells.ring(announcement.changeset for announcement in announcements)

    def accepted(self, ids: Iterable[str]) -> list[str]:
        """Note that changesets are accepted, and find out who must apply them; return unknown ones."""
        now_us = time.time_ns() // 1_000
        unknown = []
        with self._lock, self._transaction() as writing:
            for id in ids:
                followed = self._board.get(id)
                if followed is not None:
                    if self._board.accepted(followed, now_us):
                        self._wondering.put(id)
                elif not _accept_stored(writing, id, now_us):
                    unknown.append(id)
        return unknown

    def refused(self, reasons: Mapping[str, str]) -> list[str]:
        """Note that changesets were not accepted, and why; return unknown ones."""
        unknown = []
        with self._lock, self._transaction():
            for id, why in reasons.items():
                followed = self._board.get(id)
                if followed is None:
                    unknown.append(id)
                    continue
                self.counters.refused += 1
                self._board.refused(followed, why)
        self.bells.ring(reasons)
        return unknown

    def is_open(self, id: str) -> bool:
        """Tell whether a changeset was announced, and is neither settled nor refused."""
        with self._lock:
            followed = self._board.get(id)
            return followed is not None and not self._board.is_settled(followed)

    def announced(self, id: str, reader: Reader, names_max: int) -> Summary | None:
        """Return what stands of an announced changeset, or None when nobody announced it."""
        with self._lock:
            followed = self._board.get(id)
            if followed is not None:
                return self._board.summary(followed, names_max)
        row = reader.changeset(id)
        return None if row is None else shortened(_summaries.decode(row.summary), names_max)

    def _restore(self) -> None:
        """Begin again what was open, from the standings of those that it concerns."""
        with self._lock, self._transaction() as writing:
            for row in reversed(
                writing.changesets(only_open=True, limit=self.settings.tracked_max)
            ):
                followed, _ = self._board.announce(_definitions.decode(row.definition))
                self._recall(writing, followed)
                if followed.announcement.accepted_us and self._board.unexpected(followed):
                    self._wondering.put(row.id)
            self._counts = writing.counts()

    def _recall(self, writing: Writing, followed: Followed) -> None:
        for host, keys in self._board.wanted(followed):
            found = (writing.standing(host, key) for key in keys)
            self._board.recall(host, [one for one in found if one is not None])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Writing]:
        """Write, and with it what was touched on the board. To be used under the lock.

        The board learns that something is written once it is committed: what the disk refuses is
        written with whatever is written next.
        """
        settled = 0
        with self.store.transaction() as writing:
            yield writing
            touched = self._board.touched()
            for followed in touched:
                if followed.is_dirty:
                    settled += self._write(writing, followed)
        self.counters.settled += settled
        self._board.written(touched)

    def _write(self, writing: Writing, followed: Followed) -> bool:
        """Write a changeset as it stands; tell whether that is when it has settled."""
        announcement = followed.announcement
        still_open = not self._board.is_final(followed)
        known = writing.changeset(announcement.changeset)
        was_settled = known is not None and _summaries.decode(known.summary).settled
        summary = self._board.summary(followed, self.settings.names_max)
        writing.put_changeset(
            ChangesetRow(
                announcement.changeset,
                announcement.sent_us,
                still_open,
                _encoder.encode(announcement),
                _encoder.encode(summary),
            )
        )
        return summary.settled and not was_settled

    # Who must apply a VPC's change.

    def _wonder(self) -> None:
        while (id := self._wondering.get()) is not None:
            try:
                self._find_followers(id)
            except SouthboundError as error:
                log.info("who follows what changeset %s is about is asked again: %s", id, error)
                self._wondering.put(id)
                if self._closing.wait(_AGAIN_S):
                    return

    def _find_followers(self, id: str) -> None:
        with self._lock:
            followed = self._board.get(id)
            scopes = [] if followed is None else self._board.unexpected(followed)
        if followed is None:
            return
        if scopes:
            self._reach(scopes)
        with self._lock, self._transaction() as writing:
            for scope in scopes:
                self._board.expect(followed, scope, writing.followers(scope.id))
            self._recall(writing, followed)
        self.bells.ring([id])

    def _reach(self, scopes: Sequence[Scope]) -> None:
        """Read what stands now in the interest partitions of these VPCs. Raises `EdgeError`."""
        wanted = {scope.id: self._homes(scope.id) for scope in scopes}
        for cluster, following in tuple(self._followings.items()):
            count = following.feed.cluster.interest_partitions
            here = {spread(vpc, count) for vpc, homes in wanted.items() if cluster in homes}
            if here:
                following.feed.reach(INTEREST_TOPIC, here)

    def _homes(self, vpc: str) -> Collection[str]:
        if self._clusters_of is not None:
            try:
                return self._clusters_of(vpc)
            except EdgeError as error:
                log.info("where VPC %s has replicas is not known: %s", vpc, error)
        return self._followings.keys()

    # What comes in.

    def taken(self, batch: Read) -> None:
        """Take a batch of a cluster. Raises `EdgeError` when the disk refuses it."""
        begun_s = time.monotonic()
        with self._lock:
            try:
                with self.store.transaction() as writing:
                    writing.read(batch)
                    self._write_heard(writing, batch)
                touched = self._hear(batch.reports)
            except EdgeError:
                self.counters.write_failures += 1
                raise
            self._count(batch)
        self.counters.transactions.observe(time.monotonic() - begun_s)
        hosts = {report.host for report in batch.reports}
        self.bells.ring([*touched, *map(bell_of_host, hosts)])

    def _hear(self, reports: Sequence[Report]) -> list[str]:
        """Let the board hear what is committed; return the changesets that it concerns."""
        if len(self._board):
            for report in reports:
                self._board.heard(report)
        touched = self._board.touched()
        if any(followed.is_dirty for followed in touched):
            with self._transaction():
                pass
        else:
            self._board.written(touched)
        return [followed.announcement.changeset for followed in touched]

    def lost(self, cluster: Cluster, place: Place) -> None:
        """Take note that records of a partition were gone before they were read."""
        self.counters.gaps += 1
        topic, number = place
        with self._lock, self.store.transaction() as writing:
            writing.forget_position(cluster.id, topic, number)
            if topic == INTEREST_TOPIC:
                count = cluster.interest_partitions
                followed = writing.followed(cluster.id)
                here = [vpc for vpc in followed if spread(vpc, count) == number]
                writing.forget_followers(cluster.id, here)

    def _count(self, batch: Read) -> None:
        counters, entries = self.counters, self.counters.entries
        counters.reports += len(batch.reports)
        counters.presences += len(batch.presences)
        for report in batch.reports:
            counters.lag.observe(max(batch.now_us - report.sent_us, 0) / 1e6)
            if report.inventory is not None:
                counters.inventories += 1
                continue
            for entry in report.entries:
                word = entry.outcome.name.lower()
                entries[word] = entries.get(word, 0) + 1

    def _write_heard(self, writing: Writing, batch: Read) -> None:
        """Write what reports named; once a second forget what is too much of it."""
        heard = {
            (entry.changeset, entry.key): (entry.revision, batch.now_us)
            for report in batch.reports
            if report.inventory is None
            for entry in report.entries
        }
        writing.heard_of(heard)
        if time.monotonic() > self._heard_at_s + _HEARD_EVERY_S:
            self._heard_at_s = time.monotonic()
            writing.forget_heard(self.settings.heard_max)

    # Clusters, and time.

    def _follow(self) -> None:
        """Follow every cluster of the topology as it is now. Raises `PlanError` for a wrong name."""
        topology = self._topology_of()
        if topology is self._topology:
            return
        for cluster in self._mine(topology):
            known = self._followings.get(cluster.id)
            if known is not None:
                known.feed.change(cluster)
                continue
            following = _Following(self, cluster)
            self._followings = {**self._followings, cluster.id: following}
            following.feed.start()
        self._topology = topology

    def _mine(self, topology: Topology) -> list[Cluster]:
        wanted = self.settings.clusters or tuple(cluster.id for cluster in topology.clusters)
        return [topology.cluster(id) for id in wanted]

    def _keep_up(self) -> None:
        swept_s = time.monotonic()
        while not self._closing.wait(_TOPOLOGY_EVERY_S):
            try:
                self._follow()
                self._probe()
                if time.monotonic() > swept_s + self.settings.sweep_every_s:
                    swept_s = time.monotonic()
                    self.forget()
            except SouthboundError as error:
                log.warning("%s", error)

    def _probe(self) -> None:
        """See whether a cluster that was in trouble, and says nothing, answers again."""
        for following in tuple(self._followings.values()):
            if following.feed.is_noted and following.feed.trouble:
                try:
                    following.feed.probe()
                except EdgeError as error:
                    log.debug("%s", error)

    def forget(self) -> None:
        """Sweep by the time of the logs; before any has told it, nothing is known to be too old."""
        if self.log_time.is_told:
            self.sweep(self.log_time.now_us())

    def sweep(self, now_us: int) -> None:
        """Forget what is too old, and count what there is."""
        settings = self.settings
        changesets_us = now_us - int(settings.changeset_retention_s * 1e6)
        with self._lock, self._transaction() as writing:
            self.counters.given_up += self._board.expire(changesets_us)
            self.counters.hosts_forgotten += writing.forget_older(
                silent_us=0 if self._is_new else now_us - int(settings.host_retention_s * 1e6),
                deletes_us=now_us - int(settings.deleted_retention_s * 1e6),
                changesets_us=changesets_us,
                changesets_max=settings.changesets_max,
            )
            self._counts = writing.counts()

    @property
    def _is_new(self) -> bool:
        """Whoever was away himself has heard nobody: for a while after a start nobody is forgotten."""
        return time.monotonic() - self._since_s < self.settings.forgets_after_s


class _Following:
    """One cluster's feed, and what the tracker does with it."""

    def __init__(self, service: TrackerService, cluster: Cluster) -> None:
        self._service = service
        self._kafka_id = ""
        self._known: dict[Place, tuple[str, Bookmark]] | None = None
        client_id = f"{service.settings.client_id}-{cluster.id}"
        self.feed = ClusterFeed(cluster, client_id, (STATUS_TOPIC, INTEREST_TOPIC), self)

    @property
    def _cluster(self) -> str:
        return self.feed.cluster.id

    def begin(self, consumer: Consumer, place: Place, kafka_id: str) -> Bookmark:
        """Return where to go on: where it stood, or at the beginning of what the topic holds."""
        if self._known is None:
            reader = self._service.store.reader()
            try:
                self._known = reader.positions(self._cluster)
            finally:
                reader.close()
        self._kafka_id = kafka_id
        stood = self._known.get(place)
        low, high = end_offsets(consumer, *place, timeout_s=ASK_S)
        if stood is not None and stood[0] == kafka_id and low <= stood[1].next <= high:
            return stood[1]
        if stood is not None:
            self.lost(place)
        return Bookmark(low)

    def take(self, messages: Sequence[Message], positions: Mapping[Place, Bookmark]) -> None:
        """Take a batch; a record that cannot be read is counted and passed over."""
        reports: list[Report] = []
        presences: list[Presence] = []
        for message in messages:
            try:
                at_us = message.timestamp()[1] * 1_000 + 999
                if message.topic() == STATUS_TOPIC:
                    reports.append(_told_by(decode_report(message.value() or b""), at_us))
                else:
                    vpc, host = parse_interest_key(message.key() or b"")
                    is_here = message.value() is not None
                    presences.append(Presence(vpc, host, is_here, at_us))
            except WireError as error:
                self._service.counters.quarantined += 1
                log.warning("%s of %s: %s", message.topic(), self._cluster, error)
        if messages:
            self._service.log_time.note(messages[-1])
        now_us = self._service.log_time.now_us()
        self._service.taken(
            Read(self._cluster, self._kafka_id, reports, presences, positions, now_us)
        )

    def lost(self, place: Place) -> None:
        """Count a gap; who follows what is read anew."""
        self._service.lost(self.feed.cluster, place)
        if self._known is not None:
            self._known.pop(place, None)


def bell_of_host(host: str) -> str:
    """Return the bell that rings when something is heard of a host."""
    return f"host\x1f{host}"


def _told_by(report: Report, at_us: int) -> Report:
    """Return a report as one that was told no later than when the log took it.

    A host whose clock was far ahead would else never be believed again: what it tells with the right
    time would be older than what it told before. Slight differences of clocks do no harm.
    """
    if report.sent_us <= at_us + _AHEAD_US:
        return report
    part = report.inventory
    return msgspec.structs.replace(
        report,
        sent_us=at_us,
        entries=tuple(
            msgspec.structs.replace(one, at_us=min(one.at_us, at_us)) for one in report.entries
        ),
        inventory=part and msgspec.structs.replace(part, taken_us=min(part.taken_us, at_us)),
    )


def _accept_stored(writing: Writing, id: str, now_us: int) -> bool:
    """Note the acceptance of a changeset that had settled before it was told."""
    row = writing.changeset(id)
    if row is None:
        return False
    summary = _summaries.decode(row.summary)
    if summary.standing == "sent":
        told = msgspec.structs.replace(summary, standing="accepted", accepted_us=now_us)
        writing.put_changeset(row._replace(summary=_encoder.encode(told)))
    return True
