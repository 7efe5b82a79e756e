"""What an agent counts, by name; whoever exports metrics reads it. Pure.

The rule: the core counts in plain integers that only rise, and knows nothing of an exporter. Many
agents of one process may share one instance; a lost increment between threads is the price.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LAG_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0
)  # fmt: skip


@dataclass(slots=True)
class Lag:
    """Seconds from the intended sending of a change to its being applied, in buckets.

    `counts[i]` holds what was at most `LAG_BUCKETS_S[i]` and above the bucket before; the last
    holds the rest.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(LAG_BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, lag_s: float) -> None:
        """Count one change."""
        lag_s = max(lag_s, 0.0)
        self.sum_s += lag_s
        for index, bound in enumerate(LAG_BUCKETS_S):
            if lag_s <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1


@dataclass(slots=True)
class Counters:
    """Totals since the process began, unless a name says otherwise.

    records_own / records_foreign: records read for this host, and a neighbour's, dropped unread.
    records_quarantined: records that could not be read. records_ignored: control records of an
    unknown kind, markers and seals that say nothing new.
    resources_applied / resources_failed: outcomes of the applier. resources_removed: taken away
    because a complete snapshot or a left VPC no longer has them. apply_retries: failed ones tried
    again.
    revisions_older / revisions_equal / revisions_conflicting: what the revision rule dropped.
    changesets_released: incomplete ones taken singly after their time. changesets_abandoned:
    incomplete ones left behind by a handover. changesets_crowded_out: released early for space.
    snapshots: completed snapshots. snapshots_refused: those whose emptiness was not believed.
    handovers: markers followed. resyncs: explicit ones, by reason.
    inventories: inventories told.
    vpcs_joined / vpcs_left; reports_sent / reports_resent / reports_dropped; plans: calls of the
    applier; persist_failures, assign_failures, directory_failures: attempts that will be repeated.
    """

    records_own: int = 0
    records_foreign: int = 0
    records_quarantined: int = 0
    records_ignored: int = 0
    resources_applied: int = 0
    resources_failed: int = 0
    resources_removed: int = 0
    apply_retries: int = 0
    revisions_older: int = 0
    revisions_equal: int = 0
    revisions_conflicting: int = 0
    changesets_released: int = 0
    changesets_abandoned: int = 0
    changesets_crowded_out: int = 0
    snapshots: int = 0
    snapshots_refused: int = 0
    handovers: int = 0
    inventories: int = 0
    vpcs_joined: int = 0
    vpcs_left: int = 0
    reports_sent: int = 0
    reports_resent: int = 0
    reports_dropped: int = 0
    plans: int = 0
    persist_failures: int = 0
    assign_failures: int = 0
    directory_failures: int = 0
    resyncs: dict[str, int] = field(default_factory=dict)
    lag: Lag = field(default_factory=Lag)

    def resync(self, reason: str) -> None:
        """Count an explicit resync."""
        self.resyncs[reason] = self.resyncs.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class Gauges:
    """How an agent stands at one moment.

    resources: entries held, deletes left out. parked, failed: of those, what waits for a reference
    and what the applier refused. held: records of incomplete changesets. streams: what is read
    (host and VPCs); streams_behind: of those, what has not reached the end of its snapshot.
    owed: reports not acknowledged. unresolved: VPCs whose replica is not found. reached_us: when the
    log was last reached, in microseconds since 1970; 0 before the first time.
    """

    resources: int = 0
    parked: int = 0
    failed: int = 0
    held: int = 0
    streams: int = 0
    streams_behind: int = 0
    owed: int = 0
    unresolved: int = 0
    reached_us: int = 0
