"""What an agent's memory consists of: its parts loaded one after the other in a fresh process.

The rule: the order is that in which an agent loads them, and what a part brings along counts as the
part's. `python -m southbound.bench.agent_parts` prints, for each, the resident bytes with it loaded;
so what an agent has more than the last of them is its own: state, threads and buffers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from southbound.bench.process import memory_of
from southbound.nca.deferred import defer

_SETTLE_S = 0.5


def main(bootstrap: str, topic: str, partition: str) -> None:
    """Load every part; print `<resident bytes> <name>` after each."""
    # As an agent's process does.
    defer("asyncio")
    kept: list[Any] = []
    for name, load in _parts(bootstrap, topic, int(partition)):
        kept.append(load())
        sys.stdout.write(f"{memory_of().resident} {name}\n")


def _parts(bootstrap: str, topic: str, partition: int) -> list[tuple[str, Callable[[], object]]]:
    return [
        ("interpreter", lambda: None),
        ("standard library: argparse, logging, pathlib, socket", _standard_library),
        ("msgspec", _msgspec),
        ("sqlite3", _sqlite3),
        ("confluent-kafka with librdkafka", _confluent_kafka),
        ("the agent's own code", _agent),
        ("the directory's client", _directory),
        ("one consumer that reads", lambda: _consumer(bootstrap, topic, partition)),
        ("one producer", lambda: _producer(bootstrap)),
    ]


def _standard_library() -> object:
    import argparse
    import logging
    import pathlib
    import socket

    return argparse, logging, pathlib, socket


def _msgspec() -> object:
    import msgspec

    return msgspec


def _sqlite3() -> object:
    import sqlite3

    return sqlite3.connect(":memory:")


def _confluent_kafka() -> object:
    import southbound.edge.kafka

    return southbound.edge.kafka


def _agent() -> object:
    import southbound.nca.__main__
    import southbound.nca.appliers.file
    import southbound.nca.service

    return southbound.nca


def _directory() -> object:
    import southbound.directory

    return southbound.directory


def _cluster(bootstrap: str) -> Any:
    from southbound.partitioning.topology import Cluster

    return Cluster(id="parts", az="parts", bootstrap=(bootstrap,))


def _consumer(bootstrap: str, topic: str, partition: int) -> object:
    from southbound.edge.kafka import TopicPartition, new_consumer
    from southbound.nca.streams import LEAN

    consumer = new_consumer(_cluster(bootstrap), "parts", LEAN)
    consumer.assign([TopicPartition(topic, partition, 0)])
    consumer.poll(_SETTLE_S)
    return consumer


def _producer(bootstrap: str) -> object:
    import time

    from southbound.edge.kafka import new_producer
    from southbound.partitioning.topology import STATUS_TOPIC

    producer = new_producer(_cluster(bootstrap), "parts")
    producer.list_topics(STATUS_TOPIC)
    time.sleep(_SETTLE_S)
    return producer


if __name__ == "__main__":
    main(*sys.argv[1:])
