"""Where thousands of partitions end now.

The rule: one question for all partitions of a broker, answered as one list; a future for each of a
hundred thousand partitions would cost more than reading them.
"""

from __future__ import annotations

from collections.abc import Iterable

from southbound.edge.kafka import KafkaException, TopicPartition, edge_error, new_consumer
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

_LATEST = -1
_AT_ONCE = 10_000

Position = tuple[str, int]
"""Topic and partition."""


def ends_of(
    cluster: Cluster, positions: Iterable[Position], timeout_s: float
) -> dict[Position, int]:
    """Return the offset that the next record of each partition will get. Raises `EdgeError`."""
    wanted = [TopicPartition(*position, _LATEST) for position in positions]
    found: dict[Position, int] = {}
    client = new_consumer(cluster, "loadgen-ends")
    try:
        for first in range(0, len(wanted), _AT_ONCE):
            piece = wanted[first : first + _AT_ONCE]
            try:
                told = client.offsets_for_times(piece, timeout=timeout_s)
            except KafkaException as error:
                raise edge_error(error, f"asking for ends in cluster {cluster.id}") from error
            for one in told:
                if one.error is not None:
                    raise edge_error(
                        one.error, f"asking for the end of {one.topic} in {cluster.id}"
                    )
                found[one.topic, one.partition] = one.offset
    finally:
        client.close()
    if len(found) < len(wanted):
        raise EdgeError(
            f"cluster {cluster.id} did not tell the ends of all partitions", retryable=True
        )
    return found
