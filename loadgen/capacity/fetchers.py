"""Consumers that wait for nothing, one partition each, and count their fetches.

The rule: they have an agent's settings but for the length of their polls; how many fetches they sent
is what the client library counted itself.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from southbound.edge.kafka import consumer_config
from southbound.nca.streams import LEAN
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Cluster

_STATISTICS_MS = 250
_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)
_TIMEOUT_S = 10.0


class Fetchers:
    """Consumers of one partition each, on one thread: the caller's. A context manager's inside."""

    def __init__(self, cluster: Cluster, addresses: Sequence[Address], wait_ms: int) -> None:
        settings = {
            **consumer_config(cluster, "bench-fetcher", fetch_wait_ms=wait_ms),
            **LEAN,
            "fetch.wait.max.ms": wait_ms,
            "statistics.interval.ms": _STATISTICS_MS,
        }
        self._counts: dict[int, int] = {}
        self._consumers = []
        for number, address in enumerate(addresses):
            noted = partial(self._note, number)
            consumer = Consumer({**settings, "stats_cb": noted})
            consumer.assign([TopicPartition(address.topic, address.partition, OFFSET_END)])
            self._consumers.append(consumer)

    @property
    def fetches(self) -> int:
        """How many fetches all of them have sent, as of their last statistics."""
        return sum(self._counts.values())

    def wait(self, seconds: float) -> None:
        """Let them fetch for so long."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for consumer in self._consumers:
                consumer.poll(0)
            time.sleep(_STATISTICS_MS / 1e3)

    def close(self) -> None:
        """End them."""
        for consumer in self._consumers:
            consumer.close()

    def _note(self, number: int, text: str) -> None:
        told = msgspec.json.decode(text, type=_Statistics)
        self._counts[number] = sum(one.req.get("Fetch", 0) for one in told.brokers.values())


class _Broker(msgspec.Struct):
    req: dict[str, int] = {}


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = {}


@contextmanager
def fetching(cluster: Cluster, addresses: Sequence[Address], wait_ms: int) -> Iterator[Fetchers]:
    """Run consumers; close them at the end."""
    fetchers = Fetchers(cluster, addresses, wait_ms)
    try:
        yield fetchers
    finally:
        fetchers.close()


@contextmanager
def connected(bootstrap: str, count: int) -> Iterator[None]:
    """Hold so many connections, each of which has asked the broker which requests it knows."""
    host, _, port = bootstrap.rpartition(":")
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.create_connection((host, int(port)), _TIMEOUT_S)
            opened.append(one)
            one.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
            one.recv(4096)
        yield
    finally:
        for one in opened:
            one.close()
