"""What an agent remembers: whole transactions, versions, and files that are broken."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from southbound import failpoints
from southbound.errors import ConfigError, EdgeError
from southbound.nca import store as store_module
from southbound.nca.state import (
    Due,
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
from southbound.nca.store import BrokenStore, Store
from southbound.partitioning.placement import Placement
from southbound.resources import Op, ResourceKey, host_scope, vpc_scope
from southbound.wire.reports import Outcome
from tests.nca.world import TOPOLOGY

KEY = ResourceKey(host_scope("h"), "port", "p")
ENTRY = Entry(3, Op.UPSERT, b"\x80", "c", Status.PARKED, "waits")
STREAM = StreamState(Placement("pool", 1, 2, 30), 47, swept=True)
DUE = Due("c", b"h\x1fh\x1fport\x1fp", 3, None)


def opened(folder: Path) -> Store:
    """Return an open store."""
    store = Store(folder, "h")
    store.open()
    return store


def reloaded(folder: Path) -> State:
    """Return what another store finds."""
    store = Store(folder, "h")
    try:
        return store.open()
    finally:
        store.close()


def test_a_new_folder_is_an_empty_state(tmp_path: Path) -> None:
    """Nothing is known at a first start; the folder is made."""
    assert reloaded(tmp_path / "new" / "folder") == State()


def test_what_is_committed_is_loaded(tmp_path: Path) -> None:
    """Every part of a transaction reads back as it was."""
    store = opened(tmp_path)
    owed: dict[int, Owed] = {1: OwedReport((DUE,)), 2: OwedPresence("c1", "v", present=True)}
    store.commit(
        Transaction(
            topology=TOPOLOGY,
            progress_us=10**15,
            kafka_ids={"c1": "abc"},
            entries={KEY: ENTRY},
            streams={host_scope("h"): STREAM, vpc_scope("v"): StreamState(Placement("q", 0))},
            owed=dict(owed),
        )
    )
    store.close()
    state = reloaded(tmp_path)
    assert state == State(
        topology=TOPOLOGY,
        progress_us=10**15,
        kafka_ids={"c1": "abc"},
        entries={KEY: ENTRY},
        streams={host_scope("h"): STREAM, vpc_scope("v"): StreamState(Placement("q", 0))},
        owed=owed,
    )


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    """None removes a row, and a settled debt is struck out."""
    store = opened(tmp_path)
    store.commit(
        Transaction(
            entries={KEY: ENTRY}, streams={host_scope("h"): STREAM}, owed={7: OwedReport((DUE,))}
        )
    )
    store.commit(Transaction(entries={KEY: None}, streams={host_scope("h"): None}, settled=[7, 8]))
    store.close()
    assert reloaded(tmp_path) == State()


def test_outcomes_are_remembered(tmp_path: Path) -> None:
    """A line whose outcome is known keeps it, one whose outcome is open stays open."""
    store = opened(tmp_path)
    known = msgspec.structs.replace(DUE, outcome=Outcome.FAILED, detail="why")
    store.commit(Transaction(owed={1: OwedReport((DUE, known))}))
    store.close()
    assert reloaded(tmp_path).owed == {1: OwedReport((DUE, known))}


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Half of it is not there either, and the store goes on."""
    store = opened(tmp_path)
    bad = Entry(2**70, Op.UPSERT, b"", "c")
    with pytest.raises(OverflowError):
        store.commit(Transaction(entries={KEY: ENTRY, KEY._replace(id="q"): bad}))
    assert store.quarantined() == []
    store.commit(Transaction(kafka_ids={"c1": "abc"}))
    store.close()
    assert reloaded(tmp_path) == State(kafka_ids={"c1": "abc"})


def test_a_full_disk_is_reported_and_costs_nothing_earlier(tmp_path: Path) -> None:
    """The failing commit raises; all earlier ones are there afterwards, and it can be repeated."""
    store = opened(tmp_path)
    store.commit(Transaction(entries={KEY: ENTRY}))
    connection = store._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Transaction(entries={KEY._replace(id="big"): Entry(1, Op.UPSERT, b"x" * 100_000, "c")})
    with pytest.raises(EdgeError, match="full") as caught:
        store.commit(big)
    assert caught.value.retryable
    connection.execute("PRAGMA max_page_count = 1000000")
    store.commit(big)
    store.close()
    assert set(reloaded(tmp_path).entries) == {KEY, KEY._replace(id="big")}


def test_quarantine_is_bounded(tmp_path: Path) -> None:
    """Only the latest rows are kept."""
    store = Store(tmp_path, "h", quarantine_max=3)
    store.open()
    for number in range(5):
        row = Quarantined("c1", "t", 0, number, b"k", b"v", "why", 1)
        store.commit(Transaction(quarantined=[row]))
    assert [row.offset for row in store.quarantined()] == [2, 3, 4]
    store.close()


