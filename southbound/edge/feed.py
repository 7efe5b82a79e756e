"""Following whole topics of one cluster, from known positions, on a thread of its own.

The rule: a position moves on only after whoever takes the records has taken them, and not one record
is passed over: a trouble, the taker's too, is retried from where the reading stood. What is gone from
the log before it was read is told as a gap, never guessed. Ends are asked through a second client.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from southbound.edge.bookmarks import Bookmark, Place, bookmark_behind, go_on
from southbound.edge.kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    edge_error,
    end_offsets,
    new_consumer,
)
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

log = logging.getLogger(__name__)

ASK_S = 2.0
_BATCH = 1_000
_POLL_S = 0.5
_FETCH_WAIT_MS = 100
_REACH_S = 5.0
_AGAIN_S = 0.2
UNTRIED = "not connected yet"


class Taker(Protocol):
    """Whoever takes what a feed reads. All three are called on the feed's thread."""

    def begin(self, consumer: Consumer, place: Place, kafka_id: str) -> Bookmark:
        """Return where to begin. May ask Kafka. Raises `EdgeError` to be asked again."""
        ...

    def take(self, messages: Sequence[Message], positions: Mapping[Place, Bookmark]) -> None:
        """Take records, in the order of their partitions; `positions` is where reading stands then.

        Raises `EdgeError` to get them again.
        """
        ...

    def lost(self, place: Place) -> None:
        """Take note that records of a partition were gone before they were read, or after.

        Raises `EdgeError` to be told again.
        """
        ...


