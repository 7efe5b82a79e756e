"""Many partitions of one cluster at once: their ends, parts of them, records into them.

The rule: whoever works on hundreds of partitions asks and writes for all of them in one go, through
clients that stay open between goes. What `append` says of the log is as in `append.py`: after an
error nobody knows which records are there. Reading is up to ends that were asked for, as in `tail`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are its public names
    AdminClient,
    OffsetSpec,
)

from southbound.edge.answers import answer_of, asking_s, await_all
from southbound.edge.append import Appender
from southbound.edge.kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
    base_config,
    edge_error,
    new_consumer,
    new_producer,
    told_kafka_id,
)
from southbound.edge.log_time import LogTime
from southbound.edge.tail import check_same_cluster
from southbound.errors import EdgeError, OutcomeUnknown
from southbound.partitioning.topology import STATUS_TOPIC, Cluster

_BATCH = 2_000
_POLL_S = 0.1
_FETCH_WAIT_MS = 10
_BUFFERED_MAX = 200_000
_PARTITIONS_MAX = 1_000
_IDENTITY_S = 30.0


class Place(NamedTuple):
    """One partition of a topic of the cluster at hand."""

    topic: str
    partition: int


class Outgoing(NamedTuple):
    """A record to append, and where."""

    place: Place
    key: bytes
    value: bytes | None


class SlotEnds:
    """Asks for the ends, or the beginnings, of many partitions. For one thread; making it does no IO.

    `kafka_id` of the cluster, where given, must be the brokers'; else the first one seen stays.
    """

    def __init__(self, cluster: Cluster, client_id: str) -> None:
        self._cluster = cluster
        self._client_id = client_id
        self._client: AdminClient | None = None
        self._kafka_id = cluster.kafka_id
        self._identified_at = 0.0

    def ends(self, places: Iterable[Place], timeout_s: float) -> dict[Place, int]:
        """Return the offset that the next record of each will get. Raises `EdgeError`."""
        return self._asked(places, OffsetSpec.latest(), timeout_s)  # type: ignore[no-untyped-call]

    def begins(self, places: Iterable[Place], timeout_s: float) -> dict[Place, int]:
        """Return the first offset of each that can be read; compaction never moves it. Raises `EdgeError`."""
        return self._asked(places, OffsetSpec.earliest(), timeout_s)  # type: ignore[no-untyped-call]

    def _asked(
        self, places: Iterable[Place], spec: OffsetSpec, timeout_s: float
    ) -> dict[Place, int]:
        if self._client is None:
            self._client = AdminClient(base_config(self._cluster, self._client_id))
        try:
            return self._offsets(self._client, places, spec, timeout_s)
        except EdgeError:
            # It keeps for minutes what it knows of leaders, those too that brokers refuse by now.
            self.close()
            raise

    def _offsets(
        self, client: AdminClient, places: Iterable[Place], spec: OffsetSpec, timeout_s: float
    ) -> dict[Place, int]:
        self._identify(client, timeout_s)
        wanted = [TopicPartition(*place) for place in dict.fromkeys(places)]
        found: dict[Place, int] = {}
        for first in range(0, len(wanted), _BATCH):
            asked = dict.fromkeys(wanted[first : first + _BATCH], spec)
            answers = client.list_offsets(asked, request_timeout=asking_s(timeout_s))
            await_all(answers.values())
            for at, answer in answers.items():
                where = f"{at.topic}/{at.partition} of cluster {self._cluster.id}"
                told = answer_of(answer, f"asking for an end of {where}")
                found[Place(at.topic, at.partition)] = int(told.offset)
        return found

    def _identify(self, client: AdminClient, timeout_s: float) -> None:
        if self._identified_at and time.monotonic() - self._identified_at < _IDENTITY_S:
            return
        found = told_kafka_id(client, self._cluster.id, asking_s(timeout_s), STATUS_TOPIC)
        check_same_cluster(self._cluster.id, self._kafka_id, found)
        self._kafka_id = found
        self._identified_at = time.monotonic()

    def close(self) -> None:
        """Let go of the client; the next call makes a new one."""
        self._client = None
        self._identified_at = 0.0


class SlotReader:
    """Reads parts of many partitions. For one thread; making it does no IO."""

    def __init__(self, cluster: Cluster, client_id: str) -> None:
        self._cluster = cluster
        self._client_id = client_id
        self._consumer: Consumer | None = None

    def read(
        self, ranges: Mapping[Place, tuple[int, int]], timeout_s: float
    ) -> dict[Place, list[Message]]:
        """Return the records from the first offset of each range to before its second.

        No range may end behind its partition's end. Raises `EdgeError`.
        """
        found: dict[Place, list[Message]] = {place: [] for place in ranges}
        rest = {place: span for place, span in ranges.items() if span[0] < span[1]}
        try:
            self._read(rest, found, time.monotonic() + timeout_s)
        except KafkaException as error:
            self.close()
            raise edge_error(error, self._doing) from error
        except EdgeError:
            self.close()
            raise
        return found

    @property
    def _doing(self) -> str:
        return f"reading slots of cluster {self._cluster.id}"

    def _read(
        self,
        rest: Mapping[Place, tuple[int, int]],
        found: dict[Place, list[Message]],
        deadline: float,
    ) -> None:
        if not rest:
            return
        if self._consumer is None:
            self._consumer = self._new_consumer()
        consumer = self._consumer
        consumer.assign([TopicPartition(*place, span[0]) for place, span in rest.items()])
        open_ = {place: span[1] for place, span in rest.items()}
        while open_:
            if time.monotonic() > deadline:
                raise EdgeError(f"{self._doing}: no answer in time", retryable=True)
            first = consumer.poll(_POLL_S)
            if first is None:
                continue
            for message in [first, *consumer.consume(_BATCH, 0)]:
                self._take(message, open_, found)
        consumer.unassign()

    def _take(
        self, message: Message, open_: dict[Place, int], found: dict[Place, list[Message]]
    ) -> None:
        place = Place(str(message.topic()), int(message.partition() or 0))
        end = open_.get(place)
        if end is None:
            return
        error = message.error()
        offset = message.offset() or 0
        if error is None:
            if offset < end:
                found[place].append(message)
            if offset >= end - 1:
                del open_[place]
        elif error.code() == KafkaError._PARTITION_EOF:
            if offset >= end:
                del open_[place]
        else:
            raise edge_error(error, self._doing)

    def _new_consumer(self) -> Consumer:
        settings = {
            # The next call assigns anew, which waits for what is left of an open fetch.
            "fetch.wait.max.ms": _FETCH_WAIT_MS,
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 8192,
            "max.partition.fetch.bytes": 262_144,
        }
        return new_consumer(self._cluster, self._client_id, settings)

    def close(self) -> None:
        """Let go of the consumer; the next read makes a new one."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


