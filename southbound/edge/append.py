"""Appending to one partition, and knowing at which offset each record landed.

The rule: a call returns when every record is acknowledged by all in-sync replicas, or raises. After
an error nobody knows which records are in the log, so what is appended must be safe to repeat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from southbound.edge.kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    Settings,
    edge_error,
    new_producer,
)
from southbound.edge.log_time import LogTime
from southbound.errors import EdgeError, OutcomeUnknown
from southbound.partitioning.topology import Cluster

_BUFFERED_MAX = 100_000
_POLL_S = 0.05
_TURN_S = 0.005


class Appender:
    """Appends to one partition of a topic, the first unless told. Thread-safe; no IO to make.

    `log_time` is told the stamps of what is acknowledged.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        client_id: str,
        *,
        timeout_s: float,
        partition: int = 0,
        log_time: LogTime | None = None,
    ) -> None:
        self._log_time = log_time
        self._cluster = cluster
        self._topic = topic
        self._partition = partition
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._serving = threading.Lock()
        self._producer: Producer | None = None

    def append(self, records: Sequence[tuple[bytes, bytes | None]]) -> list[int]:
        """Append (key, value) records in order; return their offsets once all are acknowledged.

        Raises `OutcomeUnknown` when no answer came in time, `EdgeError` when one was refused.
        """
        call = _Call(len(records), self._log_time)
        producer = self._open()
        deadline = time.monotonic() + self._timeout_s
        try:
            for place, (key, value) in enumerate(records):
                self._produce(producer, key, value, call.taker(place), deadline)
            while not call.settled and time.monotonic() < deadline:
                self._serve(producer, call)
        except KafkaException as error:
            self._drop(producer)
            raise edge_error(error, self._doing()) from error
        if call.error is not None:
            self._drop(producer)
            raise _failure(call.error, self._doing())
        if not call.settled:
            self._drop(producer)
            raise OutcomeUnknown(f"{self._doing()}: no answer in {self._timeout_s:g} s")
        return call.offsets

    def close(self) -> None:
        """Let go of the producer; the next call makes a new one."""
        with self._lock:
            self._producer = None

    def _produce(
        self,
        producer: Producer,
        key: bytes,
        value: bytes | None,
        taker: _Taker,
        deadline: float,
    ) -> None:
        while True:
            try:
                producer.produce(
                    self._topic, value, key, partition=self._partition, on_delivery=taker
                )
            except BufferError:
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(f"{self._doing()}: the buffer stays full") from None
                producer.poll(_POLL_S)
            else:
                return

    def _serve(self, producer: Producer, call: _Call) -> None:
        """Take answers for all callers, or wait while another thread does."""
        if self._serving.acquire(blocking=False):
            try:
                producer.poll(_POLL_S)
            finally:
                self._serving.release()
        else:
            call.done.wait(_TURN_S)

    def _doing(self) -> str:
        return f"appending to {self._topic} of cluster {self._cluster.id}"

    @staticmethod
    def settings(timeout_s: float, buffered_max: int) -> Settings:
        """Return the settings of producers whose every call waits for its answer."""
        return {
            "linger.ms": 1,
            # What is appended here may be there twice, and each call waits for its
            # answer; an idempotent producer's first record would wait half a second.
            "enable.idempotence": False,
            "queue.buffering.max.messages": buffered_max,
            "message.timeout.ms": int(timeout_s * 1000),
        }

    def _open(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = new_producer(
                    self._cluster, self._client_id, self.settings(self._timeout_s, _BUFFERED_MAX)
                )
            return self._producer

    def _drop(self, producer: Producer) -> None:
        """Give up a producer whose state is in doubt; what it still holds is not sent later."""
        producer.purge()
        with self._lock:
            if self._producer is producer:
                self._producer = None


class _Call:
    """What became of the records of one call."""

    def __init__(self, count: int, log_time: LogTime | None) -> None:
        self._log_time = log_time
        self.offsets = [-1] * count
        self.error: KafkaError | None = None
        self.done = threading.Event()
        self._open = count

    @property
    def settled(self) -> bool:
        """Whether every record was answered, or one was refused."""
        return self._open == 0 or self.error is not None

    def taker(self, place: int) -> _Taker:
        """Return what takes the answer for one record."""
        return _Taker(self, place)

    def take(self, place: int, error: KafkaError | None, message: Message) -> None:
        """Note one answer."""
        self._open -= 1
        self.offsets[place] = message.offset() or 0
        if error is None and self._log_time is not None:
            self._log_time.note(message)
        if error is not None and self.error is None:
            self.error = error
        if self.settled:
            self.done.set()


class _Taker:
    """Takes the delivery report of one record."""

    __slots__ = ("_call", "_place")

    def __init__(self, call: _Call, place: int) -> None:
        self._call = call
        self._place = place

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._call.take(self._place, error, message)


def _failure(error: KafkaError, doing: str) -> EdgeError:
    if error.code() in {KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_INFLIGHT}:
        return OutcomeUnknown(f"{doing}: {error.str()}")
    return edge_error(error, doing)
