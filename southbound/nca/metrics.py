"""An agent's counters and gauges, as Prometheus reads them.

The rule: the core counts in plain integers; this is the only place that knows their exported names.
Base units, `southbound_agent_` in front, and never a host's id as a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from southbound.nca.counters import LAG_BUCKETS_S, Counters, Gauges

_PREFIX = "southbound_agent_"


class AgentCollector(Collector):
    """Exports counters, and gauges where they are asked for at the time of each scrape."""

    def __init__(self, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        for field in fields(Counters):
            value = getattr(self._counters, field.name)
            if isinstance(value, int):
                name = f"{_PREFIX}{field.name}"
                yield CounterMetricFamily(name, field.name.replace("_", " "), value=value)
        resyncs = CounterMetricFamily(f"{_PREFIX}resyncs", "explicit resyncs", labels=["reason"])
        for reason, count in tuple(self._counters.resyncs.items()):
            resyncs.add_metric([reason], count)
        yield resyncs
        yield self._lag()
        gauges = self._gauges()
        for gauge in fields(Gauges):
            name = f"{_PREFIX}{gauge.name}"
            yield GaugeMetricFamily(name, gauge.name.replace("_", " "), getattr(gauges, gauge.name))

    def _lag(self) -> Metric:
        lag = self._counters.lag
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*LAG_BUCKETS_S, float("inf")), lag.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
        return HistogramMetricFamily(
            f"{_PREFIX}apply_lag_seconds",
            "from the intended sending of a change to its being applied",
            buckets=buckets,
            sum_value=lag.sum_s,
        )
