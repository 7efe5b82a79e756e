"""Loss and return of an AZ: its nodes' agents stop, changes go on, and they catch up when back.

The rule: changes are published to all hosts throughout, those of the lost AZ included; what its nodes
hold at the end is what everybody else would hold.
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
class AzLoss:
    """The AZ is away from `lost_s` to `back_s`, while `rate` ports a second change for `seconds`.

    `az`: the fleet's last where None.
    """

    name: ClassVar[str] = "az-loss"
    az: str | None = None
    lost_s: float = 10.0
    back_s: float = 40.0
    seconds: float = 60.0
    rate: float = 200.0
    revision: int = 2

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield the changes with the AZ's stop and its return."""
        hosts = fleet.az_hosts(self.az if self.az is not None else fleet.shape.azs[-1])
        actions = (
            Step(round(self.lost_s * SECOND_US), action=Action(Deed.STOP, hosts)),
            Step(round(self.back_s * SECOND_US), action=Action(Deed.RETURN, hosts)),
        )
        changes = port_updates(fleet, self.rate, self.seconds, self.revision)
        return merge(changes, actions, key=lambda step: step.due_us)
