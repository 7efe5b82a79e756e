"""Counters and gauges of the tracker service, as Prometheus reads them.

The rule: this is the only place that knows their exported names: base units, `southbound_tracker_` in
front, and never a host's id, nor a changeset's, as a label. A value is read when it is scraped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from southbound.tracker.counters import SECONDS_BUCKETS, Seconds, TrackerCounters, TrackerGauges

HELP: Mapping[str, str] = {
    "reports": "records of the status topics",
    "inventories": "of those, parts of inventories",
    "presences": "records of the interest topics",
    "quarantined": "records that could not be read",
    "gaps": "partitions whose next record was gone before it was read",
    "write_failures": "transactions that the disk refused, each to be repeated",
    "announced": "changesets that senders announced",
    "refused": "announced changesets that were not accepted",
    "settled": "announced changesets of which every host said what became of them",
    "given_up": "announced changesets that were too many to follow",
    "hosts_forgotten": "hosts that were silent for too long",
    "entries": "lines of reports",
    "gates": "answers of gates",
    "requests": "answers to questions over HTTP",
    "convergence_seconds": "from the announced sending of a changeset to each host's word",
    "lag_seconds": "from a report's sending to its being taken",
    "transaction_seconds": "how long a batch took to be heard and written",
    "hosts": "hosts known",
    "unfinished": "resources that failed or wait on their hosts",
    "changesets_followed": "announced changesets that may still change",
    "changesets_open": "announced changesets that are not settled",
    "clusters_followed": "clusters whose status topic is read",
    "clusters_away": "of those, clusters that do not answer",
    "clusters_behind": "of those, clusters that have not been read to their end since the start",
    "waiting": "requests that wait for news",
    "store_bytes": "size of the store on disk",
}
_LABELS = {"entries": "outcome", "gates": "outcome", "requests": "code"}
_HISTOGRAMS = {
    "convergence": "convergence_seconds",
    "lag": "lag_seconds",
    "transactions": "transaction_seconds",
}
_PREFIX = "southbound_tracker_"


class TrackerCollector(Collector):
    """Exports a tracker service."""

    def __init__(
        self, counters: TrackerCounters, gauges: Callable[[], TrackerGauges] = TrackerGauges
    ) -> None:
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        for field in fields(self._counters):
            value = getattr(self._counters, field.name)
            if field.name in _HISTOGRAMS:
                yield _histogram(_HISTOGRAMS[field.name], value)
            elif field.name in _LABELS:
                yield _labelled(field.name, value)
            else:
                yield CounterMetricFamily(_PREFIX + field.name, HELP[field.name], value)
        gauges = self._gauges()
        for gauge in fields(gauges):
            value = getattr(gauges, gauge.name)
            yield GaugeMetricFamily(_PREFIX + gauge.name, HELP[gauge.name], value)


def _labelled(name: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, HELP[name], labels=[_LABELS[name]])
    for label, count in tuple(counts.items()):
        family.add_metric([label], count)
    return family


def _histogram(name: str, seconds: Seconds) -> Metric:
    total = 0
    buckets: list[tuple[str, float]] = []
    bounds = [*(str(bound) for bound in SECONDS_BUCKETS), "+Inf"]
    for bound, count in zip(bounds, tuple(seconds.counts), strict=True):
        total += count
        buckets.append((bound, total))
    return HistogramMetricFamily(_PREFIX + name, HELP[name], buckets, seconds.sum_s)
