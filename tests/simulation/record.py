"""What was run, as it is written down for the ledger of reliability.

The rule: it counts what happened, names what was found, and holds nothing that depends on the machine
but the seconds it took.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from tests.simulation.workload import Schedule


class Anomaly(msgspec.Struct, frozen=True):
    """One broken promise: the seed, the promise, and what broke it."""

    seed: int
    promise: str
    what: str


class Record(msgspec.Struct):
    """One run. `caught`: planted bug to the seed that found it; `missed`: those that none did."""

    kind: str = "simulation"
    first_seed: int = 0
    seeds: int = 0
    schedules: int = 0
    steps: int = 0
    simulated_s: float = 0.0
    seconds: float = 0.0
    operations: dict[str, int] = {}
    faults: dict[str, int] = {}
    events: dict[str, int] = {}
    caught: dict[str, int] = {}
    missed: list[str] = []
    anomalies: list[Anomaly] = []

    def note(self, schedule: Schedule) -> None:
        """Count what a schedule holds."""
        self.schedules += 1
        _add(self.faults, Counter(one.kind for one in schedule.faults))
        _add(
            self.operations,
            Counter(
                changesets=len(schedule.operations),
                resources=sum(len(one.items) for one in schedule.operations),
                moves=len(schedule.moves),
                hosts=len(schedule.hosts),
            ),
        )

    def note_events(self, counts: Counter[str]) -> None:
        """Count what happened in a world."""
        _add(self.events, counts)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2))


def _add(totals: dict[str, int], counts: Counter[str]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count
