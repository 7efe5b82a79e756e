"""How many a second: Southbound's rates beside those of bare clients in the same runs."""

from __future__ import annotations

from collections.abc import Mapping

from loadgen.report.charts import Bar, axis_for, bars
from loadgen.report.documents import Document
from loadgen.report.picking import aim_of
from loadgen.report.section import Picture, Section, Table, amount, no_data, rows_table

_UNITS = ("changes/s", "records/s", "hosts/s", "reports/s")
_PICTURES = (
    ("publishing", "Changes until accepted", ("publish", "million")),
    ("directory", "The directory", ("directory",)),
    (
        "others",
        "Moving hosts and handling reports",
        ("handover", "rebalance", "tracker"),
    ),
)


def throughput(documents: Mapping[str, Document]) -> Section:
    """Return the section."""
    content: list[Picture | Table] = []
    missing = []
    for id_, title, names in _PICTURES:
        shown = [documents[name] for name in names if name in documents]
        data = [bar for document in shown for bar in _bars(document)]
        if not data:
            missing.append(no_data(title.lower(), *(f"bench {name}" for name in names)))
            continue
        png = bars(axis_for("a second", (bar.value for bar in data)), data)
        content.append(Picture(f"throughput-{id_}", title, png, f"{title}: {_told(data)}."))
        content += [
            rows_table(
                document, [row.metric for _, row in document.every_row() if row.unit in _UNITS]
            )
            for document in shown
        ]
    text = (
        "How many a second, beside what bare clients do in the same run on the same servers. All "
        "share the machine's cores, the servers too."
    )
    return Section("throughput", "Throughput", text, tuple(content), tuple(missing))


def _bars(document: Document) -> list[Bar]:
    return [
        Bar(
            f"{document.name}: {row.metric} ({row.unit})",
            row.value,
            "Southbound" if part == "measured" else "baseline",
            aim_of(row),
        )
        for part, row in document.every_row()
        if row.unit in _UNITS and part != "ratio" and row.value > 0
    ]


def _told(data: list[Bar]) -> str:
    return "; ".join(f"{bar.label} {amount(bar.value)}" for bar in data[:6])
