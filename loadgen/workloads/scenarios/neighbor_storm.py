"""Neighbour storm: every port of a large VPC changes where it is, and each host must hear of all.

The rule: neighbours are resources of their own, so what changed is what is sent; each goes once to
each replica of the VPC, however many hosts read it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import SECOND_US, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborStorm:
    """All neighbours of the VPC nearest to `ports` ports, `rounds` times, `per_s` neighbours a second.

    `batch`: how many are in one changeset.
    """

    name: ClassVar[str] = "neighbor-storm"
    ports: int = 10_000
    per_s: float = 2_000.0
    batch: int = 10
    rounds: int = 1
    revision: int = 2

    def vpc(self, fleet: Fleet) -> int:
        """Return the VPC whose neighbours change."""
        return fleet.vpc_near(self.ports)

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield the changesets, each due when its last neighbour has changed at that rate."""
        j, told = self.vpc(fleet), 0
        for number in range(self.rounds):
            for changeset in fleet.neighbor_changesets(j, self.revision + number, self.batch):
                told += len(changeset.resources)
                yield Step(round(told * SECOND_US / self.per_s), changeset)
