"""The documents that benchmarks leave, read back: the newest of each name.

The rule: a number of the report is a row of a document, with the command, the machine and the date of
its run; a file that is no such document is named and left out, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from southbound.errors import ConfigError, Fault


class Row(msgspec.Struct, frozen=True):
    """One number. `aim`: what it should be, such as `<= 40`; empty where nobody said."""

    metric: str
    value: float
    unit: str
    aim: str = ""


class Document(msgspec.Struct, frozen=True):
    """One run of one benchmark."""

    name: str
    rows: list[Row]
    at: str
    baseline: list[Row] = []
    ratios: list[Row] = []
    settings: dict[str, str] = {}
    machine: dict[str, str] = {}
    software: dict[str, str] = {}
    command: str = ""

    @property
    def told_command(self) -> str:
        """What was run; documents of older versions do not tell its options."""
        return self.command or f"southbound bench {self.name} (options not recorded)"

    @property
    def told_machine(self) -> str:
        """What it ran on, in one line."""
        return ", ".join(self.machine.values()) or "unknown"

    def every_row(self) -> Iterator[tuple[str, Row]]:
        """Yield each number with what part of the document it stands in."""
        for part, rows in (
            ("measured", self.rows),
            ("baseline", self.baseline),
            ("ratio", self.ratios),
        ):
            for row in rows:
                yield part, row


class Found(NamedTuple):
    """The newest document of each name, and the files that are none with what is wrong."""

    documents: Mapping[str, Document]
    refused: tuple[Fault, ...]


def read_documents(folder: Path) -> Found:
    """Read every `*.json` of a folder. Raises `ConfigError` when it is no folder."""
    if not folder.is_dir():
        raise ConfigError("nothing to report", [Fault("from", str(folder), "is no folder")])
    newest: dict[str, Document] = {}
    refused = []
    for file in sorted(folder.glob("*.json")):
        try:
            document = msgspec.json.decode(file.read_bytes(), type=Document)
        except (msgspec.MsgspecError, ValueError, RecursionError, OSError) as error:
            refused.append(Fault(file.name, "", f"is no document of a benchmark: {error}"))
            continue
        known = newest.get(document.name)
        if known is None or known.at <= document.at:
            newest[document.name] = document
    return Found(dict(sorted(newest.items())), tuple(refused))
