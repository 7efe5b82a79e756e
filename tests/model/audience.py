"""The agents of a world: when they read, and when they begin."""

from __future__ import annotations

from collections.abc import Iterable

from tests.model.reader import (
    LIVE,
    OFF,
    WRONG,
    Habits,
    Log,
    Place,
    Reader,
    Revisions,
    begin,
    catch_up,
    read,
)
from tests.model.state import Bounds, Fault, Left, State, Step_


class Audience:
    """Reads, at once or one record at a time."""

    def __init__(self, bounds: Bounds, faults: frozenset[Fault]) -> None:
        self._lazy = bounds.lazy
        self.revisions = Revisions(bounds.deletes)
        self._habits = Habits(
            needs_seal=Fault.NO_SEAL not in faults, begins_at_start=Fault.FROM_ZERO not in faults
        )
        self._fresh: dict[tuple[Place, tuple[Log, ...]], int] = {}

    def grown(self, state: State, logs: tuple[Log, ...]) -> State:
        """Return the state with longer logs, read by whoever reads at once."""
        agents = tuple(self._eager(reader, logs) for reader in state.agents)
        return state._replace(logs=logs, agents=agents)

    def begin(self, place: Place, logs: tuple[Log, ...], held: int = 0) -> Reader:
        """Begin a snapshot."""
        return begin(place, logs, held, self._habits)

    def catch_up(self, reader: Reader, logs: tuple[Log, ...]) -> Reader:
        """Read everything that is there, wherever markers lead."""
        return catch_up(reader, logs, self._habits, self.revisions)

    def fresh(self, place: Place, logs: tuple[Log, ...]) -> int:
        """Return what an agent ends with that begins with nothing."""
        known = self._fresh.get((place, logs))
        if known is None:
            known = self.catch_up(self.begin(place, logs), logs).held
            self._fresh[place, logs] = known
        return known

    def snapshot(self, place: Place, logs: tuple[Log, ...], held: int = 0) -> Reader:
        """Read a snapshot to the end of its slot; it is off when a marker leads elsewhere."""
        reader = self.begin(place, logs, held)
        while reader.mode not in {LIVE, WRONG} and reader.next < len(logs[place.slot]):
            reader = read(reader, logs, self._habits, self.revisions)
            if reader.place != place:
                return reader._replace(mode=OFF)
        return reader

    def is_idle(self, reader: Reader, logs: tuple[Log, ...]) -> bool:
        """Tell whether an agent has nothing to read."""
        return reader.mode in {OFF, WRONG} or reader.next >= len(logs[reader.place.slot])

    def successors(self, state: State) -> Iterable[Step_]:
        """Yield what the agents can do."""
        for at, reader in enumerate(state.agents):
            if reader.mode == OFF:
                yield from self._beginnings(state, at)
                continue
            if self._lazy and not self.is_idle(reader, state.logs):
                after = read(reader, state.logs, self._habits, self.revisions)
                yield f"agent {at + 1} reads", _with(state, at, after)
            if state.left.resyncs and reader.mode == LIVE and reader.held:
                left = state.left._replace(resyncs=state.left.resyncs - 1)
                again = self._eager(self.begin(reader.place, state.logs, reader.held), state.logs)
                yield f"agent {at + 1} reads anew", _with(state, at, again, left)

    def _beginnings(self, state: State, at: int) -> Iterable[Step_]:
        for row in state.journal:
            for place in row.places:
                fresh = self._eager(self.begin(place, state.logs), state.logs)
                yield f"a fresh agent begins with {row.epoch}", _with(state, at, fresh)

    def _eager(self, reader: Reader, logs: tuple[Log, ...]) -> Reader:
        return reader if self._lazy else self.catch_up(reader, logs)


def _with(state: State, at: int, reader: Reader, left: Left | None = None) -> State:
    agents = (*state.agents[:at], reader, *state.agents[at + 1 :])
    return state._replace(agents=agents, left=left or state.left)
