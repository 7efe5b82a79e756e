"""Kafka producers, and the threads that take their delivery reports.

The rule: a producer's reports are taken by one thread at a time, so whoever counts them needs no
lock. A stream of single changes wants its answers at once: each of its producers has a thread that
blocks. Bulk work wants few wake-ups: all of its producers share one thread that goes round, and that
stands still while records are handed over. Whoever hands over takes the reports in between: for
each single report the interpreter's lock is given and taken, and two threads that wrestle for it
spend more on that than on the records.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from southbound.edge.kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    edge_error,
    new_producer,
)
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster
from southbound.settings import PublisherSettings

Report = Callable[[KafkaError | None, Message], None]

_POLL_S = 0.2
_ROUND_S = 0.01
_FULL_WAIT_S = 0.002


class Outlet:
    """One producer. `number` tells the outlets of a process apart.

    `turn`: whoever has it takes the reports; None where a thread of its own does.
    """

    def __init__(self, producer: Producer, number: int, turn: threading.Lock | None) -> None:
        self.producer = producer
        self.number = number
        self._turn = turn

    def produce(
        self, topic: str, value: bytes, key: bytes, partition: int, report: Report
    ) -> EdgeError | None:
        """Hand over one record; waits while the buffer is full. Return why it was not taken."""
        while True:
            try:
                self.producer.produce(topic, value, key, partition, report)
            except BufferError:
                self.serve()
                time.sleep(_FULL_WAIT_S)
            except KafkaException as error:
                return edge_error(error, f"sending to {topic}")
            else:
                return None

    def serve(self) -> None:
        """Take the reports that are there, unless another thread does."""
        if self._turn is not None and self._turn.acquire(blocking=False):
            try:
                self.producer.poll(0)
            finally:
                self._turn.release()

    def drain(self, timeout_s: float) -> None:
        """Send what is queued, for as long as given; then give up the rest as unknown."""
        if self.producer.flush(timeout_s):
            self.producer.purge()
            self.producer.flush(1.0)


class Outlets:
    """The outlets of one kind, single or bulk, of all clusters. Thread-safe."""

    def __init__(self, settings: PublisherSettings, *, bulk: bool) -> None:
        self._settings = settings
        self._bulk = bulk
        self._lock = threading.Lock()
        self._outlets: dict[tuple[str, int], Outlet] = {}
        self._threads: list[threading.Thread] = []
        self._turn = threading.Lock()
        self._sending = 0
        self._sent = threading.Event()
        self._closing = False

    def get(self, cluster: Cluster, place: int) -> Outlet:
        """Return an outlet of a cluster; it is opened at its first mention."""
        with self._lock:
            outlet = self._outlets.get((cluster.id, place))
            if outlet is None:
                outlet = self._open(cluster, place)
                self._outlets[cluster.id, place] = outlet
            return outlet

    @contextmanager
    def handing_over(self) -> Iterator[None]:
        """Hand over records in this block, and take reports with `Outlet.serve` now and then."""
        with self._lock:
            self._sending += 1
        try:
            yield
        finally:
            with self._lock:
                self._sending -= 1

    def serve(self) -> None:
        """Take the reports of all, unless another thread does."""
        for outlet in tuple(self._outlets.values()):
            outlet.serve()

    def sent(self) -> None:
        """Say that records were handed over, whose reports will come."""
        if not self._sent.is_set():
            self._sent.set()

    def close(self, timeout_s: float) -> None:
        """Send what is queued, for as long as given; the rest is unknown then."""
        deadline = time.monotonic() + timeout_s
        self._closing = True
        self._sent.set()
        with self._lock:
            outlets, threads = list(self._outlets.values()), self._threads
        for thread in threads:
            thread.join()
        for outlet in outlets:
            outlet.drain(max(0.1, deadline - time.monotonic()))

    def _open(self, cluster: Cluster, place: int) -> Outlet:
        settings = self._settings
        name = f"{settings.client_id}-{'bulk' if self._bulk else 'single'}-{cluster.id}-{place}"
        producer = new_producer(
            cluster,
            name,
            {
                "linger.ms": settings.bulk_linger_ms if self._bulk else settings.linger_ms,
                "message.timeout.ms": settings.delivery_timeout_ms,
                "queue.buffering.max.messages": settings.buffer_records,
            },
        )
        outlet = Outlet(producer, len(self._outlets), self._turn if self._bulk else None)
        if not self._bulk:
            self._start(lambda: self._attend(outlet), name)
        elif not self._threads:
            self._start(self._go_round, f"{settings.client_id}-bulk")
        return outlet

    def _start(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=f"southbound-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _attend(self, outlet: Outlet) -> None:
        while not self._closing:
            outlet.producer.poll(_POLL_S)

    def _go_round(self) -> None:
        while not self._closing:
            self._sent.clear()
            with self._lock:
                outlets, sending = list(self._outlets.values()), self._sending
            if not sending:
                with self._turn:
                    for outlet in outlets:
                        outlet.producer.poll(0)
            if any(len(outlet.producer) for outlet in outlets):
                time.sleep(_ROUND_S)
            else:
                self._sent.wait(_POLL_S)