class SlotWriter:
    """Appends to many partitions. For one thread; making it does no IO.

    `log_time` is told the stamps of what is acknowledged.
    """

    def __init__(
        self,
        cluster: Cluster,
        client_id: str,
        *,
        timeout_s: float,
        log_time: LogTime | None = None,
    ) -> None:
        self._log_time = log_time
        self._cluster = cluster
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._producer: Producer | None = None
        self._touched: set[Place] = set()

    def append(self, records: Sequence[Outgoing]) -> None:
        """Append records, of each partition in order; return once all are acknowledged.

        Raises `OutcomeUnknown` when no answer came in time, `EdgeError` when one was refused.
        """
        for piece in _pieces(records):
            self._append(piece)

    def _append(self, records: Sequence[Outgoing]) -> None:
        places = {record.place for record in records}
        if len(self._touched | places) > _PARTITIONS_MAX:
            # A producer walks all partitions that it ever touched, at each turn.
            self.close()
        self._touched |= places
        producer = self._open()
        tally = _Tally(len(records), self._log_time)
        deadline = time.monotonic() + self._timeout_s
        try:
            for record in records:
                self._produce(producer, record, tally, deadline)
            while not tally.settled and time.monotonic() < deadline:
                producer.poll(_POLL_S)
        except KafkaException as error:
            self._drop()
            raise edge_error(error, self._doing) from error
        if tally.error is not None:
            self._drop()
            raise edge_error(tally.error, self._doing)
        if not tally.settled:
            self._drop()
            raise OutcomeUnknown(f"{self._doing}: no answer in {self._timeout_s:g} s")

    @property
    def _doing(self) -> str:
        return f"appending to slots of cluster {self._cluster.id}"

    def _produce(
        self, producer: Producer, record: Outgoing, tally: _Tally, deadline: float
    ) -> None:
        place, key, value = record
        while True:
            try:
                producer.produce(
                    place.topic, value, key, partition=place.partition, on_delivery=tally.take
                )
            except BufferError:
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(f"{self._doing}: the buffer stays full") from None
                producer.poll(_POLL_S)
            else:
                return

    def _open(self) -> Producer:
        if self._producer is None:
            settings = Appender.settings(self._timeout_s, _BUFFERED_MAX)
            self._producer = new_producer(self._cluster, self._client_id, settings)
        return self._producer

    def _drop(self) -> None:
        """Give up a producer whose state is in doubt; what it still holds is not sent later."""
        if self._producer is not None:
            self._producer.purge()
        self.close()

    def close(self) -> None:
        """Let go of the producer; the next call makes a new one."""
        self._producer = None
        self._touched = set()


class _Tally:
    """What became of the records of one call."""

    def __init__(self, count: int, log_time: LogTime | None) -> None:
        self._log_time = log_time
        self.error: KafkaError | None = None
        self._open = count

    @property
    def settled(self) -> bool:
        """Whether every record was answered, or one was refused."""
        return self._open == 0 or self.error is not None

    def take(self, error: KafkaError | None, message: Message) -> None:
        """Note one answer."""
        self._open -= 1
        if error is None and self._log_time is not None:
            self._log_time.note(message)
        self.error = self.error or error


def _pieces(records: Sequence[Outgoing]) -> Iterable[list[Outgoing]]:
    """Cut records into calls that touch no more partitions than one producer should."""
    by_place: defaultdict[Place, list[Outgoing]] = defaultdict(list)
    for record in records:
        by_place[record.place].append(record)
    piece: list[Outgoing] = []
    places = 0
    for run in by_place.values():
        piece += run
        places += 1
        if places >= _PARTITIONS_MAX or len(piece) >= _BUFFERED_MAX // 2:
            yield piece
            piece, places = [], 0
    if piece:
        yield piece
