"""Redis as the directory's index: typed calls of the Lua scripts, and nothing that decides.

The rule: each mutation is one script, which compares before it writes; a call may be repeated
without harm. Whatever is read here may be old or forgotten: the journal decides
(docs/decisions/0007-the-journal-decides.md).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from southbound.directory.keys import (
    BUCKETS,
    CHANGES,
    HOST,
    PREFIX,
    PUBLIC,
    VPC,
    bucket_of,
)
from southbound.edge.redis import RedisLink, Script
from southbound.errors import EdgeError, WireError
from southbound.partitioning.placement import parse_placement
from southbound.settings import DirectorySettings

_SCRIPTS = Path(__file__).with_name("scripts")
_DUMP_BUCKETS = 256
STALE_S = 600
"""Age from which a reservation of another move is taken for that of one which nobody carries on."""


class Standing(NamedTuple):
    """Which memory answered: who began it, how often it changed, which topology it holds."""

    born: str
    version: int
    topology: int


class Position(NamedTuple):
    """How far a journal is known in Redis. `whole`: it was once known to its end."""

    kafka_id: str
    offset: int
    whole: bool


class Status(NamedTuple):
    """Where Redis stands. `totals`: how many rows and reservations each pool holds."""

    standing: Standing
    positions: dict[str, Position]
    totals: dict[str, int]


class Rows(NamedTuple):
    """Rows as read, in the order asked for; an absent one is empty."""

    standing: Standing
    rows: list[str]


class Refusal(NamedTuple):
    """Why a script did nothing: `topology`, `kafka` or `behind`, and what it found."""

    why: str
    found: str


class Candidate(NamedTuple):
    """A pool that a newcomer may have, and the slots that probes 0, 1, ... mean in it."""

    pool: str
    max: int
    slots: Sequence[int]


class Wish(NamedTuple):
    """A newcomer's wish for a slot; the candidates are tried in turn."""

    text: str
    epoch: int
    candidates: Sequence[Candidate]


class MoveWish(NamedTuple):
    """A wish for one slot, for the placement that a key shall have at `epoch`."""

    text: str
    epoch: int
    pool: str
    probe: int
    slot: int
    max: int


class Basis(NamedTuple):
    """What a reservation rests on: the AZ's journal read to `offset`, all AZs, the topology."""

    az: str
    kafka_id: str
    offset: int
    azs: tuple[str, ...]
    topology: int


class Change(NamedTuple):
    """One row to write over `expected` (empty: none). `counts` is pool, slot, by, and so on."""

    text: str
    expected: str
    row: str
    epoch: int
    counts: Sequence[str | int]


class Passage(NamedTuple):
    """The part of a journal that changes come from; `whole`: it ends at the journal's end."""

    az: str
    kafka_id: str
    start: int
    end: int
    whole: bool
    topology: int


_rows_decoder = msgspec.msgpack.Decoder(tuple[str, int, int, list[str]])
_status_decoder = msgspec.msgpack.Decoder(tuple[str, int, int, list[str], list[str]])
_answers_decoder = msgspec.msgpack.Decoder(tuple[str, list[str] | str])
_again_decoder = msgspec.msgpack.Decoder(tuple[str, list[int] | str])
_list_decoder = msgspec.msgpack.Decoder(list[str])


_Item = TypeVar("_Item")


def _nonce() -> str:
    """Return a new name. Who begins a memory signs it so: each beginning is told from the one before,
    even when the same process begins both.
    """
    return uuid.uuid4().hex[:16]


def _script(name: str) -> Script:
    prelude = (_SCRIPTS / "prelude.lua").read_text()
    return Script(name, prelude + (_SCRIPTS / f"{name}.lua").read_text())


