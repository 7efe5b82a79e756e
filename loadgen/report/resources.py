"""What brokers, Redis, publishers and agents take: memory, and CPU for each change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loadgen.capacity.costs import COSTS
from loadgen.report.charts import Bar, axis_for, bars
from loadgen.report.documents import Document, Row
from loadgen.report.picking import aim_of
from loadgen.report.section import Picture, Section, amount, no_data, rows_table

_MIB: Mapping[str, float] = {
    "MiB": 1.0,
    "GiB": 1024.0,
    "MB": 1e6 / 2**20,
    "bytes": 2**-20,
}
_NOT_A_PROCESS = ("of which ", "partition_", "connection_", "record_", "redis_host", "redis_vpc")
_SMALL = ("per host", "a node", "disk", "error", "cache")
_ACTORS = ("agent", "directory", "million", "tracker", "units", "bootstrap", "latency", "publish")
_TIMES_US = {"us": 1.0, "ms": 1e3}


def resources(documents: Mapping[str, Document]) -> Section:
    """Return the section."""
    memory = _bars(documents, _memory_mib)
    cpu = _bars(documents, _cpu_us)
    pictures, missing = [], []
    if memory:
        png = bars(axis_for("MiB", (bar.value for bar in memory)), memory)
        told = "; ".join(f"{one.label} {amount(one.value)} MiB" for one in memory)
        pictures.append(Picture("resources-memory", png, f"Memory. {told}."))
    else:
        missing.append(no_data("memory", "bench agent", "bench units"))
    if cpu:
        png = bars(axis_for("microseconds of CPU", (bar.value for bar in cpu)), cpu)
        told = "; ".join(f"{one.label} {amount(one.value)} us" for one in cpu)
        pictures.append(
            Picture("resources-cpu", png, f"CPU for each change, host or start. {told}.")
        )
    else:
        missing.append(no_data("CPU", "bench publish", "bench latency"))
    shown = [documents[name] for name in ("agent", "units") if name in documents]
    text = (
        "Memory of processes, and CPU that one change, host, report or start costs, as the kernel "
        "counts it from outside."
    )
    tables = tuple(rows_table(document) for document in shown)
    return Section(
        "resources",
        "Resources of brokers, Redis, publisher, agents",
        text,
        tuple(pictures),
        tables,
        tuple(missing),
    )


def _bars(
    documents: Mapping[str, Document], take: Callable[[Row], tuple[float, float | None] | None]
) -> list[Bar]:
    found = []
    for name in _ACTORS:
        if name not in documents:
            continue
        for part, row in documents[name].every_row():
            taken = take(row) if part != "ratio" else None
            if taken is not None and taken[0] > 0:
                group = "Southbound" if part == "measured" else "baseline"
                label = f"{name}: {_named(row)}"
                found.append(Bar(label, taken[0], group, taken[1]))
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
