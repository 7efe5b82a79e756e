"""Membership in the consumer group of a public kind, and reading as its member.

The rule: partitions come and go only inside the group's callbacks, which run on the thread that
reads; what the callback for going does is done before the group gives the partition to another.
Nothing is committed: each partition is read from its beginning by whoever gets it.

Round-robin assignment: the partitions of one topic then alternate between the workers, and since
the directory fills partitions evenly from the lowest number on, two workers hold as many resources
but for one (docs/decisions/0010-public-resources.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

import msgspec

from southbound.edge.kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
    edge_error,
    new_consumer,
)
from southbound.nca.events import Record
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Cluster, PublicKind, public_topic_name
from southbound.settings import WorkerSettings

log = logging.getLogger(__name__)

_OFFSET_END = -1
_METADATA_REFRESH_MS = 30_000


class Member(Protocol):
    """Who takes partitions over and gives them back."""

    def assigned(self, partitions: list[int]) -> None:
        """Take partitions over."""

    def revoked(self, partitions: list[int], *, lost: bool) -> None:
        """Give partitions back before this returns; `lost`: another has them already."""


class Haul(msgspec.Struct):
    """What one reading brought.

    `reached` maps partitions to offsets that no record tells. `must_rejoin` says why this
    membership cannot go on; `troubles` are other errors, as text.
    """

    records: list[Record] = []
    reached: dict[int, int] = {}
    must_rejoin: str = ""
    troubles: list[str] = []


class Group:
    """One worker's membership. All methods belong to one thread, as do the member's callbacks."""

    def __init__(
        self,
        cluster: Cluster,
        public: PublicKind,
        client_id: str,
        settings: WorkerSettings,
        member: Member,
    ) -> None:
        self._cluster = cluster
        self._topic = public_topic_name(public.kind)
        self._client_id = client_id
        self._settings = settings
        self._member = member
        self._consumer: Consumer | None = None
        self._addresses: dict[int, Address] = {}

    def join(self) -> None:
        """Ask for a share of the partitions. Raises `EdgeError` for settings Kafka cannot use."""
        assert self._consumer is None, "joined twice"
        settings = self._settings
        overrides: dict[str, str | int | float | bool] = {
            "group.id": self._topic,
            "partition.assignment.strategy": "roundrobin",
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.heartbeat_ms,
            "max.poll.interval.ms": max(settings.poll_max_ms, settings.session_timeout_ms),
            "fetch.wait.max.ms": settings.fetch_wait_ms,
            "topic.metadata.refresh.interval.ms": _METADATA_REFRESH_MS,
            # Tells the end of a partition whose last records compaction has taken away.
            "enable.partition.eof": True,
        }
        self._consumer = self._new_consumer(overrides)
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def leave(self) -> None:
        """Give everything back, then leave: the others need not wait for a timeout."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            consumer.close()

    def read(self, timeout_s: float) -> Haul:
        """Wait up to `timeout_s` for a record, then take what else is there, up to a batch."""
        assert self._consumer is not None, "read before join"
        haul = Haul()
        first = self._consumer.poll(timeout_s)
        if first is not None:
            self._take(haul, [first])
            self._take(haul, self._consumer.consume(self._settings.batch_records - 1, 0))
        return haul

    def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return how far reading is in partitions, where that is known without a record."""
        assert self._consumer is not None, "positions before join"
        asked = [TopicPartition(self._topic, number) for number in partitions]
        found = self._consumer.position(asked) if asked else []
        return {tp.partition: tp.offset for tp in found if tp.offset > 0}

    def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Ask the broker for the ends of partitions: the offsets that come next there.

        Asked through a client of its own, which no long poll holds up. Those that did not answer
        are left out. Raises `EdgeError` when none can.
        """
        asked = [TopicPartition(self._topic, number, _OFFSET_END) for number in partitions]
        consumer = self._new_consumer({})
        try:
            found = consumer.offsets_for_times(asked, timeout=self._settings.mark_timeout_s)
        except KafkaException as error:
            raise edge_error(error, f"asking for the ends of {self._topic}") from error
        finally:
            consumer.close()
        return {tp.partition: tp.offset for tp in found if tp.error is None}

    def _new_consumer(self, overrides: dict[str, str | int | float | bool]) -> Consumer:
        try:
            return new_consumer(self._cluster, self._client_id, overrides)
        except KafkaException as error:
            raise edge_error(error, f"making a consumer for cluster {self._cluster.id}") from error

    # The group's callbacks.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            number = partition.partition
            self._addresses[number] = Address(self._cluster.id, self._topic, number)
            partition.offset = OFFSET_BEGINNING
        self._member.assigned([partition.partition for partition in partitions])
        consumer.assign(partitions)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._member.revoked([partition.partition for partition in partitions], lost=False)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._member.revoked([partition.partition for partition in partitions], lost=True)

    # Messages.

    def _take(self, haul: Haul, messages: Iterable[Message]) -> None:
        for message in messages:
            number, offset, error = message.partition(), message.offset(), message.error()
            if error is not None:
                self._take_error(haul, error, number, offset)
            elif number is not None and offset is not None:
                address = self._addresses[number]
                haul.records.append(Record(address, offset, message.key(), message.value()))

    def _take_error(
        self, haul: Haul, error: KafkaError, number: int | None, offset: int | None
    ) -> None:
        if error.code() == KafkaError._PARTITION_EOF and number is not None and offset is not None:
            haul.reached[number] = max(haul.reached.get(number, 0), offset)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            haul.must_rejoin = f"{self._topic}/{number} has no longer the position that was read"
        elif error.fatal():
            haul.must_rejoin = f"reading {self._topic}: {error.str()}"
        else:
            haul.troubles.append(f"reading {self._topic}: {error.str()}")
