"""What a run of the guided fuzzer writes down.

The rule: a number in a report comes from here. A record holds the last run of each target, so that one
that was mended may be run again alone; a run that is broken off is recorded as far as it came.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """An input that broke something. `kind`: crash, timeout, oom or ended, as libFuzzer tells them
    apart; `input`: its first bytes; `said`: the end of what the fuzzer printed.
    """

    kind: str
    file: str = ""
    input: str = ""
    said: str = ""


class TargetRun(msgspec.Struct, frozen=True, kw_only=True):
    """One target's share. `coverage`: edges of instrumented code that were reached."""

    target: str
    at: str = ""
    commit: str = ""
    executions: int = 0
    seconds: float = 0.0
    coverage: int = 0
    peak_mib: int = 0
    corpus: int = 0
    findings: list[Finding] = []


class FuzzRecord(msgspec.Struct, kw_only=True):
    """The last run of each target. Bounds are those of one input."""

    kind: str = "fuzz"
    engine: str = ""
    input_bytes_max: int = 0
    input_seconds_max: int = 0
    memory_mib_max: int = 0
    targets: list[TargetRun] = msgspec.field(default_factory=list)

    @property
    def executions(self) -> int:
        """How many inputs were tried."""
        return sum(one.executions for one in self.targets)

    @property
    def seconds(self) -> float:
        """How long that took, one target after the other."""
        return sum(one.seconds for one in self.targets)

    @property
    def findings(self) -> list[Finding]:
        """Everything that was found."""
        return [finding for one in self.targets for finding in one.findings]

    def add(self, run: TargetRun) -> None:
        """Put a run in the place of an earlier one of its target."""
        known = {one.target: one for one in self.targets}
        known[run.target] = run
        self.targets = list(known.values())

    @classmethod
    def read(cls, file: Path) -> FuzzRecord:
        """Read one, empty when there is none yet."""
        return msgspec.json.decode(file.read_bytes(), type=cls) if file.is_file() else cls()

    def write(self, file: Path) -> None:
        """Write it, readably."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
