"""First fill: a fleet that holds nothing is told everything, networks before what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import SECOND_US, Step
from southbound.resources import Changeset


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFill:
    """`rate` changesets a second; at 0 everything is due at once, as bulk work."""

    name: ClassVar[str] = "first-fill"
    rate: float = 0.0
    revision: int = 1

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield each VPC with its neighbours, then each host."""
        for number, changeset in enumerate(self._changesets(fleet)):
            due_us = round(number * SECOND_US / self.rate) if self.rate else 0
            yield Step(due_us, changeset)

    def _changesets(self, fleet: Fleet) -> Iterator[Changeset]:
        for j in range(fleet.vpcs):
            yield fleet.vpc_changeset(j, self.revision)
        for j in range(fleet.vpcs):
            if fleet.has_neighbors(j):
                yield from fleet.neighbor_changesets(j, self.revision)
        for i in range(fleet.hosts):
            yield fleet.host_changeset(i, self.revision)
