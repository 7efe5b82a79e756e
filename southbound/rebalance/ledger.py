"""`sb.rebalance`: plans that were begun, and how far each batch of them has come.

The rule: a plan and its progress survive whatever Redis forgets and whichever process dies, and any
other process carries on from here. A record replaces another by compare-and-set over the log: it
counts only if it was made from the one that counts before it (`partitioning.move.follows`), which
its writer learns by reading back to its own entry. So of two executors that carry on one batch the
second to write is told, and stops.

Compaction keeps the last record of a key, counted or not; so whoever sees one refused appends the
one that counts again, as readers of the journal do. What compaction has left begins a key's history.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from southbound.edge.append import Appender
from southbound.edge.kafka import Message
from southbound.edge.tail import EndAsker, RangeReader
from southbound.errors import StaleMap, WireError
from southbound.partitioning.handover import Move, decode_record, encode_record, follows
from southbound.partitioning.plan import Goal, Plan, PlannedMove
from southbound.partitioning.topology import REBALANCE_TOPIC, Cluster
from southbound.wire.keys import SEPARATOR

_CHUNK_MOVES = 500
_PIECE = 10_000


class Batch(msgspec.Struct, frozen=True):
    """Moves of one pair of slots, which are carried out together. Batches count from 0."""

    number: int
    moves: tuple[PlannedMove, ...]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was begun. `undoes`: the plan that it takes back. `chunks`: records of batches.

    `finished_us`: when its last batch was done; 0 until then. `undone_by`: the plan that takes it
    back: nothing more of it is begun.
    """

    id: str
    goal: Goal
    map_version: int
    moves: int
    chunks: int
    begun_us: int
    undoes: str = ""
    undone_by: str = ""
    finished_us: int = 0


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch that has no move's record: it was done at once, or passed over."""

    plan: str
    number: int
    state: Literal["done", "skipped", "abandoned"]
    detail: str = ""


class PlanState:
    """A plan as the ledger tells it; its records may stand in any order there."""

    def __init__(self) -> None:
        self.found: Header | None = None
        self.batches: dict[int, Batch] = {}
        self.moves: dict[int, Move] = {}
        self.notes: dict[int, Note] = {}

    @property
    def header(self) -> Header:
        """The header of a plan that is whole."""
        assert self.found is not None
        return self.found

    @property
    def is_whole(self) -> bool:
        """Whether all of the plan was written before its writer ended."""
        count = sum(len(batch.moves) for batch in self.batches.values())
        return self.found is not None and count == self.found.moves

    def is_final(self, number: int) -> bool:
        """Whether nothing is left to be done for a batch."""
        move = self.moves.get(number)
        return number in self.notes or (move is not None and move.is_final)

    def rest(self) -> list[Batch]:
        """Return the batches that are not final, in their order."""
        return [
            batch for number, batch in sorted(self.batches.items()) if not self.is_final(number)
        ]


