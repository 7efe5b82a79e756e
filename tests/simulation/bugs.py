"""Planted bugs: for each rule of the design, what breaks when it is not kept.

The rule: a bug is planted from outside, in a world of its own, by replacing a piece of the real code or
of what performs it; the product knows nothing of it. `seeds` are those of schedules in which such a
bug can show: of its flavour, the first of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from southbound.directory import verdict
from southbound.directory.verdict import Held
from southbound.errors import OutcomeUnknown
from southbound.janitor.judging import Repair, Why
from southbound.nca import desired, revisions
from southbound.nca import effects as ef
from southbound.nca import events as ev
from southbound.nca.changesets import Holding
from southbound.nca.core import AgentCore
from southbound.nca.desired import Desired
from southbound.nca.interest import Interest
from southbound.nca.positions import Stream as AgentStream
from southbound.nca.reading import Reading
from southbound.nca.snapshot import Reason
from southbound.nca.state import Entry, State, StreamState
from southbound.nca.state import Status as EntryStatus
from southbound.partitioning import handover, steps
from southbound.partitioning.handover import Move
from southbound.partitioning.move import Standing
from southbound.partitioning.placement import Address
from southbound.producer.core import Parcel, Route, judge, route_of_row, unsent
from southbound.wire.reports import Outcome
from tests.simulation import (
    planted_agent,
    planted_allocation,
    planted_control,
    planted_moves,
    planted_public,
    planted_tracker,
)
from tests.simulation.bug import Bug, Patch
from tests.simulation.directory import Directory, Memory, Redis
from tests.simulation.fleet import TOPOLOGY, az_of
from tests.simulation.janitor import Janitor
from tests.simulation.loop import S, Steps
from tests.simulation.mover import Mover, scope_of
from tests.simulation.node import SETTINGS, Node
from tests.simulation.publisher import Publisher
from tests.simulation.seeder import Seeder

# §4: the fence, the journal, Redis.


def _accept_at_once(self: Publisher, parcel: Parcel) -> Steps[Route | None]:
    yield 0
    return None


def _ask_redis(self: Publisher, parcel: Parcel) -> Steps[Route | None]:
    assert parcel.route is not None
    held = yield from self.directory.look_up(parcel.scope)
    if held is None or held.epoch <= parcel.route.epoch:
        return None
    return route_of_row(parcel.scope, held.row, TOPOLOGY)


def _look_then_deliver(self: Publisher, parcel: Parcel) -> Steps[None]:
    assert parcel.route is not None
    assert parcel.route.fence is not None
    yield from self.fences[parcel.route.fence].look()
    yield from _SEND(self, parcel)


def _judge_by_what_was_seen(self: Publisher, parcel: Parcel) -> Steps[Route | None]:
    assert parcel.route is not None
    assert parcel.route.fence is not None
    yield 0
    return judge(parcel, self.fences[parcel.route.fence].tail.entry(parcel.scope), TOPOLOGY)


def _last_wins(held: Held | None, entry: Any) -> Held:
    if held is None or entry.epoch >= held.epoch:
        return Held(entry.epoch, entry.row)
    return held


def _believe_own_entry(self: Directory, proposals: Mapping[str, Held]) -> Steps[dict[str, Held]]:
    """Append, and take it as decided without reading back."""
    memory = yield from self._ask()
    there = {
        text: memory.rows[text]
        for text, held in proposals.items()
        if text in memory.rows and memory.rows[text].epoch >= held.epoch
    }
    new = {text: held for text, held in proposals.items() if text not in there}
    for text, held in new.items():
        yield from self._append(az_of(text, held.row), [(text, held)])
    return {**there, **new}


def _keep_position(self: Redis, writes: int) -> None:
    """Fall back, but go on believing to have read the journal as far as before."""
    positions = self.memory.positions
    for _ in range(min(writes, len(self._before))):
        self.memory = self._before.pop()
    self.memory = self.memory._replace(positions=positions)
    self.generation += 1


def _flushed_but_positioned(self: Redis) -> None:
    self.memory = Memory({}, self.memory.positions)
    self.generation += 1


def _home_only(self: Publisher, parcel: Parcel, route: Route) -> list[Address]:
    return unsent(parcel, route)[:1]


# §6: what a publisher says.


def _delivered_anyway(self: Publisher, parcel: Parcel) -> Steps[None]:
    with contextlib.suppress(OutcomeUnknown):
        yield from _SEND(self, parcel)


def _never_again(self: Publisher, parcel: Parcel) -> bool:
    return False


_SEND = Publisher.send


# §7: the agent.


def _lower_is_newer(held: Entry | None, arriving: Entry) -> revisions.Verdict:
    found = revisions.judge(held, arriving)
    return revisions.Verdict.NEWER if found is revisions.Verdict.OLDER else found


def _equal_is_newer(held: Entry | None, arriving: Entry) -> revisions.Verdict:
    found = revisions.judge(held, arriving)
    return revisions.Verdict.NEWER if found is revisions.Verdict.EQUAL else found


def _reordered(order: tuple[type, ...]) -> Callable[[Node, ev.Event], Steps[None]]:
    """Return a `feed` that performs effects of these kinds first, in this order."""

    def feed(self: Node, event: ev.Event) -> Steps[None]:
        effects = self.core.step(event)
        effects.sort(key=lambda one: order.index(type(one)) if type(one) in order else len(order))
        for effect in effects:
            if self.effects_left is not None:
                self.effects_left -= 1
                if self.effects_left < 0:
                    from tests.simulation.node import Died

                    raise Died
            yield from self._perform(effect)

    return feed


def _past_what_is_held(self: AgentStream, first_held: int | None) -> StreamState:
    next_ = None if self.snapshot is not None else self.next
    return StreamState(self.placement, next_, self.swept)


def _at_once(self: Holding, incoming: Any, now_s: float, *, news: bool) -> list[Any]:
    return [incoming]


def _parked_is_done(self: Desired, key: Any, due: Any) -> Any:
    entry = self.get(key)
    if due.outcome is None and entry is not None and entry.status is EntryStatus.PARKED:
        return msgspec.structs.replace(due, outcome=Outcome.APPLIED)
    return _DUE(self, key, due)


_DUE = Desired._due


def _forget_debts(world: Any, node: Node) -> AgentCore:
    state = msgspec.structs.replace(node.disk.state, owed={})
    return AgentCore(node.host, SETTINGS, state, node.counters)


def _never_absent(self: AgentCore, now: ev.Now) -> None:
    self._progress_us = now.us


def _skip_to_the_end(self: Reading, address: Address) -> None:
    """Go on at the end without a word."""
    for stream in list(self._positions.at(address).values()):
        stream.next = 0


def _never_alone(self: AgentCore, _unswept: Sequence[object]) -> None:
    pass


def _never_leave(self: Interest, now_s: float) -> list[str]:
    return []


def _no_marker(self: Reading, stream: AgentStream, value: bytes) -> None:
    return


def _load_as_it_was(self: AgentCore, state: State) -> None:
    """Sweep by a memory that may have fallen back."""
    self._reading.topology = state.topology
    for scope, stood in state.streams.items():
        stream = AgentStream(scope, stood.placement, swept=stood.swept)
        if stood.next is None:
            stream.restart(Reason.FIRST)
        else:
            stream.next = stood.next
        stream.locate(state.topology)
        self._positions.put(stream)


def _clean_always(
    self: Desired, incoming: Any, *, snapshot: bool = False, clean: bool = False
) -> bool:
    return _TAKE(self, incoming, snapshot=snapshot, clean=snapshot)


_TAKE = Desired.take


def _no_failures(self: Desired, plan: Any, failures: Any, now_s: float) -> Any:
    return _APPLIED(self, plan, {}, now_s)


_APPLIED = Desired.applied


# §8: moves.


def _mark_early(self: Mover, move: Move, action: Any) -> Steps[Any]:
    """Write the marker, and note the end, before anybody is told; the delta ends there."""
    signs = handover._markers(move)
    outcome = yield from _MARK(self, move, steps.Mark(move.old, signs))
    assert isinstance(outcome, steps.Marked)
    self.early_ends = {**getattr(self, "early_ends", {}), move.id: outcome.m}  # type: ignore[attr-defined]
    yield S
    return (yield from _ANNOUNCE(self, move, action))


def _delta_to_the_early_end(self: Mover, move: Move, action: Any) -> Steps[Any]:
    ends = getattr(self, "early_ends", {})
    for span in action.spans:
        old = yield from self.source(move, span)
        yield from old.catch_up(ends.get(move.id, move.m))
        yield from self._copy(span, old, None, action.new)
    return steps.Copied()


def _no_delta(self: Mover, move: Move, action: Any) -> Steps[Any]:
    yield 0
    return steps.Copied()


def _announce_then_decide(self: Mover, move: Move, action: Any) -> Steps[Any]:
    """Tell the fences before the journal has decided."""
    for one, part in zip(action.proposals, move.of(Standing.OPEN), strict=True):
        yield from self.announcer.tell(part.fence, {scope_of(one): Held(one.epoch, one.row)})
    yield self.world.pause_us()
    return (yield from _DECIDE(self, move, action))


def _to_the_noted_end(self: Mover, move: Move, action: Any) -> Steps[Any]:
    for span in action.spans:
        old = yield from self.source(move, span)
        yield from old.catch_up(span.end)
        yield from self._copy(span, old, None, action.new)
    return steps.Precopied()


def _seed_without_telling(
    self: Seeder, scope: Any, row: Any, replica: Any, home: Any, target: Any
) -> Steps[bool]:
    yield from self._catch_up_home(home, row.home)
    yield from self._copy(scope, home, target, replica)
    yield from self._mend(scope, target, replica)
    from southbound.wire.control import Seal, encode_control
    from southbound.wire.keys import seal_key

    seal = (seal_key(scope, replica.epoch), encode_control(Seal(replica.epoch)))
    yield from self._world.network.produce(self._who, target.address, [seal])
    return True


_MARK, _ANNOUNCE, _SEAL, _DELTA, _DECIDE = (
    Mover.mark,
    Mover.announce,
    Mover.seal,
    Mover.delta,
    Mover.decide,
)


# §9: the janitor and the tracker.


def _without(*whys: Why) -> Callable[[Janitor, list[Repair]], Steps[list[Repair]]]:
    def permitted(self: Janitor, repairs: list[Repair]) -> Steps[list[Repair]]:
        kept = [one for one in repairs if one.why not in whys]
        return (yield from _PERMITTED(self, kept))

    return permitted


_PERMITTED = Janitor.permitted


STRESS: Mapping[str, tuple[str, ...]] = {
    "_never_alone": ("node away", "agent's disk wiped"),
    "_ask_redis": ("Redis split", "Redis split", "Redis split"),
    "_delivered_anyway": ("cluster down", "link cut", "link cut"),
    "_never_again": ("cluster down", "link cut"),
    "_past_what_is_held": ("agent killed", "agent killed", "leader changes", "network slow"),
    "_no_failures": ("applier refuses", "applier refuses", "applier refuses"),
    "_forget_debts": ("agent killed", "agent killed", "agent killed"),
    "_load_as_it_was": ("node loses power", "node loses power"),
    "_clean_always": ("agent's disk wiped", "agent's disk wiped"),
    "_announce_then_decide": ("mover killed", "move's record falls back"),
    "_to_the_noted_end": ("network slow",),
}
"""Faults that are added where a bug shows only with them, by what stands in a rule's place."""


