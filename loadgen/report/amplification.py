"""How many records an agent reads for each that it needs, by how many hosts share a slot.

The rule: the curve is computed by the function that places hosts (`partitioning/allocation.py`), for as
many hosts as one cluster has; points are what runs measured with real records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from loadgen.report.charts import Axis, Line, Mark, lines
from loadgen.report.documents import Document, Row
from loadgen.report.picking import aim_of
from loadgen.report.section import Picture, Section, Table, amount, no_data, source_of
from southbound.partitioning.allocation import Occupancy
from southbound.partitioning.topology import Pool
from southbound.resources import ScopeClass

SHARES = (1, 2, 5, 10, 20, 50, 100)
_METRIC = "host records read per record needed, mean"
_TOPICS = 10
_AIM = 10.1
_AIM_AT = 10
_DIGITS_MAX = 12


class Shape(NamedTuple):
    """One pool with its hosts placed. `mean`: hosts of a host's slot, itself included, in the mean."""

    hosts_per_slot: int
    slots: int
    mean: float
    fullest: int
    emptiest: int


class Measured(NamedTuple):
    """What one run measured."""

    document: Document
    hosts_per_slot: float
    row: Row


def shape_of(hosts: int, hosts_per_slot: int) -> Shape:
    """Place so many hosts in a pool of that share; tell what their agents read."""
    topics = min(_TOPICS, max(1, hosts // hosts_per_slot))
    partitions = max(1, round(hosts / hosts_per_slot / topics))
    pool = Pool(
        id="report",
        cluster="report",
        cls="host",
        topics=topics,
        partitions=partitions,
        max_per_slot=hosts + 1,
    )
    held = Occupancy([pool])
    for number in range(hosts):
        held.allocate(ScopeClass.HOST, f"host-{number:07d}", [pool])
    counts = held.counts[pool.id]
    mean = sum(count * count for count in counts) / hosts
    return Shape(hosts_per_slot, pool.slots, mean, max(counts), min(counts))


def amplification(documents: Mapping[str, Document], hosts: int) -> Section:
    """Return the section. `hosts`: of one cluster, placed anew for each share."""
    shapes = [shape_of(hosts, share) for share in SHARES if share <= hosts]
    measured = _measured(documents)
    text = (
        f"An agent reads its slot, so it reads its neighbours' records too. Computed: {hosts:,} hosts "
        "are placed by the real allocation, the emptier of two probes, in pools of 1 to 100 hosts a "
        f"slot. The aim of the plan of {_AIM_AT} hosts a slot is {_AIM:g}."
    )
    missing = () if measured else (no_data("measured amplification", "bench million"),)
    return Section(
        "amplification",
        "Read amplification by pool shape",
        text,
        (_picture(shapes, measured), _table(shapes, hosts), *_measured_table(measured)),
        missing,
    )


def _measured(documents: Mapping[str, Document]) -> list[Measured]:
    found = []
    for document in documents.values():
        for row in document.rows:
            share = _share(document)
            if row.metric == _METRIC and share is not None:
                found.append(Measured(document, share, row))
    return found


def _share(document: Document) -> float | None:
    """Return how many hosts a slot of a run held in the mean, from its settings."""
    hosts = document.settings.get("hosts", "").replace(",", " ").split()
    slots = document.settings.get("host partitions", "")
    if not hosts or not all(one.isascii() and one.isdigit() for one in (hosts[0], slots)):
        return None
    if max(len(hosts[0]), len(slots)) > _DIGITS_MAX or not int(slots):
        return None
    return int(hosts[0]) / int(slots)


def _picture(shapes: Sequence[Shape], measured: Sequence[Measured]) -> Picture:
    data = [
        Line("mean of all hosts, computed", [(one.hosts_per_slot, one.mean) for one in shapes]),
        Line(
            "host in the fullest slot, computed",
            [(one.hosts_per_slot, one.fullest) for one in shapes],
        ),
        Line(
            "all slots equally full",
            [(one.hosts_per_slot, one.hosts_per_slot) for one in shapes],
            dashed=True,
        ),
        *(
            Line(f"{one.document.name}, measured", [(one.hosts_per_slot, one.row.value)])
            for one in measured
        ),
    ]
    aims = {aim_of(one.row) for one in measured} - {None} or {_AIM}
    marks = [
        Mark(f"aim at {_AIM_AT} hosts a slot: {aim:g}", aim) for aim in aims if aim is not None
    ]
    x = Axis("hosts a slot in the mean (logarithmic)", log=True)
    png = lines(x, Axis("records read for each needed (logarithmic)", log=True), data, marks)
    told = ", ".join(f"{one.hosts_per_slot} hosts a slot: {amount(one.mean)}" for one in shapes)
    title = "Records read for each needed, by hosts a slot"
    return Picture("amplification", title, png, f"Records read for each needed, mean: {told}.")


def _table(shapes: Sequence[Shape], hosts: int) -> Table:
    heads = ("hosts a slot", "slots", "read for each needed, mean", "fullest slot", "emptiest slot")
    rows = tuple(
        (
            str(one.hosts_per_slot),
            f"{one.slots:,}",
            f"{one.mean:.2f}",
            str(one.fullest),
            str(one.emptiest),
        )
        for one in shapes
    )
    source = f"computed for this page: {hosts:,} hosts placed by southbound.partitioning.allocation"
    return Table("Computed", heads, rows, source)


def _measured_table(measured: Sequence[Measured]) -> list[Table]:
    heads = ("hosts a slot", "read for each needed, mean", "aim")
    return [
        Table(
            f"Measured by southbound bench {one.document.name}",
            heads,
            ((amount(one.hosts_per_slot), f"{one.row.value:.2f}", one.row.aim),),
            source_of(one.document),
        )
        for one in measured
    ]
