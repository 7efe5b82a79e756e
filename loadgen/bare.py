"""What a million host changes cost bare Kafka clients: the baseline beside `publishing` and `verifying`.

The rule: the same number of records, of the same bytes, to the same slots in the same order, by as
many processes with as many producers and the same settings; and the same partitions read by as many
consumers with the same settings. Records are encoded and slots known beforehand; nothing is looked
up, judged or fenced, and whoever reads takes what comes and counts it.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from typing import Any

from loadgen.coordination.seat import Say
from loadgen.ends import Position, ends_of
from loadgen.following import READING
from loadgen.share import Placed, Share, placed_hosts
from loadgen.stage import directory_settings
from loadgen.usage import usage
from loadgen.workloads.fleet import Fleet
from southbound.bench.publish import BareLoop, Sent, first_of_topics, producers_of_topics
from southbound.directory import Directory
from southbound.edge.kafka import Consumer, KafkaException, TopicPartition, edge_error, new_consumer
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster, Pool, Topology, topic_name
from southbound.resources import Changeset
from southbound.settings import PublisherSettings
from southbound.wire.envelope import Envelope, encode, encode_spec
from southbound.wire.keys import encode_key

_TIMEOUT_S = 1_800.0
_FIRST_EPOCH = 1
_BATCH = 1_000
_POLL_S = 0.2


class BareSender:
    """The hand of a worker that sends as `PublishingHand` does, with nothing but Kafka's client."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._directory: Directory | None = None
        self._fleet: Fleet | None = None
        self._placed: list[Placed] = []
        self._sends: list[Sent] = []
        self._loop: BareLoop | None = None

    def open(self, plain: Any) -> int:
        """Look up the hosts of a share; return how many there are."""
        share = Share.of(plain)
        self._fleet = Fleet(share.shape)
        self._directory = Directory(directory_settings(share.redis_url))
        self._directory.open()
        self._placed = placed_hosts(self._directory, self._fleet, share.clusters, self._say)
        self._loop = BareLoop(self._directory.topology, PublisherSettings())
        return sum(len(one.hosts) for one in self._placed)

    def prepare(self, revision: int) -> int:
        """Encode all records of the share; return how many."""
        assert self._fleet is not None
        assert self._directory is not None
        topology = self._directory.topology
        producers = producers_of_topics(topology, PublisherSettings().partitions_per_producer)
        gc.unfreeze()
        gc.disable()
        sends: list[Sent] = []
        try:
            for placed in self._placed:
                sends += _sends(
                    self._fleet, placed, topology.pool(placed.pool), revision, producers
                )
                self._say(f"records encoded: {len(sends):,}")
        finally:
            gc.enable()
        gc.freeze()
        self._sends = sends
        return len(sends)

    def warm(self) -> int:
        """Let the clients connect and learn of every topic: one record to each; return how many."""
        first = first_of_topics(self._sends)
        self._running().run(first, _TIMEOUT_S)
        return len(first)

    def send(self) -> dict[str, Any]:
        """Send what was prepared; return when all of it is acknowledged, as `publish` does."""
        sends, self._sends = self._sends, []
        began_us = time.time_ns() // 1_000
        run = self._running().run(sends, _TIMEOUT_S)
        ended_us = time.time_ns() // 1_000
        return {
            "began_us": began_us,
            "accepted_us": ended_us,
            "changes": len(sends),
            "cpu_s": run.cpu_s,
        }

    def usage(self) -> dict[str, float]:
        """Return what this process has taken: peak memory and CPU."""
        return usage()

    def close(self) -> None:
        """Close the directory."""
        if self._directory is not None:
            self._directory.close()

    def _running(self) -> BareLoop:
        if self._loop is None:
            raise EdgeError("the hand is told what its share is first", retryable=False)
        return self._loop


def _sends(
    fleet: Fleet,
    placed: Placed,
    pool: Pool,
    revision: int,
    producers: dict[tuple[str, str], int],
) -> list[Sent]:
    """Return the records of a cluster's hosts in the publisher's order: producer, topic, partition."""
    topics = [topic_name(pool.id, number) for number in range(pool.topics)]
    sent_us = time.time_ns() // 1_000
    sends = []
    for i, slot in zip(placed.hosts, placed.slots, strict=True):
        number, partition = divmod(slot, pool.partitions)
        producer = producers[placed.cluster, topics[number]]
        sends += [
            Sent(placed.cluster, producer, topics[number], partition, key, value)
            for key, value in _records(fleet.host_changeset(i, revision), sent_us)
        ]
    # Stable: what is in the order of slots stays so within each producer.
    sends.sort(key=lambda one: one.producer)
    return sends


