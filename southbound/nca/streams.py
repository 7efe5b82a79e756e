"""The consumers of one agent: manual assignment, long polls, never a silent rewind.

The rule: an open long poll would delay a change of assignment by what is left of it, so every change
is made on a new Consumer, which gets the whole new assignment before the old one is closed; and
watermarks are asked on a Consumer that has no long poll open yet.

A partition that a Consumer begins to fetch a moment after another waits behind that one's long poll,
and its records with it. So a Consumer is asked for the ends of all its partitions before it gets
them, which tells it the leaders of all their topics (measured: it always waits when one topic of two
is known, one time in twenty when none is, never in 120 when all are, but now and then on a busy
machine); and a new assignment of several partitions is read with short polls first. When it has stood
for a while a second Consumer takes it over with long polls, after one whole poll beside the first:
by then it fetches all of it at once. Records that both bring are dropped by their offsets.

A position is assigned with the epoch of the leader that took what is before it, by which a broker tells
whether that is still there (docs/decisions/0102). The client library asks when it learns of a later leader;
of one that it knows already it does not, so it is made to where the present leader is another.

There is one Consumer for each cluster that is read: one, but for the time of a move.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Collection, Iterable, Mapping
from threading import Semaphore

import msgspec

from southbound.edge.bookmarks import seek
from southbound.edge.kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
    edge_error,
    end_offsets,
    new_consumer,
    one_of_many,
)
from southbound.errors import EdgeError
from southbound.nca.effects import Assignment
from southbound.nca.events import Mark, Record
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Cluster, Topology
from southbound.settings import AgentSettings

log = logging.getLogger(__name__)

_OFFSET_END = -1
_SEVERAL_S = 0.02
"""How long one of several Consumers is waited for before the next is looked at."""

_THICK_S = 0.005
_SHORT_WAIT_MS = 500
_STANDS_S = 4.0
"""How long short polls are kept at least: a start of many is over before they make successors."""

_BESIDE_S = 2.0

_NOBODY_ANSWERS = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
    }
)

_GONE = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""What is said, after half a minute, of a topic that is not there any more."""

LEAN = {
    # A node needs no deep queue: what is not taken yet waits at the broker.
    "queued.min.messages": 2_000,
    "queued.max.messages.kbytes": 4_096,
    # Tells the end of a partition whose last records compaction has taken away.
    "enable.partition.eof": True,
}


class Haul(msgspec.Struct):
    """What one poll brought. `reached` and `records` as in `events.Batch`.

    `lost`: partitions whose position the broker does not have. `troubles`: other errors, as text.
    """

    records: list[Record] = []
    reached: dict[Address, int] = {}
    lost: list[Address] = []
    troubles: list[str] = []


