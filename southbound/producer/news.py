"""What one cluster's agents tell: their reports, and which hosts follow which VPC.

The rule: reports are read from an end that was noted before anything was watched, and not one is
passed over later. Who follows a VPC is answered from what stood in the interest topic at the moment
of the question. A record that cannot be read is counted and passed over; it never stops the stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from southbound.edge.bookmarks import Bookmark, Place
from southbound.edge.feed import ASK_S, UNTRIED, ClusterFeed
from southbound.edge.kafka import (
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
    edge_error,
    end_offsets,
)
from southbound.errors import EdgeError, WireError
from southbound.partitioning.hashing import spread
from southbound.partitioning.topology import INTEREST_TOPIC, STATUS_TOPIC, Cluster
from southbound.wire.reports import Report, decode_report, parse_interest_key

log = logging.getLogger(__name__)

_AGAIN_S = 0.2
_PROBE_S = 2.0
_MARGIN_MS = 60_000


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
        self._hear = hear
        self._is_late = is_late
        self._since_ms = time.time_ns() // 1_000_000 - _MARGIN_MS
        self._turn = threading.Condition()
        self._followers: dict[str, set[str]] = {}
        self._questions: list[Question] = []
        self._is_closing = False
        self._feed = ClusterFeed(cluster, client_id, (STATUS_TOPIC, INTEREST_TOPIC), self)
        self._thread = threading.Thread(
            target=self._answer, name=f"southbound-followers-{cluster.id}", daemon=True
        )

    @property
    def trouble(self) -> str | None:
        """Why the cluster is not being followed at the moment, or None."""
        return self._feed.trouble

    def start(self) -> None:
        """Start to follow; it connects in the background."""
        self._feed.start()
        self._thread.start()

    def wait_noted(self, timeout_s: float) -> bool:
        """Wait until it is settled where reading begins; return whether it is."""
        return self._feed.wait_noted(timeout_s)

    def change(self, cluster: Cluster) -> None:
        """Go on with other settings of the same cluster, such as more partitions."""
        self._feed.change(cluster)

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
        self._feed.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    # Reading: what the feed calls.

    def begin(self, consumer: Consumer, place: Place, kafka_id: str) -> Bookmark:
        """Return where to begin: interest at its beginning, reports at their end."""
        low, high = end_offsets(consumer, *place, timeout_s=ASK_S)
        if place[0] != STATUS_TOPIC or self._feed.is_noted:
            return Bookmark(low)
        # Only what was settled at the first attempt is an end from before anything was watched.
        if not self._is_late and self._feed.trouble == UNTRIED:
            return Bookmark(high)
        try:
            found = consumer.offsets_for_times(
                [TopicPartition(*place, self._since_ms)], timeout=ASK_S
            )[0]
        except KafkaException as error:
            raise edge_error(error, "looking for reports of a while ago") from error
        if found.error is not None:
            raise edge_error(found.error, "looking for reports of a while ago")
        return Bookmark(found.offset if found.offset >= 0 else high)

    def take(self, messages: Sequence[Message], positions: Mapping[Place, Bookmark]) -> None:
        """Take a batch; reports are told without the lock, in their order."""
        reports: list[Report] = []
        with self._turn:
            for message in messages:
                topic = message.topic() or ""
                try:
                    self._sort(message, topic, reports)
                except WireError as broken:
                    self.counters.broken += 1
                    log.warning("%s of %s: %s", topic, self._feed.cluster.id, broken)
        for report in reports:
            self.counters.reports += 1
            self._hear(report)

    def lost(self, place: Place) -> None:
        """Count a gap; who follows what is read anew."""
        self.counters.gaps += 1
        if place[0] == INTEREST_TOPIC:
            self._forget_followers(place[1])

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

    def _forget_followers(self, partition: int) -> None:
        count = self._feed.cluster.interest_partitions
        with self._turn:
            self._followers = {
                vpc: hosts
                for vpc, hosts in self._followers.items()
                if spread(vpc, count) != partition
            }

    # Answering.

    def _answer(self) -> None:
        while (questions := self._next_questions()) is not None:
            if not questions and not (self._feed.is_noted and self._feed.trouble):
                continue
            try:
                self._serve(questions)
            except EdgeError as error:
                log.debug("%s", error)
                with self._turn:
                    self._questions[:0] = questions
                    self._turn.wait_for(lambda: self._is_closing, _AGAIN_S)

    def _next_questions(self) -> list[Question] | None:
        """Wait for questions, or for the time to see if a trouble is over; None at the end."""
        with self._turn:
            self._turn.wait_for(lambda: self._questions or self._is_closing, _PROBE_S)
            if self._is_closing:
                return None
            questions, self._questions = self._questions, []
        return [one for one in questions if one.is_wanted()]

    def _serve(self, questions: Sequence[Question]) -> None:
        if not questions:
            self._feed.probe()
            return
        count = self._feed.cluster.interest_partitions
        if not self._feed.reach(INTEREST_TOPIC, {spread(one.vpc, count) for one in questions}):
            return
        for one in questions:
            with self._turn:
                hosts = frozenset(self._followers.get(one.vpc, ()))
            one.answer(hosts)
