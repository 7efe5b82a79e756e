"""Publishers, executors, Redis, the journal, `sb.moves` and agents around one scope that moves.

The executors perform what `southbound.partitioning.handover` says: the table under test is the real
one. Adversaries: a look-up in Redis gives any row that was ever decided (failover, split brain, an
old cache); the record of a move may fall back to any that was stored; executors are overtaken at any
moment and sleep or go on; publishers die or sleep anywhere; compaction comes when it may.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.model.audience import Audience
from tests.model.executors import Executors
from tests.model.promises import Promises
from tests.model.publishers import Publishers
from tests.model.reader import (
    GATHERING,
    HOLE,
    LIVE,
    NULL,
    OFF,
    SEAL,
    TRAILING,
    Log,
    Place,
    Reader,
    data_in,
    highest,
    is_nulled,
    last,
)
from tests.model.records import Records
from tests.model.state import (
    ACCEPTED,
    DEAD,
    POOLS,
    Bounds,
    Fault,
    Row,
    Sender,
    State,
    Step_,
    appended,
)


class World:
    """One slice: its bounds, and the bugs planted in it. See `tests.model.engine.Model`."""

    def __init__(self, bounds: Bounds, *faults: Fault) -> None:
        self._bounds = bounds
        self._faults = frozenset(faults)
        self._audience = Audience(bounds, self._faults)
        self._publishers = Publishers(bounds, self._faults, self._audience)
        records = Records(bounds)
        self._executors = Executors(bounds, self._faults, records, self._audience)
        self._promises = Promises(bounds, self._audience)

    def initial(self) -> State:
        """Return the beginning: one row, empty slots, nothing planned."""
        bounds = self._bounds
        agents = [Reader(LIVE, Place(slot, 1, 0), 0, 0) for slot in bounds.agents]
        agents += [Reader(OFF, Place(0, 0, 0), 0, 0)] * bounds.fresh
        return State(
            logs=((),) * bounds.slots,
            moves=(None,) * bounds.slots,
            journal=(Row(1, tuple(Place(slot, 1, 0) for slot in bounds.replicas)),),
            senders=(Sender(),) * bounds.senders,
            stored=(),
            hands=(),
            left=bounds.left,
            agents=tuple(agents),
        )

    def successors(self, state: State) -> list[Step_]:
        """Return every step that anybody can take."""
        return [
            *self._publishers.successors(state),
            *self._executors.successors(state),
            *self._age(state),
            *self._audience.successors(state),
        ]

    def is_final(self, state: State) -> bool:
        """Tell whether no move is left to be made or at work, no publisher and no agent behind."""
        return (
            self._are_settled(state)
            and self._executors.are_done(state)
            and all(self._audience.is_idle(reader, state.logs) for reader in state.agents)
        )

    def problem(self, state: State) -> str | None:
        """Say which promise is broken."""
        problem = self._promises.broken(state)
        if problem is None and self.is_final(state):
            return self._promises.broken_at_the_end(state)
        return problem

    def _are_settled(self, state: State) -> bool:
        return all(sender.status in {ACCEPTED, DEAD} for sender in state.senders)

    # What time does.

    def _age(self, state: State) -> Iterable[Step_]:
        """Clean an earlier stay; compact; let a settled delete be forgotten."""
        if state.due >= 0:
            after = state._replace(due=-1)
            is_back = any(place.slot == state.due for place in state.journal[-1].places)
            if is_back and Fault.LATE_CLEANING not in self._faults:
                yield "the stay is not cleaned: it has returned", after
            else:
                after = self._audience.grown(after, appended(state.logs, state.due, NULL))
                yield f"the stay in {POOLS[state.due]} is cleaned", after
        if state.left.compactions:
            left = state.left._replace(compactions=state.left.compactions - 1)
            for slot, log in enumerate(state.logs):
                thinned = _thinned(log, self._edge(state, slot))
                if thinned != log:
                    logs = (*state.logs[:slot], thinned, *state.logs[slot + 1 :])
                    after = state._replace(logs=logs, left=left)
                    yield f"slot {POOLS[slot]} is compacted", after
        if state.left.burials and self._executors.are_idle(state) and self._are_settled(state):
            yield from self._bury(state)

    def _edge(self, state: State, slot: int) -> int:
        """Return up to where compaction may come, which is the lag behind.

        An agent that could not read a snapshot within the lag begins it anew.
        """
        edge = len(state.logs[slot])
        for one in state.agents if Fault.SLOW_SNAPSHOT not in self._faults else ():
            if one.place.slot == slot and one.mode == GATHERING:
                edge = min(edge, one.high)
            elif one.place.slot == slot and one.mode == TRAILING:
                edge = min(edge, one.next)
        return edge

    def _bury(self, state: State) -> Iterable[Step_]:
        """Days after a delete nothing of the resource is left, in the log or with agents."""
        deletes = self._bounds.deletes
        slot, _, start = state.journal[-1].places[0]
        log = state.logs[slot]
        if last(log, start) not in deletes:
            return
        kept = (one if not isinstance(one, int) or one < SEAL else HOLE for one in log[start:])
        logs = (*state.logs[:slot], (*log[:start], *kept), *state.logs[slot + 1 :])
        agents = tuple(one._replace(held=0) if one.held in deletes else one for one in state.agents)
        left = state.left._replace(burials=state.left.burials - 1)
        yield "the delete is forgotten", state._replace(logs=logs, agents=agents, left=left)


def _thinned(log: Log, edge: int) -> Log:
    """Compact a log up to an edge, when nothing there waits to be repaired."""
    old = log[:edge]
    if last(old, 0) < highest(old, 0, edge) or is_nulled(old, 0):
        return log
    gone = set(data_in(old)[:-1])
    return tuple(HOLE if at in gone else one for at, one in enumerate(log))
