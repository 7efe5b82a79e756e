"""What a report is made of: sections with a picture, what it shows, and the numbers in it. Pure.

The rule: a section without data says which command would bring them, and shows nothing in their place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from loadgen.report.documents import Document


class Picture(NamedTuple):
    """A PNG. `alt`: what it shows, for who does not see it."""

    name: str
    title: str
    png: bytes
    alt: str


class Table(NamedTuple):
    """Numbers. `source`: what was run, on what, when."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    source: str = ""


class Section(NamedTuple):
    """One heading of the page. `content`: each picture with its numbers beneath it.

    `missing`: what there is no data for, and how to get them.
    """

    id: str
    title: str
    text: str
    content: tuple[Picture | Table, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def pictures(self) -> list[Picture]:
        """The pictures in it."""
        return [one for one in self.content if isinstance(one, Picture)]


def source_of(document: Document) -> str:
    """Return where a document's numbers come from, in one line."""
    return f"{document.told_command} · {document.told_machine} · {document.at}"


def amount(value: float) -> str:
    """Return a number with three digits that count, or whole where it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def no_data(what: str, *commands: str) -> str:
    """Return the sentence that stands where a picture would."""
    return f"No data yet for {what}: run {' or '.join(f'`southbound {one}`' for one in commands)}."


def rows_table(document: Document, metrics: Iterable[str] | None = None) -> Table:
    """Return the numbers of a document, or those of the named metrics, with their aims."""
    wanted = None if metrics is None else set(metrics)
    rows = tuple(
        (part, row.metric, amount(row.value), row.unit, row.aim)
        for part, row in document.every_row()
        if wanted is None or row.metric in wanted
    )
    heads = ("part", "metric", "value", "unit", "aim")
    return Table(f"southbound bench {document.name}", heads, rows, source_of(document))
