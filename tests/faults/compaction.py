"""Slots that are compacted at once, and what stands in them."""

from __future__ import annotations

from southbound.edge.tail import EndAsker, RangeReader
from southbound.edge.topics import TopicSettings
from southbound.partitioning.placement import Address
from tests.faults.stage import Stage

QUICK = TopicSettings(
    compaction_lag_ms=0,
    delete_retention_ms=1_000,
    overrides={
        "min.cleanable.dirty.ratio": "0.01",
        "segment.ms": "500",
        "max.compaction.lag.ms": "500",
    },
)


def keys_in(stage: Stage, at: Address, prefix: bytes) -> list[bytes]:
    """Return the keys of a scope's records as they stand in a slot."""
    cluster = stage.shards.topology.cluster(at.cluster)
    asker = EndAsker(cluster, at.topic, "keys", partition=at.partition)
    reader = RangeReader(cluster, at.topic, "keys", partition=at.partition)
    try:
        found = reader.read(0, asker.end(10), 10)
        return [
            key for one in found if isinstance(key := one.key(), bytes) and key.startswith(prefix)
        ]
    finally:
        asker.close()
        reader.close()
