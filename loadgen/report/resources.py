"""What brokers, Redis, publishers and agents take: memory, and CPU for each change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from loadgen.capacity.costs import COSTS
from loadgen.report.charts import Bar, axis_for, bars
from loadgen.report.documents import Document, Row
from loadgen.report.picking import aim_of
from loadgen.report.section import Picture, Section, Table, amount, no_data, rows_table

_MIB: Mapping[str, float] = {
    "MiB": 1.0,
    "GiB": 1024.0,
    "MB": 1e6 / 2**20,
    "bytes": 2**-20,
}
_NOT_A_PROCESS = ("of which ", "partition_", "connection_", "record_", "redis_host", "redis_vpc")
_SMALL = ("per host", "a node", "disk", "error", "cache")
_ACTORS = ("agent", "directory", "million", "tracker", "units", "bootstrap", "latency", "publish")
_Take = Callable[[Row], tuple[float, float | None] | None]
_TIMES_US = {"us": 1.0, "ms": 1e3}


class _Taken(NamedTuple):
    document: Document
    row: Row
    bar: Bar


def resources(documents: Mapping[str, Document]) -> Section:
    """Return the section."""
    content: list[Picture | Table] = []
    missing = []
    for id_, title, unit, take, commands in _KINDS:
        taken = _taken(documents, take)
        if not taken:
            missing.append(no_data(title, *commands))
            continue
        data = [one.bar for one in taken]
        png = bars(axis_for(unit, (bar.value for bar in data)), data)
        told = "; ".join(f"{bar.label} {amount(bar.value)}" for bar in data)
        content.append(Picture(f"resources-{id_}", title, png, f"{title}, {unit}: {told}."))
        content += _tables(taken)
    text = (
        "Memory of processes, and CPU that one change, host, report or start costs, as the kernel "
        "counts it from outside."
    )
    title = "Resources of brokers, Redis, publisher, agents"
    return Section("resources", title, text, tuple(content), tuple(missing))


def _tables(taken: Sequence[_Taken]) -> list[Table]:
    metrics: dict[str, set[str]] = {}
    for one in taken:
        metrics.setdefault(one.document.name, set()).add(one.row.metric)
    documents = {one.document.name: one.document for one in taken}
    return [rows_table(documents[name], wanted) for name, wanted in metrics.items()]


def _taken(documents: Mapping[str, Document], take: _Take) -> list[_Taken]:
    found = []
    for name in _ACTORS:
        if name not in documents:
            continue
        for part, row in documents[name].every_row():
            taken = take(row) if part != "ratio" else None
            if taken is not None and taken[0] > 0:
                group = "Southbound" if part == "measured" else "baseline"
                bar = Bar(f"{name}: {_named(row)}", taken[0], group, taken[1])
                found.append(_Taken(documents[name], row, bar))
    return found


def _named(row: Row) -> str:
    """Return what a row tells of; a unit cost says how it was measured."""
    return COSTS[row.metric].how if row.metric in COSTS else row.metric


def _memory_mib(row: Row) -> tuple[float, float | None] | None:
    """Return a process' memory and its aim in MiB; None where the row tells of something else."""
    scale = _MIB.get(row.unit)
    if scale is None or row.metric.startswith(_NOT_A_PROCESS):
        return None
    if any(word in row.metric for word in _SMALL):
        return None
    aim = aim_of(row)
    return row.value * scale, None if aim is None else aim * scale


def _cpu_us(row: Row) -> tuple[float, float | None] | None:
    """Return the CPU that one thing costs, in microseconds; None where the row tells of another."""
    unit, _, thing = row.unit.partition("/")
    if "CPU" not in _named(row) or unit not in _TIMES_US or thing == "s":
        return None
    return row.value * _TIMES_US[unit], None


_KINDS: tuple[tuple[str, str, str, _Take, tuple[str, ...]], ...] = (
    ("memory", "Memory", "MiB", _memory_mib, ("bench agent", "bench units")),
    (
        "cpu",
        "CPU for each change, host or start",
        "microseconds of CPU",
        _cpu_us,
        ("bench publish", "bench latency"),
    ),
)
