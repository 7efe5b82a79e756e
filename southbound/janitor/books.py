"""What a janitor remembers: the journals' and `sb.moves`' entries, and how far each slot was looked at.

The rule: it is a copy, made from the logs alone, and may be lost: the next sweep then reads
everything. What was taken from a log and the position in it change in one transaction. One file
belongs to one process. About 100 bytes a placement and 16 a resource lie on the disk, none of it in
memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from southbound.directory.verdict import Held
from southbound.edge.bookmarks import NO_EPOCH
from southbound.errors import ConfigError, EdgeError, Fault
from southbound.janitor.entries import Entry
from southbound.partitioning.placement import Address

_PIECE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (
    log TEXT PRIMARY KEY, kafka_id TEXT NOT NULL, offset INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bookmarks (
    log TEXT PRIMARY KEY, offset INTEGER NOT NULL, leader_epoch INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (
    text TEXT, log TEXT, epoch INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (text, log)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moves (
    cluster TEXT, text TEXT, epoch INTEGER NOT NULL, row TEXT NOT NULL, written_us INTEGER NOT NULL,
    PRIMARY KEY (cluster, text)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slots (
    cluster TEXT, topic TEXT, partition INTEGER, position INTEGER NOT NULL,
    looked_us INTEGER NOT NULL, due_us INTEGER NOT NULL, digest BLOB NOT NULL,
    unreadable INTEGER NOT NULL, strays INTEGER NOT NULL, unknown INTEGER NOT NULL,
    PRIMARY KEY (cluster, topic, partition)
) WITHOUT ROWID;
"""


class Position(NamedTuple):
    """How far a log was taken over, and in which Kafka cluster.

    `leader_epoch`: of the record directly before the offset; -1 where that is not known.
    """

    kafka_id: str
    offset: int
    leader_epoch: int = NO_EPOCH


class Odd(NamedTuple):
    """What is left alone: keys that cannot be read, scopes away whose records cannot go yet, and
    scopes that no journal knows.
    """

    unreadable: int = 0
    strays: int = 0
    unknown: int = 0


class SlotState(NamedTuple):
    """What is remembered of a slot.

    Every key's last record below `position` was its highest revision when the slot was read;
    `digest` holds those revisions. `looked_us`: when it was read as a whole. `due_us`: when time
    alone makes something due. `odd`: what was found and left alone when it was read as a whole.
    """

    position: int
    looked_us: int
    due_us: int
    digest: bytes
    odd: Odd


