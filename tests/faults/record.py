"""What a cell of the fault matrix writes down: the fault, what must hold, and what was seen.

The rule: a cell is recorded by the test run itself, whether it held or not; a number in a report
comes from here and from nowhere else.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

KEY = "southbound-cell"
"""Under this name a cell travels with its test's report, between processes too."""


class Cell(msgspec.Struct, kw_only=True):
    """One cell. `part`: what the fault hits. `kind`: the sort of fault. `promises`: numbers of the
    promises that it tests. `failpoints`: those at which a process died or failed. `seen`: numbers
    that the test counted, by name. `at` and `commit`: of the run.
    """

    name: str = ""
    at: str = ""
    commit: str = ""
    part: str = ""
    kind: str = ""
    fault: str = ""
    invariant: str = ""
    promises: tuple[int, ...] = ()
    failpoints: tuple[str, ...] = ()
    operations: int = 0
    faults: int = 0
    seen: dict[str, float] = msgspec.field(default_factory=dict)
    verdict: str = "not judged"
    seconds: float = 0.0

    def is_about(
        self,
        part: str,
        kind: str,
        fault: str,
        *,
        holds: str,
        promises: tuple[int, ...],
    ) -> Cell:
        """Say what is injected where, and what must hold."""
        self.part, self.kind, self.fault = part, kind, fault
        self.invariant, self.promises = holds, promises
        return self

    def died_at(self, *failpoints: str) -> None:
        """Note failpoints at which a process has died or failed."""
        self.failpoints = (*self.failpoints, *failpoints)
        self.faults += len(failpoints)

    def count(self, *, operations: int = 0, faults: int = 0, **seen: float) -> None:
        """Add what was done, how often a fault was injected, and note other numbers."""
        self.operations += operations
        self.faults += faults
        self.seen.update(seen)


class Record(msgspec.Struct, kw_only=True):
    """The last verdict on every cell, from one run or from several."""

    kind: str = "faults"
    cells: list[Cell] = msgspec.field(default_factory=list)

    def add(self, cells: Iterable[Cell]) -> None:
        """Put cells in the place of earlier ones of their names."""
        known = {cell.name: cell for cell in self.cells}
        known.update((cell.name, cell) for cell in cells)
        self.cells = [known[name] for name in sorted(known)]

    @classmethod
    def read(cls, file: Path) -> Record:
        """Read one, empty when there is none yet."""
        return msgspec.json.decode(file.read_bytes(), type=cls) if file.is_file() else cls()

    def write(self, file: Path) -> None:
        """Write it, readably."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def now() -> str:
    """Return the present time, in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def commit() -> str:
    """Return the commit that is tested, shortened; empty where there is no repository."""
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
