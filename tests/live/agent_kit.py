"""What live tests of agents are made of: pools of their own, a directory in memory, a hand that
writes records, and a look at what a node has got.

The rule: records are written by hand, with the wire format alone, so that a test says exactly what
stands in the log; each kit has pools of its own, so tests share clusters without meeting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from southbound.edge.kafka import Consumer, Producer, new_consumer, new_producer
from southbound.errors import EdgeError
from southbound.partitioning.placement import Address, Placement, VpcPlacement, address_of
from southbound.partitioning.topology import (
    INTEREST_TOPIC,
    STATUS_TOPIC,
    Az,
    Cluster,
    Pool,
    Topology,
    topic_name,
)
from southbound.resources import Scope
from southbound.wire.control import Marker, Seal, encode_control
from southbound.wire.keys import encode_key, handover_key, seal_key
from southbound.wire.reports import ReportEntry, decode_report
from tests.nca.records import Place, Put, value_of

_CLASSES: tuple[Literal["host", "vpc"], ...] = ("host", "vpc")


def eventually(
    what: Callable[[], bool], *, within_s: float = 60.0, saying: Callable[[], object] = str
) -> None:
    """Wait until `what` holds; fail with what `saying` says when it does not in time."""
    end_s = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end_s, f"not within {within_s} s: {saying()}"
        time.sleep(0.01)


class MapLocator:
    """A directory in memory that can be away."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.rows: dict[str, Placement] = {}
        self.vpc_rows: dict[str, VpcPlacement] = {}
        self.is_away = False
        self.calls = 0

    def open(self) -> None:
        """Connect, unless it is away."""
        self._answer()

    def close(self) -> None:
        """Let go of nothing."""

    def hosts(self, ids: Iterable[str]) -> Mapping[str, Placement]:
        """Return what is known of hosts."""
        self._answer()
        return {id: self.rows[id] for id in ids if id in self.rows}

    def vpcs(self, ids: Iterable[str]) -> Mapping[str, VpcPlacement]:
        """Return what is known of VPCs."""
        self._answer()
        return {id: self.vpc_rows[id] for id in ids if id in self.vpc_rows}

    def register_hosts(self, azs: Mapping[str, str]) -> Mapping[str, Placement]:
        """Give each host a place in the first pool of its AZ."""
        self._answer()
        for host, az in azs.items():
            pool = self.topology.pools_in("host", az=az)[0]
            self.rows.setdefault(host, Placement(pool.id, 0))
        return {host: self.rows[host] for host in azs}

    def _answer(self) -> None:
        self.calls += 1
        if self.is_away:
            raise EdgeError("the directory is away", retryable=True)


class Saved(msgspec.Struct):
    """A directory in memory, written down for another process."""

    topology: Topology
    rows: dict[str, Placement]
    vpc_rows: dict[str, VpcPlacement]


def saved_locator(file: Path) -> MapLocator:
    """Return the directory that `Kit.save` wrote."""
    saved = msgspec.json.decode(file.read_bytes(), type=Saved)
    locator = MapLocator(saved.topology)
    locator.rows.update(saved.rows)
    locator.vpc_rows.update(saved.vpc_rows)
    return locator