class Ledger:
    """The ledger in one cluster. For one thread; making it does no IO. All calls raise `EdgeError`."""

    def __init__(self, cluster: Cluster, *, client_id: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._asker = EndAsker(cluster, REBALANCE_TOPIC, client_id)
        self._reader = RangeReader(cluster, REBALANCE_TOPIC, client_id)
        self._appender = Appender(cluster, REBALANCE_TOPIC, client_id, timeout_s=timeout_s)
        self._position: int | None = None
        self._plans: dict[str, PlanState] = {}
        self._refused: dict[bytes, bytes] = {}

    def close(self) -> None:
        """Let go of the clients."""
        self._reader.close()
        self._asker.close()
        self._appender.close()

    # Reading.

    def refresh(self) -> None:
        """Read what was written since, and mend what compaction would get wrong."""
        low, end = self._asker.bounds(self._timeout_s)
        self._read_to(end, low)
        refused, self._refused = self._refused, {}
        if refused:
            self._appender.append(list(refused.items()))

    def plans(self) -> list[PlanState]:
        """Return all plans that were wholly written, the oldest first."""
        whole = (state for state in self._plans.values() if state.is_whole)
        return sorted(whole, key=lambda state: (state.header.begun_us, state.header.id))

    def plan(self, id: str) -> PlanState | None:
        """Return one of them."""
        found = self._plans.get(id)
        return found if found is not None and found.is_whole else None

    def _read_to(self, end: int, low: int = 0) -> None:
        at = low if self._position is None else self._position
        while at < end:
            piece = min(end, at + _PIECE)
            for message in self._reader.read(at, piece, self._timeout_s):
                self._take(message)
            at = piece
        self._position = at

    def _take(self, message: Message) -> None:
        key, value = message.key(), message.value()
        if not isinstance(key, bytes):
            return
        sort, plan, *number = key.decode(errors="replace").split(SEPARATOR)
        if not isinstance(value, bytes):
            if sort == "plan":
                # Its tombstone is the last one of a plan that was let go of.
                self._plans.pop(plan, None)
            return
        state = self._plans.setdefault(plan, PlanState())
        match sort:
            case "plan":
                state.found = msgspec.json.decode(value, type=Header)
            case "batches":
                found = msgspec.json.decode(value, type=tuple[Batch, ...])
                state.batches.update((batch.number, batch) for batch in found)
            case "move":
                self._take_move(state.moves, key, int(number[0]), decode_record(value))
            case "note":
                note = msgspec.json.decode(value, type=Note)
                state.notes.setdefault(note.number, note)

    def _take_move(self, moves: dict[int, Move], key: bytes, number: int, record: Move) -> None:
        stored = moves.get(number)
        if stored is None or follows(stored, record):
            moves[number] = record
            self._refused.pop(key, None)
        elif record == stored:
            self._refused.pop(key, None)
        else:
            self._refused[key] = encode_record(stored)

    # Writing.

    def begin(self, plan: Plan, batches: Sequence[Batch], undoes: str = "") -> PlanState:
        """Write a plan. Raises `StaleMap` when it was begun before."""
        self.refresh()
        if self.plan(plan.id) is not None:
            raise StaleMap(f"plan {plan.id} was begun already: resume it, or make a new one")
        chunks = list(_chunks(batches))
        header = Header(
            id=plan.id,
            goal=plan.goal,
            map_version=plan.map_version,
            moves=len(plan.moves),
            chunks=len(chunks),
            begun_us=time.time_ns() // 1000,
            undoes=undoes,
        )
        for number, chunk in enumerate(chunks):
            key = _key("batches", plan.id, number)
            self._appender.append([(key, msgspec.json.encode(chunk))])
        # The header comes last: a plan without one was never begun.
        self.put_header(header)
        state = self.plan(plan.id)
        if state is None:
            raise WireError(f"plan {plan.id} does not read back from {REBALANCE_TOPIC}")
        return state

    def put_header(self, header: Header) -> None:
        """Write a plan's header anew."""
        self._append([(_key("plan", header.id), msgspec.json.encode(header))])

    def note(self, notes: Iterable[Note]) -> None:
        """Write what became of batches that have no record; the first note of a batch counts."""
        self._append(
            [(_key("note", note.plan, note.number), msgspec.json.encode(note)) for note in notes]
        )

    def store(self, records: Sequence[tuple[int, Move]]) -> list[Move]:
        """Store records by batch number; return them as they stand in the ledger.

        A record's serial is set to follow the stored one, since not every step is stored. Raises
        `StaleMap` when another executor has taken one of the batches over.
        """
        numbered = [(number, self._next(number, record)) for number, record in records]
        self._append(
            [(_key("move", one.plan, number), encode_record(one)) for number, one in numbered]
        )
        for number, record in numbered:
            stored = self._plans[record.plan].moves.get(number)
            if stored != record:
                owner = stored.owner if stored is not None else "nobody"
                raise StaleMap(
                    f"batch {number} of plan {record.plan} was taken over by {owner}: "
                    "this executor stops"
                )
        return [record for _, record in numbered]

    def _next(self, number: int, record: Move) -> Move:
        stored = self._plans[record.plan].moves.get(number)
        serial = 0 if stored is None else stored.serial + 1
        return msgspec.structs.replace(record, serial=serial)

    def _append(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        if records:
            self._read_to(max(self._appender.append(records)) + 1, self._low())

    def _low(self) -> int:
        return 0 if self._position is not None else self._asker.bounds(self._timeout_s)[0]

    def forget(self, before_us: int) -> None:
        """Let go of plans that finished before a time, all of their records."""
        gone = [state for state in self.plans() if 0 < state.header.finished_us < before_us]
        keys = [key for state in gone for key in _keys(state)]
        if keys:
            self._appender.append([(key, None) for key in keys])
            self.refresh()


def _chunks(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """Cut batches into records that are well below the size of the largest."""
    chunk: list[Batch] = []
    moves = 0
    for batch in batches:
        chunk.append(batch)
        moves += len(batch.moves)
        if moves >= _CHUNK_MOVES:
            yield chunk
            chunk, moves = [], 0
    if chunk:
        yield chunk


def _key(sort: str, plan: str, number: int | None = None) -> bytes:
    parts = [sort, plan] if number is None else [sort, plan, str(number)]
    return SEPARATOR.join(parts).encode()


def _keys(state: PlanState) -> Iterator[bytes]:
    """Yield the keys of a plan's records, the header's last."""
    plan = state.header.id
    yield from (_key("move", plan, number) for number in state.moves)
    yield from (_key("note", plan, number) for number in state.notes)
    yield from (_key("batches", plan, number) for number in range(state.header.chunks))
    yield _key("plan", plan)
