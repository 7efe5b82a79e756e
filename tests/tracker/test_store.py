"""The store: what stands after reports in any order, inventories, restarts; and that it forgets."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from southbound.edge.bookmarks import Bookmark
from southbound.errors import ConfigError, EdgeError
from southbound.producer.tracker_core import Applied, TrackedPart, TrackerCore
from southbound.resources import host_scope
from southbound.tracker.standing import Standing
from southbound.tracker.store import ANY_WORKER, FILE, MIGRATIONS, Presence, Store
from southbound.wire.reports import Outcome, Report, ReportEntry
from tests.tracker.desk import (
    APPLIED,
    FAILED,
    PENDING,
    SUPERSEDED,
    inventory,
    line,
    of_vpc,
    port,
    read,
    report,
)

KEY = port("h")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return an open store."""
    made = Store(tmp_path)
    made.open()
    yield made
    made.close()


def _take(store: Store, *reports: Report) -> None:
    with store.transaction() as writing:
        writing.read(read(*reports))


def _standing(store: Store, host: str = "h", key: bytes = KEY) -> Standing | None:
    with store.transaction() as writing:
        return writing.standing(host, key)


def _known(store: Store, host: str = "h", key: bytes = KEY) -> Standing:
    found = _standing(store, host, key)
    assert found is not None
    return found


def test_what_is_applied_says_since_when_and_by_which_changeset(store: Store) -> None:
    """The same revision told again changes neither."""
    _take(
        store, report("h", line(KEY, 3, at_us=10, changeset="first", needs=[b"v\x1fv\x1fvpc\x1fv"]))
    )
    _take(store, report("h", line(KEY, 3, at_us=20, changeset="again")))
    found = _known(store)
    assert (found.revision, found.since_us, found.changeset) == (3, 10, "first")
    assert found.key == KEY
    assert found.told_us == 20


def test_an_older_revision_keeps_standing_while_a_newer_one_fails(store: Store) -> None:
    """Both are told, and the newer one ends the failure when it is applied."""
    _take(store, report("h", line(KEY, 3, at_us=10, changeset="a")))
    _take(store, report("h", line(KEY, 4, FAILED, at_us=20, changeset="b", detail="no room")))
    failed = _known(store)
    assert (failed.revision, failed.open, failed.open_revision) == (3, FAILED, 4)
    assert (failed.open_changeset, failed.detail) == ("b", "no room")
    _take(store, report("h", line(KEY, 4, at_us=30, changeset="b")))
    assert _known(store).is_open is False
    assert (_known(store).revision, _known(store).since_us) == (4, 30)


@pytest.mark.parametrize("late", [PENDING, FAILED])
def test_a_late_report_does_not_take_back_what_is_applied(store: Store, late: Outcome) -> None:
    """Reports that did not arrive are sent again, and may come behind later ones."""
    _take(store, report("h", line(KEY, 4)))
    _take(store, report("h", line(KEY, 4, late)), report("h", line(KEY, 2, late)))
    assert _known(store).is_open is False
    _take(store, report("h", line(KEY, 3, changeset="old")))
    assert _known(store).revision == 4


def test_a_delete_stands_as_one_and_is_forgotten_in_time(store: Store) -> None:
    """So a late report of an earlier revision does not bring the resource back."""
    _take(
        store, report("h", line(KEY, 4, at_us=5)), report("h", line(KEY, 5, at_us=50, deleted=True))
    )
    assert _known(store).deleted
    with store.transaction() as writing:
        writing.forget_older(silent_us=0, deletes_us=50, changesets_us=0, changesets_max=9)
    assert _standing(store) is not None
    with store.transaction() as writing:
        writing.forget_older(silent_us=0, deletes_us=51, changesets_us=0, changesets_max=9)
    assert _standing(store) is None


def test_an_inventory_says_what_is_not_there_any_more(store: Store) -> None:
    """What it does not name and was not told of since is gone; what came after it stays."""
    old, new = port("h", "old"), port("h", "new")
    _take(store, report("h", line(KEY, 3, at_us=10)), report("h", line(old, 1, at_us=10)))
    _take(store, report("h", line(new, 1, at_us=60)), inventory("h", 50, line(KEY, 3, at_us=50)))
    assert _known(store).since_us == 10
    assert _standing(store, key=old) is None
    assert _known(store, key=new).revision == 1


def test_an_inventory_does_not_deny_what_was_deleted(store: Store) -> None:
    """It names no deletes that are done; they are remembered for who is announced late."""
    _take(store, report("h", line(KEY, 3, at_us=10, deleted=True)), inventory("h", 50))
    assert (_known(store).revision, _known(store).deleted) == (3, True)
    _take(store, report("h", line(KEY, 4, PENDING, at_us=60)), inventory("h", 70))
    assert _standing(store) is None, "revision 4 was told of, and is not there"


