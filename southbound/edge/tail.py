"""Reading one partition: up to an end that is known, or following it for ever.

The rule: an end is asked for through another client than the one that reads, since an open long
poll would delay the answer by its rest; and reading ends by the offset, not by silence. Where
compaction has thinned the very end, the end-of-partition event closes the gap, one fetch wait late.
A log that has become shorter, that was made anew under its name, or that belongs to another Kafka
cluster, is an error that stays: it means that what was read before cannot be trusted to be there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from southbound.edge.bookmarks import NO_EPOCH, Bookmark, Place, bookmark_behind, go_on
from southbound.edge.identity import TopicIds
from southbound.edge.kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    edge_error,
    end_offsets,
    new_consumer,
)
from southbound.errors import Closed, EdgeError
from southbound.partitioning.topology import Cluster

log = logging.getLogger(__name__)

_BATCH = 1_000
_POLL_S = 0.5
_FOLLOW_S = 0.1
"""How long a tail listens before it sees that it was closed."""
_ASK_S = 2.0
_AGAIN_S = 0.05
_FETCH_WAIT_MS = 500
_IDENTITY_S = 30.0
_SAME_LOG_S = 5.0
"""How long a log that does not grow is taken for the one that it was."""


class ForeignLog(EdgeError):
    """The log is not the one that was read before, so nothing read from it can be trusted."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


def check_same_cluster(cluster: str, known: str, found: str) -> None:
    """Raise `ForeignLog` when another Kafka cluster answers than the one known, if one is."""
    if known and found != known:
        raise ForeignLog(
            f"cluster {cluster} is another Kafka cluster than before: "
            f"{found!r} answers where {known!r} was"
        )


