"""What a node costs as the fleet grows: streams beside broadcast and polling, with the slope named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadgen.report.charts import Axis, Line, lines
from loadgen.report.documents import Document
from loadgen.report.picking import Sizes, growth_of, sizes, slope
from loadgen.report.section import Picture, Section, Table, amount, no_data, source_of

_STORM, _CAPACITY = "storm", "capacity"
_OURS = "streams"
_STORMS = (
    ("bytes", "bytes a node", "B", "bytes a node reads in a restart"),
    ("time", "all hold everything", "s", "seconds until all nodes hold everything"),
)
_UNITS = {"B": "bytes", "bytes": "bytes", "s": "seconds"}
_MEASURED = (
    (
        "servers",
        "bytes taken, measured at three sizes",
        "bytes",
        ("Redis memory", "broker memory", "broker disk"),
    ),
    (
        "runs",
        "seconds for the whole fleet, measured at three sizes",
        "s",
        ("registering", "fill"),
    ),
)


def growth(documents: Mapping[str, Document]) -> Section:
    """Return the section."""
    content: list[Picture | Table] = []
    missing = []
    storm = documents.get(_STORM)
    for id_, what, unit, title in _STORMS:
        found = sizes([storm], what, unit) if storm else []
        if storm is None or not found:
            missing.append(no_data(title, "bench storm"))
            continue
        named = [one._replace(label=one.label or _OURS) for one in found]
        content.append(_picture(f"growth-{id_}", title, "nodes", named))
        content.append(_table(title, storm, named))
    capacity = documents.get(_CAPACITY)
    for id_, title, unit, things in _MEASURED:
        served = _served(capacity, things, unit) if capacity else []
        if capacity is None or not served:
            missing.append(no_data(title, "bench capacity"))
            continue
        content.append(_picture(f"growth-{id_}", title, "hosts", served))
        content.append(_table(title, capacity, served))
    text = (
        "Both axes are logarithmic, so a cost that grows with a power of the fleet's size is a straight "
        "line, and its slope is the power. Hollow points were computed by the formulas that the run "
        "prints; full ones were measured."
    )
    return Section("growth", "Cost as the fleet grows", text, tuple(content), tuple(missing))


def _served(document: Document, things: Sequence[str], unit: str) -> list[Sizes]:
    return [
        one._replace(label=thing)
        for thing in things
        for one in sizes([document], thing, unit)
        if not one.label
    ]


def _named(one: Sizes) -> str:
    exponent = slope(one.points)
    return f"{one.label}: N^{exponent:.2f}, {growth_of(exponent)}"


def _picture(id_: str, title: str, noun: str, found: Sequence[Sizes]) -> Picture:
    data = []
    for one in found:
        points = sorted(one.points.items())
        hollow = {at for at, (size, _) in enumerate(points) if one.how[size] == "computed"}
        data.append(Line(_named(one), points, frozenset(hollow)))
    png = lines(
        Axis(f"{noun} (logarithmic)", log=True),
        Axis(f"{_UNITS[found[0].unit]} (logarithmic)", log=True),
        data,
    )
    return Picture(
        id_, _capital(title), png, f"{_capital(title)}. {'; '.join(_named(one) for one in found)}."
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _table(title: str, document: Document, found: Sequence[Sizes]) -> Table:
    heads = ("what", "size", "value", "unit", "how", "slope")
    rows = tuple(
        (one.label, f"{size:,}", amount(value), one.unit, one.how[size], f"{slope(one.points):.2f}")
        for one in found
        for size, value in sorted(one.points.items())
    )
    return Table(_capital(title), heads, rows, source_of(document))
