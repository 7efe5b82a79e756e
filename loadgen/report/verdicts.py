"""What was aimed at and what was found; and what the planner said beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from loadgen.report.charts import Axis, dots
from loadgen.report.documents import Document
from loadgen.report.picking import is_met
from loadgen.report.section import Picture, Section, Table, amount, no_data, rows_table

_CAPACITY = "capacity"
_ERROR = ", error"


def aims(documents: Mapping[str, Document]) -> Section:
    """Return every number that has an aim, and whether it keeps it."""
    rows = []
    for document in documents.values():
        for _, row in document.every_row():
            met = is_met(row)
            if met is not None:
                told = "yes" if met else "no"
                rows.append(
                    (
                        document.name,
                        row.metric,
                        amount(row.value),
                        row.unit,
                        row.aim,
                        told,
                        document.at,
                    )
                )
    missing = () if rows else (no_data("any aim", "bench publish"),)
    heads = ("benchmark", "metric", "found", "unit", "aim", "kept", "date")
    kept = sum(row[5] == "yes" for row in rows)
    text = f"{kept} of {len(rows)} aims are kept by the newest run of each benchmark."
    tables = (Table("Aims", heads, tuple(rows)),) if rows else ()
    return Section("aims", "Aims", text, tables, missing)


def predictions(documents: Mapping[str, Document]) -> Section:
    """Return the errors of the planner at three scales."""
    text = (
        "`southbound plan-capacity` predicts from unit costs; here its formulas were given three small "
        "fleets, which were then measured. The error is predicted / measured - 1."
    )
    title = "The planner's predictions"
    document = documents.get(_CAPACITY)
    if document is None:
        missing = (no_data("predictions", "bench capacity"),)
        return Section("predictions", title, text, missing=missing)
    data: dict[str, dict[str, float]] = {}
    for row in document.ratios:
        what, size = row.metric.removesuffix(_ERROR).rsplit(", ", 1)
        data.setdefault(what, {})[size] = row.value
    png = dots(Axis("error of the prediction (%)"), data)
    worst = max(document.ratios, key=lambda row: abs(row.value))
    alt = (
        f"Errors of {len(document.ratios)} predictions; the largest is {amount(worst.value)} %, of "
        f"{worst.metric.removesuffix(_ERROR)}."
    )
    picture = Picture("predictions", "Errors at three scales", png, alt)
    return Section("predictions", title, text, (picture, rows_table(document)))
