"""Counters and gauges of a janitor, as Prometheus reads them.

The rule: this is the only place that knows their exported names: base units, `southbound_janitor_` in
front, never an id of a host, VPC or changeset as a label. Every label's value is told from the start,
at 0, so that an alert sees the first rise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from southbound.janitor.judging import Why
from southbound.janitor.tally import (
    MENDED_JOURNAL,
    MENDED_MOVES,
    PRUNED_MOVES,
    Stand,
    Tally,
)
from southbound.resources import ScopeClass

_PREFIX = "southbound_janitor_"


class _Labelled(NamedTuple):
    name: str
    label: str
    text: str


_LABELLED = (
    _Labelled("repairs", "reason", "records appended to slots"),
    _Labelled("entries", "kind", "entries appended to sb.directory and sb.moves, or pruned there"),
    _Labelled("changesets_abandoned", "class", "changesets whose records never all came"),
)
_COUNTERS = {
    "sweeps": "goings through all slots of the share",
    "failures": "what kept a sweep from a cluster or from erasing",
    "records_read": "records read",
    "slots_looked": "slots read as a whole",
    "slots_glanced": "slots read from where they had been left",
    "slots_unfinished": "slots that were not in order after a few rounds, to be looked at again",
    "lost": "records that were gone before they were repeated",
    "quarantined": "records of sb.directory and sb.moves that could not be read",
}
_GAUGES = {
    "slots": "slots of the share",
    "keys_unreadable": "keys left alone since one of their records cannot be read",
    "scopes_stray": "scopes that are away and whose records cannot go yet",
    "scopes_unknown": "scopes with records in a slot that no journal knows",
    "sweep_seconds": "how long the last sweep took",
    "sweep_age_seconds": "since the last complete sweep began, or since the start",
}


class JanitorCollector(Collector):
    """Exports one janitor."""

    def __init__(self, tally: Tally, stand: Stand) -> None:
        self._tally = tally
        self._stand = stand
        self._made_s = time.time()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        for labelled, counts in zip(_LABELLED, self._labelled(), strict=True):
            family = CounterMetricFamily(
                _PREFIX + labelled.name, labelled.text, labels=[labelled.label]
            )
            for value, count in counts.items():
                family.add_metric([value], count)
            yield family
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + name, text, getattr(self._tally, name))
        gauges = self._gauges()
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(_PREFIX + name, text, gauges[name])

    def _labelled(self) -> tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]]:
        tally = self._tally
        classes = (ScopeClass.HOST, ScopeClass.VPC)
        return (
            {why.value: tally.repairs[why] for why in Why},
            {name: tally.entries[name] for name in (MENDED_JOURNAL, MENDED_MOVES, PRUNED_MOVES)},
            {cls.value: tally.abandoned[cls] for cls in classes},
        )

    def _gauges(self) -> Mapping[str, float]:
        stand = self._stand
        return {
            "slots": stand.slots,
            "keys_unreadable": stand.odd.unreadable,
            "scopes_stray": stand.odd.strays,
            "scopes_unknown": stand.odd.unknown,
            "sweep_seconds": stand.sweep_s,
            "sweep_age_seconds": max(time.time() - (stand.began_us / 1e6 or self._made_s), 0.0),
        }