def _records(changeset: Changeset, sent_us: int) -> list[tuple[bytes, bytes]]:
    count = len(changeset.resources)
    return [
        (
            encode_key(resource.key),
            encode(
                Envelope(
                    resource.revision,
                    resource.op,
                    _FIRST_EPOCH,
                    changeset.id,
                    index,
                    count,
                    sent_us,
                    0,
                    encode_spec(resource.spec),
                )
            ),
        )
        for index, resource in enumerate(changeset.resources)
    ]


class BareReader:
    """The hand of a worker that reads what `VerifyingHand` does, and only counts."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._topology: Topology | None = None
        self._clusters: tuple[str, ...] = ()
        self._starts: dict[str, dict[Position, int]] = {}
        self._counted = 0
        self._counting = threading.Lock()

    def open(self, plain: Any) -> int:
        """Take a share; return how many host partitions it has."""
        share = Share.of(plain)
        with Directory(directory_settings(share.redis_url)) as directory:
            self._topology = directory.topology
        self._clusters = share.clusters
        return sum(len(self._positions(cluster)) for cluster in share.clusters)

    def mark(self) -> int:
        """Note where each host partition ends now; return the sum of all ends."""
        self._starts = self._ends()
        return sum(sum(ends.values()) for ends in self._starts.values())

    def read(self) -> dict[str, Any]:
        """Read from the noted ends to the present ones, by as wide consumers; return what it took."""
        began_us, began_cpu_s = time.time_ns() // 1_000, time.process_time()
        self._counted = 0
        failed: list[EdgeError] = []
        ends = self._ends()
        threads = []
        for cluster, starts in self._starts.items():
            wanted = {
                place: (start, ends[cluster][place])
                for place, start in starts.items()
                if ends[cluster][place] > start
            }
            places = list(wanted)
            for first in range(0, len(places), READING.partitions_max):
                those = places[first : first + READING.partitions_max]
                some = {place: wanted[place] for place in those}
                assert self._topology is not None
                given = (self._topology.cluster(cluster), some, failed)
                threads.append(threading.Thread(target=self._read, args=given, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_TIMEOUT_S)
        if failed:
            raise failed[0]
        return {
            "began_us": began_us,
            "ended_us": time.time_ns() // 1_000,
            "records": self._counted,
            "consumers": len(threads),
            "cpu_s": time.process_time() - began_cpu_s,
        }

    def usage(self) -> dict[str, float]:
        """Return what this process has taken: peak memory and CPU."""
        return usage()

    def close(self) -> None:
        """Have nothing open."""
        self._starts = {}

    def _read(
        self,
        cluster: Cluster,
        wanted: dict[Position, tuple[int, int]],
        failed: list[EdgeError],
    ) -> None:
        consumer = new_consumer(cluster, "loadgen-bare", READING.client_config())
        try:
            count = _count_to_ends(consumer, wanted)
        except KafkaException as error:
            failed.append(edge_error(error, f"reading from {cluster.id}"))
            return
        finally:
            consumer.close()
        with self._counting:
            self._counted += count

    def _ends(self) -> dict[str, dict[Position, int]]:
        assert self._topology is not None
        return {
            cluster: ends_of(self._topology.cluster(cluster), self._positions(cluster), _TIMEOUT_S)
            for cluster in self._clusters
        }

    def _positions(self, cluster: str) -> list[Position]:
        assert self._topology is not None
        return [
            (topic_name(pool.id, topic), partition)
            for pool in self._topology.pools_in("host", cluster=cluster)
            for topic in range(pool.topics)
            for partition in range(pool.partitions)
        ]


def _count_to_ends(consumer: Consumer, wanted: dict[Position, tuple[int, int]]) -> int:
    """Read each partition from its first offset up to its last; return how many records came."""
    left = {position: end for position, (_, end) in wanted.items()}
    consumer.assign(
        [TopicPartition(topic, number, start) for (topic, number), (start, _) in wanted.items()]
    )
    count = 0
    while left:
        first = consumer.poll(_POLL_S)
        if first is None:
            continue
        count += _take([first, *consumer.consume(_BATCH, 0)], left)
    return count


def _take(messages: Sequence[Any], left: dict[tuple[str, int], int]) -> int:
    """Count records; forget the partitions whose end is reached."""
    count = 0
    for message in messages:
        error = message.error()
        if error is not None:
            if not edge_error(error, "reading").retryable:
                raise KafkaException(error)
            continue
        place = (message.topic(), message.partition())
        if message.offset() + 1 >= left.get(place, 1 << 62):
            del left[place]
        count += 1
    return count


def make_bare_sender(say: Say) -> BareSender:
    """Make the hand of a worker that only sends."""
    return BareSender(say)


def make_bare_reader(say: Say) -> BareReader:
    """Make the hand of a worker that only reads."""
    return BareReader(say)
