"""What a publisher counts, and how long acceptance takes.

The rule: counting is plain integers that only rise; prometheus_client is imported where a registry
is handed in, and no id ever becomes a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

ACCEPT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


@dataclass(slots=True)
class PublisherCounters:
    """Totals since the publisher began.

    published: changesets taken in. records: of their parts. accepted / failed / unknown: parts, by
    verdict. turned: parts that the fence sent elsewhere. `seconds[i]` counts parts accepted within
    `ACCEPT_BUCKETS_S[i]` of their intended sending and above the bucket before; the last the rest.
    """

    published: int = 0
    records: int = 0
    accepted: int = 0
    failed: int = 0
    unknown: int = 0
    turned: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(ACCEPT_BUCKETS_S) + 1))
    seconds_sum: float = 0.0

    def took(self, seconds: float, count: int = 1) -> None:
        """Count acceptances that took equally long."""
        self.seconds_sum += seconds * count
        self.seconds[bisect_left(ACCEPT_BUCKETS_S, seconds)] += count


_HELP = {
    "published": "Changesets taken in.",
    "records": "Records of their parts.",
    "accepted": "Parts accepted.",
    "failed": "Parts refused or failed.",
    "unknown": "Parts of which nobody knows whether they are in the log.",
    "turned": "Parts that the fence sent to another slot.",
}


class PublisherCollector:
    """Exports the counters. `buffered` tells how many records are under way.

    `quarantined` tells how many records of `sb.moves` could not be read.
    """

    def __init__(
        self,
        counters: PublisherCounters,
        buffered: Callable[[], int],
        quarantined: Callable[[], int] = lambda: 0,
    ) -> None:
        self._counters = counters
        self._buffered = buffered
        self._quarantined = quarantined

    def register(self, registry: CollectorRegistry) -> None:
        """Add this to a registry."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for name, text in _HELP.items():
            yield CounterMetricFamily(
                f"southbound_publisher_{name}", text, getattr(self._counters, name)
            )
        yield CounterMetricFamily(
            "southbound_publisher_quarantined",
            "Records of sb.moves that could not be read.",
            self._quarantined(),
        )
        yield GaugeMetricFamily(
            "southbound_publisher_buffered_records", "Records under way.", self._buffered()
        )
        total, buckets = 0, []
        bounds = [*(str(bound) for bound in ACCEPT_BUCKETS_S), "+Inf"]
        for bound, count in zip(bounds, self._counters.seconds, strict=True):
            total += count
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            "southbound_publisher_accept_seconds",
            "From the intended sending of a part to its acceptance.",
            buckets=buckets,
            sum_value=self._counters.seconds_sum,
        )
