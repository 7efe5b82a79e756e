"""Records of moves by number, and the real table behind them.

States hold small numbers instead of records; what the table says about a record is asked once.
"""

from __future__ import annotations

import msgspec

from southbound.partitioning import steps
from southbound.partitioning.handover import Move, Part, advance, next_action, plan_move
from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    parse_placement,
    parse_vpc_placement,
)
from tests.model.reader import Place
from tests.model.state import POOLS, Bounds, Row


class Records:
    """All records that came up, numbered as they did."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._moves: list[Move] = []
        self._numbers: dict[Move, int] = {}
        self._actions: dict[int, steps.Action] = {}
        self._following: dict[tuple[int, str], int] = {}
        self._before: dict[int, int] = {}
        self._rows: dict[str, Row] = {}

    def __getitem__(self, number: int) -> Move:
        """Return a record."""
        return self._moves[number]

    def number(self, move: Move) -> int:
        """Return a record's number."""
        known = self._numbers.get(move)
        if known is None:
            known = self._numbers[move] = len(self._moves)
            self._moves.append(move)
        return known

    def trip(self, number: int) -> int:
        """Return which of the moves a record is of."""
        return int(self._moves[number].id)

    def note(self, number: int, before: int) -> None:
        """Note that a record has replaced another one."""
        if number > before:
            self._before.setdefault(number, before)

    def earlier(self, number: int) -> list[int]:
        """Return the records that were stored before a record, the latest first."""
        found: list[int] = []
        before = self._before.get(number)
        while before is not None:
            found.append(before)
            before = self._before.get(before)
        return found

    def action(self, number: int) -> steps.Action:
        """Return what the table says is to be done."""
        known = self._actions.get(number)
        if known is None:
            known = self._actions[number] = next_action(self._moves[number])
        return known

    def after(self, number: int, outcome: steps.Outcome) -> int:
        """Return the record after an outcome, and after the flip, if one follows.

        Look-ups may give any decided row from its decision on: a flip adds nothing to that. What is
        not stored does not count as a change.
        """
        key = (number, str(outcome))
        known = self._following.get(key)
        if known is None:
            before = self._moves[number]
            move = advance(before, outcome)
            if isinstance(next_action(move), steps.Flip):
                move = advance(move, steps.Flipped())
            move = msgspec.structs.replace(move, serial=before.serial)
            known = self._following[key] = self.number(move)
        return known

    def plan(self, trip: int, row: Row) -> int:
        """Return the record of a move as it is planned from a row."""
        bounds = self._bounds
        kind, old_slot, new_slot = bounds.trips[trip]
        old = next(_placement(one) for one in row.places if one.slot == old_slot)
        new = Placement(POOLS[new_slot], 0) if new_slot >= 0 else None
        part = Part(
            cls="vpc" if bounds.vpc else "host",
            id="s",
            epoch=row.epoch,
            old=old,
            new=new,
            replicas=tuple(map(_placement, row.places)) if bounds.vpc else (),
            fence=POOLS[row.places[0].slot],
        )
        slots = (_address(old_slot), None if new is None else _address(new_slot))
        return self.number(plan_move("p", str(trip), kind, slots, [part]))

    def row(self, text: str) -> Row:
        """Read a row of the directory."""
        known = self._rows.get(text)
        if known is None:
            if self._bounds.vpc:
                vpc = parse_vpc_placement(text)
                known = Row(vpc.epoch, tuple(map(_place, vpc.replicas)))
            else:
                place = _place(parse_placement(text))
                known = Row(place.epoch, (place,))
            self._rows[text] = known
        return known

    def text(self, row: Row) -> str:
        """Return a row as the directory writes it."""
        if self._bounds.vpc:
            return VpcPlacement(row.epoch, tuple(map(_placement, row.places))).row()
        return _placement(row.places[0]).row()


def slot_of(address: Address) -> int:
    """Return the model's number of a slot."""
    return address.partition


def place_of(text: str) -> Place:
    """Read one placement's row."""
    return _place(parse_placement(text))


def _address(slot: int) -> Address:
    return Address(POOLS[slot], "t", slot)


def _place(placement: Placement) -> Place:
    return Place(POOLS.index(placement.pool), placement.epoch, placement.start)


def _placement(place: Place) -> Placement:
    return Placement(POOLS[place.slot], 0, place.epoch, place.start)
