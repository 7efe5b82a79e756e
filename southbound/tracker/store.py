"""What the tracker knows, in SQLite: every host's resources, who follows what, changesets, positions.

The rule: what was read and how far it was read change in one transaction, so a restart goes on where
it stood. Reports may come twice and late: at one revision, applied is final, and waiting never hides
a failure; an inventory replaces what was told before it was taken. Everything has a retention.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from southbound import failpoints
from southbound.edge.bookmarks import NO_EPOCH, Bookmark
from southbound.errors import ConfigError, EdgeError, Fault
from southbound.resources import host_scope, vpc_scope
from southbound.tracker.standing import Standing
from southbound.wire.keys import scope_prefix, scope_text
from southbound.wire.reports import Outcome, Report, ReportEntry

FILE = "tracker.db"
ANY_WORKER = ""
"""Stands for the host of a public resource, whichever worker serves it."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE standings (
        host TEXT, key BLOB, revision INTEGER NOT NULL, changeset TEXT NOT NULL,
        since_us INTEGER NOT NULL, deleted INTEGER NOT NULL, superseded INTEGER NOT NULL,
        open INTEGER NOT NULL, open_revision INTEGER NOT NULL, open_changeset TEXT NOT NULL,
        open_us INTEGER NOT NULL, detail TEXT NOT NULL, needs BLOB NOT NULL,
        told_us INTEGER NOT NULL, PRIMARY KEY (host, key)
    ) WITHOUT ROWID;
    CREATE INDEX standings_open ON standings (open_changeset) WHERE open_revision > 0;
    CREATE INDEX standings_deleted ON standings (since_us) WHERE deleted;
    CREATE TABLE hosts (
        host TEXT PRIMARY KEY, cluster TEXT NOT NULL, heard_us INTEGER NOT NULL,
        inventory_us INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE parts (
        host TEXT, taken_us INTEGER, part INTEGER, PRIMARY KEY (host, taken_us, part)
    ) WITHOUT ROWID;
    CREATE TABLE followers (
        vpc TEXT, host TEXT, cluster TEXT, PRIMARY KEY (vpc, host, cluster)
    ) WITHOUT ROWID;
    CREATE TABLE positions (
        cluster TEXT, topic TEXT, partition INTEGER, kafka_id TEXT NOT NULL, next INTEGER NOT NULL,
        PRIMARY KEY (cluster, topic, partition)
    ) WITHOUT ROWID;
    CREATE TABLE changesets (
        id TEXT PRIMARY KEY, at_us INTEGER NOT NULL, is_open INTEGER NOT NULL,
        definition BLOB NOT NULL, summary BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX changesets_by_time ON changesets (at_us);
    CREATE TABLE heard (
        changeset TEXT, key BLOB, revision INTEGER NOT NULL, at_us INTEGER NOT NULL,
        PRIMARY KEY (changeset, key)
    ) WITHOUT ROWID;
    CREATE INDEX heard_by_time ON heard (at_us);
    """,
)
"""Script `i` brings a file of version `i` to version `i + 1`."""

BESIDE = """
    CREATE TABLE IF NOT EXISTS bookmarks (
        cluster TEXT, topic TEXT, partition INTEGER, next INTEGER NOT NULL,
        leader_epoch INTEGER NOT NULL, PRIMARY KEY (cluster, topic, partition)
    ) WITHOUT ROWID
"""
"""The epochs that belong to positions, which older software of the same version does without.

Where it moved a position on without telling the epoch, `next` here is another one.
"""

_APPLIED = """
    INSERT INTO standings VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, '', 0, '', ?, ?)
    ON CONFLICT DO UPDATE SET
        changeset = iif(excluded.revision > revision, excluded.changeset, changeset),
        since_us = iif(excluded.revision > revision, excluded.since_us, since_us),
        deleted = iif(excluded.revision > revision, excluded.deleted, deleted),
        needs = iif(excluded.revision >= revision, excluded.needs, needs),
        open_revision = iif(open_revision <= excluded.revision, 0, open_revision),
        open_changeset = iif(open_revision <= excluded.revision, '', open_changeset),
        detail = iif(open_revision <= excluded.revision, '', detail),
        told_us = max(told_us, excluded.told_us),
        revision = max(revision, excluded.revision)
"""
_OPEN = """
    INSERT INTO standings VALUES (?, ?, 0, '', 0, 0, 0, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        open = excluded.open, open_revision = excluded.open_revision,
        open_changeset = excluded.open_changeset, open_us = excluded.open_us,
        detail = excluded.detail, needs = iif(revision, needs, excluded.needs),
        told_us = max(told_us, excluded.told_us)
    WHERE excluded.open_revision > revision AND (
        excluded.open_revision > open_revision
        OR (excluded.open_revision = open_revision AND NOT (open = 1 AND excluded.open = 2))
    )
"""
_SUPERSEDED = """
    INSERT INTO standings VALUES (?, ?, 0, '', 0, 0, ?, 0, 0, '', 0, '', x'', ?)
    ON CONFLICT DO UPDATE SET superseded = max(superseded, excluded.superseded),
        told_us = max(told_us, excluded.told_us)
"""
_FOUND_APPLIED = """
    INSERT INTO standings VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, '', 0, '', ?, ?)
    ON CONFLICT DO UPDATE SET
        changeset = iif(excluded.revision = revision, changeset, excluded.changeset),
        since_us = iif(excluded.revision = revision, since_us, excluded.since_us),
        deleted = excluded.deleted, needs = excluded.needs, open_revision = 0,
        open_changeset = '', detail = '', told_us = excluded.told_us, revision = excluded.revision
    WHERE told_us <= excluded.told_us
"""
_FOUND_OPEN = """
    INSERT INTO standings VALUES (?, ?, 0, '', 0, 0, 0, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        open_us = iif(excluded.open_revision = open_revision, open_us, excluded.open_us),
        open = excluded.open, open_revision = excluded.open_revision,
        open_changeset = excluded.open_changeset, detail = excluded.detail,
        needs = excluded.needs, told_us = excluded.told_us,
        changeset = iif(revision < excluded.open_revision, changeset, ''),
        since_us = iif(revision < excluded.open_revision, since_us, 0),
        revision = iif(revision < excluded.open_revision, revision, 0)
    WHERE told_us <= excluded.told_us
"""
_COLUMNS = (
    "key, revision, changeset, since_us, deleted, superseded, open, open_revision, open_changeset,"
    " open_us, detail, needs, told_us"
)
_MERGE_PAGES = 65_536
_ALWAYS_US = (1 << 63) - 1
_ERROR = sqlite3.SQLITE_ERROR
_needs_decoder = msgspec.msgpack.Decoder(tuple[bytes, ...])
_encoder = msgspec.msgpack.Encoder()

Params = tuple[object, ...]


class Presence(NamedTuple):
    """A host follows a VPC, or has left it. `at_us`: when the log took that.

    Leaving says nothing of what was told after it: the host may have come back before it is read.
    """

    vpc: str
    host: str
    is_here: bool
    at_us: int = _ALWAYS_US


class Read(NamedTuple):
    """One batch of one cluster. `positions`: (topic, partition) to where reading stands behind it.

    `now_us`: when it was read; hosts are said to be heard then, whatever their clocks say.
    """

    cluster: str
    kafka_id: str
    reports: Sequence[Report]
    presences: Sequence[Presence]
    positions: Mapping[tuple[str, int], Bookmark]
    now_us: int


class KnownHost(NamedTuple):
    """When something was last heard of a host (to ten minutes), and its last whole inventory."""

    host: str
    cluster: str
    heard_us: int
    inventory_us: int


class ChangesetRow(NamedTuple):
    """An announced changeset: `definition` and `summary` are the board's, `summary` may be empty."""

    id: str
    at_us: int
    is_open: bool
    definition: bytes
    summary: bytes


class Store:
    """The state of one tracker in `folder`. One thread writes at a time; `reader` for those who ask."""

    def __init__(self, folder: Path, *, cache_mib: int = 64) -> None:
        self.path = folder / FILE
        self._cache_mib = cache_mib
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, or make it. A broken one is moved aside: the topics are read again.

        Raises `ConfigError` (a newer version's file, or another tracker's at work) or `EdgeError`.
        """
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode != _ERROR:
                raise EdgeError(f"opening {self.path}: {error}", retryable=True) from error
            self.path.replace(self.path.with_name(self.path.name + ".broken"))
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            self._open()
        except OSError as error:
            raise EdgeError(f"opening {self.path}: {error}", retryable=True) from error

    def close(self) -> None:
        """Close the file. Everything committed stays."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def reader(self) -> Reader:
        """Return a connection of its own that sees what is committed. For one thread at a time."""
        return Reader(sqlite3.connect(self.path, isolation_level=None, check_same_thread=False))

    @property
    def bytes(self) -> int:
        """How large the file is, with what is not merged into it yet."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    # Writing.

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Writing]:
        """Write as a whole or not at all. Raises `EdgeError` when the disk refuses."""
        connection = self._connection
        assert connection is not None, "the store is not open"
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield Writing(connection)
            if failpoints.armed:
                failpoints.armed.reach("tracker.store.before")
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back(connection)
            raise EdgeError(f"writing {self.path}: {error}", retryable=True) from error
        except BaseException:
            self._roll_back(connection)
            raise
        if failpoints.armed:
            failpoints.armed.reach("tracker.store.after")

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        self._connection = connection
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            self.close()
            problem = f"this tracker knows versions up to {len(MIGRATIONS)}; upgrade it"
            fault = Fault(str(self.path), version, problem)
            raise ConfigError("the state was written by a newer tracker", [fault])
        # Hosts tell in no order, so a batch touches pages for each of them: small pages halve what
        # it writes, and many batches share a merge of the log into the file.
        connection.execute("PRAGMA page_size = 2048")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_MERGE_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{self._cache_mib * 1024}")
        if version < len(MIGRATIONS):
            connection.execute("BEGIN IMMEDIATE")
            for statement in ";".join(MIGRATIONS[version:]).split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        connection.execute(BESIDE)


class Reader:
    """Answers questions from what is committed, and, within a transaction, from what it has written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def standing(self, host: str, key: bytes) -> Standing | None:
        """Return how a resource stands on a host."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM standings WHERE host = ? AND key = ?",  # noqa: S608  # our own columns
            (host, _stored(host, key)),
        )
        return next((_standing(host, row) for row in rows), None)

    def standings(self, host: str, *, only_open: bool = False) -> list[Standing]:
        """Return everything that was told of a host, by key."""
        where = " AND open_revision > 0" if only_open else ""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM standings WHERE host = ?{where} ORDER BY key",  # noqa: S608
            (host,),
        )
        return [_standing(host, row) for row in rows]

    def of_changeset(self, id: str) -> dict[bytes, int]:
        """Return the revisions, by record key, that reports named with a changeset of late, and
        those of it that wait or fail however long.
        """
        heard = self._connection.execute(
            "SELECT key, revision FROM heard WHERE changeset = ?", (id,)
        ).fetchall()
        still_open = self._connection.execute(
            "SELECT host, key, open_revision FROM standings"
            " WHERE open_changeset = ? AND open_revision > 0",
            (id,),
        )
        return dict(heard) | {_told(host, key): revision for host, key, revision in still_open}

    def host(self, host: str) -> KnownHost | None:
        """Return when a host was heard of."""
        rows = self._connection.execute("SELECT * FROM hosts WHERE host = ?", (host,))
        return next((KnownHost(*row) for row in rows), None)

    def followers(self, vpc: str) -> list[str]:
        """Return the hosts that follow a VPC."""
        rows = self._connection.execute("SELECT DISTINCT host FROM followers WHERE vpc = ?", (vpc,))
        return [host for (host,) in rows]

    def changeset(self, id: str) -> ChangesetRow | None:
        """Return an announced changeset."""
        rows = self._connection.execute("SELECT * FROM changesets WHERE id = ?", (id,))
        return next((_changeset(row) for row in rows), None)

    def changesets(self, *, only_open: bool, limit: int) -> list[ChangesetRow]:
        """Return announced changesets, the latest first."""
        where = "WHERE is_open " if only_open else ""
        rows = self._connection.execute(
            f"SELECT * FROM changesets {where}ORDER BY at_us DESC LIMIT ?",  # noqa: S608
            (limit,),
        )
        return [_changeset(row) for row in rows]

    def heard(self, limit: int) -> list[tuple[str, int]]:
        """Return the changesets that reports named last, and when, the latest first."""
        rows = self._connection.execute(
            "SELECT changeset, max(at_us) FROM heard GROUP BY changeset ORDER BY 2 DESC LIMIT ?",
            (limit,),
        )
        return [(id, at_us) for id, at_us in rows]

    def unfinished(self, limit: int) -> list[tuple[str, int]]:
        """Return the changesets of which something failed or waits, and on how many resources."""
        rows = self._connection.execute(
            "SELECT open_changeset, count(*) FROM standings WHERE open_revision > 0"
            " GROUP BY open_changeset LIMIT ?",
            (limit,),
        )
        return [(id, count) for id, count in rows]

    def positions(self, cluster: str) -> dict[tuple[str, int], tuple[str, Bookmark]]:
        """Return where reading goes on: (topic, partition) to (Kafka's cluster id, bookmark)."""
        rows = self._connection.execute(
            "SELECT topic, partition, kafka_id, next, coalesce(leader_epoch, ?) FROM positions"
            " LEFT JOIN bookmarks USING (cluster, topic, partition, next) WHERE cluster = ?",
            (NO_EPOCH, cluster),
        )
        return {
            (topic, number): (kafka_id, Bookmark(*mark)) for topic, number, kafka_id, *mark in rows
        }

    def counts(self) -> tuple[int, int]:
        """Return how many hosts are known, and how many resources failed or wait."""
        hosts = self._connection.execute("SELECT count(*) FROM hosts").fetchone()[0]
        unfinished = self._connection.execute(
            "SELECT count(*) FROM standings WHERE open_revision > 0"
        ).fetchone()[0]
        return int(hosts), int(unfinished)


class Writing(Reader):
    """What may be written within one transaction."""

    def read(self, batch: Read) -> None:
        """Take a batch of one cluster, with its positions."""
        lines = _Lines()
        for report in batch.reports:
            if report.inventory is None:
                lines.add(report)
        lines.write(self._connection)
        for report in batch.reports:
            if report.inventory is not None:
                self._inventory(report, batch.now_us)
        self._hosts(batch)
        for one in batch.presences:
            self._presence(batch.cluster, one)
        self._connection.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)",
            [
                (batch.cluster, topic, number, batch.kafka_id, mark.next)
                for (topic, number), mark in batch.positions.items()
            ],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO bookmarks VALUES (?, ?, ?, ?, ?)",
            [(batch.cluster, *place, *mark) for place, mark in batch.positions.items()],
        )

    def heard_of(self, lines: Mapping[tuple[str, bytes], tuple[int, int]]) -> None:
        """Note what reports named: (changeset, record key) to (revision, when)."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO heard VALUES (?, ?, ?, ?)",
            [(*line, *told) for line, told in lines.items()],
        )

    def forget_heard(self, keep: int) -> None:
        """Forget what reports named but for so many, and what is as old as the oldest of them."""
        self._connection.execute(
            "DELETE FROM heard WHERE at_us < (SELECT at_us FROM heard"
            " ORDER BY at_us DESC LIMIT 1 OFFSET ?)",
            (keep,),
        )

    def put_changeset(self, row: ChangesetRow) -> None:
        """Write an announced changeset, over what was known of it."""
        self._connection.execute("INSERT OR REPLACE INTO changesets VALUES (?, ?, ?, ?, ?)", row)

    def forget_followers(self, cluster: str, vpcs: Iterable[str]) -> None:
        """Forget who follows these VPCs in a cluster, since that is read anew."""
        self._connection.executemany(
            "DELETE FROM followers WHERE cluster = ? AND vpc = ?", [(cluster, vpc) for vpc in vpcs]
        )

    def followed(self, cluster: str) -> list[str]:
        """Return the VPCs that have followers in a cluster."""
        rows = self._connection.execute(
            "SELECT DISTINCT vpc FROM followers WHERE cluster = ?", (cluster,)
        )
        return [vpc for (vpc,) in rows]

    def forget_position(self, cluster: str, topic: str, partition: int) -> None:
        """Read a partition from its beginning next time."""
        for table in ("positions", "bookmarks"):
            self._connection.execute(
                f"DELETE FROM {table} WHERE cluster = ? AND topic = ? AND partition = ?",  # noqa: S608  # our own tables
                (cluster, topic, partition),
            )

    def forget_older(
        self, *, silent_us: int, deletes_us: int, changesets_us: int, changesets_max: int
    ) -> int:
        """Forget what is older than these times; return how many hosts went.

        Hosts that were silent, deletes that are done, changesets, and the oldest of too many.
        """
        run = self._connection.execute
        silent = [
            host for (host,) in run("SELECT host FROM hosts WHERE heard_us < ?", (silent_us,))
        ]
        for host in silent:
            run("DELETE FROM standings WHERE host = ?", (host,))
            run("DELETE FROM parts WHERE host = ?", (host,))
            run("DELETE FROM hosts WHERE host = ?", (host,))
        run(
            "DELETE FROM standings WHERE deleted AND open_revision = 0 AND since_us < ?",
            (deletes_us,),
        )
        run("DELETE FROM parts WHERE taken_us < ?", (silent_us,))
        run("DELETE FROM changesets WHERE at_us < ? AND NOT is_open", (changesets_us,))
        run(
            "DELETE FROM changesets WHERE NOT is_open AND at_us <= (SELECT at_us FROM changesets"
            " ORDER BY at_us DESC LIMIT 1 OFFSET ?)",
            (changesets_max,),
        )
        return len(silent)

    def _hosts(self, batch: Read) -> None:
        heard = {
            report.host: (report.host, batch.cluster, batch.now_us)
            for report in batch.reports
            if not _is_public(report)
        }
        self._connection.executemany(
            "INSERT INTO hosts VALUES (?, ?, ?, 0) ON CONFLICT DO UPDATE SET"
            " cluster = excluded.cluster, heard_us = excluded.heard_us"
            " WHERE excluded.heard_us > heard_us + 600000000"
            " OR (excluded.cluster != cluster AND excluded.heard_us > heard_us)",
            heard.values(),
        )

    def _presence(self, cluster: str, one: Presence) -> None:
        run = self._connection.execute
        if one.is_here:
            run("INSERT OR IGNORE INTO followers VALUES (?, ?, ?)", (one.vpc, one.host, cluster))
            return
        run("DELETE FROM followers WHERE vpc = ? AND host = ? AND cluster = ?", (*one[:2], cluster))
        left = run("SELECT 1 FROM followers WHERE vpc = ? AND host = ?", one[:2]).fetchone()
        if left is None:
            # A host that has left a VPC has taken its resources down, and tells that by leaving.
            first = scope_prefix(vpc_scope(one.vpc))
            run(
                "DELETE FROM standings WHERE host = ? AND key >= ? AND key < ? AND told_us <= ?",
                (one.host, first, first[:-1] + b"\x20", one.at_us),
            )

    def _inventory(self, report: Report, now_us: int) -> None:
        part = report.inventory
        assert part is not None
        known = self.host(report.host)
        if known is not None and known.inventory_us > part.taken_us:
            return
        lines = _Lines()
        lines.add(report)
        lines.write(self._connection)
        if part.count > 1 and not self._is_whole(
            report.host, part.taken_us, part.index, part.count
        ):
            return
        # An inventory names no deletes that are done: it does not deny them, either.
        self._connection.execute(
            "DELETE FROM standings WHERE host = ? AND told_us < ?"
            " AND NOT (deleted AND open_revision = 0)",
            (report.host, part.taken_us),
        )
        self._connection.execute(
            "INSERT INTO hosts VALUES (?, '', ?, ?) ON CONFLICT DO UPDATE SET"
            " inventory_us = excluded.inventory_us",
            (report.host, now_us, part.taken_us),
        )

    def _is_whole(self, host: str, taken_us: int, index: int, count: int) -> bool:
        run = self._connection.execute
        run("INSERT OR IGNORE INTO parts VALUES (?, ?, ?)", (host, taken_us, index))
        found = run(
            "SELECT count(*) FROM parts WHERE host = ? AND taken_us = ?", (host, taken_us)
        ).fetchone()[0]
        if found == count:
            run("DELETE FROM parts WHERE host = ? AND taken_us <= ?", (host, taken_us))
        return bool(found == count)


class _Lines:
    """Rows to be written, by the statement that takes them."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Params]] = {}

    def add(self, report: Report) -> None:
        is_inventory = report.inventory is not None
        prefix = scope_prefix(host_scope(report.host))
        for entry in report.entries:
            host, key = report.host, entry.key
            if key.startswith(prefix):
                key = key[len(prefix) - 1 :]
            elif key.startswith(b"p"):
                host = ANY_WORKER
            statement, row = _row(host, key, entry, is_inventory=is_inventory)
            self._rows.setdefault(statement, []).append(row)

    def write(self, connection: sqlite3.Connection) -> None:
        for statement, rows in self._rows.items():
            # Neighbours in the file are written together; those of one key stay in their order.
            rows.sort(key=itemgetter(0, 1))
            connection.executemany(statement, rows)


def _row(host: str, key: bytes, entry: ReportEntry, *, is_inventory: bool) -> tuple[str, Params]:
    at_us = entry.at_us
    needs = _encoder.encode(entry.needs) if entry.needs else b""
    if entry.outcome is Outcome.APPLIED:
        return _FOUND_APPLIED if is_inventory else _APPLIED, (
            host, key, entry.revision, entry.changeset, at_us, entry.deleted, needs, at_us,
        )  # fmt: skip
    if entry.outcome is Outcome.SUPERSEDED:
        return _SUPERSEDED, (host, key, entry.revision, at_us)
    return _FOUND_OPEN if is_inventory else _OPEN, (
        host, key, entry.outcome, entry.revision, entry.changeset, at_us, entry.detail, needs, at_us,
    )  # fmt: skip


def _is_public(report: Report) -> bool:
    """Tell whether it is a worker's: those tell of public resources alone, and always of one."""
    return bool(report.entries) and report.entries[0].key.startswith(b"p")


def _stored(host: str, key: bytes) -> bytes:
    """Return a key as it is stored: without the host's own prefix, which stands in most of them."""
    prefix = scope_prefix(host_scope(host))
    return key[len(prefix) - 1 :] if key.startswith(prefix) else key


def _told(host: str, key: bytes) -> bytes:
    """Return a key as it was told, from how it is stored."""
    return scope_text(host_scope(host)).encode() + key if key.startswith(b"\x1f") else key


def _standing(host: str, row: Sequence[object]) -> Standing:
    values = list(row)
    key, needs = values[0], values[11]
    assert isinstance(key, bytes)
    assert isinstance(needs, bytes)
    values[0] = _told(host, key)
    values[4] = bool(values[4])
    values[6] = Outcome(int(str(values[6])))
    values[11] = _needs_decoder.decode(needs) if needs else ()
    return Standing(*values)  # type: ignore[arg-type]  # the columns are those fields


def _changeset(row: Sequence[object]) -> ChangesetRow:
    id, at_us, is_open, definition, summary = row
    assert isinstance(definition, bytes)
    assert isinstance(summary, bytes)
    return ChangesetRow(str(id), int(str(at_us)), bool(is_open), definition, summary)