def test_another_hosts_state_is_refused(tmp_path: Path) -> None:
    """A folder that was copied or mistyped must not program this node."""
    opened(tmp_path).close()
    with pytest.raises(ConfigError, match="another host"):
        Store(tmp_path, "other").open()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """Two agents on one state would undo each other."""
    store = opened(tmp_path)
    with pytest.raises(EdgeError, match="locked"):
        Store(tmp_path, "h").open()
    store.close()
    assert reloaded(tmp_path) == State()


def test_an_older_version_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older agent wrote is kept; the later script runs once."""
    store = opened(tmp_path)
    store.commit(Transaction(entries={KEY: ENTRY}))
    store.close()
    later = (*store_module.MIGRATIONS, "CREATE TABLE later (id INTEGER PRIMARY KEY)")
    monkeypatch.setattr(store_module, "MIGRATIONS", later)
    for _ in range(2):
        assert reloaded(tmp_path).entries == {KEY: ENTRY}
    with sqlite3.connect(tmp_path / store_module.FILE) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    connection.close()


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """An agent that does not know what a newer one wrote must not change it."""
    opened(tmp_path).close()
    connection = sqlite3.connect(tmp_path / store_module.FILE)
    store_module._put_fact(connection, "version", 99)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigError, match="newer agent"):
        Store(tmp_path, "h").open()


@pytest.mark.parametrize(
    "damage",
    [
        "garbage",
        "middle",
        "DELETE FROM facts",
        "DROP TABLE owed",
        "UPDATE owed SET debt = x'c1'",
        "UPDATE resources SET op = 9",
        "UPDATE streams SET placement = 'x'",
    ],
)
def test_a_broken_file_is_moved_aside(tmp_path: Path, damage: str) -> None:
    """It is told as broken, kept for who wants to look, and a new one begins empty."""
    store = opened(tmp_path)
    entries = {KEY._replace(id=f"p{number}"): ENTRY for number in range(500)}
    store.commit(
        Transaction(
            entries=dict(entries),
            streams={host_scope("h"): STREAM},
            owed={1: OwedReport((DUE,))},
        )
    )
    store.close()
    file = tmp_path / store_module.FILE
    if damage == "garbage":
        file.write_bytes(b"not a database" * 1_000)
    elif damage == "middle":
        data = bytearray(file.read_bytes())
        data[8_192 : len(data) - 4_096] = b"\xff" * (len(data) - 12_288)
        file.write_bytes(data)
    else:
        connection = sqlite3.connect(file)
        if damage == "schema":
            connection.execute("DELETE FROM facts")
        else:
            connection.execute("UPDATE owed SET debt = x'c1'")
        connection.commit()
        connection.close()
    broken = Store(tmp_path, "h")
    with pytest.raises(BrokenStore):
        broken.open()
    aside = broken.move_aside()
    assert aside.exists()
    assert broken.open() == State()
    broken.close()


_WRITER = """
import sys
from pathlib import Path
from southbound.nca.state import *
from southbound.nca.store import Store
from southbound.resources import *
from southbound.partitioning.placement import Placement
store = Store(Path(sys.argv[1]), "h")
store.open()
number = 0
while True:
    number += 1
    entries = {
        ResourceKey(host_scope("h"), "port", f"p{i}"): Entry(number, Op.UPSERT, b"x" * 500, "c")
        for i in range(5)
    }
    stream = StreamState(Placement("pool", 0), number)
    store.commit(Transaction(entries=entries, streams={host_scope("h"): stream}))
    print(number, flush=True)
"""


@pytest.mark.parametrize("committed", [1, 57, 300])
def test_a_kill_leaves_whole_transactions(tmp_path: Path, committed: int) -> None:
    """Whenever the process dies, resources and position are of one and the same transaction."""
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= committed:
                break
    finally:
        time.sleep(0.003)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    state = reloaded(tmp_path)
    (stream,) = state.streams.values()
    assert stream.next is not None
    assert stream.next >= committed
    assert {entry.revision for entry in state.entries.values()} == {stream.next}
    assert len(state.entries) == 5


def test_a_file_of_the_first_version_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows get their sums, and are what they were."""
    store = opened(tmp_path)
    store.commit(Transaction(entries={KEY: ENTRY}, streams={host_scope("h"): STREAM}))
    store.close()
    before = reloaded(tmp_path)
    connection = sqlite3.connect(tmp_path / store_module.FILE)
    for table in ("facts", "clusters", "resources", "streams", "owed"):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN sum")
    connection.execute("DELETE FROM facts WHERE name = 'version'")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    assert reloaded(tmp_path) == before
    assert reloaded(tmp_path) == before


