"""What the tracker service counts, by name; whoever exports metrics reads it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(slots=True)
class Seconds:
    """A histogram: `counts[i]` holds what was at most `SECONDS_BUCKETS[i]`; the last holds the rest."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BUCKETS) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.sum_s += seconds
        self.counts[bisect_left(SECONDS_BUCKETS, seconds)] += 1


@dataclass(slots=True)
class TrackerCounters:
    """Totals since the service began.

    reports, inventories: records of the status topics. entries: their lines, by outcome. presences:
    records of the interest topics. quarantined: records that could not be read. gaps: partitions
    whose next record was gone. write_failures: transactions that the disk refused. announced,
    refused, settled, given_up: changesets. gates: answers of gates, by outcome. requests: by status.
    hosts_forgotten: hosts that were silent too long. convergence: from the announced sending of a
    changeset to each host's word. lag: from a report's sending to its being taken. transactions: how
    long each took.
    """

    reports: int = 0
    inventories: int = 0
    presences: int = 0
    quarantined: int = 0
    gaps: int = 0
    write_failures: int = 0
    announced: int = 0
    refused: int = 0
    settled: int = 0
    given_up: int = 0
    hosts_forgotten: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    gates: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    convergence: Seconds = field(default_factory=Seconds)
    lag: Seconds = field(default_factory=Seconds)
    transactions: Seconds = field(default_factory=Seconds)


@dataclass(frozen=True, slots=True)
class TrackerGauges:
    """How the service stands. unfinished: resources that failed or wait on their hosts."""

    hosts: int = 0
    unfinished: int = 0
    changesets_followed: int = 0
    changesets_open: int = 0
    clusters_followed: int = 0
    clusters_away: int = 0
    clusters_behind: int = 0
    waiting: int = 0
    store_bytes: int = 0
