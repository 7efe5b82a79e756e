"""How far a log was read, said so that its leader can tell whether that is still there.

The rule: an offset alone does not tell a log from one whose end was lost and that has grown again
beyond it: reading on would pass over the new records before the offset. The leader's epoch of the
record read directly before it tells them apart: brokers know how far each epoch's records reach, and
an end below the offset comes as an offset out of range. Where no record was read directly before (an
end of partition behind removed records, a beginning), the epoch is not known and nothing is checked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from southbound.edge.kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
    edge_error,
)

NO_EPOCH = -1
_START_S = 10.0
_AGAIN_S = 0.001

Place = tuple[str, int]
"""A topic and a partition of it."""


class Bookmark(NamedTuple):
    """The offset that is read next, and the leader's epoch of the record directly before it."""

    next: int
    leader_epoch: int = NO_EPOCH

    def reaching(self, offset: int) -> Bookmark:
        """Return the mark of whoever found no record before an offset: it never goes back."""
        return self if offset <= self.next else Bookmark(offset)

    def of(self, topic: str, partition: int) -> TopicPartition:
        """Return what a consumer is assigned to go on here."""
        return TopicPartition(topic, partition, self.next, leader_epoch=self.leader_epoch)


def go_on(consumer: Consumer, marks: Mapping[Place, Bookmark]) -> None:
    """Assign a consumer to these partitions, from these marks; each that has an epoch is checked.

    A log that has lost what lies before a mark comes as `_AUTO_OFFSET_RESET`, not as records. An
    assignment alone is checked only when the client does not know the partition's leader yet
    (librdkafka's `rd_kafka_toppar_leader_update`); a seek always is. Raises `EdgeError`.
    """
    consumer.assign([mark.of(*place) for place, mark in marks.items()])
    for place, mark in marks.items():
        if mark.leader_epoch != NO_EPOCH:
            seek(consumer, mark.of(*place))


def seek(consumer: Consumer, place: TopicPartition) -> None:
    """Have an assigned partition checked, and read from there. Raises `EdgeError`."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            consumer.seek(place)
        except KafkaException as error:
            # An assignment takes effect on a thread of the client's.
            if error.args[0].code() != KafkaError._STATE or time.monotonic() > deadline:
                raise edge_error(error, f"going on in {place.topic}/{place.partition}") from error
            time.sleep(_AGAIN_S)
        else:
            return


def bookmark_behind(message: Message) -> Bookmark:
    """Return the mark directly behind a record."""
    epoch = message.leader_epoch()
    return Bookmark((message.offset() or 0) + 1, NO_EPOCH if epoch is None else epoch)
