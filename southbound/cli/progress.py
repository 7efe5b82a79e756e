"""How far a command is, on standard error.

The rule: a terminal gets a bar; a log gets a line now and then, so that a long command is seen to
live and a short one says nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

Advance = Callable[[int, int], None]
"""Called with how much is done, and of how much."""

_EVERY_S = 2.0


def say(line: str) -> None:
    """Tell one line of progress."""
    typer.echo(line, err=True)


@contextmanager
def counting(what: str) -> Iterator[Advance]:
    """Show a count that rises while the block runs."""
    if sys.stderr.isatty():
        with _bar(what) as advance:
            yield advance
    else:
        yield _lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Advance:
    told_at = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _EVERY_S:
            told_at = time.monotonic()
            say(f"{what}: {done} of {total}")

    return advance