class ClusterFeed:
    """One cluster's topics. Making it does no IO."""

    def __init__(
        self, cluster: Cluster, client_id: str, topics: Sequence[str], taker: Taker
    ) -> None:
        self._cluster = cluster
        self._client_id = client_id
        self._topics = tuple(topics)
        self._taker = taker
        self._turn = threading.Condition()
        self._positions: dict[Place, Bookmark] = {}
        self._behind: set[Place] | None = None
        self._trouble: str | None = UNTRIED
        self._is_noted = False
        self._is_outdated = False
        self._is_closing = False
        self._asking = threading.Lock()
        self._asker: Consumer | None = None
        self._thread = threading.Thread(
            target=self._read, name=f"southbound-feed-{cluster.id}", daemon=True
        )

    @property
    def cluster(self) -> Cluster:
        """The cluster that is followed."""
        return self._cluster

    @property
    def trouble(self) -> str | None:
        """Why the cluster is not being followed at the moment, or None."""
        return self._trouble

    @property
    def is_noted(self) -> bool:
        """Whether it is settled where reading begins."""
        return self._is_noted

    @property
    def is_caught_up(self) -> bool:
        """Whether every partition has been read to its end at least once."""
        return self._behind is not None and not self._behind

    @property
    def is_alive(self) -> bool:
        """Whether its thread is at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start to follow; it connects in the background."""
        self._thread.start()

    def wait_noted(self, timeout_s: float) -> bool:
        """Wait until it is settled where reading begins; return whether it is."""
        with self._turn:
            return self._turn.wait_for(lambda: self._is_noted or self._is_closing, timeout_s)

    def change(self, cluster: Cluster) -> None:
        """Go on with other settings of the same cluster, such as more partitions."""
        with self._turn:
            if cluster != self._cluster:
                self._cluster = cluster
                self._is_outdated = True

    def close(self) -> None:
        """Stop, and wait for the thread to end."""
        with self._turn:
            self._is_closing = True
            self._turn.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        with self._asking:
            self._forget_asker()

    def reach(self, topic: str, partitions: Iterable[int]) -> bool:
        """Wait until everything was taken that stood in these partitions when this was called.

        Return False when this was closed before. For any thread but the feed's. Raises `EdgeError`.
        """
        places = [(topic, number) for number in partitions]
        ends = dict(zip(places, self._ends(places), strict=True))
        with self._turn:
            reached = self._turn.wait_for(
                lambda: (
                    self._is_closing
                    or all(
                        (mark := self._positions.get(place)) is not None and mark.next >= end
                        for place, end in ends.items()
                    )
                ),
                _REACH_S,
            )
        if not reached:
            trouble = f"{self._doing}: {topic} was not read up to its end in {_REACH_S:g} s"
            self._worry(trouble)
            raise EdgeError(trouble, retryable=True)
        return not self._is_closing

    def probe(self) -> None:
        """See whether the cluster answers, which ends a trouble. Raises `EdgeError`."""
        self._ends([(self._topics[0], 0)])
        self._note()

    def _ends(self, places: Sequence[Place]) -> list[int]:
        with self._asking:
            if self._is_closing:
                return [0 for _ in places]
            if self._asker is None:
                self._asker = new_consumer(self._cluster, f"{self._client_id}-ends")
            try:
                return [end_offsets(self._asker, *place, timeout_s=ASK_S)[1] for place in places]
            except EdgeError as error:
                self._worry(str(error))
                self._forget_asker()
                raise

    def _forget_asker(self) -> None:
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.close()

    # The thread.

    def _read(self) -> None:
        while not self._is_closing:
            consumer = new_consumer(
                self._cluster,
                self._client_id,
                {
                    # A new assignment is complete only when the first long poll, which may hold a
                    # part of it, has ended; one client for each cluster may poll often.
                    "fetch.wait.max.ms": _FETCH_WAIT_MS,
                    "enable.partition.eof": True,
                    "queued.max.messages.kbytes": 16_384,
                    "error_cb": lambda error: self._worry(error.str()),  # type: ignore[dict-item]
                },
            )
            try:
                go_on(consumer, self._places(consumer))
                self._note()
                self._follow(consumer)
            except EdgeError as error:
                self._worry(str(error))
            except KafkaException as error:
                self._worry(str(edge_error(error, self._doing)))
            finally:
                consumer.close()
            self._rest()

    @property
    def _doing(self) -> str:
        return f"following cluster {self._cluster.id}"

    def _places(self, consumer: Consumer) -> dict[Place, Bookmark]:
        """Return every partition and where to go on, settled before the first poll."""
        with self._turn:
            self._is_outdated = False
        wanted = [
            (place, kafka_id)
            for topic in self._topics
            for place, kafka_id in self._partitions(consumer, topic)
        ]
        for place, kafka_id in wanted:
            if place not in self._positions:
                begin = self._taker.begin(consumer, place, kafka_id)
                with self._turn:
                    self._positions[place] = begin
        if self._behind is None:
            self._behind = {place for place, _ in wanted}
        return {place: self._positions[place] for place, _ in wanted}

    def _partitions(self, consumer: Consumer, topic: str) -> list[tuple[Place, str]]:
        try:
            metadata = consumer.list_topics(topic, timeout=ASK_S)
        except KafkaException as error:
            raise edge_error(error, self._doing) from error
        trouble = metadata.topics[topic].error
        if trouble is not None:
            raise edge_error(trouble, self._doing)
        found = str(metadata.cluster_id or "")
        if self._cluster.kafka_id and found != self._cluster.kafka_id:
            raise EdgeError(
                f"{self._doing}: {found!r} answers where {self._cluster.kafka_id!r} should be",
                retryable=True,
            )
        return [
            ((topic, number), found) for number in range(len(metadata.topics[topic].partitions))
        ]

    def _note(self) -> None:
        with self._turn:
            self._is_noted = True
            self._trouble = None
            self._turn.notify_all()

    def _worry(self, trouble: str) -> None:
        with self._turn:
            # Said aloud once, when it begins: while it lasts, every attempt says something else.
            level = logging.WARNING if self._trouble in (None, UNTRIED) else logging.DEBUG
            log.log(level, "cluster %s: %s", self._cluster.id, trouble)
            self._trouble = trouble
            self._turn.notify_all()

    def _rest(self) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._is_closing, _AGAIN_S if self._trouble else 0)

    def _follow(self, consumer: Consumer) -> None:
        while not self._is_closing and not self._is_outdated:
            first = consumer.poll(_POLL_S)
            if first is not None:
                self._take([first, *consumer.consume(_BATCH - 1, 0)])

    def _take(self, messages: Sequence[Message]) -> None:
        """Hand a batch on, then move on; what the taker refuses is read again."""
        good: list[Message] = []
        moved: dict[Place, Bookmark] = {}
        ended: list[Place] = []
        lost: list[Place] = []
        for message in messages:
            error = message.error()
            place = (message.topic() or "", message.partition() or 0)
            if error is None:
                good.append(message)
                moved[place] = bookmark_behind(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                stood = moved.get(place) or self._positions.get(place) or Bookmark(0)
                moved[place] = stood.reaching(message.offset() or 0)
                ended.append(place)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                lost.append(place)
            else:
                self._worry(error.str())
        if good:
            self._taker.take(good, moved)
        with self._turn:
            if moved:
                self._trouble = None
            self._positions.update(moved)
            if self._behind:
                self._behind.difference_update(ended)
            self._turn.notify_all()
        for place in lost:
            self._lose(place)

    def _lose(self, place: Place) -> None:
        """Begin a partition anew, once what was read of it before has been taken.

        Retention overtook the reading, the log lost its end, or the topic is a new one: all go on at
        its beginning.
        """
        log.warning(
            "cluster %s: %s/%d has lost records; it is read from its beginning",
            self._cluster.id, *place,
        )  # fmt: skip
        with self._turn:
            stood = self._positions.pop(place, None)
        try:
            self._taker.lost(place)
        except EdgeError:
            # Nobody has taken note: going on from where it stood finds it once more.
            if stood is not None:
                with self._turn:
                    self._positions[place] = stood
            raise
        self._is_outdated = True
