"""What comes next of a plan."""

from __future__ import annotations

from typing import cast

from southbound.partitioning.handover import Move
from southbound.partitioning.plan import Action, Goal, PlannedMove
from southbound.rebalance.backlog import Backlog
from southbound.rebalance.ledger import Batch, Header, Note, PlanState


def state_of(*actions: str, size: int = 2) -> PlanState:
    """Return a plan with a batch of each action."""
    state = PlanState()
    state.batches = {
        number: Batch(
            number,
            tuple(
                PlannedMove(
                    cls="vpc",
                    id=f"v{number}-{one}",
                    action=cast(Action, action),
                    old="p:0:1:0",
                    cluster="c2",
                )
                for one in range(size)
            ),
        )
        for number, action in enumerate(actions)
    }
    state.found = Header(
        id="p",
        goal=Goal(kind="even"),
        map_version=1,
        moves=size * len(actions),
        chunks=1,
        begun_us=1,
    )
    return state


def numbers(batches: list[Batch]) -> list[int]:
    """Return which batches they are."""
    return [batch.number for batch in batches]


def test_a_round_is_filled_up_to_its_bound() -> None:
    """At least one batch, then as many as fit."""
    backlog = Backlog(state_of("move", "move", "move"))
    assert numbers(backlog.next(5, {})) == [0, 1]
    assert numbers(backlog.next(1, {})) == [0]
    assert backlog.moves == 6


def test_a_phase_ends_before_the_next_begins() -> None:
    """Also when all that is left of it does not go."""
    backlog = Backlog(state_of("move", "move", "drop"))
    assert numbers(backlog.next(99, {})) == [0, 1]
    assert numbers(backlog.next(99, {0: "why"})) == [1]
    assert backlog.next(99, {0: "why", 1: "why"}) == []
    for batch in backlog.next(99, {}):
        backlog.drop(batch)
    assert numbers(backlog.next(99, {})) == [2]
    assert backlog.moves == 2


def test_what_is_under_way_comes_first() -> None:
    """What has a record is carried on before anything is begun; what is final is not there."""
    state = state_of("move", "move", "move")
    state.notes[0] = Note(plan="p", number=0, state="done")

    class UnderWay:
        is_final = False

    state.moves[2] = cast(Move, UnderWay())
    assert numbers(Backlog(state).next(99, {})) == [2, 1]