class _Reader:
    """One Consumer in one cluster. `next` maps its partitions to the offsets it gives next, and
    `leader_epochs` to the epochs of the leaders that took what lies before these, where known.

    `wait_ms` is how long its fetches may be held by the broker.
    """

    def __init__(self, cluster: Cluster, client_id: str, wait_ms: int) -> None:
        self.cluster = cluster
        self.wait_ms = wait_ms
        self.next: dict[Address, int] = {}
        self.leader_epochs: dict[Address, int] = {}
        self.is_down = False
        self.is_unsure = False
        self._known: set[str] = set()
        self._leaders: dict[Address, int] = {}
        self._last_s = 0.0
        self._addresses: dict[tuple[str, int], Address] = {}
        overrides = {
            **LEAN,
            **one_of_many(),
            "fetch.wait.max.ms": wait_ms,
            "socket.timeout.ms": wait_ms + 30_000,
        }
        self.consumer = _consumer(cluster, client_id, overrides, self._take_error)

    def assign(
        self, positions: Mapping[Address, int], leader_epochs: Mapping[Address, int]
    ) -> None:
        """Read these partitions from these offsets.

        Where the epoch before one is given, a log that has lost what was before it is a lost position.
        """
        self.next = dict(positions)
        self.leader_epochs = dict(leader_epochs)
        self._addresses = {(address.topic, address.partition): address for address in positions}
        places = {
            address: TopicPartition(
                address.topic,
                address.partition,
                offset,
                leader_epoch=leader_epochs.get(address, self._leaders.get(address, -1)),
            )
            for address, offset in positions.items()
        }
        self.consumer.assign(list(places.values()))
        for address, leader_epoch in leader_epochs.items():
            if self._leaders.get(address, leader_epoch) != leader_epoch:
                seek(self.consumer, places[address])

    def learn(self, addresses: Collection[Address], timeout_s: float) -> None:
        """Make sure that the leaders of several partitions are known, if the cluster can be asked.

        One partition alone has nothing to wait behind.
        """
        unknown = [address for address in addresses if address.topic not in self._known]
        if len(addresses) == 1 or not unknown:
            return
        try:
            self.marks(unknown, set(), timeout_s)
        except KafkaException as error:
            log.info("cluster %s is read without having answered: %s", self.cluster.id, error)

    def marks(
        self, addresses: Collection[Address], with_low: set[Address], timeout_s: float
    ) -> dict[Address, Mark]:
        """Ask the watermarks: the end of all partitions at once, the low one only where named."""
        asked = {(address.topic, address.partition): address for address in addresses}
        ends = self.consumer.offsets_for_times(
            [TopicPartition(topic, number, _OFFSET_END) for topic, number in asked],
            timeout=timeout_s,
        )
        marks = {}
        self._known.update(address.topic for address in addresses)
        for end in ends:
            address = asked[end.topic, end.partition]
            if end.error is not None:
                log.warning("asking for the end of %s/%d: %s", end.topic, end.partition, end.error)
                continue
            if end.leader_epoch is not None:
                self._leaders[address] = end.leader_epoch
            if address in with_low:
                low, high = end_offsets(
                    self.consumer, end.topic, end.partition, timeout_s=timeout_s
                )
                marks[address] = Mark(low, high)
            else:
                marks[address] = Mark(0, end.offset)
        return marks

    def take(self, haul: Haul, messages: Iterable[Message]) -> None:
        """Sort what came into `haul`."""
        for message in messages:
            topic, partition = message.topic(), message.partition()
            address = self._addresses.get((topic or "", -1 if partition is None else partition))
            error, offset = message.error(), message.offset()
            if error is not None:
                self._take_message_error(haul, error, address, offset)
            elif address is not None and offset is not None:
                self.is_down = False
                self.next[address] = offset + 1
                leader_epoch = self._told_epoch(address, message)
                haul.records.append(
                    Record(address, offset, message.key(), message.value(), leader_epoch)
                )

    def _told_epoch(self, address: Address, message: Message) -> int:
        leader_epoch = message.leader_epoch()
        if leader_epoch is None:
            self.leader_epochs.pop(address, None)
            return -1
        self.leader_epochs[address] = leader_epoch
        return leader_epoch

    def skip_to(self, address: Address, offset: int) -> None:
        """Note that a partition is read up to an offset before which no record was."""
        if offset > self.next[address]:
            self.next[address] = offset
            self.leader_epochs.pop(address, None)

    def comes_thick(self) -> bool:
        """Tell whether more is likely to be there behind a message: its like came just before.

        Asking costs as much as taking one more message by itself.
        """
        before_s, self._last_s = self._last_s, time.monotonic()
        return self._last_s - before_s < _THICK_S

    def close(self) -> None:
        """Let go of the Consumer; it has no group to leave, so this takes a millisecond."""
        self.consumer.close()

    def _take_message_error(
        self, haul: Haul, error: KafkaError, address: Address | None, offset: int | None
    ) -> None:
        code = error.code()
        if address is not None and code == KafkaError._PARTITION_EOF and offset is not None:
            self.is_down = False
            self.skip_to(address, offset)
            haul.reached[address] = offset
        elif address is not None and code == KafkaError._AUTO_OFFSET_RESET:
            haul.lost.append(address)
        else:
            haul.troubles.append(f"reading {address or self.cluster.id}: {error.str()}")

    def _take_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.is_down = True
        elif error.code() in _GONE:
            self.is_unsure = True


class _Seat:
    """What one cluster is read by: a reader, and its successor while there is one.

    `due_s` is the monotonic time of the next step: to make the successor, or to let it take over.
    """

    def __init__(self, reader: _Reader, due_s: float | None) -> None:
        self.reader = reader
        self.successor: _Reader | None = None
        self.due_s = due_s


