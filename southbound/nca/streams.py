"""The consumers of one agent: manual assignment, long polls, never a silent rewind.

The rule: an open long poll would delay a change of assignment by what is left of it, so every change
is made on a new Consumer, which gets the whole new assignment before the old one is closed; and
watermarks are asked on a Consumer that has no long poll open yet. There is one Consumer for each
cluster that is read: one, but for the time of a move to another cluster.

A Consumer is asked for the ends of all its partitions before it gets them: so it knows the leaders of
all their topics. A topic that it had to ask about after its first fetch would wait behind that long
poll for its answer, and its records with it (measured: always when one topic of two is known, one
time in twenty when none is, never in 120 when all are).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

import msgspec

from southbound.edge.kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
    edge_error,
    end_offsets,
    new_consumer,
)
from southbound.nca.effects import Assignment
from southbound.nca.events import Mark, Record
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Cluster, Topology
from southbound.settings import AgentSettings

log = logging.getLogger(__name__)

_OFFSET_END = -1
_SEVERAL_S = 0.02
"""How long one of several Consumers is waited for before the next is looked at."""

_LEAN = {
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
    """One Consumer in one cluster. `next` maps its partitions to the offsets it gives next."""

    def __init__(self, cluster: Cluster, client_id: str, settings: AgentSettings) -> None:
        self.cluster = cluster
        self.next: dict[Address, int] = {}
        self.is_down = False
        self._known: set[str] = set()
        self._addresses: dict[tuple[str, int], Address] = {}
        overrides = {
            **_LEAN,
            "fetch.wait.max.ms": settings.fetch_wait_ms,
            "socket.timeout.ms": settings.fetch_wait_ms + 30_000,
        }
        self.consumer = _consumer(cluster, client_id, overrides, self._take_error)

    def assign(self, positions: Mapping[Address, int]) -> None:
        """Read these partitions from these offsets."""
        self.next = dict(positions)
        self._addresses = {(address.topic, address.partition): address for address in positions}
        self.consumer.assign(
            [
                TopicPartition(address.topic, address.partition, offset)
                for address, offset in positions.items()
            ]
        )

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
            elif address in with_low:
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
                haul.records.append(Record(address, offset, message.key(), message.value()))

    def close(self) -> None:
        """Let go of the Consumer; it has no group to leave, so this takes a millisecond."""
        self.consumer.close()

    def _take_message_error(
        self, haul: Haul, error: KafkaError, address: Address | None, offset: int | None
    ) -> None:
        code = error.code()
        if address is not None and code == KafkaError._PARTITION_EOF and offset is not None:
            self.is_down = False
            self.next[address] = max(self.next[address], offset)
            haul.reached[address] = offset
        elif address is not None and code == KafkaError._AUTO_OFFSET_RESET:
            haul.lost.append(address)
        else:
            haul.troubles.append(f"reading {address or self.cluster.id}: {error.str()}")

    def _take_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.is_down = True


class Streams:
    """Everything that one agent reads. All methods belong to the agent's own thread."""

    def __init__(self, client_id: str, settings: AgentSettings) -> None:
        self._client_id = client_id
        self._settings = settings
        self._readers: dict[str, _Reader] = {}
        self._fresh: dict[str, _Reader] = {}
        self._ends: dict[Address, int] = {}
        self._lost: set[Address] = set()

    @property
    def is_reading(self) -> bool:
        """Whether anything is assigned."""
        return bool(self._readers)

    @property
    def clusters_down(self) -> tuple[str, ...]:
        """Clusters whose brokers were all unreachable when they were last tried."""
        return tuple(id for id, reader in self._readers.items() if reader.is_down)

    def marks(self, topology: Topology, assignment: Assignment) -> dict[Address, Mark]:
        """Ask the watermarks that an assignment wants; those that did not answer are left out.

        Raises `EdgeError` when a cluster does not answer at all.
        """
        found: dict[Address, Mark] = {}
        for cluster_id in {address.cluster for address in assignment.marks}:
            reader = self._new_reader(topology, cluster_id)
            everything = {*assignment.positions, *assignment.marks}
            asked = [address for address in everything if address.cluster == cluster_id]
            try:
                marks = reader.marks(asked, self._lost, self._settings.mark_timeout_s)
            except KafkaException as error:
                raise edge_error(error, f"asking cluster {cluster_id} for watermarks") from error
            found.update((address, marks[address]) for address in assignment.marks & marks.keys())
        self._ends.update((address, mark.high) for address, mark in found.items())
        self._lost.difference_update(found)
        return found

    def assign(self, topology: Topology, positions: Mapping[Address, int]) -> None:
        """Read exactly this: a cluster whose part is what is read already is left alone.

        Raises `EdgeError`; the clusters done before the one that failed stay assigned.
        """
        wanted: dict[str, dict[Address, int]] = {}
        for address, offset in positions.items():
            wanted.setdefault(address.cluster, {})[address] = offset
        for cluster_id, part in wanted.items():
            reader = self._readers.get(cluster_id)
            cluster = topology.cluster(cluster_id)
            if reader is not None and reader.next == part and reader.cluster == cluster:
                continue
            self._replace(self._new_reader(topology, cluster_id), part)
        for cluster_id in self._readers.keys() - wanted.keys():
            self._readers.pop(cluster_id).close()
        for fresh in self._fresh.values():
            fresh.close()
        self._fresh.clear()
        self._ends = {address: end for address, end in self._ends.items() if address in positions}

    def poll(self, timeout_s: float) -> Haul:
        """Wait up to `timeout_s` for a record, then take what else is there, up to a batch."""
        haul = Haul()
        several = len(self._readers) > 1
        size = self._settings.snapshot_batch_records if self._ends else self._settings.batch_records
        for reader in tuple(self._readers.values()):
            wait_s = min(timeout_s, _SEVERAL_S) if several else timeout_s
            first = reader.consumer.poll(wait_s)
            if first is None:
                continue
            reader.take(haul, [first])
            reader.take(haul, reader.consumer.consume(size - 1, 0))
        self._lost.update(haul.lost)
        if self._ends:
            self._look_for_ends(haul)
        return haul

    def close(self) -> None:
        """Stop reading."""
        for reader in (*self._readers.values(), *self._fresh.values()):
            reader.close()
        self._readers.clear()
        self._fresh.clear()
        self._ends.clear()

    def _new_reader(self, topology: Topology, cluster_id: str) -> _Reader:
        """Return a Consumer without assignment: one that was made for this, or another."""
        reader = self._fresh.get(cluster_id)
        if reader is None:
            cluster = topology.cluster(cluster_id)
            reader = self._fresh[cluster_id] = _Reader(cluster, self._client_id, self._settings)
        return reader

    def _replace(self, reader: _Reader, part: Mapping[Address, int]) -> None:
        reader.learn(part, self._settings.mark_timeout_s)
        try:
            reader.assign(part)
        except KafkaException as error:
            raise edge_error(error, f"assigning in cluster {reader.cluster.id}") from error
        del self._fresh[reader.cluster.id]
        old = self._readers.get(reader.cluster.id)
        self._readers[reader.cluster.id] = reader
        if old is not None:
            old.close()

    def _look_for_ends(self, haul: Haul) -> None:
        """Tell positions behind a transaction's marker, which no record's own offset tells."""
        for reader in self._readers.values():
            watched = [address for address in reader.next if address in self._ends]
            if not watched:
                continue
            asked = [TopicPartition(address.topic, address.partition) for address in watched]
            for address, found in zip(watched, reader.consumer.position(asked), strict=True):
                if found.offset > 0:
                    reader.next[address] = max(reader.next[address], found.offset)
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
