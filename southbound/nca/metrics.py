"""Counters and gauges of an agent or a worker, as Prometheus reads them.

The rule: the cores count in plain integers; this is the only place that knows their exported names.
Base units, `southbound_agent_` or `southbound_worker_` in front, and never a host's id as a label.
A value is read when it is scraped, so counting costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import ClassVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from southbound.nca.appliers.timed import TimedApplier
from southbound.nca.counters import LAG_BUCKETS_S, Counters, Gauges, Lag
from southbound.nca.worker_core import WorkerCounters, WorkerGauges

_SHARED_HELP = {
    "records_quarantined": "records that could not be read",
    "records_ignored": "control records of no meaning here",
    "resources_applied": "resources that the applier brought to their revision",
    "resources_failed": "resources that the applier refused",
    "apply_retries": "resources tried again after the applier refused them",
    "revisions_older": "records dropped because a newer revision was held",
    "revisions_equal": "records dropped because they said what was held",
    "revisions_conflicting": "records dropped whose revision was held with another content",
    "reports_sent": "report entries that Kafka acknowledged",
    "reports_resent": "report entries sent again because their report did not arrive",
    "reports_dropped": "report entries dropped because too many were unsent",
    "plans": "calls of the applier",
    "resources": "resources held, deletes left out",
    "failed": "resources that the applier refused and is asked for again",
    "owed": "report entries not acknowledged",
}

_AGENT_HELP = {
    **_SHARED_HELP,
    "records_own": "records read that are of this host or a VPC that it follows",
    "records_foreign": "records of neighbours in the same slot, dropped by their key",
    "resources_removed": "resources removed because a complete snapshot or a left VPC lacks them",
    "changesets_released": "incomplete changesets taken singly after their time",
    "changesets_abandoned": "incomplete changesets left behind by a handover",
    "changesets_crowded_out": "incomplete changesets taken singly for lack of space",
    "snapshots": "snapshots completed",
    "snapshots_refused": "snapshots whose emptiness was not believed",
    "handovers": "handover markers followed",
    "inventories": "inventories told: everything that stands on the node",
    "vpcs_joined": "VPCs followed since a port of them came",
    "vpcs_left": "VPCs left after their last port",
    "persist_failures": "transactions that the disk refused, each to be repeated",
    "assign_failures": "assignments that failed, each to be repeated",
    "directory_failures": "questions that the directory did not answer, each to be repeated",
    "parked": "resources that wait for one which they refer to",
    "held": "records of incomplete changesets",
    "streams": "streams read: the host's and those of its VPCs",
    "streams_behind": "streams that have not reached the end of their snapshot",
    "unresolved": "VPCs whose replica is not found",
}

_WORKER_HELP = {
    **_SHARED_HELP,
    "records": "records read",
    "resources_released": "resources taken from the node because their partition was given back",
    "release_failures": "releases that the applier refused, each to be repeated",
    "partitions_assigned": "partitions that the group gave",
    "partitions_revoked": "partitions given back",
    "partitions_lost": "partitions that another worker had before this one knew",
    "replays": "partitions replayed to their end",
    "resyncs": "memberships begun anew after an error",
    "partitions": "partitions held",
    "partitions_replaying": "partitions held whose replay has not reached its end",
    "unreleased": "resources given back that are still on the node",
}


class _DataclassCollector(Collector):
    """Exports the fields of one dataclass as counters and of another as gauges.

    A field without a help text of its own is exported all the same.
    """

    prefix: ClassVar[str]
    helps: ClassVar[Mapping[str, str]]
    told_otherwise: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, counters: Counters | WorkerCounters, gauges: Callable[[], Gauges | WorkerGauges]
    ) -> None:
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        for field in fields(self._counters):
            value = getattr(self._counters, field.name)
            if isinstance(value, int):
                yield CounterMetricFamily(self._name(field.name), self._help(field.name), value)
        yield _histogram(
            self._name("apply_lag_seconds"),
            "from the intended sending of a change to its being applied",
            self._counters.lag,
        )
        gauges = self._gauges()
        for field in fields(gauges):
            if field.name in self.told_otherwise:
                continue
            value = getattr(gauges, field.name)
            yield GaugeMetricFamily(self._name(field.name), self._help(field.name), value)

    def _name(self, field: str) -> str:
        return f"{self.prefix}{field}"

    def _help(self, field: str) -> str:
        return self.helps.get(field, field.replace("_", " "))


class AgentCollector(_DataclassCollector):
    """Exports an agent, or what all agents of a process have counted together."""

    prefix = "southbound_agent_"
    helps = _AGENT_HELP
    told_otherwise = frozenset({"reached_us"})

    def __init__(self, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        super().__init__(counters, gauges)
        self._resyncs = counters.resyncs
        self._stands = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        yield from super().collect()
        age = GaugeMetricFamily(
            self._name("position_age_seconds"), "since the log was last reached, whatever it held"
        )
        reached_us = self._stands().reached_us
        if reached_us:
            age.add_metric([], max(time.time() - reached_us / 1e6, 0.0))
        yield age
        resyncs = CounterMetricFamily(
            self._name("resyncs"), "streams read anew from their beginning", labels=["reason"]
        )
        for reason, count in tuple(self._resyncs.items()):
            resyncs.add_metric([reason], count)
        yield resyncs


class WorkerCollector(_DataclassCollector):
    """Exports a worker of public resources."""

    prefix = "southbound_worker_"
    helps = _WORKER_HELP

    def __init__(self, counters: WorkerCounters, gauges: Callable[[], WorkerGauges]) -> None:
        super().__init__(counters, gauges)


class ApplierCollector(Collector):
    """Exports how long the applier takes for a plan."""

    def __init__(self, applier: TimedApplier) -> None:
        self._applier = applier

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram as it stands."""
        yield _histogram(
            "southbound_applier_plan_seconds",
            "how long the applier took for a plan",
            self._applier.took,
        )


def _histogram(name: str, documentation: str, seconds: Lag) -> Metric:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*LAG_BUCKETS_S, float("inf")), seconds.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
    return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=seconds.sum_s)
