"""Fleet restart: all nodes come back with empty state at once, while changes go on.

The rule: nothing is published for them; their whole configuration is in the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import ClassVar

from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import SECOND_US, Action, Deed, Step
from loadgen.workloads.traffic import port_updates


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRestart:
    """The restart is at `at_s`; `rate` ports a second change for `seconds` (0: none does)."""

    name: ClassVar[str] = "fleet-restart"
    at_s: float = 5.0
    seconds: float = 30.0
    rate: float = 0.0
    revision: int = 2

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield the restart among the changes."""
        restart = Step(round(self.at_s * SECOND_US), action=Action(Deed.RESET, range(fleet.hosts)))
        changes = port_updates(fleet, self.rate, self.seconds, self.revision)
        return merge(changes, (restart,), key=lambda step: step.due_us)