class Index:
    """The directory's rows in Redis. Thread-safe. All calls raise `EdgeError`."""

    def __init__(self, link: RedisLink, settings: DirectorySettings) -> None:
        self._link = link
        self._settings = settings
        self._scripts: dict[str, Script] = {}
        self._name = uuid.uuid4().hex[:16]

    def _run(self, name: str, **argument: Any) -> Any:
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = _script(name)
        return self._link.run(script, PREFIX, argument)

    # Reading.

    def rows(self, texts: Sequence[str]) -> Rows:
        """Read the rows of key texts; the standing is that of the last piece."""
        found: list[str] = []
        standing = Standing("", 0, 0)
        for piece in self._pieces(texts):
            items: list[str] = []
            for text in piece:
                items += (bucket_of(text), text[2:])
            answer = self._run("rows", items=items)
            with _understanding("rows"):
                born, version, topology, rows = _rows_decoder.decode(answer)
                standing = Standing(born, version, topology)
                found += [row for _, row in zip(piece, rows, strict=True)]
        return Rows(standing, found)

    def status(self) -> Status:
        """Read where Redis stands."""
        answer = self._run("status")
        with _understanding("status"):
            born, version, topology, journal, totals = _status_decoder.decode(answer)
            return Status(
                Standing(born, version, topology),
                {az: _position(text) for az, text in _pairs(journal)},
                {pool: int(total) for pool, total in _pairs(totals)},
            )

    def scan(self, letter: str) -> Iterator[tuple[str, str]]:
        """Yield (field, row) of a class, in no order; what changes meanwhile may or may not show."""
        for first in range(0, BUCKETS, _DUMP_BUCKETS):
            buckets = [f"{letter}:{bucket}" for bucket in range(first, first + _DUMP_BUCKETS)]
            answer = self._run("dump", buckets=buckets)
            with _understanding("dump"):
                pairs = list(_pairs(_list_decoder.decode(answer)))
            yield from pairs

    def occupied(self, pool: str, slots: int) -> list[int]:
        """Return how many rows and reservations each slot of a pool holds."""
        data: bytes = self._link.call("GET", f"{PREFIX}occupied:{pool}") or b""
        with _understanding("GET"):
            data = data[: 4 * slots].ljust(4 * slots, b"\0")
        return [int.from_bytes(data[at : at + 4]) for at in range(0, len(data), 4)]

    def reservations(self) -> Iterator[tuple[str, str]]:
        """Yield (key text, reservations' text), as `reserve.lua` writes it."""
        answer = self._link.call("HGETALL", f"{PREFIX}reserved")
        with _understanding("HGETALL"):
            pairs = list(_pairs([part.decode() for part in _flat(answer)]))
        yield from pairs

    def release(self, kept: Sequence[tuple[str, Reservation]]) -> int:
        """Give up reservations, by key text; return how many of them were still as they are given here."""
        given_up = 0
        for piece in self._pieces(kept):
            items: list[str | int] = []
            for text, one in piece:
                items += (text, one.epoch, one.pool, one.slot, one.at_s)
            answer = self._run("release", items=items)
            with _understanding("release"):
                given_up += int(answer)
        return given_up

    def topology_document(self) -> tuple[int, str] | None:
        """Return the stored topology's version and document; None when there is none."""
        found = self._link.call("HMGET", f"{PREFIX}topology", "version", "document")
        with _understanding("HMGET"):
            version, document = found
            return (int(version), document.decode()) if version and document else None

    def changes(self, after: str, wait_s: float) -> list[tuple[str, dict[str, str]]]:
        """Wait for map changes after a stream id; return (id, fields), or nothing in time."""
        command = ("XREAD", "COUNT", 1000, "BLOCK", int(wait_s * 1000), "STREAMS", CHANGES, after)
        answer = self._link.call(*command, timeout_s=wait_s)
        if not answer:
            return []
        with _understanding("XREAD"):
            streams = answer.values() if isinstance(answer, dict) else [part[1] for part in answer]
            return [_change(entry) for stream in streams for entry in stream]

    def last_change(self) -> str:
        """Return the stream id of the newest map change."""
        newest = self._link.call("XREVRANGE", CHANGES, "+", "-", "COUNT", 1)
        with _understanding("XREVRANGE"):
            return _change(newest[0])[0] if newest else "0-0"

    # Writing.

    def reserve(self, basis: Basis, wishes: Sequence[Wish], now_s: int) -> list[str] | Refusal:
        """Reserve a slot for each wish.

        Answers: `=row` of one that exists, `+pool:probe` of a reservation, `!` for no room.
        """
        answers: list[str] = []
        for piece in self._pieces(wishes):
            items: list[str | int] = []
            for wish in piece:
                items += (bucket_of(wish.text), wish.text, wish.epoch, len(wish.candidates))
                for candidate in wish.candidates:
                    items += (candidate.pool, candidate.max, len(candidate.slots))
                    items += candidate.slots
            answer = self._reserved("reserve", basis, now_s, items=items)
            if isinstance(answer, Refusal):
                return answer
            with _understanding("reserve"):
                answers += (
                    _answered(one, _is_place(one, wish))
                    for wish, one in zip(piece, answer, strict=True)
                )
        return answers

    def reserve_moves(
        self, basis: Basis, wishes: Sequence[MoveWish], now_s: int
    ) -> list[str] | Refusal:
        """Reserve for each wish the slot that it names.

        Answers: `=row` of a key that has reached the epoch, `+` once reserved, `!` where the slot is
        full, `~pool:probe` where another move of the key has a slot.
        """
        answers: list[str] = []
        for piece in self._pieces(wishes):
            items: list[str | int] = []
            for wish in piece:
                items += (bucket_of(wish.text), *wish)
            answer = self._reserved("reserve_move", basis, now_s, items=items, stale=STALE_S)
            if isinstance(answer, Refusal):
                return answer
            with _understanding("reserve_move"):
                answers += (
                    _answered(one, one in {"+", "!"} or one.startswith("~"))
                    for _, one in zip(piece, answer, strict=True)
                )
        return answers

    def reserve_publics(
        self, basis: Basis, pool: str, partitions: int, texts: Sequence[str], now_s: int
    ) -> list[str] | Refusal:
        """Reserve a partition for each public resource; answers `=partition` or `+partition`."""
        answers: list[str] = []
        for piece in self._pieces(texts):
            items = [part for text in piece for part in (bucket_of(text), text)]
            more = {"items": items, "pool": pool, "partitions": partitions}
            answer = self._reserved("reserve_public", basis, now_s, **more)
            if isinstance(answer, Refusal):
                return answer
            with _understanding("reserve_public"):
                answers += (
                    _answered(one, _is_below(one[1:], partitions) and one[0] in "=+")
                    for _, one in zip(piece, answer, strict=True)
                )
        return answers

    def _reserved(self, script: str, basis: Basis, now_s: int, **more: Any) -> list[str] | Refusal:
        answer = self._run(
            script,
            az=basis.az,
            kafka=basis.kafka_id,
            offset=basis.offset,
            azs=basis.azs,
            topology=basis.topology,
            nonce=_nonce(),
            at=now_s,
            **more,
        )
        with _understanding(script):
            why, found = _answers_decoder.decode(answer)
        return found if isinstance(found, list) else Refusal(why, found)

    def apply(self, passage: Passage, changes: Sequence[Change]) -> list[int] | Refusal:
        """Write what a part of a journal decided, and that it was read.

        Returns which changes (by place) met another row than expected: the others are written, the
        position is not.
        """
        pieces = self._pieces(changes) or [()]
        again: list[int] = []
        for number, piece in enumerate(pieces):
            finished = number == len(pieces) - 1 and not again
            answer = self._applied(passage, piece, finished=finished)
            if isinstance(answer, Refusal):
                return answer
            first = number * self._settings.batch
            again += [first + place - 1 for place in answer]
        return again

    def _applied(
        self, passage: Passage, changes: Sequence[Change], *, finished: bool
    ) -> list[int] | Refusal:
        items: list[str | int] = []
        for text, expected, row, epoch, counts in changes:
            items += (bucket_of(text), text, expected, row, epoch, len(counts) // 3)
            items += counts
        answer = self._run(
            "apply",
            az=passage.az,
            kafka=passage.kafka_id,
            start=passage.start,
            end=passage.end if finished else passage.start,
            whole=passage.whole and finished,
            topology=passage.topology,
            nonce=_nonce(),
            changes_max=self._settings.changes_max,
            items=items,
        )
        with _understanding("apply"):
            why, found = _again_decoder.decode(answer)
        return found if isinstance(found, list) else Refusal(why, found)

    def claim(self, what: str, seconds: int) -> bool:
        """Claim a piece of work for so long; False when somebody else has claimed it."""
        name = f"{PREFIX}claimed:{what}"
        return self._link.call("SET", name, self._name, "NX", "EX", seconds) is not None

    def store_topology(self, expected: int, version: int, document: str) -> int:
        """Store a topology over version `expected`; return the version that is there now."""
        answer: int = self._run(
            "topology",
            expected=expected,
            version=version,
            document=document,
            nonce=_nonce(),
            changes_max=self._settings.changes_max,
        )
        return answer

    def wipe(self, pools: Sequence[str]) -> None:
        """Forget all rows, counts, reservations and positions, in one step."""
        self._run(
            "wipe",
            letters=(HOST, VPC, PUBLIC),
            buckets=BUCKETS,
            pools=pools,
            nonce=_nonce(),
            changes_max=self._settings.changes_max,
        )

    def _pieces(self, items: Sequence[_Item]) -> list[Sequence[_Item]]:
        size = self._settings.batch
        return [items[first : first + size] for first in range(0, len(items), size)]


@contextlib.contextmanager
def _understanding(what: str) -> Iterator[None]:
    """Turn what an answer raises while it is taken apart into the error of a Redis that is none."""
    try:
        yield
    except (
        msgspec.MsgspecError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise EdgeError(
            f"Redis: what it answers to {what} is none of its answers: {error}", retryable=True
        ) from error


def _answered(answer: str, is_known: bool) -> str:  # noqa: FBT001  # it follows from the answer
    """Return an answer to a wish. Raises `ValueError` for one that is none: a journal must not get it."""
    if not is_known and not answer.startswith("="):
        raise ValueError(f"{answer[:80]!r} to a wish for a slot")
    return answer


def _is_place(answer: str, wish: Wish) -> bool:
    """Tell whether this is a place, or that there is none.

    A newcomer gets what was reserved for it before, in whichever pool; a move a place that it wished for.
    """
    if answer[:1] != "+":
        return answer == "!"
    try:
        pool = parse_placement(f"{answer[1:]}:1:0").pool
    except WireError:
        return False
    return wish.epoch == 1 or any(pool == one.pool for one in wish.candidates)


def _is_below(text: str, bound: int) -> bool:
    is_short = text.isascii() and text.isdigit() and len(text) < 10
    return is_short and int(text) < bound


def _flat(answer: Any) -> list[bytes]:
    if isinstance(answer, Mapping):
        return [part for pair in answer.items() for part in pair]
    flat: list[bytes] = answer
    return flat


def _pairs(flat: list[str]) -> Iterator[tuple[str, str]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _position(text: str) -> Position:
    kafka_id, offset, state = text.split(" ")
    return Position(kafka_id, int(offset), state == "whole")


def _change(entry: Any) -> tuple[str, dict[str, str]]:
    id, fields = entry
    flat = list(fields.items()) if isinstance(fields, Mapping) else _pairs(fields)
    return id.decode(), {_text(name): _text(value) for name, value in flat}


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class Reservation(NamedTuple):
    """A slot kept for a key until its row has reached `epoch`; `at_s` is when, since 1970."""

    epoch: int
    pool: str
    probe: int
    slot: int
    at_s: int


def parse_reservations(text: str) -> list[Reservation]:
    """Read the text that `reserve.lua` writes. Raises `WireError`."""
    found = []
    for part in text.split("|"):
        try:
            epoch, pool, probe, slot, at_s = part.split(":")
            found.append(Reservation(int(epoch), pool, int(probe), int(slot), int(at_s)))
        except ValueError as error:
            raise WireError(f"not a reservation: {part[:80]!r}") from error
    return found
