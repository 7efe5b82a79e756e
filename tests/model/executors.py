"""Executors: they perform what `southbound.partitioning.handover` says, and nothing else.

Any of them may be overtaken at any moment, then sleep for ever, or go on until it is told; the record
of a move may fall back to any that was stored. Reading and appending are two steps.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from southbound.partitioning import steps
from southbound.partitioning.handover import Move, Step, abandon, claim, follows
from tests.model.audience import Audience
from tests.model.reader import (
    COPY,
    LATE,
    LATE_NULL,
    NULL,
    ORIGINS,
    SEAL,
    data_in,
    has_seal,
    highest,
    is_nulled,
    last,
)
from tests.model.records import Records, place_of, slot_of
from tests.model.state import POOLS, Bounds, Fault, Hand, Left, Row, State, Step_, appended

_UNDECIDED = frozenset({Step.PLANNED, Step.RESERVED, Step.PRECOPIED})
_UP_TO_M = frozenset({Fault.DELTA_TO_M, Fault.MARKER_FIRST, Fault.END_FIRST})
_Done = tuple[str, State, steps.Outcome | Hand]
"""What was done, the state after it, and what came of it; a hand when the action goes on."""


class Executors:
    """All executors of a world."""

    def __init__(
        self, bounds: Bounds, faults: frozenset[Fault], records: Records, audience: Audience
    ) -> None:
        self._bounds = bounds
        self._faults = faults
        self._records = records
        self._audience = audience

    def successors(self, state: State) -> Iterable[Step_]:
        """Yield what executors can do, and what can be done to records."""
        for at, hand in enumerate(state.hands):
            yield from self._work(state, at, hand)
        yield from self._plan_next(state)
        for trip, number in enumerate(state.stored):
            if not self._records[number].is_final:
                yield from self._claim(state, trip)
                yield from self._abandon(state, trip)
            if state.left.fallbacks:
                yield from self._fall_back(state, trip)

    def are_done(self, state: State) -> bool:
        """Tell whether every move is made, as far as it makes sense, and over."""
        return all(self._records[number].is_final for number in state.stored) and (
            len(state.stored) == len(self._bounds.trips) or not self._has_sense(state)
        )

    def are_idle(self, state: State) -> bool:
        """Tell whether no move is at work."""
        return all(self._records[number].is_final for number in state.stored)

    # Whose a move is.

    def _plan_next(self, state: State) -> Iterable[Step_]:
        """Plan a move when the one before is at its end; a planner who is misled does it earlier."""
        left, is_over = state.left, self.are_idle(state)
        if len(state.stored) == len(self._bounds.trips) or not self._has_sense(state):
            return
        if not is_over:
            if not left.early:
                return
            left = left._replace(early=left.early - 1)
        planned = self._records.plan(len(state.stored), state.journal[-1])
        yield "a move is planned", state._replace(stored=(*state.stored, planned), left=left)

    def _has_sense(self, state: State) -> bool:
        """Tell whether the next trip begins where the scope is, and does not end there."""
        trip = self._bounds.trips[len(state.stored)]
        here = [place.slot for place in state.journal[-1].places]
        return trip.old in here and trip.new not in here

    def _claim(self, state: State, trip: int) -> Iterable[Step_]:
        stored, left = state.stored[trip], state.left
        if any(hand.base == stored for hand in state.hands):
            if not left.takeovers:
                return
            left = left._replace(takeovers=left.takeovers - 1)
        move = self._records[stored]
        claimed = claim(move, _name(move, left))
        yield "an executor claims the move", self._handed(state, trip, claimed)._replace(left=left)

    def _abandon(self, state: State, trip: int) -> Iterable[Step_]:
        """Somebody takes a move over to abandon it; whoever held it may be in the midst of it."""
        move, left = self._records[state.stored[trip]], state.left
        if not left.abandons or move.has_left or move.step not in _UNDECIDED:
            return
        if Fault.DROPPED in self._faults:
            dropped = msgspec.structs.replace(move, step=Step.ABANDONED)
            after = self._put(state, trip, self._records.number(dropped))
        else:
            turned = abandon(claim(move, _name(move, left)))
            after = self._handed(state, trip, _one_change(move, turned))
        left = left._replace(abandons=left.abandons - 1)
        yield "an executor abandons the move", after._replace(left=left)

    def _fall_back(self, state: State, trip: int) -> Iterable[Step_]:
        left = state.left._replace(fallbacks=state.left.fallbacks - 1)
        for number in self._records.earlier(state.stored[trip]):
            after = self._put(state, trip, number)._replace(left=left)
            yield f"the record falls back to {self._records[number].step}", after

    def _handed(self, state: State, trip: int, move: Move) -> State:
        """Store a record, and let a new executor hold it."""
        number = self._records.number(move)
        hands = tuple(sorted((*state.hands, Hand(number, number))))
        return self._put(state, trip, number)._replace(hands=hands)

    def _put(self, state: State, trip: int, number: int) -> State:
        self._records.note(number, state.stored[trip])
        stored = (*state.stored[:trip], number, *state.stored[trip + 1 :])
        return state._replace(stored=stored)

    # Working on it.

    def _work(self, state: State, at: int, hand: Hand) -> Iterable[Step_]:
        rest = (*state.hands[:at], *state.hands[at + 1 :])
        name = f"executor {self._records[hand.record].token}"
        if hand.phase == 2:
            yield self._store(state, hand, rest)
            return
        for what, changed, outcome in self._perform(state, hand):
            if isinstance(outcome, Hand):
                yield f"{name} {what}", _holding(changed, rest, outcome)
                continue
            done = Hand(hand.base, self._records.after(hand.record, outcome))
            if self._records[done.record].step not in self._bounds.storing:
                yield f"{name} {what}", _holding(changed, rest, done)
            elif self._is_observed(state, hand):
                yield f"{name} {what}", _holding(changed, rest, done._replace(phase=2))
            else:
                yield f"{name} {what}", self._store(changed, done, rest)[1]

    def _is_observed(self, state: State, hand: Hand) -> bool:
        """Whether anything can come between an action and the storing of its outcome.

        It cannot when the record will be refused anyway, nor when nobody can take it over.
        """
        left = state.left
        if left.fallbacks:
            return True
        return hand.base in state.stored and bool(left.takeovers or left.abandons)

    def _store(self, state: State, hand: Hand, rest: tuple[Hand, ...]) -> Step_:
        move = _one_change(self._records[hand.base], self._records[hand.record])
        trip, name = self._records.trip(hand.record), f"executor {move.token}"
        if not follows(self._records[state.stored[trip]], move):
            return f"{name} is refused", state._replace(hands=rest)
        number = self._records.number(move)
        after = self._put(state, trip, number)
        if not move.is_final:
            return f"{name} stores {move.step}", _holding(after, rest, Hand(number, number))
        if self._bounds.cleaning and move.step is Step.DONE:
            after = after._replace(due=slot_of(move.old))
        return f"{name} stores {move.step}", after._replace(hands=rest)

    def _perform(self, state: State, hand: Hand) -> list[_Done]:
        match self._records.action(hand.record):
            case steps.Reserve() as action:
                return self._reserve(state, hand, action)
            case steps.Precopy() as action:
                return self._copy(state, hand, action, steps.Precopied())
            case steps.Delta() as action:
                if Fault.NO_DELTA in self._faults:
                    return [("copies no delta", state, steps.Copied())]
                return self._copy(state, hand, action, steps.Copied())
            case steps.AppendJournal() as action:
                return self._decide(state, hand, action)
            case steps.AnnounceMoves() as action:
                return self._announce(state, action)
            case steps.Mark() as action:
                return self._mark(state, hand, action)
            case steps.Mend() as action:
                return self._mend(state, hand, action)
            case steps.Seal() as action:
                return self._seal(state, action)
            case steps.Release():
                return [("gives back", state, steps.Released())]
            case steps.Flip() | steps.Finished():
                raise AssertionError("a flip is passed over, and a finished move has no hand")

    def _reserve(self, state: State, hand: Hand, action: steps.Reserve) -> list[_Done]:
        """Redis may or may not know that the row has changed already."""
        old, new = slot_of(action.old), slot_of(action.new)
        if state.due == new and Fault.LATE_CLEANING not in self._faults:
            return []
        if hand.phase == 1:
            null = NULL if hand.base in state.stored else LATE_NULL
            changed = self._audience.grown(state, appended(state.logs, new, null))
            ends = steps.Reserved(len(changed.logs[new]), len(changed.logs[old]))
            return [("clears, and reserves", changed, ends)]
        is_left = data_in(state.logs[new]) and not is_nulled(state.logs[new], 0)
        if self._bounds.clearing and is_left:
            # Nothing is cleared before the journal was asked; but then it may decide in between.
            decided = self._found_decided(state, action)
            return decided or [("finds an earlier stay", state, hand._replace(phase=1))]
        reserved = steps.Reserved(len(state.logs[new]), len(state.logs[old]))
        return [("reserves", state, reserved), *self._found_decided(state, action)]

    def _found_decided(self, state: State, action: steps.Reserve) -> list[_Done]:
        newest, part = state.journal[-1], action.parts[0]
        if newest.epoch <= part.epoch:
            return []
        rows = {part.id: self._records.text(newest)}
        return [("finds it decided", state, steps.Decided(rows))]

    def _copy(
        self, state: State, hand: Hand, action: steps.Precopy | steps.Delta, outcome: steps.Outcome
    ) -> list[_Done]:
        name = "pre-copies" if isinstance(action, steps.Precopy) else "copies the delta"
        span, new = action.spans[0], slot_of(action.new)
        if hand.phase == 1:
            return [(name, self._written(state, hand, new), outcome)]
        source, target = state.logs[slot_of(action.old)], state.logs[new]
        needs_seal = span.source_epoch > 1 and Fault.UNSEALED_SOURCE not in self._faults
        if needs_seal and not has_seal(source, span.source_epoch):
            return []
        goes_on = isinstance(action, steps.Delta) and not self._faults & _UP_TO_M
        revision = highest(source, span.begin, len(source) if goes_on else span.end)
        if revision <= highest(target, span.into.start, len(target)):
            return [(f"{name}: nothing", state, outcome)]
        return [(f"reads, to copy {revision}", state, hand._replace(phase=1, ready=revision))]

    def _written(self, state: State, hand: Hand, slot: int) -> State:
        origin = COPY if hand.base in state.stored else LATE
        logs = appended(state.logs, slot, hand.ready * ORIGINS + origin)
        return self._audience.grown(state, logs)

    def _decide(self, state: State, hand: Hand, action: steps.AppendJournal) -> list[_Done]:
        proposal = action.proposals[0]
        row = self._records.row(proposal.row)
        if Fault.MOVES_FIRST in self._faults:
            # What is announced is taken for decided.
            fence = POOLS.index(self._records[hand.record].parts[0].fence)
            told = _entered(state, row, fence)
            return [("tells sb.moves", told, steps.Decided({proposal.id: proposal.row}))]
        state = _journaled(state, row)
        newest = state.journal[-1]
        is_ours = Fault.NO_ADOPTION in self._faults and newest.epoch == row.epoch
        now = proposal.row if is_ours else self._records.text(newest)
        return [("asks the journal", state, steps.Decided({proposal.id: now}))]

    def _announce(self, state: State, action: steps.AnnounceMoves) -> list[_Done]:
        entry = action.entries[0]
        row, cluster = self._records.row(entry.row), POOLS.index(entry.cluster)
        if Fault.MOVES_FIRST in self._faults:
            return [("asks the journal", _journaled(state, row), steps.Announced())]
        if Fault.MARKER_FIRST in self._faults:
            (slot, epoch, start) = row.places[0]
            logs = appended(state.logs, cluster, (epoch, slot, start))
            return [("marks", self._audience.grown(state, logs), steps.Announced())]
        for one in action.entries:
            state = _entered(state, self._records.row(one.row), POOLS.index(one.cluster))
        return [("tells sb.moves", state, steps.Announced())]

    def _mark(self, state: State, hand: Hand, action: steps.Mark) -> list[_Done]:
        slot = slot_of(action.address)
        if Fault.MARKER_FIRST in self._faults:
            sign = action.markers[0]
            row = self._records.row(sign.row)
            marker = (sign.epoch, row.places[0].slot, sign.start)
            end = state.logs[slot].index(marker) + 1
            return [("tells sb.moves", _entered(state, row, slot), steps.Marked(end))]
        if Fault.END_FIRST in self._faults:
            return [("marks nothing", state, steps.Marked(self._records[hand.record].p1))]
        if hand.phase == 0 and action.markers and Fault.NO_FORWARDING not in self._faults:
            sign = action.markers[0]
            logs = appended(state.logs, slot, (sign.epoch, place_of(sign.row).slot, sign.start))
            return [("marks", self._audience.grown(state, logs), hand._replace(phase=1))]
        return [("asks for the end", state, steps.Marked(len(state.logs[slot])))]

    def _mend(self, state: State, hand: Hand, action: steps.Mend) -> list[_Done]:
        if Fault.NO_MEND in self._faults:
            return [("mends nothing", state, steps.Mended())]
        slot, start = slot_of(action.address), action.spans[0].into.start
        if hand.phase == 1:
            return [("mends", self._written(state, hand, slot), Hand(hand.base, hand.record))]
        log = state.logs[slot]
        top = highest(log, start, len(log))
        is_buried = top > 0 and is_nulled(log, start) and top not in self._bounds.deletes
        if last(log, start) < top or (is_buried and Fault.UNANSWERED_NULL not in self._faults):
            return [(f"reads, to repeat {top}", state, hand._replace(phase=1, ready=top))]
        return [("finds nothing to mend", state, steps.Mended())]

    def _seal(self, state: State, action: steps.Seal) -> list[_Done]:
        logs = state.logs
        for sign in action.entered:
            assert action.new is not None
            logs = appended(logs, slot_of(action.new), SEAL - sign.epoch)
        for sign in action.stayed:
            logs = appended(logs, slot_of(action.old), SEAL - sign.epoch)
        return [("seals", self._audience.grown(state, logs), steps.Sealed())]


def _name(move: Move, left: Left) -> str:
    """Return the name of who claims: nobody has it twice, even when a record has fallen back."""
    return f"x{move.token + 1}-{left.fallbacks}"


def _one_change(before: Move, after: Move) -> Move:
    """Return a record as one change of another, however many steps lie between them."""
    return msgspec.structs.replace(after, serial=before.serial + 1)


def _holding(state: State, rest: tuple[Hand, ...], hand: Hand) -> State:
    return state._replace(hands=tuple(sorted((*rest, hand))))


def _journaled(state: State, row: Row) -> State:
    """Append an entry; of its epoch only the first one holds."""
    if state.journal[-1].epoch >= row.epoch:
        return state
    return state._replace(journal=(*state.journal, row))


def _entered(state: State, row: Row, cluster: int) -> State:
    """Append an entry to a cluster's `sb.moves`; readers take the highest."""
    there = state.moves[cluster]
    if there is not None and there.epoch >= row.epoch:
        return state
    return state._replace(moves=(*state.moves[:cluster], row, *state.moves[cluster + 1 :]))
