"""Settings of each part, as small frozen dataclasses: every limit and every wait has a name here.

The rule: a part takes only its own settings, units stand last in a name (`_s`, `_ms`, `_bytes`),
and a default is what a production node should run with.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """How a process speaks to the directory.

    `redis_url` finds Redis; `cached_max` bounds the placements kept in memory; `changes_max` bounds
    the stream of map changes kept in Redis; `batch` is how many rows one script call handles.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_timeout_s: float = 2.0
    cached_max: int = 2_000_000
    changes_max: int = 200_000
    batch: int = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherSettings:
    """How a publisher sends.

    `buffer_records` bounds what is submitted and not yet settled; when it is full, `publish` waits
    up to `buffer_wait_s` (0: raises `BufferFull` at once). `partitions_per_producer` bounds how
    many partitions one Kafka producer touches (docs/design.md, the cost of wide producers).
    """

    client_id: str = "publisher"
    buffer_records: int = 400_000
    buffer_wait_s: float = 30.0
    linger_ms: float = 1.0
    bulk_linger_ms: float = 5.0
    delivery_timeout_ms: int = 30_000
    fence_timeout_s: float = 30.0
    partitions_per_producer: int = 1_000
    resends_max: int = 16
    validate_specs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """How an agent reads, applies and reports.

    `changeset_hold_s`: how long an incomplete changeset is held before its resources are released
    singly. `interest_grace_s`: how long a VPC is followed after its last port has left.
    `retention_of_deletes_s`: how long the log keeps deletes; an agent away for more than half of
    it resyncs. `retry_*`: backoff of a failed apply.
    """

    fetch_wait_ms: int = 10_000
    batch_records: int = 500
    snapshot_batch_records: int = 5_000
    changeset_hold_s: float = 30.0
    interest_grace_s: float = 30.0
    retention_of_deletes_s: float = 7 * 86_400.0
    retry_first_s: float = 0.5
    retry_max_s: float = 60.0
    report_linger_ms: float = 5.0
    report_batch: int = 500
    outbox_max: int = 100_000
    held_max: int = 100_000
    sqlite_synchronous: str = "NORMAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker of public resources joins its group."""

    session_timeout_ms: int = 10_000
    fetch_wait_ms: int = 500
    batch_records: int = 1_000
