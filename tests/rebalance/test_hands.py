"""Performing actions, over slots in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from southbound.directory.decider import Reservation
from southbound.directory.directory import Directory
from southbound.edge.log_time import LogTime
from southbound.errors import EdgeError, WireError
from southbound.partitioning import steps
from southbound.partitioning.handover import (
    Kind,
    Move,
    Part,
    Step,
    abandon,
    advance,
    claim,
    next_action,
    plan_move,
)
from southbound.partitioning.placement import Address, Placement
from southbound.partitioning.topology import Az, Cluster, Topology
from southbound.rebalance.announcing import Announcer
from southbound.rebalance.copying import History, Record
from southbound.rebalance.hands import Hands, _vpcs
from southbound.rebalance.seeding import Seeder
from southbound.rebalance.slots import Slots, Written
from southbound.resources import Op, ResourceKey, Scope, host_scope
from southbound.wire.control import Seal, encode_control
from southbound.wire.envelope import EMPTY_SPEC, Envelope, decode, encode, encode_spec
from southbound.wire.keys import encode_key, scope_prefix, seal_key

HOST = host_scope("h1")
KEY = encode_key(ResourceKey(HOST, "router", "r0"))
OLD, NEW = Address("c1", "sb.a.000", 0), Address("c1", "sb.b.000", 0)


class MemorySlots:
    """Slots in memory. A record of None is a hole that compaction has left."""

    def __init__(self, **logs: Sequence[Written | None]) -> None:
        self.logs = {OLD: list(logs["old"]), NEW: list(logs["new"])}
        self.log_time = LogTime()

    def ends(self, addresses: Iterable[Address]) -> dict[Address, int]:
        """Return the ends."""
        return {address: len(self.logs[address]) for address in addresses}

    def read(self, ranges: Mapping[Address, tuple[int, int]]) -> dict[Address, list[Record]]:
        """Return the records of ranges."""
        return {
            address: [
                Record(at, one.key, one.value, 0)
                for at, one in enumerate(self.logs[address][:end])
                if one is not None and at >= begin
            ]
            for address, (begin, end) in ranges.items()
        }

    def append(self, records: Sequence[Written]) -> int:
        """Append, and return how many."""
        for record in records:
            self.logs[record.address].append(record)
        return len(records)


def _hands(slots: MemorySlots, directory: object = None, fences: object = None) -> Hands:
    """Return hands whose actions need nothing but slots, and perhaps a directory and fences."""
    nobody = object()
    return Hands(
        cast("Directory", directory or nobody),
        cast("Seeder", nobody),
        cast("Announcer", fences or nobody),
        cast("Slots", slots),
    )


def _written(revision: int) -> Written:
    envelope = Envelope(revision, Op.UPSERT, 1, "c", 0, 1, 1, 0, EMPTY_SPEC)
    return Written(OLD, KEY, encode(envelope))


def _marked(m: int) -> Move:
    """Return a host's move that stands behind its marker."""
    part = Part(
        cls="host",
        id="h1",
        epoch=1,
        old=Placement("a", 0),
        new=Placement("b", 0),
        fence="c1",
    )
    move = claim(plan_move("p", "0", Kind.MOVE, (OLD, NEW), [part]), "x")
    for outcome in (
        steps.Reserved(0, 0),
        steps.Precopied(),
        steps.Decided({"h1": "b:0:2:0"}),
        steps.Announced(),
        steps.Flipped(),
        steps.Marked(m),
    ):
        move = advance(move, outcome)
    assert move.step is Step.MARKED
    return move


def _delta(slots: MemorySlots, m: int) -> list[int]:
    """Perform a move's delta; return the revisions that the new slot has then."""
    move = _marked(m)
    action = steps.Delta(OLD, NEW, (steps.Span("host", "h1", 0, m, Placement("b", 0, 2), 1),))
    assert _hands(slots).perform([(move, action)]) == {move.id: steps.Copied()}
    written = (one for one in slots.logs[NEW] if one is not None and one.value is not None)
    return [decode(cast("bytes", one.value)).revision for one in written]


def test_a_delta_carries_what_was_accepted() -> None:
    """What the old slot has gained up to the noted end is copied."""
    assert _delta(MemorySlots(old=[_written(1), None], new=[]), 2) == [1]


def test_a_delta_goes_on_to_the_present_end() -> None:
    """When a move is resumed late, compaction may have left an accepted change's revision only in a
    later record, which stands behind the end that was noted and was accepted by nobody.
    """
    assert _delta(MemorySlots(old=[None, None, _written(2)], new=[]), 2) == [2]


def test_a_slot_that_is_sealed_behind_the_noted_end_is_copied_from() -> None:
    """A move may be reserved while the one before it is still filling the slot: it goes on after that."""
    seal = Written(OLD, seal_key(HOST, 2), encode_control(Seal(2)))
    slots = MemorySlots(old=[_written(1), seal], new=[])
    part = Part(
        cls="host", id="h1", epoch=2, old=Placement("a", 0, 2), new=Placement("b", 0), fence="c1"
    )
    move = claim(plan_move("p", "0", Kind.MOVE, (OLD, NEW), [part]), "x")
    move = advance(move, steps.Reserved(s0=0, p1=1))
    assert _hands(slots).perform([(move, next_action(move))]) == {move.id: steps.Precopied()}
    assert len(slots.logs[NEW]) == 1


