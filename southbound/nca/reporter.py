"""The way back: reports and words of presence, through one Producer for each cluster.

The rule: sending never waits for the network. Whether Kafka has a message is told later, through the
callback that came with it; a message that cannot even be queued is told as lost. Many agents of one
process share a reporter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from southbound.edge.identity import topic_ids
from southbound.edge.kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    new_producer,
    one_of_many,
    told_kafka_id,
)
from southbound.partitioning.hashing import spread
from southbound.partitioning.topology import INTEREST_TOPIC, STATUS_TOPIC, Cluster

Told = Callable[[bool], None]

_QUEUE_RECORDS = 100_000
_QUEUE_KIB = 32_768
_TIMEOUT_MS = 30_000
_POLL_EVERY_S = 0.02


class Reporter:
    """Producers by cluster, made when first needed. Thread-safe; `told` may come on any thread."""

    def __init__(self, client_id: str, *, linger_ms: float = 5.0) -> None:
        self._client_id = client_id
        self._linger_ms = linger_ms
        self._lock = threading.Lock()
        self._producers: dict[str, tuple[Cluster, Producer]] = {}
        self._polled_s = 0.0

    def report(self, cluster: Cluster, host: str, value: bytes, told: Told) -> None:
        """Send a report of a host."""
        partition = spread(host, cluster.status_partitions)
        self._send(cluster, STATUS_TOPIC, partition, host.encode(), value, told)

    def presence(
        self, cluster: Cluster, vpc: str, key: bytes, value: bytes | None, told: Told
    ) -> None:
        """Send a word on the interest topic; `value` None says that the host has left."""
        partition = spread(vpc, cluster.interest_partitions)
        self._send(cluster, INTEREST_TOPIC, partition, key, value, told)

    def poll(self) -> None:
        """Let the callbacks of finished messages run, unless somebody has just done so: agents that
        share a reporter ask far more often than there is news.
        """
        now_s = time.monotonic()
        if now_s < self._polled_s + _POLL_EVERY_S:
            return
        self._polled_s = now_s
        for _, producer in tuple(self._producers.values()):
            producer.poll(0)

    def kafka_id(self, cluster: Cluster, timeout_s: float) -> str:
        """Ask the cluster for the id that its brokers name. Raises `EdgeError`."""
        return told_kafka_id(self._producer(cluster), cluster.id, timeout_s, STATUS_TOPIC)

    def topic_ids(
        self, cluster: Cluster, topics: Collection[str], timeout_s: float
    ) -> Mapping[str, str]:
        """Ask a cluster that answers for the ids of topics. Raises `EdgeError`."""
        return topic_ids(cluster, topics, self._client_id, timeout_s)

    def flush(self, timeout_s: float) -> None:
        """Wait until everything sent is told, at most so long for each cluster."""
        for _, producer in tuple(self._producers.values()):
            producer.flush(timeout_s)

    def _producer(self, cluster: Cluster) -> Producer:
        with self._lock:
            known = self._producers.get(cluster.id)
            if known is not None and known[0] != cluster:
                # The cluster is reached otherwise now: what waits is told as lost, and sent again.
                known[1].purge()
                known[1].flush(1.0)
                known = None
            if known is None:
                producer = new_producer(
                    cluster,
                    self._client_id,
                    {
                        **one_of_many(),
                        "linger.ms": self._linger_ms,
                        "queue.buffering.max.messages": _QUEUE_RECORDS,
                        "queue.buffering.max.kbytes": _QUEUE_KIB,
                        "message.timeout.ms": _TIMEOUT_MS,
                    },
                )
                known = self._producers[cluster.id] = (cluster, producer)
            return known[1]

    def _send(
        self,
        cluster: Cluster,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        told: Told,
    ) -> None:
        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            told(error is None)

        try:
            self._producer(cluster).produce(
                topic, value=value, key=key, partition=partition, on_delivery=on_delivery
            )
        except (BufferError, KafkaException):
            told(False)
