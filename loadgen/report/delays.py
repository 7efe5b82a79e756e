"""How long a change takes, as quantiles: single changes, and until all who must have applied one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadgen.report.charts import Axis, Bar, quantile_curves
from loadgen.report.documents import Document
from loadgen.report.picking import QUANTILES, Curve, curves
from loadgen.report.section import Picture, Section, Table, amount, no_data, source_of

_LATENCY = "latency"


def latency(documents: Mapping[str, Document]) -> Section:
    """Return the section of single changes."""
    text = (
        "From when a change was due in an open loop until the publisher was told that it is accepted, "
        "and until the node's agent had applied it; beside bare clients on the same partitions."
    )
    title = "Latency of a single change"
    document = documents.get(_LATENCY)
    if document is None:
        return Section(_LATENCY, title, text, missing=(no_data("latency", "bench latency"),))
    found = curves(document)
    content = (_picture("latency", title, found), _table(document, found))
    return Section(_LATENCY, title, text, content)


def convergence(documents: Mapping[str, Document]) -> Section:
    """Return the section of all other times that have quantiles."""
    text = (
        "Until everybody who must has applied a change, or until a node that came back or moved has "
        "all that it must have."
    )
    found = {
        name: curves(document)
        for name, document in documents.items()
        if name != _LATENCY and curves(document)
    }
    title = "Convergence"
    missing = [
        no_data(what, f"bench {name}")
        for name, what in (
            ("million", "a VPC's change to thousands of hosts"),
            ("bootstrap", "agents without state"),
            ("handover", "the pause of a host that moves"),
        )
        if name not in found
    ]
    content: list[Picture | Table] = []
    for name, every in found.items():
        content.append(_picture(f"convergence-{name}", f"{title}, {name}", every))
        content.append(_table(documents[name], every))
    return Section("convergence", title, text, tuple(content), tuple(missing))


def _picture(name: str, title: str, found: Sequence[Curve]) -> Picture:
    shown = {curve.label: curve.points for curve in found}
    names = [one for one in QUANTILES if any(one in points for points in shown.values())]
    aims = [
        Bar(quantile, value, curve.label)
        for curve in found
        for quantile, value in curve.aims.items()
    ]
    png = quantile_curves(Axis("milliseconds (logarithmic)", log=True), names, shown, aims)
    told = "; ".join(
        f"{label}: " + ", ".join(f"{one} {amount(value)} ms" for one, value in points.items())
        for label, points in shown.items()
    )
    return Picture(name, title, png, f"{title}. {told}.")


def _table(document: Document, found: Sequence[Curve]) -> Table:
    names = [one for one in QUANTILES if any(one in curve.points for curve in found)]
    rows = tuple(
        (
            curve.label,
            "" if curve.ours else "baseline",
            *(amount(curve.points[one]) if one in curve.points else "" for one in names),
            ", ".join(f"{name} <= {value:g}" for name, value in curve.aims.items()),
        )
        for curve in found
    )
    heads = ("what", "", *(f"{one} (ms)" for one in names), "aims (ms)")
    return Table(f"southbound bench {document.name}", heads, rows, source_of(document))
