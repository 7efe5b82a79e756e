"""Placing anew those who have a place: reserving the slot that a plan names, and the decision.

The rule: as in `registrar`. A reservation counts in the slot from the moment it is made, and shows
in no row. The decision is the journal's first entry of an epoch, read back before anybody acts on
it, and Redis is told what holds, whoever wrote it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from southbound.directory.forward import Forward, Interrupted
from southbound.directory.index import Basis, Index, MoveWish, Refusal, Status
from southbound.directory.journal import Journal
from southbound.directory.rows import RowReader
from southbound.directory.verdict import Held
from southbound.errors import CapacityError, PlanError, SouthboundError
from southbound.partitioning.allocation import slot_index
from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import Topology
from southbound.resources import Scope
from southbound.wire.keys import scope_text


class Reservation(NamedTuple):
    """What became of a wish for a slot.

    `row`: the scope's row when it has reached that epoch already. `error`: why there is none. With
    neither, the slot is reserved.
    """

    row: str = ""
    error: SouthboundError | None = None


class Decider:
    """Decides moves. Thread-safe; all calls raise `EdgeError`, and are safe to repeat.

    They raise `TopologyChanged` when the caller's topology is not the newest one.
    """

    def __init__(self, index: Index, forward: Forward, rows: RowReader) -> None:
        self._index = index
        self._forward = forward
        self._rows = rows

    def reserve(
        self, az: str, wanted: Mapping[Scope, Placement], topology: Topology
    ) -> dict[Scope, Reservation]:
        """Reserve the slots of placements, each for its epoch, of scopes of one journal."""
        wishes = [_wish(scope, placement, topology) for scope, placement in wanted.items()]

        def turn(_journal: Journal, basis: Basis, _status: Status) -> list[str]:
            answers = self._index.reserve_moves(basis, wishes, int(time.time()))
            if isinstance(answers, Refusal):
                raise Interrupted(answers)
            return answers

        answers = self._forward.turns(az, topology, turn)
        return {
            scope: _reservation(scope, placement, answer)
            for (scope, placement), answer in zip(wanted.items(), answers, strict=True)
        }

    def decide(self, az: str, proposals: Mapping[str, Held], topology: Topology) -> dict[str, Held]:
        """Propose rows by key text; return those that hold, all of at least that epoch."""

        def turn(journal: Journal, basis: Basis, _status: Status) -> dict[str, Held]:
            rows = self._index.rows(list(proposals)).rows
            there = {
                text: self._rows.held(text, row)
                for text, row in zip(proposals, rows, strict=True)
                if row
            }
            new = {
                text: held
                for text, held in proposals.items()
                if text not in there or there[text].epoch < held.epoch
            }
            return {**there, **self._forward.write(journal, basis, new)}

        return self._forward.turns(az, topology, turn)


def _wish(scope: Scope, placement: Placement, topology: Topology) -> MoveWish:
    pool = topology.pool(placement.pool)
    return MoveWish(
        scope_text(scope),
        placement.epoch,
        pool.id,
        placement.probe,
        slot_index(scope.cls.value, scope.id, pool, placement.probe),
        pool.max_per_slot,
    )


def _reservation(scope: Scope, placement: Placement, answer: str) -> Reservation:
    sign, rest = answer[:1], answer[1:]
    if sign == "=":
        return Reservation(row=rest)
    if sign == "!":
        words = f"the slot of pool {placement.pool!r} and probe {placement.probe} is full"
        return Reservation(error=CapacityError(f"{scope}: {words}"))
    if sign == "~":
        words = f"another move has reserved {rest} for epoch {placement.epoch}"
        return Reservation(error=PlanError(f"{scope}: {words}"))
    return Reservation()