def test_an_inventory_in_parts_counts_when_it_is_whole(store: Store) -> None:
    """In any order, and told twice; parts of another one do not fill it up."""
    gone = port("h", "gone")
    _take(store, report("h", line(gone, 1, at_us=10)))
    _take(store, inventory("h", 40, line(KEY, 1, at_us=40), part=0, parts=2))
    _take(store, inventory("h", 50, line(KEY, 1, at_us=50), part=1, parts=2))
    _take(store, inventory("h", 50, line(KEY, 1, at_us=50), part=1, parts=2))
    assert _standing(store, key=gone) is not None
    _take(store, inventory("h", 50, part=0, parts=2))
    assert _standing(store, key=gone) is None
    assert _known(store).revision == 1
    with store.transaction() as writing:
        known = writing.host("h")
    assert known is not None
    assert (known.cluster, known.inventory_us) == ("c1", 50)


def test_an_inventory_is_believed_against_what_was_told_before(store: Store) -> None:
    """A host that was laid anew holds less than it had told."""
    _take(store, report("h", line(KEY, 9, at_us=10, changeset="past")))
    _take(store, inventory("h", 50, line(KEY, 4, FAILED, at_us=50, changeset="now", detail="why")))
    found = _known(store)
    assert (found.revision, found.open_revision, found.detail) == (0, 4, "why")
    _take(store, inventory("h", 60, line(KEY, 4, at_us=60, changeset="now")))
    assert (_known(store).revision, _known(store).changeset) == (4, "now")
    _take(store, inventory("h", 55, at_us_free()))
    assert _known(store).revision == 4


def at_us_free() -> ReportEntry:
    """Return a line of an inventory that came too late."""
    return line(KEY, 1, at_us=55)


def test_who_has_come_back_keeps_what_he_has_told_since(store: Store) -> None:
    """His leaving may be read later than that: it is another topic."""
    old, new = of_vpc("v", "subnet", "s"), of_vpc("v", "vpc", "v")
    _take(store, report("h", line(old, 1, at_us=10), line(new, 1, at_us=30)))
    with store.transaction() as writing:
        gone = Presence("v", "h", is_here=False, at_us=20)
        writing.read(read(presences=[Presence("v", "h", is_here=True), gone]))
        writing.read(read(presences=[Presence("v", "h", is_here=True, at_us=25)]))
    assert _standing(store, key=old) is None
    assert _known(store, key=new).revision == 1


def test_who_leaves_a_vpc_has_its_resources_no_more(store: Store) -> None:
    """Only those of that VPC, on that host; and not while another cluster knows him as follower."""
    mine, other = of_vpc("v", "subnet", "s"), of_vpc("v2", "subnet", "s")
    lines = [line(key, 1) for key in (mine, other, KEY)]
    _take(store, report("h", *lines), report("g", line(mine, 1)))
    with store.transaction() as writing:
        here = [Presence("v", "h", is_here=True), Presence("v", "g", is_here=True)]
        writing.read(read(presences=here))
        assert sorted(writing.followers("v")) == ["g", "h"]
        writing.read(read(presences=[Presence("v", "h", is_here=False)]))
        assert writing.followers("v") == ["g"]
    assert _standing(store, key=mine) is None
    assert _standing(store, key=other) is not None
    assert _standing(store) is not None
    assert _standing(store, "g", mine) is not None


def test_a_public_resource_is_nobodys_host(store: Store) -> None:
    """Whichever worker told of it, it stands once; and a worker is no host."""
    key = b"p\x1felb\x1fe"
    _take(store, report("worker-1", line(key, 1)), report("worker-2", line(key, 2)))
    assert _known(store, ANY_WORKER, key).revision == 2
    with store.transaction() as writing:
        assert writing.host("worker-1") is None


def test_silent_hosts_are_forgotten_and_others_are_not(store: Store) -> None:
    """With everything that stood on them."""
    _take(store, report("h", line(KEY, 1)))
    with store.transaction() as writing:
        late = read(report("g", line(port("g"), 1)))._replace(now_us=9_000_000_000)
        writing.read(late)
        assert writing.counts() == (2, 0)
        forgotten = writing.forget_older(
            silent_us=5_000_000_000, deletes_us=0, changesets_us=0, changesets_max=9
        )
        assert forgotten == 1
        assert writing.counts() == (1, 0)
        assert writing.standings("h") == []


