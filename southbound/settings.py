"""Settings of each part, as small frozen dataclasses: every limit and every wait has a name here.

The rule: a part takes only its own settings, units stand last in a name (`_s`, `_ms`, `_bytes`),
and a default is what a production node should run with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """How a process speaks to the directory.

    `redis_url` finds Redis; `cached_max` bounds the placements kept in memory; `changes_max` bounds
    the stream of map changes kept in Redis; `batch` is how many rows one script call handles;
    `round` is how many entries one turn with the journal writes or reads; `attempts_max` bounds the
    turns of one call when others interfere. `follow_wait_s` is how long the follower of changes
    waits at the server, `unreachable_s` how long a journal that did not answer is let alone.
    `believed_s`: for how long what is in memory is believed while Redis says nothing; well below the
    age at which a janitor prunes `sb.moves` (`JanitorSettings.moves_retention_s`).

    A `visitor` asks and leaves: it keeps no cache, follows no changes, holds no connection between
    calls, and brings Redis up to date only to register. Agents are visitors: what they read may be
    old, since their streams' markers lead on, and a million of them must not stay connected.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_timeout_s: float = 2.0
    client_id: str = "directory"
    cached_max: int = 2_000_000
    changes_max: int = 200_000
    batch: int = 2_000
    round: int = 20_000
    attempts_max: int = 20
    journal_timeout_s: float = 15.0
    follow_wait_s: float = 1.0
    unreachable_s: float = 5.0
    believed_s: float = 10 * 86_400.0
    visitor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherSettings:
    """How a publisher sends.

    `buffer_records` bounds what is submitted and not yet settled; when it is full, `publish` waits
    up to `buffer_wait_s` (0: raises `BufferFull` at once). `partitions_per_producer` bounds how
    many partitions one Kafka producer touches (docs/design.md, the cost of wide producers).
    `bulk_from`: how many parts that leave together count as bulk work.
    `group_records`: how many parts of bulk work are acknowledged and judged together.
    `resends_max`: how often a part may be turned before it is given up as unknown.
    `tracked_max` bounds the changesets whose application is followed at once; `track` is what
    `publish` does unless told otherwise.
    """

    client_id: str = "publisher"
    buffer_records: int = 400_000
    buffer_wait_s: float = 30.0
    linger_ms: float = 1.0
    bulk_linger_ms: float = 5.0
    bulk_from: int = 1_000
    delivery_timeout_ms: int = 30_000
    fence_timeout_s: float = 30.0
    partitions_per_producer: int = 1_000
    resends_max: int = 16
    group_records: int = 2_000
    validate_specs: bool = True
    track: bool = False
    tracked_max: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """How an agent reads, applies and reports.

    `fetch_wait_ms`: how long a broker may hold a fetch that has nothing to give. `poll_s`: how long
    the agent's thread waits for a record before it looks at anything else. `mark_timeout_s`: how
    long it asks for watermarks before it tries again later.
    `changeset_hold_s`: how long an incomplete changeset is held before its resources are released
    singly; `held_max` bounds the records held. `interest_grace_s`: how long a VPC is followed after
    its last port has left. `retention_of_deletes_s`: how long the log keeps deletes; an agent away
    for more than half of it resyncs. `snapshot_max_s`: how long a snapshot may take until it is
    read again, well below the compaction lag of the data topics. `marker_wait_s`: how long a stream
    that the directory says has moved waits for its marker. `retry_*`: backoff of a failed apply and
    of a report that was not acknowledged; `resolve_*`: of looking for a VPC whose replica is not
    there yet. `flush_s`: how long what is not urgent may wait to be written down. `alive_every_s`:
    how often an idle agent makes sure that its cluster answers, with the same logs. `outbox_max`
    bounds the lines of reports owed; past it the oldest are dropped. `quarantine_*` bound the rows
    kept of unreadable records, and their bytes. `inventory_every_s`: how often everything that stands
    is told, which must be well below the retention of reports; `inventory_spread_s`: within what time
    after a start.
    """

    fetch_wait_ms: int = 10_000
    poll_s: float = 1.0
    mark_timeout_s: float = 3.0
    batch_records: int = 500
    snapshot_batch_records: int = 5_000
    changeset_hold_s: float = 30.0
    held_max: int = 100_000
    interest_grace_s: float = 30.0
    retention_of_deletes_s: float = 7 * 86_400.0
    snapshot_max_s: float = 1_800.0
    marker_wait_s: float = 30.0
    retry_first_s: float = 0.5
    retry_max_s: float = 60.0
    resolve_first_s: float = 0.05
    resolve_max_s: float = 10.0
    flush_s: float = 5.0
    alive_every_s: float = 180.0
    report_linger_ms: float = 20.0
    report_batch: int = 500
    outbox_max: int = 100_000
    quarantine_max: int = 1_000
    quarantine_bytes: int = 4_096
    sqlite_synchronous: str = "NORMAL"
    inventory_every_s: float = 86_400.0
    inventory_spread_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker of public resources joins its group, reads and applies.

    `session_timeout_ms`: how long a worker that says nothing keeps its partitions; `heartbeat_ms`:
    how often it speaks, and so how soon it hears that partitions move. `poll_max_ms`: how long one
    plan may take before the group takes the partitions away. `mark_timeout_s`: how long the ends of
    partitions are asked for. `retry_*`: backoff of a failed apply or release. `outbox_max` bounds
    the report entries not acknowledged; past it the oldest are dropped.
    """

    session_timeout_ms: int = 10_000
    heartbeat_ms: int = 1_000
    poll_max_ms: int = 300_000
    fetch_wait_ms: int = 500
    poll_s: float = 0.5
    batch_records: int = 1_000
    mark_timeout_s: float = 3.0
    retry_first_s: float = 0.5
    retry_max_s: float = 60.0
    report_linger_ms: float = 5.0
    report_batch: int = 500
    outbox_max: int = 100_000
    flush_s: float = 5.0
    quarantine_max: int = 1_000
    quarantine_bytes: int = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """How the tracker service reads, keeps and answers.

    `clusters`: only these (none: all of the topology). `tracked_max` bounds the announced changesets
    that are followed at once; past it the oldest is given up. `changesets_max` and
    `changeset_retention_s` bound those remembered when settled. `heard_max` bounds the lines
    remembered of changesets that nobody announced. `host_retention_s`: how long a silent host is remembered,
    which must exceed the agents' `inventory_every_s`; `forgets_after_s`: for how long after a start
    none is forgotten, since they may tell nothing but inventories; `deleted_retention_s`: how long a delete that
    is done. `threads_max` bounds the requests served at once, long waits included; `wait_max_s` one
    wait. `names_max` bounds the hosts named in one answer. `sweep_every_s`: how often what is too old is forgotten.
    """

    client_id: str = "tracker"
    clusters: tuple[str, ...] = ()
    tracked_max: int = 20_000
    changesets_max: int = 100_000
    changeset_retention_s: float = 3 * 86_400.0
    heard_max: int = 10_000
    host_retention_s: float = 7 * 86_400.0
    forgets_after_s: float = 2 * 86_400.0
    deleted_retention_s: float = 86_400.0
    cache_mib: int = 64
    threads_max: int = 64
    wait_max_s: float = 60.0
    body_bytes_max: int = 16 << 20
    names_max: int = 10_000
    sweep_every_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JanitorSettings:
    """How a janitor works.

    `clusters` and `pools` (a public kind counts as `public/<kind>`): its share; none: all.
    `sweep_every_s`: how often each slot is glanced at, a small part of the compaction lag
    (`compaction_lag_s`, that of the topics), within which inversions must be repaired.
    `look_every_s`: how often each slot is read as a whole at least, and `due_every_s` at most for
    what time alone makes due. `delete_retention_s`: how long deletes are kept: as long as the agents
    believe (`AgentSettings`). `changeset_hold_s`: when an incomplete changeset is abandoned.
    `cleanup_after_s`: for how long a scope that moved must have been quiet before its old records
    go. `moves_retention_s`: when an entry of `sb.moves` is older than any placement that a publisher
    still has in memory.
    `records_per_second` bounds what is read and written (0: nothing does). `batch_records` bounds
    the keys that are in memory at once, unless one slot alone has more; `batch_slots` the slots;
    `read_records` one piece of reading. `rounds_max`: how often a slot is mended in one sweep.
    """

    client_id: str = "janitor"
    clusters: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    dry_run: bool = False
    sweep_every_s: float = 600.0
    compaction_lag_s: float = 3_600.0
    look_every_s: float = 86_400.0
    due_every_s: float = 3_600.0
    delete_retention_s: float = 7 * 86_400.0
    changeset_hold_s: float = 60.0
    cleanup_after_s: float = 3_600.0
    moves_retention_s: float = 30 * 86_400.0
    records_per_second: float = 0.0
    batch_records: int = 200_000
    batch_slots: int = 256
    read_records: int = 50_000
    rounds_max: int = 5
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceSettings:
    """How plans are carried out.

    `hosts_per_round`: how many streams are moved together; `leave_together`: about how many of them
    at once go from the decision to the marker; the more, the longer each one's pause.
    `records_per_second` bounds the copies, on average over a round (0: unbounded); `pause_s` stands
    between rounds. `batch_parts`: how many streams of one pair of slots share a record.
    `timeout_s` bounds one request, `patience_s` the time for which a step is tried again while a
    cluster or Redis is away. `keep_s`: how long finished plans are remembered.
    `failpoint` is called with the name of each step, before and after it.
    """

    client_id: str = "southbound-shards"
    hosts_per_round: int = 100
    leave_together: int = 25
    records_per_second: float = 0.0
    pause_s: float = 0.0
    batch_parts: int = 50
    timeout_s: float = 30.0
    patience_s: float = 60.0
    keep_s: float = 30 * 86_400.0
    failpoint: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    """How much a document may hold: a file, its nesting, and what its YAML aliases unfold to.

    `changeset_resources_max` bounds the changesets made of other control planes' documents.
    """

    bytes_max: int = 512 << 20
    yaml_bytes_max: int = 32 << 20
    yaml_nodes_max: int = 2_000_000
    depth_max: int = 64
    changeset_resources_max: int = 1_000
