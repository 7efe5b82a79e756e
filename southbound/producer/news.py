"""What one cluster's agents tell: their reports, and which hosts follow which VPC.

The rule: reports are read from an end that was noted before anything was watched, and not one is
passed over later: a trouble is retried from where the reading stood. Who follows a VPC is answered
from what stood in the interest topic at the moment of the question, whose end is asked through a
second client. A record that cannot be read is counted and passed over; it never stops the stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
from southbound.errors import EdgeError, WireError
from southbound.partitioning.hashing import spread
from southbound.partitioning.topology import INTEREST_TOPIC, STATUS_TOPIC, Cluster
from southbound.wire.reports import Report, decode_report, parse_interest_key

log = logging.getLogger(__name__)

_BATCH = 1_000
_POLL_S = 0.5
_FETCH_WAIT_MS = 100
_ASK_S = 2.0
_REACH_S = 5.0
_AGAIN_S = 0.2
_PROBE_S = 2.0
_MARGIN_MS = 60_000
_UNTRIED = "not connected yet"

Place = tuple[str, int]
"""A topic and a partition of it."""


class Question(NamedTuple):
    """Who follows a VPC here? `answer` gets the hosts, on a thread of the cluster's.

    `is_wanted` tells whether anybody still waits for it.
    """

    vpc: str
    answer: Callable[[frozenset[str]], None]
    is_wanted: Callable[[], bool]


@dataclass(slots=True)
class NewsCounters:
    """Totals. broken: records that could not be read. gaps: partitions whose next record was gone."""

    reports: int = 0
    broken: int = 0
    gaps: int = 0


class ClusterNews:
    """One cluster's, on two threads. `hear` gets each report in the order of its partition.

    Reports begin at their end; those of a cluster that joins late, or does not answer at first,
    where they ended a minute before this was made, since clocks differ.
    """

    def __init__(
        self,
        cluster: Cluster,
        client_id: str,
        hear: Callable[[Report], None],
        *,
        is_late: bool = False,
    ) -> None:
        self.counters = NewsCounters()
        self._cluster = cluster
        self._client_id = client_id
        self._hear = hear
        self._is_late = is_late
        self._since_ms = time.time_ns() // 1_000_000 - _MARGIN_MS
        self._turn = threading.Condition()
        self._positions: dict[Place, int] = {}
        self._followers: dict[str, set[str]] = {}
        self._questions: list[Question] = []
        self._trouble: str | None = _UNTRIED
        self._is_noted = False
        self._is_outdated = False
        self._is_closing = False
        self._threads = [
            threading.Thread(target=work, name=f"southbound-{noun}-{cluster.id}", daemon=True)
            for noun, work in (("reports", self._read), ("followers", self._answer))
        ]

    @property
    def trouble(self) -> str | None:
        """Why the cluster is not being followed at the moment, or None."""
        return self._trouble

    def start(self) -> None:
        """Start to follow; it connects in the background."""
        for thread in self._threads:
            thread.start()

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

    def ask(self, question: Question) -> None:
        """Have a question answered from what stands in the log now. Never waits."""
        with self._turn:
            self._questions.append(question)
            self._turn.notify_all()

    def close(self) -> None:
        """Stop. Questions that are open stay unanswered."""
        with self._turn:
            self._is_closing = True
            self._turn.notify_all()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join()

    # Reading.

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
                consumer.assign(self._places(consumer))
                self._note()
                self._follow(consumer)
            except EdgeError as error:
                self._worry(str(error))
            except KafkaException as error:
                self._worry(str(edge_error(error, self._doing)))
            finally:
                consumer.close()
            self._is_late = True
            self._rest()

    @property
    def _doing(self) -> str:
        return f"following the reports of cluster {self._cluster.id}"

    def _places(self, consumer: Consumer) -> list[TopicPartition]:
        """Return every partition and where to go on, the ends noted before the first poll."""
        with self._turn:
            self._is_outdated = False
        first = not self._is_noted
        wanted = [
            (topic, number)
            for topic in (STATUS_TOPIC, INTEREST_TOPIC)
            for number in range(self._partitions(consumer, topic))
        ]
        for place in wanted:
            if place not in self._positions:
                begin = self._beginning(consumer, place, at_end=first and place[0] == STATUS_TOPIC)
                with self._turn:
                    self._positions[place] = begin
        return [TopicPartition(*place, self._positions[place]) for place in wanted]

    def _partitions(self, consumer: Consumer, topic: str) -> int:
        try:
            metadata = consumer.list_topics(topic, timeout=_ASK_S)
        except KafkaException as error:
            raise edge_error(error, self._doing) from error
        trouble = metadata.topics[topic].error
        if trouble is not None:
            raise edge_error(trouble, self._doing)
        if self._cluster.kafka_id and metadata.cluster_id != self._cluster.kafka_id:
            raise EdgeError(
                f"{self._doing}: {metadata.cluster_id!r} answers where "
                f"{self._cluster.kafka_id!r} should be",
                retryable=True,
            )
        return len(metadata.topics[topic].partitions)

    def _beginning(self, consumer: Consumer, place: Place, *, at_end: bool) -> int:
        low, high = end_offsets(consumer, *place, timeout_s=_ASK_S)
        if not at_end:
            return low
        if not self._is_late:
            return high
        try:
            found = consumer.offsets_for_times(
                [TopicPartition(*place, self._since_ms)], timeout=_ASK_S
            )[0]
        except KafkaException as error:
            raise edge_error(error, self._doing) from error
        if found.error is not None:
            raise edge_error(found.error, self._doing)
        return found.offset if found.offset >= 0 else high

    def _note(self) -> None:
        with self._turn:
            self._is_noted = True
            self._trouble = None
            self._turn.notify_all()

    def _worry(self, trouble: str) -> None:
        with self._turn:
            # Said aloud once, when it begins: while it lasts, every attempt says something else.
            level = logging.WARNING if self._trouble in (None, _UNTRIED) else logging.DEBUG
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
        """Take a batch; reports are told without the lock, in their order."""
        reports: list[Report] = []
        with self._turn:
            for message in messages:
                error = message.error()
                place = (message.topic() or "", message.partition() or 0)
                if error is not None:
                    self._interrupted(error, place, message.offset())
                    continue
                self._trouble = None
                self._positions[place] = (message.offset() or 0) + 1
                try:
                    self._sort(message, place[0], reports)
                except WireError as broken:
                    self.counters.broken += 1
                    log.warning("%s/%d of %s: %s", *place, self._cluster.id, broken)
            self._turn.notify_all()
        for report in reports:
            self.counters.reports += 1
            self._hear(report)

    def _sort(self, message: Message, topic: str, reports: list[Report]) -> None:
        if topic == STATUS_TOPIC:
            reports.append(decode_report(message.value() or b""))
            return
        vpc, host = parse_interest_key(message.key() or b"")
        if message.value() is not None:
            self._followers.setdefault(vpc, set()).add(host)
            return
        hosts = self._followers.get(vpc, set())
        hosts.discard(host)
        if not hosts:
            self._followers.pop(vpc, None)

    def _interrupted(self, error: KafkaError, place: Place, offset: int | None) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._positions[place] = max(self._positions.get(place, 0), offset or 0)
            self._trouble = None
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            # Retention overtook the reading, or the topic is a new one: both go on at its beginning.
            self.counters.gaps += 1
            self._positions.pop(place, None)
            if place[0] == INTEREST_TOPIC:
                self._forget_followers(place[1])
            self._is_outdated = True
        else:
            self._worry(error.str())

    def _forget_followers(self, partition: int) -> None:
        count = self._cluster.interest_partitions
        self._followers = {
            vpc: hosts for vpc, hosts in self._followers.items() if spread(vpc, count) != partition
        }

    # Answering.

    def _answer(self) -> None:
        consumer: Consumer | None = None
        while (questions := self._next_questions()) is not None:
            if not questions and not (self._is_noted and self._trouble):
                continue
            if consumer is None:
                consumer = new_consumer(self._cluster, f"{self._client_id}-ends")
            try:
                self._serve(consumer, questions)
            except EdgeError as error:
                self._worry(str(error))
                consumer.close()
                consumer = None
                with self._turn:
                    self._questions[:0] = questions
                    self._turn.wait_for(lambda: self._is_closing, _AGAIN_S)
        if consumer is not None:
            consumer.close()

    def _next_questions(self) -> list[Question] | None:
        """Wait for questions, or for the time to see if a trouble is over; None at the end."""
        with self._turn:
            self._turn.wait_for(lambda: self._questions or self._is_closing, _PROBE_S)
            if self._is_closing:
                return None
            questions, self._questions = self._questions, []
        return [one for one in questions if one.is_wanted()]

    def _serve(self, consumer: Consumer, questions: Sequence[Question]) -> None:
        if not questions:
            end_offsets(consumer, STATUS_TOPIC, 0, timeout_s=_ASK_S)
            self._note()
            return
        count = self._cluster.interest_partitions
        if not self._reach(consumer, {spread(one.vpc, count) for one in questions}):
            return
        for one in questions:
            with self._turn:
                hosts = frozenset(self._followers.get(one.vpc, ()))
            one.answer(hosts)

    def _reach(self, consumer: Consumer, partitions: Iterable[int]) -> bool:
        """Wait until everything was read that stood in these partitions when this was called.

        Return False when this was closed before.
        """
        ends = {
            (INTEREST_TOPIC, number): end_offsets(
                consumer, INTEREST_TOPIC, number, timeout_s=_ASK_S
            )[1]
            for number in partitions
        }
        with self._turn:
            reached = self._turn.wait_for(
                lambda: (
                    self._is_closing
                    or all(self._positions.get(place, -1) >= end for place, end in ends.items())
                ),
                _REACH_S,
            )
        if not reached:
            raise EdgeError(
                f"{self._doing}: {INTEREST_TOPIC} was not read up to its end in {_REACH_S:g} s",
                retryable=True,
            )
        return not self._is_closing
