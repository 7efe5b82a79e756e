"""Data on standard output: a table for people, JSON for programs.

The rule: both hold the same rows and the same columns. A terminal gets a drawn table; a pipe gets
plain aligned text, never cut to a width that nobody chose.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import typer

from southbound.cli.session import Session

Row = Sequence[Any]


def show(session: Session, columns: Sequence[str], rows: Iterable[Row], title: str = "") -> None:
    """Print rows. `columns` are the JSON fields; in tables their underscores are spaces."""
    if session.is_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    heads = [column.replace("_", " ") for column in columns]
    cells = [[text_of(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _draw(heads, cells, title)
    else:
        _print_plain(heads, cells)


def show_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def text_of(value: Any) -> str:
    """Return a cell's text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(item) for item in value) or "-"
    return str(value)


def _draw(heads: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=SIMPLE_HEAD, title=title or None, title_justify="left")
    for row in cells:
        # Text, so that brackets in names are no markup.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _print_plain(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    lines = [heads, *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())
