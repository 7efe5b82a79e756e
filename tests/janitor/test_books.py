from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from southbound.directory.verdict import Held
from southbound.errors import ConfigError
from southbound.janitor.books import Books, Odd, Position, SlotState
from southbound.janitor.entries import Entry
from southbound.partitioning.placement import Address

SLOT = Address("c1", "sb.p.000", 3)


def opened(file: Path | None = None) -> Books:
    """Return open books."""
    books = Books(file)
    books.open()
    return books


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """Journals, moves, slots, and the positions in them."""
    file = tmp_path / "deep" / "books.sqlite"
    books = opened(file)
    held = {f"h\x1f{number}": Held(1, f"p:0:1:{number}") for number in range(1_200)}
    books.take_journal("journal:a", held, Position("kafka", 7))
    state = SlotState(5, 6, 7, b"12345678" * 2, Odd(1, 2, 3))
    books.put_slots({SLOT: state})
    books.take_moves("c1", "moves:c1", {"h": Entry(2, "row", 9), "x": None}, Position("kafka", 8))
    books.close()
    again = opened(file)
    assert again.held_in("journal:a", list(held)) == held
    assert again.position("journal:a") == Position("kafka", 7)
    assert again.position("moves:c1") == Position("kafka", 8)
    assert again.position("journal:b") is None
    assert again.slot(SLOT) == state
    assert again.slot(Address("c1", "sb.p.000", 4)) is None
    assert again.moves("c1", ["h", "x"]) == {"h": Entry(2, "row", 9)}
    assert again.odd() == Odd(1, 2, 3)
    again.close()


def test_a_position_has_the_epoch_that_was_told_with_it(tmp_path: Path) -> None:
    """One that software without epochs has written, or moved on, has none."""
    file = tmp_path / "books.sqlite"
    books = opened(file)
    books.take_journal("journal:a", {}, Position("kafka", 7, 3))
    books.take_moves("c1", "moves:c1", {}, Position("kafka", 8, 4))
    assert books.position("journal:a") == Position("kafka", 7, 3)
    assert books.position("moves:c1") == Position("kafka", 8, 4)
    books.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as older:
        older.execute("INSERT OR REPLACE INTO positions VALUES ('journal:a', 'kafka', 9)")
        older.execute("INSERT OR REPLACE INTO positions VALUES ('journal:b', 'kafka', 7)")
    again = opened(file)
    assert again.position("journal:a") == Position("kafka", 9)
    assert again.position("journal:b") == Position("kafka", 7)
    assert again.position("moves:c1") == Position("kafka", 8, 4)
    again.close()


def test_the_highest_epoch_holds_whichever_journal_tells_it() -> None:
    """A key may have been taken over by another zone's journal."""
    books = opened()
    books.take_journal("journal:a", {"v": Held(2, "old")}, Position("k", 1))
    books.take_journal("journal:b", {"v": Held(3, "new")}, Position("k", 1))
    assert books.held("v") == Held(3, "new")
    assert books.held("nobody") is None
    assert books.odd() == Odd()


def test_old_moves_come_oldest_first_and_bounded() -> None:
    """One sweep prunes no more than its share."""
    books = opened()
    entries: dict[str, Entry | None] = {str(n): Entry(1, "r", 100 - n) for n in range(10)}
    books.take_moves("c1", "moves:c1", entries, Position("k", 1))
    assert list(books.old_moves("c1", 95, 3)) == ["9", "8", "7"]
    books.take_moves("c1", "moves:c1", {"9": None}, Position("k", 2))
    assert list(books.old_moves("c1", 95, 3)) == ["8", "7", "6"]
    assert books.old_moves("c2", 1_000, 9) == {}


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    """A second janitor on it is told so, naming the file."""
    file = tmp_path / "books.sqlite"
    books = opened(file)
    with pytest.raises(ConfigError, match=r"books\.sqlite"):
        opened(file)
    books.close()
    opened(file).close()