def _world() -> Any:
    from tests.simulation.world import World

    return World


def _bug(rule: str, flavour: str, *patches: tuple[Any, str, Any]) -> Bug:
    kinds = tuple(STRESS.get(patches[0][2].__name__, ())) if callable(patches[0][2]) else ()
    return Bug(rule, flavour, tuple(Patch(*one) for one in patches), kinds)


_PLANTED: Mapping[str, Bug] = {
    "no fence": _bug("§4 deliver, then look", "moves", (Publisher, "verdict", _accept_at_once)),
    "the fence reads Redis": _bug(
        "§4 nothing that must be true rests on Redis", "moves", (Publisher, "verdict", _ask_redis)
    ),
    "look, then deliver": _bug(
        "§4 the look comes after the acknowledgement",
        "moves",
        (Publisher, "send", _look_then_deliver),
        (Publisher, "verdict", _judge_by_what_was_seen),
    ),
    "the last entry of an epoch wins": _bug(
        "§4 highest epoch, then first entry", "mixed", (verdict, "better", _last_wins)
    ),
    "an own entry is believed unread": _bug(
        "§4 an allocator reads back to its own entry",
        "mixed",
        (Directory, "decide", _believe_own_entry),
    ),
    "Redis' position outlives its rows": _bug(
        "§4 an absent row is absent only at the journal's end",
        "mixed",
        (Redis, "fail_over", _keep_position),
        (Redis, "flush", _flushed_but_positioned),
    ),
    "only the home is sent to": _bug(
        "§6 accepted when all replicas have it", "mixed", (Publisher, "unsent", _home_only)
    ),
    "a timeout counts as delivered": _bug(
        "§6 an unknown outcome is said to be unknown",
        "mixed",
        (Publisher, "send", _delivered_anyway),
    ),
    "a timeout is taken as failure": _bug(
        "§6 publishing the same revision again",
        "mixed",
        (Publisher, "is_to_be_tried_again", _never_again),
    ),
    "a lower revision is applied": _bug(
        "§7 last writer wins by revision", "mixed", (desired, "judge", _lower_is_newer)
    ),
    "an equal revision is applied": _bug(
        "§7 equal revision: no-op", "mixed", (desired, "judge", _equal_is_newer)
    ),
    "applied before persisted": _bug(
        "§7 one transaction per batch, before the applier",
        "mixed",
        (Node, "feed", _reordered((ef.Apply, ef.Persist))),
    ),
    "told before persisted": _bug(
        "§7 reports are sent after the local transaction",
        "mixed",
        (Node, "feed", _reordered((ef.Send, ef.Persist, ef.Apply))),
    ),
    "the position passes what is held": _bug(
        "§7 changesets are held until all records are there",
        "mixed",
        (AgentStream, "state", _past_what_is_held),
    ),
    "a changeset is applied half": _bug(
        "§7 changesets are applied in one step", "mixed", (Holding, "take", _at_once)
    ),
    "parked is told as applied": _bug(
        "§7 a parked resource is reported pending", "mixed", (Desired, "_due", _parked_is_done)
    ),
    "a failure is told as applied": _bug(
        "§7 applier failure: retried, reported", "mixed", (Desired, "applied", _no_failures)
    ),
    "debts are lost at a crash": _bug(
        "§7 the outbox is part of the transaction", "mixed", (_world(), "make_core", _forget_debts)
    ),
    "long absence without a resync": _bug(
        "§7 long absence: resync by snapshot", "days", (AgentCore, "_progress", _never_absent)
    ),
    "a lost position is passed over": _bug(
        "§7 position out of range: explicit resync", "disaster", (Reading, "lost", _skip_to_the_end)
    ),
    "markers are not followed": _bug(
        "§8 the agent reads on at the marker", "moves", (Reading, "_handover", _no_marker)
    ),
    "a VPC is never left": _bug(
        "§7 the last port's leaving ends the interest", "mixed", (Interest, "expired", _never_leave)
    ),
    "a memory that fell back sweeps": _bug(
        "§7 absence deletes only at a complete snapshot",
        "mixed",
        (AgentCore, "_load", _load_as_it_was),
    ),
    "a delete is told and not done": _bug(
        "§7 reports follow the applier", "mixed", (Desired, "take", _clean_always)
    ),
    "an earlier life's VPCs stay": _bug(
        "§7 what an earlier life of the node left goes", "mixed", (AgentCore, "_only", _never_alone)
    ),
    "the marker before leaving": _bug(
        "§8 mark never before leave",
        "moves",
        (Mover, "announce", _mark_early),
        (Mover, "delta", _delta_to_the_early_end),
    ),
    "no delta": _bug("§8 copy what the old slot gained", "moves", (Mover, "delta", _no_delta)),
    "told before it is decided": _bug(
        "§4 the journal first", "moves", (Mover, "decide", _announce_then_decide)
    ),
    "copied only up to the noted end": _bug(
        "§8 every move ends", "moves", (Mover, "precopy", _to_the_noted_end)
    ),
    "a replica that no fence knows": _bug(
        "§8 a replica is told before the home's end is noted",
        "mixed",
        (Seeder, "_complete", _seed_without_telling),
    ),
    "inversions stay": _bug(
        "§9 the janitor repairs inversions", "days", (Janitor, "permitted", _without(Why.INVERSION))
    ),
}

_KNOWN = Path(__file__).with_name("known.json")

BUGS: Mapping[str, Bug] = {
    name: one._replace(known=msgspec.json.decode(_KNOWN.read_bytes()).get(name, 0))
    for name, one in {
        **_PLANTED,
        **planted_control.PLANTED,
        **planted_agent.PLANTED,
        **planted_moves.PLANTED,
        **planted_public.PLANTED,
        **planted_tracker.PLANTED,
        **planted_allocation.PLANTED,
    }.items()
}
"""Every planted bug by its name, with the seed that has found it."""


def keep(found: Mapping[str, int]) -> None:
    """Write down which seeds have found bugs, beside those that had before."""
    known = {**msgspec.json.decode(_KNOWN.read_bytes()), **found}
    kept = {name: seed for name, seed in sorted(known.items()) if name in BUGS}
    whole = _KNOWN.with_suffix(".new")
    whole.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    whole.replace(_KNOWN)