@pytest.mark.parametrize("change", ["revision = revision + 1", "spec = x'c0'", "detail = 'other'"])
def test_a_row_that_is_not_what_was_written_is_a_broken_file(tmp_path: Path, change: str) -> None:
    """SQLite's pages may be in order all the same."""
    store = opened(tmp_path)
    store.commit(Transaction(entries={KEY: ENTRY}))
    store.close()
    connection = sqlite3.connect(tmp_path / store_module.FILE)
    connection.execute(f"UPDATE resources SET {change}")
    connection.commit()
    connection.close()
    with pytest.raises(BrokenStore, match="sum"):
        Store(tmp_path, "h").open()


def test_a_version_that_only_the_head_tells_is_a_broken_file(tmp_path: Path) -> None:
    """No newer agent has written it: refusing it for ever would help nobody."""
    opened(tmp_path).close()
    connection = sqlite3.connect(tmp_path / store_module.FILE)
    connection.execute("PRAGMA user_version = 66")
    connection.commit()
    connection.close()
    with pytest.raises(BrokenStore, match="66"):
        Store(tmp_path, "h").open()


def test_a_text_that_is_none_is_a_broken_file(tmp_path: Path) -> None:
    """Python tells it by an error without SQLite's code."""
    opened(tmp_path).close()
    connection = sqlite3.connect(tmp_path / store_module.FILE)
    connection.execute("UPDATE facts SET name = CAST(x'70ff' AS TEXT) WHERE name = 'version'")
    connection.commit()
    connection.close()
    with pytest.raises(BrokenStore, match="UTF-8"):
        Store(tmp_path, "h").open()


def test_a_schema_that_is_no_text_is_a_broken_file(tmp_path: Path) -> None:
    """SQLite's complaint quotes it, and Python cannot read the complaint."""
    opened(tmp_path).close()
    file = tmp_path / store_module.FILE
    data = file.read_bytes()
    assert data.count(b"CREATE TABLE facts") == 1
    file.write_bytes(data.replace(b"CREATE TABLE facts", b"CREATE \xd4ABLE facts"))
    with pytest.raises(BrokenStore, match="facts"):
        Store(tmp_path, "h").open()


@pytest.mark.parametrize(
    ("transaction", "level"),
    [
        (Transaction(entries={KEY: ENTRY}, streams={host_scope("h"): STREAM}), 1),
        (Transaction(entries={KEY: None}), 2),
        (Transaction(streams={vpc_scope("new"): STREAM}), 2),
        (Transaction(streams={host_scope("h"): None}), 1),
    ],
    ids=["going on", "forgetting", "following", "following no more"],
)
def test_what_a_node_must_not_fall_back_behind_is_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transaction: Transaction, level: int
) -> None:
    """A resource that was given up would pass for applied; a VPC that was joined, for never heard of."""
    store = opened(tmp_path)
    store.commit(Transaction(entries={KEY: ENTRY}, streams={host_scope("h"): STREAM}))
    store.close()
    store = opened(tmp_path)
    found: list[int] = []

    def asked() -> int:
        assert store._connection is not None
        return int(store._connection.execute("PRAGMA synchronous").fetchone()[0])

    class Probe:
        def reach(self, name: str) -> None:
            if name == "agent.store.before":
                found.append(asked())

    monkeypatch.setattr(failpoints, "armed", Probe())
    store.commit(transaction)
    assert found == [level]
    assert asked() == 1
    store.commit(Transaction(streams=transaction.streams))
    assert found == [level, 1]
    store.close()


def test_a_leaders_epoch_is_kept_where_those_who_know_none_do_not_look(tmp_path: Path) -> None:
    """It stands above the bits that an agent of an earlier version reads; its own row has none."""
    store = opened(tmp_path)
    places = {
        vpc_scope("v"): StreamState(Placement("p", 0), 7, swept=True, leader_epoch=2**31 - 1),
        vpc_scope("w"): StreamState(Placement("p", 0), 7, doubted=True, leader_epoch=0),
        vpc_scope("x"): StreamState(Placement("p", 0), 7, swept=True),
    }
    store.commit(Transaction(streams=dict(places)))
    assert store._connection is not None
    found = store._connection.execute("SELECT swept FROM streams ORDER BY scope").fetchall()
    assert [bits & 3 for (bits,) in found] == [1, 2, 1]
    assert found[2] == (1,)
    store.close()
    store = Store(tmp_path, "h")
    assert store.open().streams == places
    store.close()
