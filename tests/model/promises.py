"""What must hold in every state, and what at the end."""

from __future__ import annotations

from tests.model.audience import Audience
from tests.model.reader import LIVE, OFF, WRONG, Log, Place, compacted
from tests.model.state import ACCEPTED, NEW, POOLS, Bounds, State


class Promises:
    """Says which promise a state breaks."""

    def __init__(self, bounds: Bounds, audience: Audience) -> None:
        self._bounds = bounds
        self._audience = audience
        self._deletes = audience.revisions.deletes
        self._judged: dict[tuple[object, ...], str | None] = {}

    def broken(self, state: State) -> str | None:
        """Say which promise is broken on the way."""
        # All that the answer depends on; many states share it.
        accepted = _accepted(state)
        key = (state.logs, state.journal, state.agents, accepted)
        if key not in self._judged:
            self._judged[key] = self._judge(state, accepted)
        return self._judged[key]

    def _judge(self, state: State, accepted: int) -> str | None:
        for reader in state.agents:
            if reader.mode == WRONG and not self._may_be_gone(state):
                return "what stands was deleted because a snapshot was incomplete"
        for place in state.journal[-1].places:
            fresh = self._audience.snapshot(place, state.logs)
            if fresh.mode == LIVE and not self._is_there(fresh.held, accepted):
                return f"a complete snapshot in slot {POOLS[place.slot]} lacks revision {accepted}"
        if self._bounds.lazy or self._deletes:
            return None
        if self._bounds.vpc and not accepted:
            # What only one replica has yet, and nobody has accepted, may go with that replica.
            return None
        # An agent that must read a snapshot now, of the stream that it is in.
        for reader in state.agents:
            if reader.mode == LIVE and reader.held:
                again = self._audience.snapshot(reader.place, state.logs, reader.held)
                if again.mode == WRONG:
                    return "an agent that reads again deletes what stands"
        return None

    def broken_at_the_end(self, state: State) -> str | None:
        """Say which promise is broken when everybody has come to an end."""
        accepted, logs = _accepted(state), state.logs
        for reader in state.agents:
            held = self._audience.catch_up(reader, logs).held
            if reader.mode != OFF and not self._is_there(held, accepted):
                return f"revision {accepted} was accepted, and an agent ends with {held}"
        for when, view in (("", logs), (" after compaction", tuple(map(compacted, logs)))):
            for place in {place for row in state.journal for place in row.places}:
                problem = self._fresh_problem(state, place, view)
                if problem:
                    return problem + when
        return None

    def _fresh_problem(self, state: State, place: Place, logs: tuple[Log, ...]) -> str | None:
        """An agent with nothing, and any row that was ever decided, ends with the exact state."""
        held, accepted = self._audience.fresh(place, logs), _accepted(state)
        who = f"a fresh agent that begins in slot {POOLS[place.slot]}, epoch {place.epoch},"
        if not self._is_there(held, accepted):
            return f"{who} ends with {held} instead of {accepted}"
        shows = self._audience.revisions.shows
        is_settled = all(sender.status == ACCEPTED for sender in state.senders)
        if is_settled and shows(held) != shows(accepted):
            return f"{who} shows {shows(held)} instead of {shows(accepted)}"
        if state.agents and state.agents[0].mode == LIVE and not self._bounds.vpc:
            # What nobody has accepted may show, but then to everybody.
            durable = shows(self._audience.catch_up(state.agents[0], state.logs).held)
            if durable != shows(held):
                return f"{who} shows {shows(held)}, and a durable one {durable}"
        return None

    def _is_there(self, held: int, accepted: int) -> bool:
        """Whether an agent has an accepted revision, or what supersedes it.

        A delete may have left no trace.
        """
        return held >= accepted or (held == 0 and accepted in self._deletes)

    def _may_be_gone(self, state: State) -> bool:
        senders = enumerate(state.senders, start=1)
        return any(at in self._deletes and sender.status != NEW for at, sender in senders)


def _accepted(state: State) -> int:
    senders = enumerate(state.senders, start=1)
    return max((at for at, sender in senders if sender.status == ACCEPTED), default=0)
