"""The report: documents in, one page and its pictures out.

The rule: what is written can be written again from the same documents, and replaces what was there;
a page is put in place whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loadgen.report.amplification import amplification
from loadgen.report.delays import convergence, latency
from loadgen.report.documents import Document, Found, read_documents
from loadgen.report.growth import growth
from loadgen.report.page import page
from loadgen.report.resources import resources
from loadgen.report.section import Section, Table, rows_table
from loadgen.report.throughput import throughput
from loadgen.report.verdicts import aims, predictions

Progress = Callable[[str], None]

PAGE = "index.html"
TITLE = "Southbound: what benchmarks found"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """From which folder, to which; `hosts`: placed for each pool shape of the amplification."""

    source: Path = Path("bench")
    target: Path = Path("bench") / "report"
    hosts: int = 100_000


class Written(NamedTuple):
    """What was written. `missing`: what there is no data for, in words."""

    page: Path
    pictures: tuple[Path, ...]
    documents: tuple[str, ...]
    missing: tuple[str, ...]


def write_report(settings: ReportSettings, progress: Progress) -> Written:
    """Read, draw, write. Raises `ConfigError` when the source is no folder."""
    found = read_documents(settings.source)
    for fault in found.refused:
        progress(f"left out: {fault}")
    progress(f"placing {settings.hosts:,} hosts in pools of several shapes")
    sections = sections_of(found, settings.hosts)
    settings.target.mkdir(parents=True, exist_ok=True)
    pictures = []
    for section in sections:
        for picture in section.pictures:
            file = settings.target / f"{picture.name}.png"
            file.write_bytes(picture.png)
            pictures.append(file)
    whole = settings.target / PAGE
    fresh = whole.with_suffix(".fresh")
    fresh.write_text(_page(found, sections), encoding="utf-8")
    fresh.replace(whole)
    missing = tuple(one for section in sections for one in section.missing)
    return Written(whole, tuple(pictures), tuple(found.documents), missing)


def sections_of(found: Found, hosts: int) -> list[Section]:
    """Return the sections of the page, pictures drawn."""
    documents = found.documents
    return [
        aims(documents),
        throughput(documents),
        latency(documents),
        convergence(documents),
        amplification(documents, hosts),
        growth(documents),
        resources(documents),
        predictions(documents),
    ]


def _page(found: Found, sections: list[Section]) -> str:
    documents = found.documents.values()
    machines = sorted({document.told_machine for document in documents})
    dates = sorted(document.at for document in documents)
    when = f"{dates[0]} to {dates[-1]}" if dates else "none"
    lead = (
        f"The newest run of each of {len(found.documents)} benchmarks: {', '.join(found.documents)}. "
        f"Runs: {when}. Machine: {'; '.join(machines) or 'none'}. Each table tells what was run, on "
        "what, and when."
    )
    folded = [table for document in documents for table in _every(document)]
    return page(TITLE, lead, sections, folded)


def _every(document: Document) -> list[Table]:
    facts = tuple(
        (part, name, value)
        for part, values in (
            ("settings", document.settings),
            ("machine", document.machine),
            ("software", document.software),
        )
        for name, value in values.items()
    )
    numbers = rows_table(document)
    return [
        numbers,
        Table(f"{numbers.caption}: settings, machine, software", ("part", "name", "value"), facts),
    ]