def test_changesets_are_found_by_what_stands_or_fails(store: Store) -> None:
    """What fails is found however long ago; of the rest, what was told last."""
    _take(
        store,
        report("h", line(KEY, 1, changeset="a")),
        report("g", line(port("g"), 1, FAILED, changeset="b")),
    )
    with store.transaction() as writing:
        assert writing.of_changeset("a") == {}
        assert writing.of_changeset("b") == {port("g"): 1}
        assert writing.unfinished(9) == [("b", 1)]
        writing.heard_of({(f"c{number}", KEY): (7, number) for number in range(10)})
        writing.forget_heard(3)
        assert writing.of_changeset("c9") == {KEY: 7}
        assert writing.of_changeset("c1") == {}
        assert writing.heard(9) == [("c9", 9), ("c8", 8), ("c7", 7), ("c6", 6)]


def _fail_to_take(store: Store) -> None:
    with store.transaction() as writing:
        writing.read(read(report("h", line(KEY, 1)), next_=7))
        raise sqlite3.OperationalError("disk full")


def test_positions_change_with_what_was_read(store: Store, tmp_path: Path) -> None:
    """What a transaction did not commit was not read; what it did survives."""
    with pytest.raises(EdgeError):
        _fail_to_take(store)
    assert _standing(store) is None
    _take(store, report("h", line(KEY, 1)))
    store.close()
    again = Store(tmp_path)
    again.open()
    reader = again.reader()
    assert reader.positions("c1") == {("sb.status", 0): ("kafka", Bookmark(1))}
    assert reader.positions("c2") == {}
    assert reader.standings("h")[0].revision == 1
    reader.close()
    again.close()


def _marks(store: Store) -> dict[tuple[str, int], tuple[str, Bookmark]]:
    reader = store.reader()
    try:
        return reader.positions("c1")
    finally:
        reader.close()


def test_a_position_has_the_epoch_that_was_told_with_it(store: Store, tmp_path: Path) -> None:
    """It goes with the position, and one that software without epochs moved on has none."""
    at = ("sb.status", 0)
    with store.transaction() as writing:
        writing.read(read(report("h", line(KEY, 1)))._replace(positions={at: Bookmark(7, 3)}))
    assert _marks(store) == {at: ("kafka", Bookmark(7, 3))}
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as older:
        older.execute("INSERT OR REPLACE INTO positions VALUES ('c1', 'sb.status', 0, 'kafka', 9)")
    assert _marks(store) == {at: ("kafka", Bookmark(9))}
    with store.transaction() as writing:
        writing.forget_position("c1", *at)
        writing.read(
            read(report("h", line(KEY, 1)))._replace(positions={("sb.status", 1): Bookmark(7)})
        )
    assert _marks(store) == {("sb.status", 1): ("kafka", Bookmark(7))}


def test_a_file_of_before_epochs_goes_on_where_it_stood(tmp_path: Path) -> None:
    """It has positions without epochs, and what is written beside them does not raise its version."""
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as older:
        older.executescript(";".join(MIGRATIONS))
        older.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        older.execute("INSERT INTO positions VALUES ('c1', 'sb.status', 0, 'kafka', 9)")
    store = Store(tmp_path)
    store.open()
    assert _marks(store) == {("sb.status", 0): ("kafka", Bookmark(9))}
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as again:
        assert again.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_a_broken_file_is_moved_aside_and_a_newer_one_refused(tmp_path: Path) -> None:
    """What is lost is read from the topics again; what is newer is not touched."""
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    store = Store(tmp_path)
    store.open()
    assert (tmp_path / f"{FILE}.broken").exists()
    store.close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="newer"):
        Store(tmp_path).open()


_ENTRIES = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from([APPLIED, FAILED, PENDING, SUPERSEDED])),
    max_size=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=_ENTRIES, watched=st.integers(1, 4))
def test_what_stands_tells_a_watch_what_the_reports_told_it(
    tmp_path: Path, told: list[tuple[int, Outcome]], watched: int
) -> None:
    """A changeset begun again from the store ends as one that heard every report, or surer.

    Only a failure, or a wait, of a revision that another open one took the place of may differ.
    """
    store = Store(tmp_path)
    store.open()
    heard = TrackerCore(9)
    first = heard.watch("c", [TrackedPart(host_scope("h"), {KEY: watched})])
    with store.transaction() as writing:
        writing._connection.execute("DELETE FROM standings")
        for number, (revision, outcome) in enumerate(told):
            entry = line(KEY, revision, outcome, at_us=number, detail="why")
            heard.heard(report("h", entry))
            writing.read(read(report("h", entry)))
        found = writing.standing("h", KEY)
    store.close()
    recalled = TrackerCore(9)
    second = recalled.watch("c", [TrackedPart(host_scope("h"), {KEY: watched})])
    for entry in () if found is None else found.entries():
        recalled.heard(report("h", entry))
    before, after = heard.state(first), recalled.state(second)
    if before.complete:
        assert after.complete
    assert bool(before.silent) == bool(after.silent)
    assert _worst(after) <= _worst(before)


def _worst(applied: Applied) -> int:
    return 2 if applied.failed else 1 if applied.pending else 0
