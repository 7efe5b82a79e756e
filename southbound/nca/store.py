"""What an agent remembers, in SQLite: one file, one transaction for each batch.

The rule: resources, positions and debts change together or not at all. A file of an older version is
migrated, one of a newer version is refused (its agent knew things that this one does not), and one
that is broken is moved aside: the agent then starts from nothing and reads a snapshot, while the node
keeps what it has.

What is loaded is what was committed, whatever the disk did to it meanwhile: SQLite looks after its
pages, and each row carries a sum of its own, since one bit of a revision or a position would pass for
another one, and changes would be dropped or passed by for ever.

A loss of power may take the latest transactions, whose records are then read again. Two sorts are written
through (docs/decisions/0071): one that forgets a resource, which the node gives up after it, and who fell
back would take for applied still; and the first of a scope, of which who fell back would not know that
the node has anything.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from southbound import failpoints
from southbound.errors import ConfigError, EdgeError, Fault, SouthboundError, WireError
from southbound.nca.state import (
    Entry,
    Owed,
    OwedPresence,
    OwedReport,
    Quarantined,
    State,
    Status,
    StreamState,
    Transaction,
)
from southbound.partitioning.placement import parse_placement
from southbound.partitioning.topology import Topology
from southbound.resources import Op, ResourceKey, Scope
from southbound.wire.keys import decode_key, encode_key, parse_scope_text, scope_text

FILE = "agent.db"

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE clusters (id TEXT PRIMARY KEY, kafka_id TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE resources (
        key BLOB PRIMARY KEY, revision INTEGER NOT NULL, op INTEGER NOT NULL,
        status INTEGER NOT NULL, changeset TEXT NOT NULL, detail TEXT NOT NULL, spec BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE streams (
        scope TEXT PRIMARY KEY, placement TEXT NOT NULL, next INTEGER, swept INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE owed (seq INTEGER PRIMARY KEY, debt BLOB NOT NULL);
    CREATE TABLE quarantine (
        number INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, topic TEXT NOT NULL,
        partition INTEGER NOT NULL, position INTEGER NOT NULL, why TEXT NOT NULL,
        at_us INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL
    );
    """,
    """
    ALTER TABLE facts ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE clusters ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE resources ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE streams ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE owed ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    UPDATE facts SET sum = row_sum(name, value);
    UPDATE clusters SET sum = row_sum(id, kafka_id);
    UPDATE resources SET sum = row_sum(key, revision, op, status, changeset, detail, spec);
    UPDATE streams SET sum = row_sum(scope, placement, next, swept);
    UPDATE owed SET sum = row_sum(seq, debt);
    """,
)
"""Script `i` brings a file of version `i` to version `i + 1`. `row_sum` is `_sum`."""

_SWEPT = 1
_DOUBTED = 2
_LEADER_EPOCH_BIT = 8
"""Bits of a stream's `swept`, whose name is older than all but the first of them.

From the last of them on stands the leader's epoch, plus one; 0: not known.
"""

_ERROR = sqlite3.SQLITE_ERROR
_PROGRESS_STEP_US = 60_000_000
_WAITS = frozenset({"FULL", "EXTRA"})

Row = tuple[object, ...]

_debts = msgspec.msgpack.Decoder(OwedReport | OwedPresence)
_topologies = msgspec.json.Decoder(Topology)
_encoder = msgspec.msgpack.Encoder()
_VERSION = "version"


class BrokenStore(SouthboundError):
    """The file is not a database any more, or holds what this agent cannot have written."""


