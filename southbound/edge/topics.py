"""Which topics a topology means, and how each must be. Plain data: `admin` makes and compares them.

The rule: data topics are compacted, because the log is the state store; nothing but their cleaner's
pace is for an operator to choose. A topic keeps its number of partitions for ever, since the hash
depends on it; only those of public kinds grow. Records are stamped by the brokers: by these stamps
compaction waits, reports expire, and movers and janitors judge ages, whatever the clocks of publishers
and agents say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from southbound.partitioning.topology import (
    DIRECTORY_TOPIC,
    INTEREST_TOPIC,
    MOVES_TOPIC,
    REBALANCE_TOPIC,
    STATUS_TOPIC,
    Cluster,
    Topology,
    public_topic_name,
    topic_name,
)

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """How topics are made.

    `compaction_lag_ms`: how long every record stays, whatever follows it; production needs an hour
    at least, in which the journal's conflicts and inverted revisions are mended.
    `delete_retention_ms`: how long a tombstone stays readable for agents that were away.
    `status_retention_ms`: how long reports stay. `overrides` replace or add topic settings, for
    tests that force compaction. `partitions_per_call` bounds one request to the controller,
    `call_timeout_s` its answer, and `ready_timeout_s` the wait for leaders.
    """

    compaction_lag_ms: int = 3_600_000
    delete_retention_ms: int = 7 * _DAY_MS
    status_retention_ms: int = 3 * _DAY_MS
    max_message_bytes: int = 1_114_112
    overrides: Mapping[str, str] = field(default_factory=dict)
    partitions_per_call: int = 1_000
    call_timeout_s: float = 60.0
    ready_timeout_s: float = 300.0


class TopicSpec(NamedTuple):
    """One topic as it must be. `grows`: partitions may be added."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]
    grows: bool = False


def topics_of(topology: Topology, cluster: Cluster, settings: TopicSettings) -> list[TopicSpec]:
    """Return every topic that a topology means in one cluster."""
    compacted = _compacted(cluster, settings)
    specs = [
        _system(cluster, settings, MOVES_TOPIC, 1),
        _system(cluster, settings, INTEREST_TOPIC, cluster.interest_partitions),
        TopicSpec(
            STATUS_TOPIC,
            cluster.status_partitions,
            cluster.replication,
            _reports(cluster, settings),
            grows=True,
        ),
    ]
    if any(az.journal == cluster.id for az in topology.azs):
        specs.append(_system(cluster, settings, DIRECTORY_TOPIC, 1))
        specs.append(_system(cluster, settings, REBALANCE_TOPIC, 1))
    specs += [
        TopicSpec(name, partitions, cluster.replication, compacted, grows)
        for name, partitions, grows in _data_topics(topology, cluster)
    ]
    return specs


def _data_topics(topology: Topology, cluster: Cluster) -> Iterator[tuple[str, int, bool]]:
    for pool in topology.pools:
        if pool.cluster == cluster.id:
            for topic in range(pool.topics):
                yield topic_name(pool.id, topic), pool.partitions, False
    for public in topology.public:
        if public.cluster == cluster.id:
            yield public_topic_name(public.kind), public.partitions, True


def _system(cluster: Cluster, settings: TopicSettings, name: str, partitions: int) -> TopicSpec:
    return TopicSpec(name, partitions, cluster.replication, _compacted(cluster, settings))


def _compacted(cluster: Cluster, settings: TopicSettings) -> Mapping[str, str]:
    return {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(settings.compaction_lag_ms),
        "delete.retention.ms": str(settings.delete_retention_ms),
        **_common(cluster, settings),
    }


def _reports(cluster: Cluster, settings: TopicSettings) -> Mapping[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.status_retention_ms),
        **_common(cluster, settings),
    }


def _common(cluster: Cluster, settings: TopicSettings) -> Mapping[str, str]:
    return {
        "min.insync.replicas": str(cluster.min_insync_replicas),
        "max.message.bytes": str(settings.max_message_bytes),
        "unclean.leader.election.enable": "false",
        "message.timestamp.type": "LogAppendTime",
        **settings.overrides,
    }
