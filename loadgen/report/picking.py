"""Finding what belongs together in documents: quantiles of one thing, sizes of one thing. Pure.

The rule: benchmarks name their numbers by one grammar, `<what>, p99` for quantiles and
`<who, >1,000 nodes, <what>` or `<what>, 1000 hosts` for sizes; what does not follow it is not picked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from loadgen.report.documents import Document, Row

QUANTILES = ("p50", "p90", "p99", "p99.9", "max")
_QUANTILE = re.compile(r"^(?P<what>.+), (?P<quantile>p50|p90|p99|p99\.9|max)$")
_SIZE = re.compile(r"(?:^|, )(?P<size>\d[\d,]*) (?P<noun>nodes|hosts)(?=,|$)")
_AIM = re.compile(r"^(?P<sign><=|>=)?\s*(?P<value>[\d.]+)$")
_MS = {"ms": 1.0, "s": 1e3, "us": 1e-3}


class Curve(NamedTuple):
    """Quantiles of one thing in milliseconds; `aims` by quantile. `ours`: not of a baseline."""

    label: str
    points: dict[str, float]
    aims: dict[str, float]
    ours: bool


class Sizes(NamedTuple):
    """One thing at several sizes. `how`: measured or computed, by size."""

    label: str
    unit: str
    points: dict[int, float]
    how: dict[int, str]


def aim_of(row: Row) -> float | None:
    """Return the number in a row's aim; None where there is none."""
    found = _AIM.match(row.aim.strip())
    return float(found["value"]) if found else None


def is_met(row: Row) -> bool | None:
    """Tell whether a row keeps its aim; None where it has none that can be told."""
    found = _AIM.match(row.aim.strip())
    if found is None or found["sign"] is None:
        return None
    aim = float(found["value"])
    return row.value <= aim if found["sign"] == "<=" else row.value >= aim


def curves(document: Document) -> list[Curve]:
    """Return the quantiles of each thing whose unit is a time."""
    found: dict[str, Curve] = {}
    for part, row in document.every_row():
        match = _QUANTILE.match(row.metric)
        if match and part != "ratio" and row.unit in _MS:
            label = match["what"]
            curve = found.setdefault(label, Curve(label, {}, {}, part == "measured"))
            curve.points[match["quantile"]] = row.value * _MS[row.unit]
            aim = aim_of(row)
            if aim is not None:
                curve.aims[match["quantile"]] = aim * _MS[row.unit]
    return [curve for curve in found.values() if len(curve.points) > 1]


def sizes(documents: Iterable[Document], what: str, unit: str) -> list[Sizes]:
    """Return what `what` is at each size, for each of those that are told of.

    `what` begins the words behind the size, or is all words before it. What was measured is taken
    before what was computed.
    """
    found: dict[str, Sizes] = {}
    for document in documents:
        for part, row in document.every_row():
            match = _SIZE.search(row.metric)
            if match is None or part == "ratio" or row.unit != unit:
                continue
            before, after = row.metric[: match.start()], row.metric[match.end() :].strip(", ")
            if what not in (before, _without_how(after)):
                continue
            label = before if before and before != what else ""
            kept = found.setdefault(label, Sizes(label, unit, {}, {}))
            size, how = int(match["size"].replace(",", "")), _how(after)
            if kept.how.get(size) != "measured":
                kept.points[size], kept.how[size] = row.value, how
    return [one for one in found.values() if len(one.points) > 1]


def slope(points: dict[int, float]) -> float:
    """Return the exponent k of the power law N^k that fits best (least squares of logarithms).

    At least two sizes, all values above 0.
    """
    xs, ys = [math.log(size) for size in points], [math.log(one) for one in points.values()]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((x - x_mean) ** 2 for x in xs)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / across


def growth_of(exponent: float) -> str:
    """Return how a power of the fleet's size is called."""
    names: Sequence[tuple[float, str]] = (
        (0.15, "hardly grows"),
        (0.85, "grows slower than the fleet"),
        (1.15, "grows with the fleet"),
        (1.85, "grows faster than the fleet"),
        (2.15, "grows with its square"),
    )
    for at_most, name in names:
        if exponent <= at_most:
            return "shrinks" if exponent < -0.15 else name
    return "grows faster than its square"


def _without_how(text: str) -> str:
    return re.split(r", (?:measured|computed).*$", text)[0]


def _how(text: str) -> str:
    return "computed" if ", computed" in text or text.endswith("predicted") else "measured"
