"""Which Kafka topics a topology means in each cluster, and how far those that are there differ.

The rule: the topology alone decides what topics there are and how they are set; whatever else Kafka
holds is drift. What can be mended without moving a record (a setting, further partitions of a topic
that may grow) is told from what cannot.

Reasons of the settings: the log is the state store, so data topics are compacted and never deleted
from; the lag before compaction gives whoever repairs inverted revisions its time; deletes stay
readable for nodes that were away (deploy/kafka/README.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from southbound.partitioning.topology import (
    DIRECTORY_TOPIC,
    INTEREST_TOPIC,
    MOVES_TOPIC,
    STATUS_TOPIC,
    Cluster,
    Topology,
    public_topic_name,
    topic_name,
)

COMPACTION_LAG_MS = 3_600_000
DELETE_RETENTION_MS = 7 * 86_400_000
STATUS_RETENTION_MS = 3 * 86_400_000

_COMPACTED = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": str(COMPACTION_LAG_MS),
    "delete.retention.ms": str(DELETE_RETENTION_MS),
}
_NEWS = {"cleanup.policy": "delete", "retention.ms": str(STATUS_RETENTION_MS)}


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it should be. `grows`: partitions may be added to it later."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]
    grows: bool = False


class FoundTopic(msgspec.Struct, frozen=True):
    """A topic as it is. `leaderless` counts partitions that nobody serves; `config` is as told."""

    partitions: int
    replication: int
    leaderless: int
    config: Mapping[str, str]


class Drift(msgspec.Struct, frozen=True):
    """One difference between what should be and what is.

    `mendable`: `topology apply` can bring it about without touching a record.
    """

    topic: str
    what: str
    wanted: str
    found: str
    mendable: bool


def topics_of(topology: Topology, cluster: Cluster) -> list[TopicSpec]:
    """Return every topic that a cluster must hold, data first."""
    in_sync = {"min.insync.replicas": str(cluster.min_insync_replicas)}

    def spec(
        name: str, partitions: int, config: Mapping[str, str], *, grows: bool = False
    ) -> TopicSpec:
        return TopicSpec(name, partitions, cluster.replication, {**config, **in_sync}, grows)

    specs = [
        spec(topic_name(pool.id, number), pool.partitions, _COMPACTED)
        for pool in topology.pools
        if pool.cluster == cluster.id
        for number in range(pool.topics)
    ]
    specs += [
        spec(public_topic_name(public.kind), public.partitions, _COMPACTED, grows=True)
        for public in topology.public
        if public.cluster == cluster.id
    ]
    if any(az.journal == cluster.id for az in topology.azs):
        specs.append(spec(DIRECTORY_TOPIC, 1, _COMPACTED))
    specs.append(spec(MOVES_TOPIC, 1, _COMPACTED))
    specs.append(spec(STATUS_TOPIC, cluster.status_partitions, _NEWS, grows=True))
    specs.append(spec(INTEREST_TOPIC, cluster.interest_partitions, _COMPACTED))
    return specs


def drift(wanted: Sequence[TopicSpec], found: Mapping[str, FoundTopic]) -> Iterator[Drift]:
    """Yield each difference of the wanted topics from the found ones."""
    for spec in wanted:
        there = found.get(spec.name)
        if there is None:
            yield Drift(spec.name, "topic", f"{spec.partitions} partitions", "missing", True)
        else:
            yield from _differences(spec, there)


def strangers(wanted: Sequence[TopicSpec], found: Mapping[str, FoundTopic]) -> list[str]:
    """Return Southbound's topics that the topology does not name: those of pools taken out."""
    names = {spec.name for spec in wanted}
    return sorted(name for name in found if name.startswith("sb.") and name not in names)


def _differences(spec: TopicSpec, there: FoundTopic) -> Iterator[Drift]:
    if there.partitions != spec.partitions:
        mendable = spec.grows and there.partitions < spec.partitions
        wanted, found = str(spec.partitions), str(there.partitions)
        yield Drift(spec.name, "partitions", wanted, found, mendable)
    if there.replication != spec.replication:
        wanted, found = str(spec.replication), str(there.replication)
        yield Drift(spec.name, "replication", wanted, found, False)
    if there.leaderless:
        yield Drift(spec.name, "leaders", "all partitions", f"{there.leaderless} without", False)
    for setting, value in spec.config.items():
        told = there.config.get(setting, "")
        if told != value:
            yield Drift(spec.name, setting, value, told or "unknown", True)