class EndAsker:
    """Asks for the end of one partition, the first unless told, and if its cluster is the same.

    Thread-safe; making it does no IO. `kafka_id` of the cluster, where given, must be the brokers';
    else the first id seen is the one that stays.
    """

    def __init__(self, cluster: Cluster, topic: str, client_id: str, *, partition: int = 0) -> None:
        self._cluster = cluster
        self._topic = topic
        self._partition = partition
        self._client_id = client_id
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._kafka_id = cluster.kafka_id
        self._identified_at: float | None = None

    @property
    def _doing(self) -> str:
        return f"asking for the end of {self._topic} of cluster {self._cluster.id}"

    def suspect(self) -> None:
        """Check the cluster's id at the next question, whatever its age."""
        self._identified_at = None

    def kafka_id(self, timeout_s: float) -> str:
        """Return the Kafka cluster's id. Raises `EdgeError`, not retryable when it has changed."""
        with self._lock:
            self._identify(timeout_s)
        return self._kafka_id

    def end(self, timeout_s: float) -> int:
        """Return the offset that the next record will get. Raises `EdgeError`."""
        return self.bounds(timeout_s)[1]

    def bounds(self, timeout_s: float) -> tuple[int, int]:
        """Return the first offset that can be read, and the end. Raises `EdgeError`."""
        with self._lock:
            deadline = time.monotonic() + timeout_s
            if not self._identified_at or time.monotonic() - self._identified_at > _IDENTITY_S:
                self._identify(timeout_s)
            rest_s = max(0.01, deadline - time.monotonic())
            try:
                return end_offsets(self._open(), self._topic, self._partition, timeout_s=rest_s)
            except EdgeError:
                self._identified_at = None
                raise

    def close(self) -> None:
        """Let go of the client; the next call makes a new one."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
            self._identified_at = None
        if consumer is not None:
            consumer.close()

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = new_consumer(self._cluster, f"{self._client_id}-ends")
        return self._consumer

    def _identify(self, timeout_s: float) -> None:
        try:
            metadata = self._open().list_topics(self._topic, timeout=timeout_s)
        except KafkaException as error:
            raise edge_error(error, self._doing) from error
        trouble = metadata.topics[self._topic].error
        if trouble is not None:
            raise edge_error(trouble, self._doing)
        found = str(metadata.cluster_id or "")
        check_same_cluster(self._cluster.id, self._kafka_id, found)
        self._kafka_id = found
        self._identified_at = time.monotonic()


def _assigned(
    cluster: Cluster, place: Place, mark: Bookmark, client_id: str, suspect: Callable[[], None]
) -> Consumer:
    consumer = new_consumer(
        cluster,
        client_id,
        {
            "fetch.wait.max.ms": _FETCH_WAIT_MS,
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 8192,
            # Brokers that went away may come back as somebody else.
            "error_cb": lambda _error: suspect(),  # type: ignore[dict-item]
        },
    )
    go_on(consumer, {place: mark})
    return consumer


def _truncated(topic: str, cluster: Cluster, found: str) -> ForeignLog:
    return ForeignLog(
        f"{topic} of cluster {cluster.id} has lost what was read from it ({found}): "
        "it was truncated, or made anew"
    )


class LogWatch:
    """Sees to it that a topic is still the one that was first seen. Thread-safe; making it does no IO."""

    def __init__(self, cluster: Cluster, topic: str, client_id: str) -> None:
        self._cluster = cluster
        self._topic = topic
        self._asker = TopicIds(cluster, client_id)
        self._lock = threading.Lock()
        self._id: str | None = None
        self._asked_at: float | None = None

    def check(self, timeout_s: float, *, within_s: float = 0.0) -> None:
        """Ask for the topic's id, unless it was asked for `within_s` ago.

        Raises `ForeignLog` when it is another topic of that name; `EdgeError` when nobody can tell.
        """
        with self._lock:
            asked_at = self._asked_at
            if asked_at is None or time.monotonic() - asked_at >= within_s:
                self._check(timeout_s)

    def close(self) -> None:
        """Let go of the client."""
        with self._lock:
            self._asker.close()

    def _check(self, timeout_s: float) -> None:
        at = time.monotonic()
        found = self._asker.ask([self._topic], timeout_s).get(self._topic)
        where = f"{self._topic} of cluster {self._cluster.id}"
        if found is None and self._id is not None:
            raise EdgeError(f"{where} is not there", retryable=True)
        if self._id is not None and found != self._id:
            raise ForeignLog(f"{where} is another topic than what was read: it was made anew")
        self._id, self._asked_at = found, at


class RangeReader:
    """Reads parts of one partition, the first unless told, whose ends are known.

    For one thread at a time. It stays assigned between reads, so that the next part is on its way before it is asked for;
    `close` when no further part is expected soon. What goes on where a read began or ended finds out
    whether the log has lost what was read before, also after `close`.
    """

    def __init__(self, cluster: Cluster, topic: str, client_id: str, *, partition: int = 0) -> None:
        self._cluster = cluster
        self._topic = topic
        self._partition = partition
        self._client_id = client_id
        self._consumer: Consumer | None = None
        self._from = self._mark = Bookmark(-1)
        self._ahead: list[Message] = []

    def bookmark_at(self, offset: int) -> Bookmark:
        """Return the mark at an offset; it has an epoch where the last read began or ended there."""
        marks = (self._mark, self._from)
        return next((mark for mark in marks if mark.next == offset), Bookmark(offset))

    def read(
        self, start: int, end: int, timeout_s: float, *, leader_epoch: int = NO_EPOCH
    ) -> list[Message]:
        """Return the records whose offsets are at least `start` and below `end`.

        `end` must not lie behind the log's end. `leader_epoch`: of the record directly before
        `start`, where that was read by an earlier process. Raises `EdgeError`; `ForeignLog` when the
        log has lost that record.
        """
        deadline = time.monotonic() + timeout_s
        consumer = self._at(Bookmark(start, leader_epoch))
        found: list[Message] = []
        self._sort(self._ahead, end, found)
        while self._mark.next < end:
            if time.monotonic() > deadline:
                raise EdgeError(f"{self._doing}: no answer in {timeout_s:g} s", retryable=True)
            first = consumer.poll(_POLL_S)
            if first is None:
                continue
            self._sort([first, *consumer.consume(_BATCH, 0)], end, found)
        return found

    def close(self) -> None:
        """Let go of the consumer; the next read makes a new one."""
        consumer, self._consumer = self._consumer, None
        self._ahead = []
        if consumer is not None:
            consumer.close()

    @property
    def _doing(self) -> str:
        return f"reading {self._topic} of cluster {self._cluster.id}"

    def _at(self, told: Bookmark) -> Consumer:
        """Return a consumer whose next record is the first at or after a mark."""
        is_there = self._consumer is not None and self._mark.next == told.next
        # A read that failed half-way goes on where it began.
        self._from = self._mark = told if told.leader_epoch >= 0 else self.bookmark_at(told.next)
        if self._consumer is None or not is_there:
            self.close()
            place = (self._topic, self._partition)
            self._consumer = _assigned(
                self._cluster, place, self._mark, self._client_id, lambda: None
            )
        return self._consumer

    def _sort(self, messages: list[Message], end: int, found: list[Message]) -> None:
        """Take what lies before `end`, keep the rest for the next read."""
        ahead: list[Message] = []
        for message in messages:
            error = message.error()
            offset = message.offset() or 0
            if error is not None:
                self._trouble(error, offset)
            elif offset < end:
                found.append(message)
                self._mark = bookmark_behind(message)
            else:
                ahead.append(message)
        if ahead:
            self._mark = self._mark.reaching(end)
        self._ahead = ahead

    def _trouble(self, error: KafkaError, offset: int) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._mark = self._mark.reaching(offset)
            return
        self.close()
        if code == KafkaError._AUTO_OFFSET_RESET:
            raise _truncated(self._topic, self._cluster, error.str())
        raise edge_error(error, self._doing)


class PartitionTail:
    """Follows a one-partition topic from its beginning, on a thread of its own.

    `take` gets each record in order, on that thread; it must not raise. `look` is for any thread.
    """

    def __init__(
        self, cluster: Cluster, topic: str, client_id: str, take: Callable[[Message], None]
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._client_id = client_id
        self._take = take
        self._asker = EndAsker(cluster, topic, client_id)
        self._watch = LogWatch(cluster, topic, client_id)
        self._ends = SharedAnswer(self._known_end)
        self._moved = threading.Condition()
        self._position = 0
        self._failure: EdgeError | None = None
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def position(self) -> int:
        """The offset up to which everything was taken."""
        return self._position

    def start(self) -> None:
        """Start following, once. It connects in the background."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"southbound-tail-{self._cluster.id}", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop following. Whoever waits in `look` gets `Closed`."""
        with self._moved:
            self._closing = True
            self._moved.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._asker.close()
        self._watch.close()

    def look(self, timeout_s: float) -> None:
        """Return when everything that was in the log at the time of this call has been taken.

        Calls of many threads share one question. Raises `EdgeError`, retryable when no answer came
        in time; `Closed`.
        """
        deadline = time.monotonic() + timeout_s
        before = self._position
        end = self._end(deadline)
        if end < before:
            self._fail(_truncated(self._topic, self._cluster, f"{end} after {before}"))
        with self._moved:
            self._moved.wait_for(
                lambda: self._position >= end or self._failure is not None or self._closing,
                max(0.0, deadline - time.monotonic()),
            )
            self._check()
            if self._position < end:
                raise EdgeError(
                    f"following {self._topic} of cluster {self._cluster.id}: "
                    f"not at offset {end} within {timeout_s:g} s (at {self._position})",
                    retryable=True,
                )

    def _check(self) -> None:
        if self._closing:
            raise Closed(f"the tail of {self._topic} of cluster {self._cluster.id} is closed")
        if self._failure is not None:
            raise EdgeError(str(self._failure), retryable=False) from self._failure

    def _end(self, deadline: float) -> int:
        while True:
            with self._moved:
                self._check()
            try:
                return self._ends.get(min(_ASK_S, max(0.01, deadline - time.monotonic())))
            except ForeignLog as error:
                self._fail(error)
                raise
            except EdgeError:
                if time.monotonic() + _AGAIN_S >= deadline:
                    raise
            with self._moved:
                self._moved.wait_for(lambda: self._closing, _AGAIN_S)

    def _known_end(self, timeout_s: float) -> int:
        """Ask for the end, and then whether it is that of the log that is read.

        A log made anew may have grown past the position: then nothing else would tell.
        """
        deadline = time.monotonic() + timeout_s
        before = self._position
        end = self._asker.end(timeout_s)
        rest_s = max(0.1, deadline - time.monotonic())
        self._watch.check(rest_s, within_s=_SAME_LOG_S if end == before else 0.0)
        return end

    def _fail(self, error: EdgeError) -> None:
        with self._moved:
            self._failure = self._failure or error
            self._moved.notify_all()

    def _run(self) -> None:
        start = self._beginning()
        if start is None:
            return
        consumer = _assigned(
            self._cluster, (self._topic, 0), Bookmark(start), self._client_id, self._asker.suspect
        )
        try:
            while not self._closing and self._failure is None:
                first = consumer.poll(_FOLLOW_S)
                if first is not None:
                    self._follow([first, *consumer.consume(_BATCH, 0)])
        except KafkaException as error:
            self._fail(edge_error(error, f"following {self._topic} of cluster {self._cluster.id}"))
        finally:
            consumer.close()

    def _beginning(self) -> int | None:
        """Return the offset to begin at, once the cluster answers; None when there is no going on.

        A consumer told to find it out by itself begins half a second later.
        """
        while not self._closing and self._failure is None:
            try:
                self._watch.check(_ASK_S)
                return self._asker.bounds(_ASK_S)[0]
            except ForeignLog as error:
                self._fail(error)
            except EdgeError as error:
                log.info("%s", error)
            with self._moved:
                self._moved.wait_for(lambda: self._closing, _AGAIN_S)
        return None

    def _follow(self, messages: list[Message]) -> None:
        position = self._position
        for message in messages:
            error = message.error()
            if error is None:
                self._take(message)
                position = (message.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                position = max(position, message.offset() or 0)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._fail(_truncated(self._topic, self._cluster, error.str()))
            else:
                # The client goes on by itself; who looks meanwhile is told by the missing answer.
                log.warning("following %s of %s: %s", self._topic, self._cluster.id, error.str())
        with self._moved:
            self._position = position
            self._moved.notify_all()


class SharedAnswer:
    """One question at a time, for all who asked before it was put.

    An answer serves only those who asked before its question left: what they wrote before asking is
    then behind the answer.
    """

    def __init__(self, ask: Callable[[float], int]) -> None:
        self._ask = ask
        self._turn = threading.Condition()
        self._started = 0
        self._done = 0
        self._asking = False
        self._answer: int | EdgeError = 0
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many threads wait for another's question."""
        return self._waiting

    def get(self, timeout_s: float) -> int:
        """Return the answer to a question that left after this call began. Raises `EdgeError`."""
        deadline = time.monotonic() + timeout_s
        with self._turn:
            ticket = self._started + 1
            while self._done < ticket:
                if not self._asking:
                    self._asking = True
                    self._started += 1
                    break
                self._wait(deadline, timeout_s)
            else:
                return self._given()
        return self._put(timeout_s)

    def _wait(self, deadline: float, timeout_s: float) -> None:
        self._waiting += 1
        try:
            if not self._turn.wait(max(0.0, deadline - time.monotonic())):
                raise EdgeError(f"no answer in {timeout_s:g} s", retryable=True)
        finally:
            self._waiting -= 1

    def _put(self, timeout_s: float) -> int:
        answer: int | EdgeError = EdgeError("the question was not put", retryable=True)
        try:
            answer = self._ask(timeout_s)
        except EdgeError as error:
            answer = error
        finally:
            with self._turn:
                self._answer = answer
                self._done = self._started
                self._asking = False
                self._turn.notify_all()
        if isinstance(answer, EdgeError):
            raise answer
        return answer

    def _given(self) -> int:
        if isinstance(self._answer, ForeignLog):
            raise ForeignLog(str(self._answer)) from self._answer
        if isinstance(self._answer, EdgeError):
            # Each thread raises an error of its own: a shared one would collect their tracebacks.
            raise EdgeError(str(self._answer), retryable=self._answer.retryable) from self._answer
        return self._answer