class Books:
    """A janitor's memory. For one thread; making it does no IO. All calls raise `EdgeError`.

    `file`: None keeps everything in memory and forgets it at the end.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._base: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, or make it. Raises `ConfigError` when another process has it."""
        if self._base is not None:
            return
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(
            ":memory:" if self._file is None else self._file, timeout=0, check_same_thread=False
        )
        try:
            base.execute("PRAGMA locking_mode=EXCLUSIVE")
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("PRAGMA synchronous=NORMAL")
            base.executescript(_SCHEMA)
        except sqlite3.Error as error:
            base.close()
            fault = Fault("state dir", str(self._file), f"cannot be used: {error}")
            raise ConfigError("no memory for the janitor", [fault]) from error
        self._base = base

    def close(self) -> None:
        """Let go of the file."""
        base, self._base = self._base, None
        if base is not None:
            base.close()

    # Logs.

    def position(self, log: str) -> Position | None:
        """Return how far a log was taken over; None when it never was."""
        # Software without epochs moves positions on alone: an epoch belongs to one offset.
        query = (
            "SELECT kafka_id, offset, coalesce(leader_epoch, ?) FROM positions "
            "LEFT JOIN bookmarks USING (log, offset) WHERE log = ?"
        )
        found = self._rows(query, (NO_EPOCH, log))
        return Position(*found[0]) if found else None

    def held_in(self, log: str, texts: Sequence[str]) -> dict[str, Held]:
        """Return what one journal holds for key texts."""
        found: dict[str, Held] = {}
        for piece in _pieces(texts):
            query = (
                f"SELECT text, epoch, row FROM journal WHERE log = ? AND text IN ({_marks(piece)})"  # noqa: S608  # marks only
            )
            for text, epoch, row in self._rows(query, (log, *piece)):
                found[text] = Held(epoch, row)
        return found

    def held(self, text: str) -> Held | None:
        """Return what holds for a key text: the highest epoch, in whichever journal."""
        query = "SELECT epoch, row FROM journal WHERE text = ? ORDER BY epoch DESC LIMIT 1"
        found = self._rows(query, (text,))
        return Held(*found[0]) if found else None

    def take_journal(self, log: str, held: Mapping[str, Held], position: Position) -> None:
        """Take over a part of a journal."""
        rows = [(text, log, one.epoch, one.row) for text, one in held.items()]
        self._write(
            ("INSERT OR REPLACE INTO journal VALUES (?, ?, ?, ?)", rows),
            *_moved(log, position),
        )

    def moves(self, cluster: str, texts: Sequence[str]) -> dict[str, Entry]:
        """Return what `sb.moves` of a cluster says of key texts."""
        found: dict[str, Entry] = {}
        for piece in _pieces(texts):
            query = (
                "SELECT text, epoch, row, written_us FROM moves "  # noqa: S608  # marks only
                f"WHERE cluster = ? AND text IN ({_marks(piece)})"
            )
            for text, *entry in self._rows(query, (cluster, *piece)):
                found[text] = Entry(*entry)
        return found

    def old_moves(self, cluster: str, before_us: int, count_max: int) -> dict[str, Entry]:
        """Return entries of `sb.moves` of a cluster that were written before a time."""
        query = (
            "SELECT text, epoch, row, written_us FROM moves "
            "WHERE cluster = ? AND written_us < ? ORDER BY written_us LIMIT ?"
        )
        rows = self._rows(query, (cluster, before_us, count_max))
        return {text: Entry(*entry) for text, *entry in rows}

    def take_moves(
        self, cluster: str, log: str, entries: Mapping[str, Entry | None], position: Position
    ) -> None:
        """Take over a part of `sb.moves`; None: the entry is no more."""
        rows = [(cluster, text, *one) for text, one in entries.items() if one is not None]
        gone = [(cluster, text) for text, one in entries.items() if one is None]
        self._write(
            ("INSERT OR REPLACE INTO moves VALUES (?, ?, ?, ?, ?)", rows),
            ("DELETE FROM moves WHERE cluster = ? AND text = ?", gone),
            *_moved(log, position),
        )

    # Slots.

    def slot(self, address: Address) -> SlotState | None:
        """Return what is remembered of a slot; None when nothing is."""
        query = (
            "SELECT position, looked_us, due_us, digest, unreadable, strays, unknown FROM slots "
            "WHERE cluster = ? AND topic = ? AND partition = ?"
        )
        place = (address.cluster, address.topic, address.partition)
        found = self._rows(query, place)
        if not found:
            return None
        position, looked_us, due_us, digest, *odd = found[0]
        return SlotState(position, looked_us, due_us, digest, Odd(*odd))

    def put_slots(self, states: Mapping[Address, SlotState]) -> None:
        """Remember slots, in one transaction."""
        rows = [
            (address.cluster, address.topic, address.partition, *state[:4], *state.odd)
            for address, state in states.items()
        ]
        self._write(("INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows))

    def odd(self) -> Odd:
        """Return what is left alone in all slots together."""
        query = "SELECT SUM(unreadable), SUM(strays), SUM(unknown) FROM slots"
        return Odd(*(total or 0 for total in self._rows(query, ())[0]))

    # SQLite.

    def _rows(self, query: str, values: Iterable[object]) -> list[tuple[Any, ...]]:
        assert self._base is not None, "not open"
        try:
            return self._base.execute(query, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise EdgeError(f"reading {self._file}: {error}", retryable=True) from error

    def _write(self, *statements: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        assert self._base is not None, "not open"
        try:
            with self._base:
                for statement, rows in statements:
                    if rows:
                        self._base.executemany(statement, rows)
        except sqlite3.Error as error:
            raise EdgeError(f"writing {self._file}: {error}", retryable=True) from error


def _moved(log: str, position: Position) -> list[tuple[str, list[tuple[object, ...]]]]:
    """Return what writes how far a log was taken over."""
    kafka_id, offset, leader_epoch = position
    return [
        ("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", [(log, kafka_id, offset)]),
        ("INSERT OR REPLACE INTO bookmarks VALUES (?, ?, ?)", [(log, offset, leader_epoch)]),
    ]


def _pieces(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (texts[first : first + _PIECE] for first in range(0, len(texts), _PIECE))


def _marks(texts: Sequence[str]) -> str:
    return ", ".join("?" * len(texts))
