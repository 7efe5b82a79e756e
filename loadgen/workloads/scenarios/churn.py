"""VM churn: VMs end and others are launched in their places, at a steady mean rate.

The rule: the fleet stays as full as it is. A VM's end (its port, its dhcp, its entry as a neighbour)
is followed by a launch in the same place a while later; both are changesets over two scopes, as a
launch is in the field, and revisions rise with each.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import ClassVar

from loadgen.workloads.fleet import Fleet, PortOf
from loadgen.workloads.steps import SECOND_US, Step
from loadgen.workloads.traffic import stride
from southbound.resources import Changeset, Op, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """`per_minute` launches, and as many ends, for `seconds`; at random moments (Poisson) by `seed`.

    A place stands empty for `empty_s`, or less where the fleet is so small that all would be empty.
    `revision`: of the first ends; launches have the next.
    """

    name: ClassVar[str] = "churn"
    per_minute: float = 10_000.0
    seconds: float = 60.0
    empty_s: float = 5.0
    revision: int = 2
    seed: int = 1

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield ends and launches in due order."""
        per_s = self.per_minute / 60
        # However small the fleet, most places are taken at any moment.
        empty_s = min(self.empty_s, fleet.port_count / per_s / 4)
        gap_us = max(1, round(empty_s * SECOND_US))
        ends = self._ends(fleet, per_s, gap_us)
        again = self._ends(fleet, per_s, gap_us)
        # Launches first where both are due: a place that is launched may end in the same microsecond.
        return merge(
            (Step(due_us + gap_us, _launch(fleet, port, at + 1)) for due_us, port, at in again),
            (Step(due_us, _end(fleet, port, at)) for due_us, port, at in ends),
            key=lambda step: step.due_us,
        )

    def _ends(self, fleet: Fleet, per_s: float, gap_us: int) -> Iterator[tuple[int, PortOf, int]]:
        """Yield (when, which port, at what revision it ends), in order."""
        draw = random.Random(self.seed).expovariate
        count = fleet.port_count
        step, vms = stride(count), fleet.shape.vms_per_host
        # When each empty place is launched again; one that is empty cannot end.
        empty_until_us = deque[int]()
        due_us = round(draw(per_s) * SECOND_US)
        number = 0
        while due_us < self.seconds * SECOND_US:
            while empty_until_us and empty_until_us[0] <= due_us:
                empty_until_us.popleft()
            if len(empty_until_us) == count:
                due_us = empty_until_us.popleft()
            around, at = divmod(number, count)
            host, vm = divmod(at * step % count, vms)
            yield due_us, fleet.ports(host)[vm], self.revision + 2 * around
            empty_until_us.append(due_us + gap_us)
            due_us += round(draw(per_s) * SECOND_US)
            number += 1


def _launch(fleet: Fleet, port: PortOf, revision: int) -> Changeset:
    return Changeset(f"launch-{port.id}-r{revision}", _resources(fleet, port, revision))


def _end(fleet: Fleet, port: PortOf, revision: int) -> Changeset:
    gone = tuple(
        Resource(one.scope, one.kind, one.id, revision, {}, Op.DELETE)
        for one in _resources(fleet, port, revision)
    )
    return Changeset(f"end-{port.id}-r{revision}", gone)


def _resources(fleet: Fleet, port: PortOf, revision: int) -> tuple[Resource, ...]:
    resources = [fleet.port(port, revision)]
    if fleet.shape.dhcp:
        resources.append(fleet.dhcp(port, revision))
    if fleet.has_neighbors(port.vpc):
        resources.append(fleet.neighbor(port, revision))
    return tuple(resources)
