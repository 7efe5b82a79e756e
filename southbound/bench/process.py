"""What a process takes of the machine, as the kernel counts it.

The rule: numbers come from /proc alone, so a process is measured without taking part in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_KIB = 1024
_PROC = Path("/proc")


class Memory(NamedTuple):
    """Bytes. `resident`: all its pages in memory. `private`: those that no other process shares."""

    resident: int
    private: int


def memory_of(pid: int | str = "self") -> Memory:
    """Return a process' memory. Raises `FileNotFoundError` when it has ended."""
    return parse_smaps((_PROC / str(pid) / "smaps_rollup").read_text())


def parse_smaps(text: str) -> Memory:
    """Read the text of smaps_rollup, which counts in KiB."""
    fields = {}
    for line in text.splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) * _KIB
    return Memory(fields["Rss"], fields["Private_Clean"] + fields["Private_Dirty"])


def cpu_s_of(pid: int) -> float:
    """Return the seconds of CPU that the live threads of a process have taken, to the nanosecond."""
    return (
        sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in _tasks(pid)) * 1e-9
    )


def threads_of(pid: int) -> int:
    """Return how many threads a process has."""
    return len(_tasks(pid))


def _tasks(pid: int) -> list[Path]:
    return list((_PROC / str(pid) / "task").iterdir())
