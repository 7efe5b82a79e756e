"""Exact quantiles of all samples. Pure.

The rule: every sample is kept and none is interpolated, so each quantile is a value that occurred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from southbound.bench.result import Row

SHOWN = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least `share` of all do not exceed (nearest rank).

    `ordered`: the samples in rising order, at least one.
    """
    assert ordered, "no samples"
    assert 0 < share <= 1, share
    return ordered[math.ceil(share * len(ordered)) - 1]


def quantile_rows(
    metric: str, samples: Sequence[float], unit: str, aims: dict[str, str] | None = None
) -> list[Row]:
    """Return a row for p50, p99, p99.9 and the largest sample; `aims` by quantile's name."""
    ordered = sorted(samples)
    rows = [
        Row(f"{metric}, {name}", quantile(ordered, share), unit, (aims or {}).get(name, ""))
        for name, share in SHOWN.items()
    ]
    return [*rows, Row(f"{metric}, max", ordered[-1], unit)]
