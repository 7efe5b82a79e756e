"""From a plan's batches to moves' records, and from what was done to what undoes it. Pure.

The rule: a record is made when its batch is begun, from the rows as they are then; a stream that is
not where the plan found it is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from southbound.errors import SouthboundError
from southbound.partitioning.handover import Kind, Move, Part, Standing, Step, plan_move
from southbound.partitioning.placement import (
    Placement,
    VpcPlacement,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.plan import PlannedMove, new_address, old_address
from southbound.partitioning.topology import Topology
from southbound.pieces import in_pieces
from southbound.rebalance.ledger import Batch, Note, PlanState
from southbound.resources import Scope, ScopeClass

_ORDER = {step: at for at, step in enumerate(Step)}
_LEAVING = frozenset({Step.DECIDED, Step.LEFT, Step.FLIPPED})


def scope_of(move: PlannedMove) -> Scope:
    """Return the scope that a planned move is about."""
    return Scope(ScopeClass(move.cls), move.id)


def record_of(
    plan: str, batch: Batch, rows: Mapping[Scope, str], topology: Topology
) -> Move | Note:
    """Return the record of a batch that nobody has begun, or the note that there is nothing to do.

    `rows` are those of its scopes. Streams that are elsewhere by now, or gone, are left out.
    """
    if not batch.moves:
        words = "hosts of the cluster have ports of these VPCs"
        return Note(plan=plan, number=batch.number, state="skipped", detail=words)
    first = batch.moves[0]
    try:
        parts = [
            part
            for move in batch.moves
            if (part := _part(move, rows.get(scope_of(move)), topology)) is not None
        ]
        if not parts:
            words = f"{first.cls} {first.id} and {len(batch.moves) - 1} more are elsewhere by now"
            return Note(plan=plan, number=batch.number, state="skipped", detail=words)
        kind = Kind.REMOVE if first.action == "drop" else Kind.MOVE
        slots = (old_address(first, topology), new_address(first, topology))
        return plan_move(plan, str(batch.number), kind, slots, parts)
    except SouthboundError as error:
        return Note(plan=plan, number=batch.number, state="skipped", detail=str(error))


def next_group(moves: Mapping[int, Move], together: int) -> dict[int, Move]:
    """Return the moves of a round, by number, that take their next step now: all at one step.

    From its decision until its marker stands a stream pauses: publishers already write where its agent
    does not read yet. So a round leaves by waves of about `together` streams, at least one batch, and
    each wave goes from the decision to the marker before the next is decided.
    """
    leaving = {n: move for n, move in moves.items() if move.step in _LEAVING}
    waiting = leaving or moves
    first = min(_ORDER[move.step] for move in waiting.values())
    group = {n: move for n, move in waiting.items() if _ORDER[move.step] == first}
    if first != _ORDER[Step.PRECOPIED]:
        return group
    return dict(next(in_pieces(group.items(), together, lambda item: len(item[1].parts))))


def without(batch: Batch, needed: AbstractSet[tuple[str, str]]) -> Batch:
    """Return a batch less the replicas (VPC and cluster) that are not to go after all."""
    moves = tuple(
        move
        for move in batch.moves
        if move.action != "drop" or (move.id, move.cluster) not in needed
    )
    return Batch(batch.number, moves)


def _part(move: PlannedMove, row: str | None, topology: Topology) -> Part | None:
    new = move.new_placement if move.action == "move" else None
    if row is None:
        return None
    if move.cls == "host":
        now = parse_placement(row)
        fence = topology.pool(now.pool).cluster
        if now.row() != move.old:
            return None
        return Part(cls="host", id=move.id, epoch=now.epoch, old=now, fence=fence, new=new)
    return _vpc_part(move, parse_vpc_placement(row), new, topology)


def _vpc_part(
    move: PlannedMove, row: VpcPlacement, new: Placement | None, topology: Topology
) -> Part | None:
    old = move.old_placement
    # A home that was given to another cluster keeps its slot, and takes a new epoch there.
    there = next((one for one in row.replicas if _same_stay(one, old)), None)
    if there is None:
        return None
    return Part(
        cls="vpc",
        id=move.id,
        epoch=row.epoch,
        old=there,
        fence=topology.pool(row.home.pool).cluster,
        new=new,
        replicas=row.replicas,
    )


def _same_stay(one: Placement, other: Placement) -> bool:
    return (one.pool, one.probe, one.start) == (other.pool, other.probe, other.start)


def undoing(state: PlanState, topology: Topology) -> Iterator[PlannedMove]:
    """Yield what takes back everything of a plan that was done."""
    for number, record in sorted(state.moves.items()):
        actions = {move.id: move.action for move in state.batches[number].moves}
        for part in record.of(Standing.LEFT):
            yield _undo_part(part, actions[part.id], topology)
    for number, note in sorted(state.notes.items()):
        if note.state == "done":
            yield from _undo_noted(state.batches[number].moves, topology)


def _undo_part(part: Part, action: str, topology: Topology) -> PlannedMove:
    cls = "host" if part.cls == "host" else "vpc"
    old, new = part.old, part.new
    cluster = topology.pool(old.pool).cluster
    if new is None:
        assert action == "drop"
        home = part.replicas[0].row()
        return PlannedMove(cls="vpc", id=part.id, action="add", old=home, cluster=cluster)
    return PlannedMove(
        cls="host" if cls == "host" else "vpc",
        id=part.id,
        action="move",
        old=new.row(),
        cluster=cluster,
        pool=old.pool,
        probe=old.probe,
    )


def _undo_noted(moves: Iterable[PlannedMove], topology: Topology) -> Iterator[PlannedMove]:
    for move in moves:
        if move.action == "home":
            cluster = topology.pool(move.old_placement.pool).cluster
            yield PlannedMove(cls="vpc", id=move.id, action="home", old=move.old, cluster=cluster)
