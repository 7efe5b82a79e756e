from __future__ import annotations

import pytest

from southbound.nca.changesets import Holding
from southbound.nca.incoming import Incoming, read
from southbound.resources import host_scope
from southbound.wire.keys import encode_key
from tests.nca.records import Place, port, value_of


def record(id: str, index: int, count: int, changeset: str = "c", offset: int = 0) -> Incoming:
    """Return one record of a changeset."""
    put = port("h", id, 1)
    return read(encode_key(put.key), value_of(put, changeset, Place(index, count)), offset)


def ids(released: list[Incoming]) -> list[str]:
    """Return the ids of resources, sorted."""
    return sorted(incoming.key.id for incoming in released)


@pytest.fixture
def holding() -> Holding:
    """Return a holding with a time of 10 s and room for four records."""
    return Holding(10.0, 4)


def test_a_whole_changeset_is_returned_at_once(holding: Holding) -> None:
    """The last record, in whatever order, brings all of them."""
    assert holding.take(record("a", 2, 3), 0.0, news=True) == []
    assert holding.take(record("b", 0, 3), 0.0, news=True) == []
    assert ids(holding.take(record("c", 1, 3), 0.0, news=True)) == ["a", "b", "c"]
    assert len(holding) == 0
    assert holding.deadline_s() is None


def test_a_record_that_comes_twice_counts_once(holding: Holding) -> None:
    """A sender's retry does not complete a changeset."""
    assert holding.take(record("a", 0, 2), 0.0, news=True) == []
    assert holding.take(record("a", 0, 2), 0.0, news=True) == []
    assert ids(holding.take(record("b", 1, 2), 0.0, news=True)) == ["a", "b"]


def test_no_news_passes_but_is_noted(holding: Holding) -> None:
    """What the node has already is passed on; the rest can still become whole."""
    assert ids(holding.take(record("a", 0, 2), 0.0, news=False)) == ["a"]
    assert holding.first_offset(host_scope("h")) is None
    assert ids(holding.take(record("b", 1, 2), 0.0, news=True)) == ["b"]
    assert ids(holding.take(record("c", 0, 2, "d"), 0.0, news=True)) == []
    assert ids(holding.take(record("e", 1, 2, "d"), 0.0, news=False)) == ["c", "e"]


def test_the_first_offset_held_is_known(holding: Holding) -> None:
    """It is where a restart reads again from; another scope's does not count."""
    holding.take(record("a", 0, 2, offset=7), 0.0, news=True)
    holding.take(record("b", 0, 2, "d", offset=5), 0.0, news=True)
    assert holding.first_offset(host_scope("h")) == 5
    assert holding.first_offset(host_scope("other")) is None


def test_overdue_changesets_are_let_go(holding: Holding) -> None:
    """Each after its own time."""
    holding.take(record("a", 0, 2), 0.0, news=True)
    holding.take(record("b", 0, 2, "d"), 5.0, news=True)
    assert holding.deadline_s() == 10.0
    assert holding.overdue(9.9) == []
    assert ids(holding.overdue(10.0)) == ["a"]
    assert ids(holding.overdue(15.0)) == ["b"]


def test_the_oldest_make_room(holding: Holding) -> None:
    """Until what is held fits again."""
    for number in range(3):
        holding.take(record(f"a{number}", 0, 2, f"c{number}"), 0.0, news=True)
    assert holding.crowded_out() == []
    holding.take(record("b", 0, 3, "d"), 0.0, news=True)
    holding.take(record("e", 1, 3, "d"), 0.0, news=True)
    assert ids(holding.crowded_out()) == ["a0"]
    assert len(holding) == 4


def test_a_scope_that_is_left_is_abandoned(holding: Holding) -> None:
    """Only its changesets go, and are counted."""
    holding.take(record("a", 0, 2), 0.0, news=True)
    assert holding.abandon(host_scope("other")) == 0
    assert holding.abandon(host_scope("h")) == 1
    assert len(holding) == 0
