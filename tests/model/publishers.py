"""Publishers: they look up, deliver, look at the fence, and are accepted or turned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.model.audience import Audience
from tests.model.reader import DIRECT, ORIGINS
from tests.model.state import (
    ACCEPTED,
    DEAD,
    NEW,
    POOLS,
    SENDING,
    Bounds,
    Fault,
    Row,
    Sender,
    State,
    Step_,
    appended,
)


class _Turn(NamedTuple):
    """Whose turn it is, in which state."""

    state: State
    at: int

    @property
    def name(self) -> str:
        return f"publisher {self.at + 1}"

    def become(self, sender: Sender) -> State:
        senders = self.state.senders
        changed = (*senders[: self.at], sender, *senders[self.at + 1 :])
        return self.state._replace(senders=changed)


class Publishers:
    """All publishers of a world."""

    def __init__(self, bounds: Bounds, faults: frozenset[Fault], audience: Audience) -> None:
        self._in_turn = bounds.in_turn
        self._faults = faults
        self._audience = audience

    def successors(self, state: State) -> Iterable[Step_]:
        """Yield what publishers can do."""
        for at, sender in enumerate(state.senders):
            turn = _Turn(state, at)
            if sender.status == NEW:
                waits = self._in_turn and any(one.status < ACCEPTED for one in state.senders[:at])
                if not waits:
                    yield from self._begin(turn)
            elif sender.status == SENDING:
                if state.left.deaths:
                    left = state.left._replace(deaths=state.left.deaths - 1)
                    yield f"{turn.name} dies", turn.become(Sender(DEAD))._replace(left=left)
                if sender.todo:
                    yield from self._deliver(turn, sender)
                else:
                    yield from self._look(turn, sender)

    def _begin(self, turn: _Turn) -> Iterable[Step_]:
        """Look up, which may give any row that was ever decided, and deliver."""
        for row in turn.state.journal:
            todo = tuple((place.slot, place.epoch) for place in row.places)
            for name, after in self._deliver(turn, Sender(SENDING, row, todo)):
                yield f"{name}, believing in {row.epoch}", after

    def _deliver(self, turn: _Turn, sender: Sender) -> Iterable[Step_]:
        for stop in sender.todo:
            todo = tuple(other for other in sender.todo if other != stop)
            sent = tuple(sorted({*sender.sent, stop}))
            after = turn.become(sender._replace(todo=todo, sent=sent))
            logs = appended(turn.state.logs, stop[0], (turn.at + 1) * ORIGINS + DIRECT)
            yield f"{turn.name} delivers to {POOLS[stop[0]]}", self._audience.grown(after, logs)

    def _look(self, turn: _Turn, sender: Sender) -> Iterable[Step_]:
        """Look at the fence, which is where the home was that the publisher has sent to."""
        assert sender.row is not None
        entries: list[Row | None] = [turn.state.moves[sender.row.places[0].slot]]
        if Fault.NO_FENCE in self._faults:
            entries = [None]
        elif Fault.REDIS_FENCE in self._faults:
            entries = [*turn.state.journal]
        for entry in entries:
            if entry is None or entry.epoch <= sender.row.epoch:
                yield f"{turn.name} is accepted", turn.become(Sender(ACCEPTED))
                continue
            stops = ((place.slot, place.epoch) for place in entry.places)
            todo = tuple(stop for stop in stops if stop not in sender.sent)
            after = turn.become(Sender(SENDING, entry, todo, sender.sent))
            yield f"{turn.name} is turned to {entry.epoch}", after
