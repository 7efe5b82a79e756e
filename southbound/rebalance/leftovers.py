"""What moves have left behind that no plan carries on any more. Pure.

The rule: the journal has decided such a move, so it can only go forward, and what it still lacks is
told by the slots: a placement that was entered is whole once its seal is there, a slot that was left for
good leads on once its marker is there. Where a stream was before is what the row before said; without
that row nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from southbound.errors import PlanError
from southbound.partitioning.handover import Kind, Move, Part, decided_move
from southbound.partitioning.move import same_slot
from southbound.partitioning.placement import (
    Placement,
    VpcPlacement,
    address_of,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.plan import PlannedMove, new_address, old_address
from southbound.partitioning.topology import Topology
from southbound.resources import Scope

Earlier = Mapping[int, str]
"""The rows of one scope that the journals still tell, by epoch."""


class Abandoned(NamedTuple):
    """A move that was decided, and of which no record is left.

    `part`: what the journal decided; None where the action is simply done again (`add`, `home`).
    """

    planned: PlannedMove
    part: Part | None

    def record(self, plan: str, number: int, topology: Topology) -> Move | None:
        """Return the record from which a plan carries it on; None where there is none."""
        if self.part is None:
            return None
        kind = Kind.REMOVE if self.part.new is None else Kind.MOVE
        slots = (old_address(self.planned, topology), new_address(self.planned, topology))
        return decided_move(plan, str(number), kind, slots, self.part)


class Stay(NamedTuple):
    """A host that was to move and stays, by the journal, but not by its slot: a seal is missing.

    `source_epoch`: of the seal without which the slot itself is not whole; 1: none is needed.
    """

    scope: Scope
    placement: Placement
    source_epoch: int


class Doubt(NamedTuple):
    """A stream that has left and of which nobody can say from where, or what was in its slot."""

    scope: Scope
    why: str


Finding = Abandoned | Stay | Doubt
_GONE = "the journal does not tell any more where it was before"


def of_host(scope: Scope, entered: Placement, earlier: Earlier, topology: Topology) -> Finding:
    """Return what is to be done for a host whose placement lacks its seal."""
    before = earlier.get(entered.epoch - 1)
    if before is None:
        return Doubt(scope, _GONE)
    old = parse_placement(before)
    if same_slot(old, entered):
        return Stay(scope, entered, old.epoch)
    try:
        fence = topology.pool(old.pool).cluster
        planned = _moved("host", scope.id, old, entered, topology)
    except PlanError as error:
        return Doubt(scope, str(error))
    part = Part(cls="host", id=scope.id, epoch=old.epoch, old=old, fence=fence, new=entered)
    return Abandoned(planned, part)


def of_vpc(
    scope: Scope, row: VpcPlacement, entered: Placement, earlier: Earlier, topology: Topology
) -> Finding:
    """Return what is to be done for a VPC of whose row one replica lacks its seal."""
    known = {**earlier, row.epoch: row.row()}
    sets = [known.get(entered.epoch - 1), known.get(entered.epoch)]
    try:
        return _of_replica(scope, row, entered, sets, topology)
    except PlanError as error:
        return Doubt(scope, str(error))


def _of_replica(
    scope: Scope,
    row: VpcPlacement,
    entered: Placement,
    sets: list[str | None],
    topology: Topology,
) -> Finding:
    if sets[0] is None or sets[1] is None:
        return Doubt(scope, _GONE)
    before, after = map(parse_vpc_placement, (sets[0], sets[1]))
    home = before.home
    cluster = topology.pool(entered.pool).cluster
    gone = list(_gone(before, after))
    if gone:
        part = Part(
            cls="vpc",
            id=scope.id,
            epoch=row.epoch,
            old=gone[0],
            fence=topology.pool(home.pool).cluster,
            new=entered,
            replicas=row.replicas,
        )
        return Abandoned(_moved("vpc", scope.id, gone[0], entered, topology), part)
    action = "home" if any(same_slot(one, entered) for one in before.replicas) else "add"
    planned = PlannedMove(
        cls="vpc",
        id=scope.id,
        action="home" if action == "home" else "add",
        old=home.row() if action == "home" else row.home.row(),
        cluster=cluster,
    )
    return Abandoned(planned, None)


class Drop(NamedTuple):
    """A replica that went at `epoch`, and whose slot must have a marker of that epoch or a higher one."""

    scope: Scope
    gone: Placement
    epoch: int
    abandoned: Abandoned


def drops(scope: Scope, row: VpcPlacement, earlier: Earlier, topology: Topology) -> Iterator[Drop]:
    """Yield the replicas that a VPC has lost without getting another, as far as is known."""
    known = {**earlier, row.epoch: row.row()}
    for epoch in sorted(known):
        if epoch - 1 not in known:
            continue
        before, after = (parse_vpc_placement(known[at]) for at in (epoch - 1, epoch))
        if len(after.replicas) >= len(before.replicas):
            continue
        for gone in _gone(before, after):
            pool = topology.find_pool(gone.pool)
            home = topology.find_pool(after.home.pool)
            if pool is None or home is None or any(same_slot(gone, one) for one in row.replicas):
                continue
            part = Part(
                cls="vpc",
                id=scope.id,
                epoch=row.epoch,
                old=gone,
                fence=home.cluster,
                replicas=row.replicas,
            )
            planned = PlannedMove(
                cls="vpc", id=scope.id, action="drop", old=gone.row(), cluster=pool.cluster
            )
            yield Drop(scope, gone, epoch, Abandoned(planned, part))


def _gone(before: VpcPlacement, after: VpcPlacement) -> Iterable[Placement]:
    return (
        one for one in before.replicas if not any(same_slot(one, other) for other in after.replicas)
    )


def _moved(cls: str, id: str, old: Placement, new: Placement, topology: Topology) -> PlannedMove:
    planned = PlannedMove(
        cls="host" if cls == "host" else "vpc",
        id=id,
        action="move",
        old=old.row(),
        cluster=topology.pool(new.pool).cluster,
        pool=new.pool,
        probe=new.probe,
    )
    # Whoever carries it on reads both slots: a pool that the topology lacks is said now.
    address_of(cls, id, old, topology)
    return planned
