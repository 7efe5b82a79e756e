"""`sb.rebalance`: plans that were begun, and how far each batch of them has come.

The rule: a plan and its progress survive whatever Redis forgets and whichever process dies, and any
other process carries on from here. A record replaces another by compare-and-set over the log: it
counts only if it was made from the one that counts before it (`partitioning.move.follows`), which
its writer learns by reading back to its own entry. So of two executors that carry on one batch the
second to write is told, and stops.

A record that cannot be read is counted and passed over; other plans go on. Of the plan that its key
names nothing is concluded, since what it says may be lost or be a newer software's: whoever asks for
that plan gets an error, until a readable record or a null follows it.

Compaction keeps the last record of a key, counted or not; so whoever sees one refused appends the
one that counts again, as readers of the journal do. What compaction has left begins a key's history.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import msgspec

from southbound.edge.append import Appender
from southbound.edge.kafka import Message
from southbound.edge.log_time import LogTime
from southbound.edge.tail import EndAsker, RangeReader
from southbound.errors import StaleMap, WireError
from southbound.partitioning.handover import Move, decode_record, encode_record, follows
from southbound.partitioning.plan import Goal, Plan, PlannedMove
from southbound.partitioning.topology import REBALANCE_TOPIC, Cluster
from southbound.wire.keys import SEPARATOR, id_problem

log = logging.getLogger(__name__)

_CHUNK_MOVES = 500
_PIECE = 10_000
_DIGITS_MAX = 9


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
        self.unreadable: dict[bytes, str] = {}

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
    """The ledger in one cluster. For one thread; making it does no IO. All calls raise `EdgeError`.

    `log_time` is told the stamps of what is written.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        client_id: str,
        timeout_s: float,
        log_time: LogTime | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._asker = EndAsker(cluster, REBALANCE_TOPIC, client_id)
        self._reader = RangeReader(cluster, REBALANCE_TOPIC, client_id)
        self._appender = Appender(
            cluster, REBALANCE_TOPIC, client_id, timeout_s=timeout_s, log_time=log_time
        )
        self._position: int | None = None
        self._plans: dict[str, PlanState] = {}
        self._refused: dict[bytes, bytes] = {}
        self._quarantined = 0

    @property
    def quarantined(self) -> int:
        """How many records could not be read."""
        return self._quarantined

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
        """Return one of them. Raises `WireError` when a record of it cannot be read."""
        found = self._plans.get(id)
        for key, problem in found.unreadable.items() if found is not None else ():
            raise WireError(
                f"plan {id} cannot be told: its record {key!r} in {REBALANCE_TOPIC} cannot be read: "
                f"{problem}"
            )
        return found if found is not None and found.is_whole else None

    def check(self) -> None:
        """Raise `WireError` when a record of any plan cannot be read."""
        for id in self._plans:
            self.plan(id)

    def _read_to(self, end: int, low: int = 0) -> None:
        at = low if self._position is None else self._position
        while at < end:
            piece = min(end, at + _PIECE)
            for message in self._reader.read(at, piece, self._timeout_s):
                self._take(message)
            at = piece
        self._position = at

    def _take(self, message: Message) -> None:
        value = message.value()
        try:
            key = _parsed(message.key())
        except WireError as error:
            self._quarantine(message, error)
            return
        if not isinstance(value, bytes):
            self._take_null(key)
            return
        try:
            self._take_record(key, value)
        except WireError as error:
            self._quarantine(message, error)
            self._state(key).unreadable[key.data] = str(error)

    def _quarantine(self, message: Message, error: WireError) -> None:
        self._quarantined += 1
        log.error("%s, offset %s: %s", REBALANCE_TOPIC, message.offset(), error)

    def _take_null(self, key: _Key) -> None:
        state = self._plans.get(key.plan)
        if state is not None:
            state.unreadable.pop(key.data, None)
        if key.sort == "plan":
            # Its tombstone is the last one of a plan that was let go of.
            self._plans.pop(key.plan, None)

    def _take_record(self, key: _Key, value: bytes) -> None:
        match key.sort:
            case "plan":
                header = _decoded(value, Header)
                self._state(key).found = header
            case "batches":
                found = _decoded(value, tuple[Batch, ...])
                self._state(key).batches.update((batch.number, batch) for batch in found)
            case "move":
                move = decode_record(value)
                self._take_move(self._state(key).moves, key.data, key.number, move)
            case "note":
                note = _decoded(value, Note)
                self._state(key).notes.setdefault(note.number, note)
            case _:
                # Sorts that come later are no trouble of this software's plans.
                return
        self._state(key).unreadable.pop(key.data, None)

    def _state(self, key: _Key) -> PlanState:
        return self._plans.setdefault(key.plan, PlanState())

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

    def begin(
        self,
        plan: Plan,
        batches: Sequence[Batch],
        undoes: str = "",
        records: Mapping[int, Move] | None = None,
    ) -> PlanState:
        """Write a plan. Raises `StaleMap` when it was begun before.

        `records`: of batches that were begun elsewhere, by number; nobody has claimed them yet.
        """
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
        found = (records or {}).items()
        self._append([(_key("move", plan.id, n), encode_record(one)) for n, one in found])
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
            stored = self._known(record.plan).moves.get(number)
            if stored != record:
                owner = stored.owner if stored is not None else "nobody"
                raise StaleMap(
                    f"batch {number} of plan {record.plan} was taken over by {owner}: "
                    "this executor stops"
                )
        return [record for _, record in numbered]

    def _next(self, number: int, record: Move) -> Move:
        stored = self._known(record.plan).moves.get(number)
        serial = 0 if stored is None else stored.serial + 1
        return msgspec.structs.replace(record, serial=serial)

    def _known(self, plan: str) -> PlanState:
        """Return a plan that was begun. Raises `StaleMap` for one whose header was taken away since."""
        state = self._plans.get(plan)
        if state is None or state.found is None:
            raise StaleMap(
                f"plan {plan} is gone from {REBALANCE_TOPIC}: this executor stops; what it has left "
                "half-way southbound shards recover brings to an end"
            )
        return state

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


class _Key(NamedTuple):
    """A record's key, taken apart. `number` counts chunks or batches from 0; of a plan it is 0."""

    data: bytes
    sort: str
    plan: str
    number: int


_NUMBERED = frozenset({"batches", "move", "note"})
_T = TypeVar("_T")


def _parsed(key: object) -> _Key:
    if not isinstance(key, bytes):
        raise WireError("a record without a key")
    sort, plan, number = [*key.decode(errors="replace").split(SEPARATOR), "", ""][:3]
    is_number = number.isascii() and number.isdigit() and len(number) <= _DIGITS_MAX
    if id_problem(plan) is not None or (sort in _NUMBERED and not is_number):
        raise WireError(f"not a key of the ledger: {key[:80]!r}")
    return _Key(key, sort, plan, int(number) if is_number else 0)


def _decoded(value: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not a record of the ledger: {error}") from error


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
