"""Kafka clients with the settings Southbound needs, and Kafka's errors as Southbound's.

The rule: every client of the project is made here, so a setting that matters (idempotence, acks,
fetch waits, no silent rewind) is decided once, with its reason beside it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

__all__ = [
    "OFFSET_BEGINNING",
    "Consumer",
    "KafkaError",
    "KafkaException",
    "Message",
    "Producer",
    "TopicPartition",
    "base_config",
    "consumer_config",
    "edge_error",
    "end_offsets",
    "new_consumer",
    "new_producer",
    "one_of_many",
    "producer_config",
]

Settings = Mapping[str, str | int | float | bool]


_HEAD_START_S = 0.01
_MANY_BACKOFF_MS = (500, 2_000)
_MANY_BACKOFF_MAX_MS = 8_000


def base_config(cluster: Cluster, client_id: str) -> dict[str, str | int | float | bool]:
    """Settings that every client of a cluster shares."""
    return {
        **cluster.client,
        "bootstrap.servers": ",".join(cluster.bootstrap),
        "client.id": client_id,
        # A refused connection is retried quickly at first: a broker is often back in seconds.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2000,
        # Errors reach us by the calls that fail; the library's own log would only repeat them.
        "log_level": 2,
        "log.connection.close": False,
    }


def one_of_many() -> dict[str, str | int | float | bool]:
    """Settings of a client of which there may be a hundred thousand: it returns at a time of its own.

    A cluster that is away altogether is not tried by librdkafka at its growing, jittered backoff: each
    question for metadata tries a broker at once, held back only by half of `reconnect.backoff.ms`, at
    most a second (`rd_kafka_connect_any`), which no jitter is added to. Clients cut off at the same
    moment would try at the same moments for ever, 13 times a second each at 50 ms. So each has a backoff
    of its own, which leads them apart; the first try after a loss is always made at once.
    """
    return {
        "reconnect.backoff.ms": random.randint(*_MANY_BACKOFF_MS),
        "reconnect.backoff.max.ms": _MANY_BACKOFF_MAX_MS,
    }


def producer_config(
    cluster: Cluster,
    client_id: str,
    *,
    linger_ms: float = 5,
    buffer_records: int = 500_000,
    timeout_ms: int = 30_000,
) -> dict[str, str | int | float | bool]:
    """Settings of a producer: idempotent, acknowledged by all in-sync replicas.

    `timeout_ms` bounds how long a record may wait; past it the outcome is unknown.
    """
    return {
        **base_config(cluster, client_id),
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": linger_ms,
        "queue.buffering.max.messages": buffer_records,
        "queue.buffering.max.kbytes": 1 << 20,
        "message.timeout.ms": timeout_ms,
        "message.max.bytes": 1 << 20,
        # A thin stream over many partitions sends one small request each; more in flight hides
        # their latency. Five is the most that idempotence allows.
        "max.in.flight.requests.per.connection": 5,
        "sticky.partitioning.linger.ms": 0,
    }


def consumer_config(
    cluster: Cluster, client_id: str, *, fetch_wait_ms: int = 500
) -> dict[str, str | int | float | bool]:
    """Settings of a consumer with manual assignment: no group, no commits, never a silent rewind."""
    return {
        **base_config(cluster, client_id),
        # librdkafka wants a group's name even where no group is used.
        "group.id": f"southbound-{client_id}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": fetch_wait_ms,
        "socket.timeout.ms": max(60_000, fetch_wait_ms + 30_000),
        "fetch.queue.backoff.ms": 10,
        "fetch.error.backoff.ms": 50,
        "isolation.level": "read_committed",
        "check.crcs": True,
    }


def new_producer(cluster: Cluster, client_id: str, overrides: Settings | None = None) -> Producer:
    """Make a producer. Connecting happens in the background, but for the first moment of it.

    An idempotent producer that is given a record before it has reached any broker asks for its id
    half a second later (librdkafka's `rd_kafka_idemp_pid_timer`); one that was not, at once.
    """
    producer = Producer({**producer_config(cluster, client_id), **(overrides or {})})
    producer.poll(_HEAD_START_S)
    return producer


def new_consumer(cluster: Cluster, client_id: str, overrides: Settings | None = None) -> Consumer:
    """Make a consumer without an assignment. Connecting happens in the background."""
    return Consumer({**consumer_config(cluster, client_id), **(overrides or {})})


class _Lister(Protocol):
    """What any client of the library can do, an administrator's too."""

    def list_topics(self, *topic: Any, **options: Any) -> Any: ...


def told_kafka_id(client: _Lister, cluster: str, timeout_s: float, topic: str | None = None) -> str:
    """Ask a cluster for the id that its brokers name, with no more than one topic's metadata if given.

    It is not asked for by DescribeCluster: of an answer without brokers librdkafka 2.16 makes neither a
    result nor an error, which an assertion forbids (`rd_kafka_DescribeClusterResponse_parse`). Raises
    `EdgeError`.
    """
    try:
        metadata = client.list_topics(topic, timeout=timeout_s)
    except KafkaException as error:
        raise edge_error(error, f"asking cluster {cluster} for its id") from error
    return str(metadata.cluster_id)


def edge_error(error: KafkaError | KafkaException, doing: str) -> EdgeError:
    """Turn Kafka's error into ours; `doing` is what failed, such as `reading sb.moves of c1`."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    retryable = bool(inner.retriable()) or inner.code() in _TRANSIENT
    made = EdgeError(f"{doing}: {inner.str()} ({inner.name()})", retryable=retryable)
    if isinstance(error, BaseException):
        made.__cause__ = error
    return made


_TRANSIENT = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        # A connection that is being taken down while a question waits for it.
        KafkaError._DESTROY_BROKER,
        # The admin client says so of partitions that have no leader yet.
        KafkaError._NOENT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def end_offsets(
    consumer: Consumer, topic: str, partition: int, *, timeout_s: float = 10.0
) -> tuple[int, int]:
    """Ask the broker for (low, high) of a partition; the high watermark is the next offset.

    The consumer must not hold an open long poll, which would delay the answer by its rest.
    Raises `EdgeError`.
    """
    try:
        low, high = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=timeout_s, cached=False
        )
    except KafkaException as error:
        raise edge_error(error, f"asking for the end of {topic}/{partition}") from error
    return low, high
