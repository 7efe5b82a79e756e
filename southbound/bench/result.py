"""What a benchmark found: numbers with their units, beside the baseline of the same run.

The rule: a number means nothing without what it is compared with and what it was measured on, so a
result carries its baseline, the ratios to it and every setting that matters; and each run leaves a
file that holds all of it, the machine included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec


class Row(NamedTuple):
    """One number, such as (`accepted`, 61000.0, `changes/s`). `aim`: what it should be, in words."""

    metric: str
    value: float
    unit: str
    aim: str = ""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One benchmark's outcome.

    `rows`: what Southbound did. `baseline`: what something simpler did in the same run. `ratios`: one
    by the other. `settings`: what was measured, and every client setting that matters.
    """

    name: str
    rows: tuple[Row, ...]
    baseline: tuple[Row, ...] = ()
    ratios: tuple[Row, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as plain data, ready for JSON."""
        return {
            "name": self.name,
            "rows": [row._asdict() for row in self.rows],
            "baseline": [row._asdict() for row in self.baseline],
            "ratios": [row._asdict() for row in self.ratios],
            "settings": dict(self.settings),
        }


def write_result(document: Mapping[str, Any], folder: Path, at: datetime) -> Path:
    """Write a run's document as `<name>-<time in UTC>.json`; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{document['name']}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    return file