class Kit:
    """Pools and topics of one test in one or more clusters, and everything written to them."""

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        unique: Callable[[str], str],
        *,
        topic_config: Mapping[str, str] | None = None,
        topics: int = 1,
        partitions: int = 4,
    ) -> None:
        self.unique = unique
        mark = unique("kit")
        self.topology = Topology(
            region="test",
            azs=tuple(Az(id=cluster.az, journal=id) for id, cluster in clusters.items()),
            clusters=tuple(clusters.values()),
            pools=tuple(
                Pool(
                    id=f"{mark}-{id}-{cls}",
                    cluster=id,
                    cls=cls,
                    topics=topics,
                    partitions=partitions,
                    max_per_slot=1_000,
                )
                for id in clusters
                for cls in _CLASSES
            ),
        )
        self.locator = MapLocator(self.topology)
        self._producers: dict[str, Producer] = {}
        self._sets = 0
        for cluster in clusters.values():
            self._create_topics(cluster, topic_config or {})

    def pool(self, cls: str, cluster: str) -> Pool:
        """Return this kit's pool of a class in a cluster."""
        return self.topology.pools_in(cls, cluster=cluster)[0]

    def host(self, cluster: str) -> str:
        """Register a host in a cluster; return its id."""
        host = self.unique("host")
        self.locator.rows[host] = Placement(self.pool("host", cluster).id, 0)
        return host

    def vpc(self, *clusters: str) -> str:
        """Register a VPC with a replica in each cluster, the home first; return its id."""
        vpc = self.unique("vpc")
        self.locator.vpc_rows[vpc] = VpcPlacement(
            1, tuple(Placement(self.pool("vpc", cluster).id, 0) for cluster in clusters)
        )
        return vpc

    def save(self, file: Path) -> None:
        """Write the directory down for another process."""
        locator = self.locator
        file.write_bytes(
            msgspec.json.encode(Saved(locator.topology, locator.rows, locator.vpc_rows))
        )

    def addresses(self, scope: Scope) -> list[Address]:
        """Return where a scope is written to: one place for a host, one a replica for a VPC."""
        if scope.cls == "host":
            placements: tuple[Placement, ...] = (self.locator.rows[scope.id],)
        else:
            placements = self.locator.vpc_rows[scope.id].replicas
        return [
            address_of(scope.cls.value, scope.id, placement, self.topology)
            for placement in placements
        ]

    def publish(self, *puts: Put, changeset: str | None = None, age_s: float = 0.0) -> str:
        """Write puts of one scope as one changeset; return its id."""
        self._sets += 1
        id = changeset or f"cs-{self._sets}"
        for index, put in enumerate(puts):
            sent_us = int((time.time() - age_s) * 1e6)
            value = value_of(put, id, Place(index, len(puts), 0, sent_us))
            for address in self.addresses(put.scope):
                self.write(address, encode_key(put.key), value)
        self.flush()
        return id

    def write(self, address: Address, key: bytes, value: bytes | None) -> None:
        """Write one record, whatever it is."""
        self.producer(address.cluster).produce(
            address.topic, key=key, value=value, partition=address.partition
        )

    def flush(self) -> None:
        """Wait until everything written is in the log."""
        for producer in self._producers.values():
            assert producer.flush(20) == 0

    def end(self, address: Address) -> int:
        """Return the next offset of a partition."""
        consumer = self.consumer(address.cluster)
        try:
            return int(
                consumer.get_watermark_offsets(
                    TopicPartition(address.topic, address.partition), timeout=10
                )[1]
            )
        finally:
            consumer.close()

    def mark(self, scope: Scope, old: Address, epoch: int, new: Placement) -> None:
        """Write the marker that a scope's stream goes on at `new`."""
        self.write(
            old, handover_key(scope, epoch), encode_control(Marker(epoch, new.row(), new.start))
        )
        self.flush()

    def seal(self, scope: Scope, new: Address, epoch: int) -> None:
        """Write the seal of an epoch."""
        self.write(new, seal_key(scope, epoch), encode_control(Seal(epoch)))
        self.flush()

    def producer(self, cluster: str) -> Producer:
        """Return the producer of a cluster."""
        if cluster not in self._producers:
            made = new_producer(self.topology.cluster(cluster), "kit", {"linger.ms": 0})
            self._producers[cluster] = made
        return self._producers[cluster]

    def consumer(self, cluster: str) -> Consumer:
        """Make a consumer of a cluster."""
        return new_consumer(
            self.topology.cluster(cluster), "kit", {"auto.offset.reset": "earliest"}
        )

    def reports(self, cluster: str, host: str) -> list[ReportEntry]:
        """Return everything that a host has reported in a cluster."""
        return [
            entry
            for key, value in self.read_topic(cluster, STATUS_TOPIC)
            if key == host.encode()
            and value is not None
            and (report := decode_report(value)).inventory is None
            for entry in report.entries
        ]

    def read_topic(self, cluster: str, topic: str) -> list[tuple[bytes, bytes | None]]:
        """Return every key and value of a topic, partition by partition."""
        consumer = self.consumer(cluster)
        found: list[tuple[bytes, bytes | None]] = []
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            for number in partitions:
                place = TopicPartition(topic, number, 0)
                low, high = consumer.get_watermark_offsets(place, timeout=10)
                if low == high:
                    continue
                consumer.assign([TopicPartition(topic, number, low)])
                reached = low
                while reached < high:
                    message = consumer.poll(5)
                    assert message is not None, "the topic's end does not come"
                    assert message.error() is None, message.error()
                    reached = (message.offset() or 0) + 1
                    found.append((bytes(message.key() or b""), message.value()))
        finally:
            consumer.close()
        return found

    def _create_topics(self, cluster: Cluster, config: Mapping[str, str]) -> None:
        admin = AdminClient({"bootstrap.servers": ",".join(cluster.bootstrap)})
        wanted = {
            topic_name(pool.id, topic): pool.partitions
            for pool in self.topology.pools
            if pool.cluster == cluster.id
            for topic in range(pool.topics)
        }
        fixed = {
            STATUS_TOPIC: cluster.status_partitions,
            INTEREST_TOPIC: cluster.interest_partitions,
        }
        there = admin.list_topics(timeout=10).topics
        new = [
            NewTopic(
                topic,
                num_partitions=partitions,
                replication_factor=1,
                config={"cleanup.policy": "compact", **config} if topic in wanted else {},
            )
            for topic, partitions in {**wanted, **fixed}.items()
            if topic not in there
        ]
        if new:
            for made in admin.create_topics(new).values():
                made.result(20)