class Store:
    """The state of one agent in `folder`. Used by one thread at a time.

    `synchronous` is SQLite's setting of that name. `quarantine_max` bounds the rows kept of records
    that could not be read.
    """

    def __init__(
        self, folder: Path, host: str, *, synchronous: str = "NORMAL", quarantine_max: int = 1_000
    ) -> None:
        self.path = folder / FILE
        self._host = host
        self._synchronous = synchronous
        self._quarantine_max = quarantine_max
        self._connection: sqlite3.Connection | None = None
        self._progress_us = 0
        self._scopes: set[Scope] = set()

    def open(self) -> State:
        """Open the file, or make it, and load everything.

        Raises `BrokenStore` (then `move_aside` and open again), `ConfigError` for another host's
        file or one of a newer version, `EdgeError` when the disk refuses.
        """
        with _disk_errors("opening", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=1.0
            )
        self._connection = connection
        try:
            with _disk_errors("opening", self.path):
                self._prepare(connection)
                return self._load(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. Everything committed stays."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with _disk_errors("closing", self.path):
                connection.close()

    def move_aside(self) -> Path:
        """Put a broken file out of the way, over an earlier one; return where it is now."""
        self.close()
        aside = self.path.with_name(self.path.name + ".broken")
        with _disk_errors("moving aside", self.path):
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            self.path.replace(aside)
        return aside

    def commit(self, transaction: Transaction) -> None:
        """Write a transaction, as a whole or not at all.

        Raises `EdgeError` when the disk refuses (full, for instance), `BrokenStore` when the file
        turns out to be broken.
        """
        connection = self._connection
        assert connection is not None, "the store is not open"
        with _disk_errors("writing", self.path), self._durability(connection, transaction):
            try:
                connection.execute("BEGIN IMMEDIATE")
                self._write(connection, transaction)
                if failpoints.armed:
                    failpoints.armed.reach("agent.store.before")
                connection.execute("COMMIT")
                self._note_progress(transaction.progress_us)
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        if failpoints.armed:
            failpoints.armed.reach("agent.store.after")

    def quarantined(self) -> list[Quarantined]:
        """Return the records that could not be read, the latest last."""
        connection = self._connection
        assert connection is not None, "the store is not open"
        rows = connection.execute(
            "SELECT cluster, topic, partition, position, key, value, why, at_us"
            " FROM quarantine ORDER BY number"
        )
        return [Quarantined(*row) for row in rows]

    # Opening.

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            _check_version(connection, version, self.path)
            raise ConfigError(
                "the state was written by a newer agent",
                [
                    Fault(
                        str(self.path),
                        version,
                        f"this agent knows versions up to {len(MIGRATIONS)}; upgrade it, or move"
                        " the folder away to begin with a snapshot",
                    )
                ],
            )
        # No other process may work on the same state; and a lock that is kept costs nothing again.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if version == 0:
            # A file that is being made has nothing to lose yet.
            connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        _check_pages(connection, self.path)
        if version < len(MIGRATIONS):
            self._migrate(connection, version)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA cache_size = -256")

    def _migrate(self, connection: sqlite3.Connection, version: int) -> None:
        connection.create_function("row_sum", -1, lambda *row: _sum(row), deterministic=True)
        connection.execute("BEGIN IMMEDIATE")
        for statement in ";".join(MIGRATIONS[version:]).split(";"):
            connection.execute(statement)
        if version == 0:
            _put_fact(connection, "host", self._host.encode())
        _put_fact(connection, _VERSION, len(MIGRATIONS))
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")

    def _load(self, connection: sqlite3.Connection) -> State:
        try:
            facts = dict(_checked(connection, "SELECT name, value, sum FROM facts"))
            self._check_host(facts.get("host"))
            topology = facts.get("topology")
            self._progress_us = int(facts.get("progress_us", 0))
            streams = dict(_streams(connection))
            self._scopes = set(streams)
            return State(
                topology=None if topology is None else _topologies.decode(topology),
                progress_us=self._progress_us,
                kafka_ids=dict(_checked(connection, "SELECT id, kafka_id, sum FROM clusters")),
                entries=dict(_entries(connection)),
                streams=streams,
                owed=dict(_owed(connection)),
                alone=bool(facts.get("alone", 0)),
            )
        except (WireError, msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise BrokenStore(f"{self.path}: {error}") from error

    def _check_host(self, host: object) -> None:
        if not isinstance(host, bytes):
            raise BrokenStore(f"{self.path}: it names no host")
        if host.decode(errors="replace") != self._host:
            raise ConfigError(
                "the state belongs to another host",
                [Fault(str(self.path), host.decode(errors="replace"), f"expected {self._host!r}")],
            )

    # Writing.

    @contextlib.contextmanager
    def _durability(
        self, connection: sqlite3.Connection, transaction: Transaction
    ) -> Iterator[None]:
        """Let SQLite wait for the disk, at its COMMIT, where nobody may fall back behind that."""
        followed = {scope for scope, state in transaction.streams.items() if state is not None}
        new = followed - self._scopes
        if (None not in transaction.entries.values() and not new) or self._synchronous in _WAITS:
            yield
            return
        connection.execute("PRAGMA synchronous = FULL")
        try:
            yield
            self._scopes |= new
        finally:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")

    def _write(self, connection: sqlite3.Connection, transaction: Transaction) -> None:
        if transaction.entries:
            _write_entries(connection, transaction.entries)
        if transaction.streams:
            _write_streams(connection, transaction.streams)
        if transaction.owed:
            connection.executemany(
                "INSERT OR REPLACE INTO owed VALUES (?, ?, ?)",
                [_summed((seq, _encoder.encode(debt))) for seq, debt in transaction.owed.items()],
            )
        if transaction.settled:
            connection.executemany(
                "DELETE FROM owed WHERE seq = ?", [(seq,) for seq in transaction.settled]
            )
        self._write_facts(connection, transaction)
        if transaction.quarantined:
            self._write_quarantine(connection, transaction.quarantined)

    def _note_progress(self, progress_us: int) -> None:
        if self._has_moved(progress_us):
            self._progress_us = progress_us

    def _has_moved(self, progress_us: int) -> bool:
        """Tell whether progress is worth writing; it goes back with a clock that was ahead."""
        return progress_us > 0 and abs(progress_us - self._progress_us) > _PROGRESS_STEP_US

    def _write_facts(self, connection: sqlite3.Connection, transaction: Transaction) -> None:
        # Progress is only compared with days: a minute's precision spares a page of each batch.
        if self._has_moved(transaction.progress_us):
            _put_fact(connection, "progress_us", transaction.progress_us)
        if transaction.alone:
            _put_fact(connection, "alone", 1)
        if transaction.topology is not None:
            _put_fact(connection, "topology", msgspec.json.encode(transaction.topology))
        if transaction.kafka_ids:
            connection.executemany(
                "INSERT OR REPLACE INTO clusters VALUES (?, ?, ?)",
                map(_summed, transaction.kafka_ids.items()),
            )

    def _write_quarantine(
        self, connection: sqlite3.Connection, quarantined: Sequence[Quarantined]
    ) -> None:
        connection.executemany(
            "INSERT INTO quarantine (cluster, topic, partition, position, key, value, why, at_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [msgspec.structs.astuple(row) for row in quarantined],
        )
        connection.execute(
            "DELETE FROM quarantine WHERE number <= (SELECT max(number) FROM quarantine) - ?",
            (self._quarantine_max,),
        )


@contextlib.contextmanager
def _disk_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and the disk into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # Full, read-only, locked, not openable: the disk's state, not the file's. What SQLite
        # simply calls an error is a table or column that should be there; what Python cannot read
        # as a text has no code at all.
        code = getattr(error, "sqlite_errorcode", _ERROR)
        if isinstance(error, sqlite3.OperationalError) and code != _ERROR:
            raise EdgeError(f"{doing} {path}: {error}", retryable=True) from error
        raise BrokenStore(f"{doing} {path}: {error}") from error
    except UnicodeDecodeError as error:
        # SQLite quotes what it cannot read, and Python cannot read the quotation.
        raise BrokenStore(f"{doing} {path}: {error.object!r:.200}") from error
    except OSError as error:
        raise EdgeError(f"{doing} {path}: {error}", retryable=True) from error


def _put_fact(connection: sqlite3.Connection, name: str, value: object) -> None:
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", _summed((name, value)))


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `BrokenStore` when a page is not as SQLite leaves it: rows could be missing."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise BrokenStore(f"{path}: {found}")


def _check_version(connection: sqlite3.Connection, version: int, path: Path) -> None:
    """Raise `BrokenStore` unless a row says, too, that the file is of that newer version."""
    told = dict(_checked(connection, "SELECT name, value, sum FROM facts")).get(_VERSION)
    if told != version:
        raise BrokenStore(f"{path}: version {version} in its head, {told} in its facts")


# Sums of rows.


def _sum(row: Row) -> int:
    return zlib.crc32(_encoder.encode(row))


def _summed(row: Row) -> Row:
    return (*row, _sum(row))


def _checked(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query, whose last column is their sum, without it. Raises `BrokenStore`."""
    for *row, told in connection.execute(query):
        found = tuple(row)
        if _sum(found) != told:
            raise BrokenStore(f"a row does not match its sum: {found!r:.200}")
        yield found


def _entries(connection: sqlite3.Connection) -> Iterator[tuple[ResourceKey, Entry]]:
    rows = _checked(
        connection,
        "SELECT key, revision, op, status, changeset, detail, spec, sum FROM resources",
    )
    for key, revision, op, status, changeset, detail, spec in rows:
        entry = Entry(revision, Op(op), spec, changeset, Status(status), detail)
        yield decode_key(key), entry


def _streams(connection: sqlite3.Connection) -> Iterator[tuple[Scope, StreamState]]:
    for scope, placement, next_, swept in _checked(
        connection, "SELECT scope, placement, next, swept, sum FROM streams"
    ):
        yield (
            parse_scope_text(scope),
            StreamState(
                parse_placement(placement),
                next_,
                bool(swept & _SWEPT),
                bool(swept & _DOUBTED),
                (swept >> _LEADER_EPOCH_BIT) - 1,
            ),
        )


def _owed(connection: sqlite3.Connection) -> Iterator[tuple[int, Owed]]:
    for seq, debt in _checked(connection, "SELECT seq, debt, sum FROM owed ORDER BY seq"):
        yield seq, _debts.decode(debt)


def _write_entries(
    connection: sqlite3.Connection, entries: dict[ResourceKey, Entry | None]
) -> None:
    kept = [
        _summed(
            (
                encode_key(key),
                entry.revision,
                int(entry.op),
                int(entry.status),
                entry.changeset,
                entry.detail,
                entry.spec,
            )
        )
        for key, entry in entries.items()
        if entry is not None
    ]
    if kept:
        connection.executemany(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kept
        )
    gone = [(encode_key(key),) for key, entry in entries.items() if entry is None]
    if gone:
        connection.executemany("DELETE FROM resources WHERE key = ?", gone)


def _write_streams(
    connection: sqlite3.Connection, streams: dict[Scope, StreamState | None]
) -> None:
    for scope, state in streams.items():
        if state is None:
            connection.execute("DELETE FROM streams WHERE scope = ?", (scope_text(scope),))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)",
                _summed((scope_text(scope), state.placement.row(), state.next, _bits(state))),
            )


def _bits(state: StreamState) -> int:
    flags = (_SWEPT if state.swept else 0) | (_DOUBTED if state.doubted else 0)
    return flags | (state.leader_epoch + 1) << _LEADER_EPOCH_BIT
