"""How plans, and how far they are, are shown.

The rule: `plan`, a dry run and `apply` show the same tables, so what was agreed to is what was seen.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from southbound.cli.progress import say
from southbound.cli.session import Session
from southbound.cli.table import show, show_json

if TYPE_CHECKING:
    from southbound.partitioning.plan import Goal, Load, Plan, PlannedMove
    from southbound.partitioning.topology import Topology
    from southbound.rebalance.executor import Progress
    from southbound.rebalance.ledger import PlanState
    from southbound.rebalance.recovery import Leftovers

_LOADS = ("cluster", "pool", "class", "slots", "now", "then", "now_p50_p99_max", "then_p50_p99_max")
_TRAFFIC = (*_LOADS, "busiest_now", "busiest_then")
_MOVES = ("action", "class", "from", "to", "streams", "slot_pairs")
_STATES = ("plan", "goal", "state", "done", "of", "under_way", "begun", "owner", "trouble")
_LEFTOVERS = ("what", "class", "id", "from", "to")
_WORDS = {"move": "move", "add": "add replica", "home": "new home", "drop": "drop replica"}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one plan stands, as `status` tells it."""

    plan: str
    goal: str
    state: str
    done: int
    of: int
    under_way: int
    begun: str
    owner: str = ""
    trouble: str = ""
    undoes: str = ""
    undone_by: str = ""
    failed: Mapping[int, str] = msgspec.field(default_factory=dict)


def show_plan(session: Session, plan: Plan, topology: Topology) -> None:
    """Print a plan: JSON as it is in its file; else the pools before and after, and the moves."""
    if session.is_json:
        show_json({"id": plan.id, **msgspec.to_builtins(plan)})
        return
    say(
        f"plan {plan.id}: {goal_text(plan.goal)}; {len(plan.moves)} moves, made from version "
        f"{plan.map_version} of the map"
    )
    touched = {move.old_placement.pool for move in plan.moves} | {one.pool for one in plan.moves}
    pools = [one for one in plan.pools if one.pool in touched or one.before != one.after]
    measured = any(one.traffic_before for one in pools)
    rows = []
    for one in pools:
        row = [one.cluster, one.pool, one.cls, one.slots, int(one.before.held)]
        row += [int(one.after.held), _quantiles(one.before), _quantiles(one.after)]
        if measured:
            loads = (one.traffic_before, one.traffic_after)
            row += [load.max if load is not None else None for load in loads]
        rows.append(row)
    if rows:
        show(session, _TRAFFIC if measured else _LOADS, rows, "pools")
    if plan.moves:
        show(session, _MOVES, _move_rows(plan.moves, topology), "moves")


def _quantiles(load: Load) -> str:
    return f"{load.p50:g} {load.p99:g} {load.max:g}"


def _move_rows(
    moves: Sequence[PlannedMove], topology: Topology
) -> Iterable[tuple[str, str, str, str, int, int]]:
    from southbound.partitioning.plan import new_address, old_address

    counts: Counter[tuple[str, str, str, str]] = Counter()
    pairs: dict[tuple[str, str, str, str], set[object]] = {}
    for move in moves:
        to = move.pool or ("" if move.action == "drop" else move.cluster)
        key = (_WORDS[move.action], move.cls, move.old_placement.pool, to)
        counts[key] += 1
        slots = (old_address(move, topology), new_address(move, topology))
        pairs.setdefault(key, set()).add(slots)
    return [(*key, count, len(pairs[key])) for key, count in sorted(counts.items())]


def goal_text(goal: Goal) -> str:
    """Return a goal in a few words."""
    named = goal.what[0] if len(goal.what) == 1 else f"{len(goal.what)} {goal.kind}"
    words = [goal.kind, named if goal.what else "", f"to {goal.to}" if goal.to else ""]
    return " ".join(word for word in (*words, f"by {goal.by}" if goal.by else "") if word)


def standing_of(state: PlanState, failed: Mapping[int, str] | None = None) -> Standing:
    """Return how a plan stands."""
    header = state.header
    open_ = {n: one for n, one in state.moves.items() if not state.is_final(n)}
    troubles = {n: one.error for n, one in open_.items() if one.error}
    return Standing(
        plan=header.id,
        goal=goal_text(header.goal),
        state=_state(state),
        done=sum(len(one.moves) for n, one in state.batches.items() if state.is_final(n)),
        of=header.moves,
        under_way=sum(len(one.parts) for one in open_.values()),
        begun=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(header.begun_us / 1e6)),
        owner=next((one.owner for one in open_.values()), ""),
        trouble=next(iter((failed or troubles).values()), ""),
        undoes=header.undoes,
        undone_by=header.undone_by,
        failed=dict(failed or troubles),
    )


def _state(state: PlanState) -> str:
    if state.header.undone_by:
        return "taken back"
    if not state.rest():
        skipped = any(note.state == "skipped" for note in state.notes.values())
        abandoned = any(note.state == "abandoned" for note in state.notes.values())
        return "abandoned" if abandoned else "done, some skipped" if skipped else "done"
    return "under way" if state.moves or state.notes else "begun"


def show_leftovers(session: Session, found: Leftovers) -> None:
    """Print what moves have left behind, one thing a row."""
    rows: list[tuple[str, str, str, str, str]] = []
    for one in found.moves:
        to = one.pool or ("" if one.action == "drop" else one.cluster)
        rows.append((_WORDS[one.action], one.cls, one.id, one.old_placement.pool, to))
    for stay in found.stays:
        pool = stay.placement.pool
        rows.append(("seal", stay.scope.cls.value, stay.scope.id, pool, pool))
    for scope, those in found.kept.items():
        for kept in those:
            place = f"{kept.pool}/{kept.slot}"
            rows.append(("reservation", scope.cls.value, scope.id, "", place))
    rows += [("in doubt", one.scope.cls.value, one.scope.id, one.why, "") for one in found.doubts]
    show(session, _LEFTOVERS, rows, "leftovers")


def show_standings(session: Session, standings: Sequence[Standing]) -> None:
    """Print how plans stand, one a row."""
    if session.is_json:
        show_json(standings)
        return
    rows = [[getattr(one, column) or None for column in _STATES] for one in standings]
    for row, one in zip(rows, standings, strict=True):
        row[3], row[5] = one.done, one.under_way
    show(session, _STATES, rows)


def show_result(session: Session, progress: Progress, standing: Standing) -> None:
    """Print what a run came to: one document for programs, a row for people."""
    if session.is_json:
        show_json({**msgspec.to_builtins(standing), "copied": progress.copied})
        return
    show_standings(session, [standing])
    say(f"{progress.copied} records copied")
