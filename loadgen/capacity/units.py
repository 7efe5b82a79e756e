"""Unit costs as a file: the document of a run of `southbound bench units`, read as it was written.

The rule: a number carries where it comes from. The file is the benchmark's own document, with its
machine, its software, its command, its time and how busy the machine was; one ships with the package.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from loadgen.capacity.costs import COSTS
from southbound.bench.result import BenchResult, Row
from southbound.documents.text import read_bounded
from southbound.doubles import check_doubles
from southbound.errors import ConfigError, Fault, WireError

NAME = "units"
LOAD = "load average before and after"
_BYTES_MAX = 16 << 20


class Units(NamedTuple):
    """Unit costs by name, and what is known of the run that measured them."""

    costs: Mapping[str, float]
    provenance: Mapping[str, str]


def shipped() -> Units:
    """Return the unit costs that came with the package."""
    file = resources.files("loadgen.capacity").joinpath("units.json")
    return _units(file.read_bytes(), "the unit costs of the package")


def read_units(file: Path) -> Units:
    """Read a document of `bench units`. Raises `ConfigError` naming what is wrong with it."""
    try:
        with file.open("rb") as opened:
            content = read_bounded(opened, _BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fault = Fault("units", str(file), reason)
        raise ConfigError("the unit costs cannot be read", [fault]) from error
    if len(content) > _BYTES_MAX:
        fault = Fault("units", str(file), f"at most {_BYTES_MAX} bytes")
        raise ConfigError("the unit costs cannot be read", [fault])
    return _units(content, str(file))


def result_of(costs: Mapping[str, float], settings: Mapping[str, str]) -> BenchResult:
    """Return measured unit costs as a benchmark's outcome."""
    rows = tuple(Row(name, costs[name], cost.unit) for name, cost in COSTS.items())
    return BenchResult(NAME, rows, settings=settings)


def _units(content: bytes, place: str) -> Units:
    try:
        document = msgspec.json.decode(content, type=_Document)
        check_doubles(content)
    except (msgspec.MsgspecError, ValueError, RecursionError, WireError) as error:
        fault = Fault(place, content[:80], f"is no document of `southbound bench units`: {error}")
        raise ConfigError("the unit costs cannot be read", [fault]) from error
    costs = {row.metric: row.value for row in document.rows}
    counted = Counter(row.metric for row in document.rows)
    faults = [
        Fault(f"{place}: {name}", count, "rows: a metric must not stand there twice")
        for name, count in counted.items()
        if count > 1
    ]
    faults += [
        Fault(f"{place}: {name}", costs.get(name), "is missing, below 0, or endless")
        for name in COSTS
        if not 0 <= costs.get(name, -1) < math.inf
    ]
    if faults:
        raise ConfigError("the unit costs are not complete: measure them with bench units", faults)
    return Units({name: costs[name] for name in COSTS}, _provenance(document))


class _Row(msgspec.Struct):
    metric: str
    value: float


class _Document(msgspec.Struct):
    name: str
    rows: list[_Row]
    at: str
    command: str = ""
    settings: dict[str, str] = {}
    machine: dict[str, str] = {}
    software: dict[str, str] = {}


def _provenance(document: _Document) -> dict[str, Any]:
    machine = ", ".join(f"{name} {value}" for name, value in document.machine.items())
    software = ", ".join(f"{name} {value}" for name, value in document.software.items())
    return {
        "measured by": document.command or f"southbound bench {document.name}",
        "at": document.at,
        "machine": machine,
        "software": software,
        LOAD: document.settings.get(LOAD, "not recorded"),
    }