class ReservingDirectory:
    """A directory in which every slot has room."""

    def reserve_moves(self, wanted: Mapping[Scope, Placement]) -> dict[Scope, Reservation]:
        """Reserve."""
        return dict.fromkeys(wanted, Reservation())


def test_what_a_stream_left_is_not_cleared_while_another_slot_is_filled_from_it() -> None:
    """A move back waits for the seal of the move away: what it would clear is the source of that."""
    stay = _written(1)._replace(address=NEW)
    slots = MemorySlots(old=[], new=[stay])
    part = Part(
        cls="host", id="h1", epoch=2, old=Placement("a", 0, 2), new=Placement("b", 0), fence="c1"
    )
    move = claim(plan_move("p", "0", Kind.MOVE, (OLD, NEW), [part]), "x")
    hands = _hands(slots, ReservingDirectory())
    refused = hands.perform([(move, next_action(move))])[move.id]
    assert isinstance(refused, EdgeError)
    assert refused.retryable
    assert slots.logs[NEW] == [stay]
    slots.append([Written(OLD, seal_key(HOST, 2), encode_control(Seal(2)))])
    hands.forget()
    assert hands.perform([(move, next_action(move))]) == {move.id: steps.Reserved(s0=2, p1=1)}
    assert slots.logs[NEW] == [stay, Written(NEW, KEY, None)]


class DecidingDirectory:
    """A directory that lets every proposal win, and notes them."""

    topology = Topology(
        region="r",
        azs=(Az(id="a", journal="c1"),),
        clusters=(Cluster(id="c1", az="a", bootstrap=("x:1",)),),
        pools=(),
    )

    def __init__(self) -> None:
        self.decided: dict[Scope, str] = {}

    def decide_rows(self, rows: Mapping[Scope, str]) -> dict[Scope, str]:
        """Decide as proposed."""
        self.decided.update(rows)
        return dict(rows)


class Fences:
    """An announcer whose `sb.moves` holds entries that cannot be read."""

    def __init__(self, *unreadable: Scope) -> None:
        self._unreadable = unreadable

    def doubts(self, scopes: Iterable[Scope], cluster: Cluster) -> dict[Scope, WireError]:
        """Return the doubts."""
        return {
            one: WireError(f"{one} in {cluster.id}") for one in scopes if one in self._unreadable
        }


def test_what_the_fence_cannot_be_told_is_not_decided() -> None:
    """A host whose entry in `sb.moves` cannot be read stays where it is; the others go on."""
    moves = []
    for number, host in enumerate(("h1", "h2")):
        part = Part(
            cls="host", id=host, epoch=1, old=Placement("a", 0), new=Placement("b", 0), fence="c1"
        )
        move = claim(plan_move("p", str(number), Kind.MOVE, (OLD, NEW), [part]), "x")
        moves.append(advance(advance(move, steps.Reserved(0, 0)), steps.Precopied()))
    directory = DecidingDirectory()
    hands = _hands(MemorySlots(old=[], new=[]), directory, Fences(HOST))
    outcomes = hands.perform([(move, next_action(move)) for move in moves])
    assert isinstance(outcomes["0"], WireError)
    assert outcomes["1"] == steps.Decided({"h2": "b:0:2:0"})
    assert list(directory.decided) == [host_scope("h2")]


def test_a_host_is_not_said_to_stay_in_a_slot_that_is_still_being_filled() -> None:
    """An abandoned move waits for the seal of the one before it: its entry would hide that one."""
    part = Part(
        cls="host", id="h1", epoch=2, old=Placement("a", 0, 2), new=Placement("b", 0), fence="c1"
    )
    move = abandon(claim(plan_move("p", "0", Kind.MOVE, (OLD, NEW), [part]), "x"))
    slots, directory = MemorySlots(old=[_written(1)], new=[]), DecidingDirectory()
    hands = _hands(slots, directory, Fences())
    refused = hands.perform([(move, next_action(move))])[move.id]
    assert isinstance(refused, EdgeError)
    assert refused.retryable
    assert directory.decided == {}
    slots.append([Written(OLD, seal_key(HOST, 2), encode_control(Seal(2)))])
    hands.forget()
    outcomes = hands.perform([(move, next_action(move))])
    assert outcomes == {move.id: steps.Decided({"h1": "a:0:3:0"})}


def test_a_port_that_no_agent_can_read_names_no_vpc_and_stops_nothing() -> None:
    """A spec that is none, or a key that is none, is copied or left, and the others are brought."""
    prefix = scope_prefix(HOST)
    spec = encode_spec({"vpc_id": "blue"})

    def record(offset: int, id: bytes, spec: bytes) -> Record:
        return Record(
            offset,
            prefix + b"port\x1f" + id,
            encode(Envelope(1, Op.UPSERT, 1, "c", 0, 1, 1, 0, spec)),
            0,
        )

    history = History(HOST)
    history.take([record(0, b"p", b"\xc1"), record(1, b"x" * 300, spec), record(2, b"q", spec)])
    assert _vpcs(history, 0) == {"blue"}
