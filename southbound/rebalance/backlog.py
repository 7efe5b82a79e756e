"""What of a plan is still to be done, and what of it comes next. Pure.

The rule: a round holds batches of one phase only, and a later phase does not begin while one of an
earlier phase is open, whatever keeps it open: a replica may go only once nobody reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from southbound.rebalance.ledger import Batch, PlanState


class Backlog:
    """A plan's batches that are not final, phase by phase, in each those under way first.

    `moves`: how many streams are in them.
    """

    def __init__(self, state: PlanState) -> None:
        rest = state.rest()
        phases = {action: at for at, action in enumerate(dict.fromkeys(map(_action, rest)))}
        rest.sort(key=lambda one: (phases[_action(one)], one.number not in state.moves, one.number))
        self._batches = {batch.number: batch for batch in rest}
        self.moves = sum(len(batch.moves) for batch in rest)

    def next(self, moves_max: int, failed: Mapping[int, str]) -> list[Batch]:
        """Return the batches of the next round, all of the first phase that is not over."""
        turn: list[Batch] = []
        moves = 0
        phase = ""
        for number, batch in self._batches.items():
            phase = phase or _action(batch)
            is_full = turn and moves + len(batch.moves) > moves_max
            if _action(batch) != phase or is_full:
                break
            if number not in failed:
                turn.append(batch)
                moves += len(batch.moves)
        return turn

    def drop(self, batch: Batch) -> None:
        """Take out a batch that is final."""
        del self._batches[batch.number]
        self.moves -= len(batch.moves)


def _action(batch: Batch) -> str:
    return batch.moves[0].action