class Streams:
    """Everything that one agent reads. All methods belong to the agent's own thread.

    `turns` bounds how many agents of a process have two Consumers at a time: the client library
    takes one of the process's 1,024 thread-local keys for each.
    """

    def __init__(
        self, client_id: str, settings: AgentSettings, turns: Semaphore | None = None
    ) -> None:
        self._client_id = client_id
        self._settings = settings
        self._turns = turns or Semaphore()
        self._seats: dict[str, _Seat] = {}
        self._fresh: dict[str, _Reader] = {}
        self._ends: dict[Address, int] = {}
        self._lost: set[Address] = set()

    @property
    def is_reading(self) -> bool:
        """Whether anything is assigned."""
        return bool(self._seats)

    @property
    def clusters_down(self) -> tuple[str, ...]:
        """Clusters whose brokers were all unreachable when they were last tried."""
        return tuple(id for id, seat in self._seats.items() if seat.reader.is_down)

    def is_unsure(self) -> bool:
        """Tell whether a topic has been missing since this was last asked."""
        unsure = False
        for seat in self._seats.values():
            unsure |= seat.reader.is_unsure
            seat.reader.is_unsure = False
        return unsure

    def marks(self, topology: Topology, assignment: Assignment) -> dict[Address, Mark]:
        """Ask the watermarks that an assignment wants; those that did not answer are left out.

        Raises `EdgeError` when a cluster does not answer at all.
        """
        found: dict[Address, Mark] = {}
        for cluster_id in {address.cluster for address in assignment.marks}:
            everything = {*assignment.positions, *assignment.marks}
            asked = [address for address in everything if address.cluster == cluster_id]
            reader = self._new_reader(topology, cluster_id, len(asked))
            marks = self._marks_of(reader, asked)
            found.update((address, marks[address]) for address in assignment.marks & marks.keys())
        self._ends.update((address, mark.high) for address, mark in found.items())
        self._lost.difference_update(found)
        return found

    def _marks_of(self, reader: _Reader, asked: list[Address]) -> dict[Address, Mark]:
        """Ask for all at once; where one partition has an error of its own, for each by itself."""
        timeout_s = self._settings.mark_timeout_s
        try:
            return reader.marks(asked, self._lost, timeout_s)
        except KafkaException as error:
            doing = f"asking cluster {reader.cluster.id} for watermarks"
            if len(asked) == 1 or error.args[0].code() in _NOBODY_ANSWERS:
                raise edge_error(error, doing) from error
        found: dict[Address, Mark] = {}
        for address in asked:
            try:
                found.update(reader.marks([address], self._lost, timeout_s))
            except KafkaException as error:
                if error.args[0].code() in _NOBODY_ANSWERS:
                    break
                log.info("asking for the end of %s: %s", address, error)
        return found

    def assign(self, topology: Topology, assignment: Assignment) -> None:
        """Read exactly this: a cluster whose part is what is read already is left alone.

        Raises `EdgeError`; the clusters done before the one that failed stay assigned.
        """
        wanted: dict[str, dict[Address, int]] = {}
        positions, leader_epochs = assignment.positions, assignment.leader_epochs
        for address, offset in positions.items():
            wanted.setdefault(address.cluster, {})[address] = offset
        for cluster_id, part in wanted.items():
            seat = self._seats.get(cluster_id)
            cluster = topology.cluster(cluster_id)
            if seat is None or seat.reader.next != part or seat.reader.cluster != cluster:
                epochs = {one: leader_epochs[one] for one in part.keys() & leader_epochs.keys()}
                self._replace(self._new_reader(topology, cluster_id, len(part)), part, epochs)
        for cluster_id in self._seats.keys() - wanted.keys():
            self._leave(self._seats.pop(cluster_id))
        for fresh in self._fresh.values():
            fresh.close()
        self._fresh.clear()
        self._ends = {address: end for address, end in self._ends.items() if address in positions}

    def poll(self, timeout_s: float) -> Haul:
        """Wait up to `timeout_s` for a record, then take what else is there, up to a batch."""
        haul = Haul()
        several = len(self._seats) > 1
        size = self._settings.snapshot_batch_records if self._ends else self._settings.batch_records
        for seat in tuple(self._seats.values()):
            if seat.due_s is not None and time.monotonic() >= seat.due_s:
                self._settle(seat)
            reader = seat.reader
            wait_s = min(timeout_s, _SEVERAL_S) if several else timeout_s
            first = reader.consumer.poll(wait_s)
            if first is None:
                continue
            reader.take(haul, [first])
            if self._ends or reader.comes_thick():
                reader.take(haul, reader.consumer.consume(size - 1, 0))
        self._lost.update(haul.lost)
        if self._ends:
            self._look_for_ends(haul)
        return haul

    def close(self) -> None:
        """Stop reading."""
        for seat in self._seats.values():
            self._leave(seat)
        for reader in self._fresh.values():
            reader.close()
        self._seats.clear()
        self._fresh.clear()
        self._ends.clear()

    def _new_reader(self, topology: Topology, cluster_id: str, partitions: int) -> _Reader:
        """Return a Consumer without assignment: one that was made for this, or another."""
        reader = self._fresh.get(cluster_id)
        if reader is None:
            cluster = topology.cluster(cluster_id)
            longest_ms = self._settings.fetch_wait_ms
            wait_ms = longest_ms if partitions == 1 else min(longest_ms, _SHORT_WAIT_MS)
            reader = self._fresh[cluster_id] = _Reader(cluster, self._client_id, wait_ms)
        return reader

    def _replace(
        self, reader: _Reader, part: Mapping[Address, int], leader_epochs: Mapping[Address, int]
    ) -> None:
        reader.learn(part, self._settings.mark_timeout_s)
        try:
            reader.assign(part, leader_epochs)
        except KafkaException as error:
            raise edge_error(error, f"assigning in cluster {reader.cluster.id}") from error
        del self._fresh[reader.cluster.id]
        old = self._seats.get(reader.cluster.id)
        is_final = reader.wait_ms == self._settings.fetch_wait_ms
        stands_s = random.uniform(_STANDS_S, 2 * _STANDS_S)
        self._seats[reader.cluster.id] = _Seat(
            reader, None if is_final else time.monotonic() + stands_s
        )
        if old is not None:
            self._leave(old)

    def _leave(self, seat: _Seat) -> None:
        seat.reader.close()
        if seat.successor is not None:
            seat.successor.close()
            self._turns.release()

    def _settle(self, seat: _Seat) -> None:
        """Make the successor with long polls, or let it take over after a whole one of them."""
        if seat.successor is not None:
            seat.reader.close()
            seat.reader, seat.successor, seat.due_s = seat.successor, None, None
            self._turns.release()
            return
        if seat.reader.is_down or not self._turns.acquire(blocking=False):
            seat.due_s = time.monotonic() + random.uniform(_STANDS_S, 2 * _STANDS_S)
            return
        wait_ms = self._settings.fetch_wait_ms
        successor = _Reader(seat.reader.cluster, self._client_id, wait_ms)
        successor.learn(seat.reader.next, self._settings.mark_timeout_s)
        try:
            successor.assign(seat.reader.next, seat.reader.leader_epochs)
        except (KafkaException, EdgeError) as error:
            log.info("cluster %s: no second consumer: %s", successor.cluster.id, error)
            successor.close()
            self._turns.release()
            seat.due_s = time.monotonic() + _BESIDE_S
            return
        seat.successor = successor
        seat.due_s = time.monotonic() + wait_ms / 1_000 + _BESIDE_S

    def _look_for_ends(self, haul: Haul) -> None:
        """Tell positions behind a transaction's marker, which no record's own offset tells."""
        for reader in [seat.reader for seat in self._seats.values()]:
            watched = [address for address in reader.next if address in self._ends]
            if not watched:
                continue
            asked = [TopicPartition(address.topic, address.partition) for address in watched]
            for address, found in zip(watched, reader.consumer.position(asked), strict=True):
                if found.offset > 0:
                    reader.skip_to(address, found.offset)
                    haul.reached[address] = max(haul.reached.get(address, 0), found.offset)
                if max(found.offset, haul.reached.get(address, 0)) >= self._ends[address]:
                    del self._ends[address]


def _consumer(
    cluster: Cluster,
    client_id: str,
    overrides: Mapping[str, str | int | float | bool],
    on_error: object,
) -> Consumer:
    settings = {**overrides, "error_cb": on_error}
    try:
        return new_consumer(cluster, client_id, settings)  # type: ignore[arg-type]
    except KafkaException as error:
        raise edge_error(error, f"making a consumer for cluster {cluster.id}") from error
