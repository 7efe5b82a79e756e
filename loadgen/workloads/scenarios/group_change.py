"""A security group is changed in a large VPC: one change that thousands of hosts must apply.

The rule: a change is one changeset of the group's rules, whole on each host or not at all; every
second change also takes a rule away that the one before had added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import SECOND_US, Step
from southbound.resources import Changeset, Op, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """`changes` changes, one each `every_s`, of the first group of the VPC nearest to `ports` ports."""

    name: ClassVar[str] = "group-change"
    ports: int = 10_000
    changes: int = 20
    every_s: float = 2.0
    revision: int = 2

    def vpc(self, fleet: Fleet) -> int:
        """Return the VPC that is changed."""
        return fleet.vpc_near(self.ports)

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield the changes."""
        j = self.vpc(fleet)
        for number in range(self.changes):
            yield Step(round(number * self.every_s * SECOND_US), self._change(fleet, j, number))

    def _change(self, fleet: Fleet, j: int, number: int) -> Changeset:
        revision, rules = self.revision + number, fleet.shape.rules
        resources = [fleet.rule(j, 0, at, revision) for at in range(rules)]
        extra = fleet.rule(j, 0, rules, revision)
        if number % 2:
            extra = Resource(extra.scope, extra.kind, extra.id, revision, {}, Op.DELETE)
        return Changeset(f"group-{fleet.vpc(j)}-r{revision}", (*resources, extra))
