"""Feeds without a broker: when positions move, and what a taker may count on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from southbound.edge.bookmarks import Bookmark, Place
from southbound.edge.feed import ClusterFeed
from southbound.edge.kafka import Consumer, KafkaError, Message
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

_CLUSTER = Cluster(id="c1", az="az", bootstrap=("127.0.0.1:1",))
_AT = ("t", 0)


class Told:
    """A message of one partition, or an error."""

    def __init__(self, offset: int, error: int | None = None, *, epoch: int | None = None) -> None:
        self._offset = offset
        self._epoch = epoch
        self._error = None if error is None else KafkaError(error)

    def error(self) -> KafkaError | None:
        """Return what went wrong, if anything did."""
        return self._error

    def topic(self) -> str:
        """Return the topic."""
        return _AT[0]

    def partition(self) -> int:
        """Return the partition."""
        return _AT[1]

    def offset(self) -> int:
        """Return the offset."""
        return self._offset

    def leader_epoch(self) -> int | None:
        """Return the epoch of the leader that took it."""
        return self._epoch


class Hand:
    """A taker that can refuse."""

    def __init__(self) -> None:
        self.refuses = False
        self.taken: list[tuple[int, dict[Place, Bookmark]]] = []
        self.steps: list[str] = []
        self.gone: list[Place] = []

    def begin(self, consumer: Consumer, place: Place, kafka_id: str) -> Bookmark:
        """Begin at the beginning."""
        return Bookmark(0)

    def take(self, messages: Sequence[Message], positions: Mapping[Place, Bookmark]) -> None:
        """Take, or refuse."""
        if self.refuses:
            raise EdgeError("disk full", retryable=True)
        self.taken.append((len(messages), dict(positions)))
        self.steps.append("take")

    def lost(self, place: Place) -> None:
        """Note a gap, or refuse."""
        if self.refuses:
            raise EdgeError("disk full", retryable=True)
        self.gone.append(place)
        self.steps.append("lost")


def _feed(hand: Hand) -> ClusterFeed:
    feed = ClusterFeed(_CLUSTER, "test", ["t"], hand)
    feed._positions[_AT] = Bookmark(0)
    feed._behind = {_AT}
    return feed


def _take(feed: ClusterFeed, *told: Told) -> None:
    messages: list[Any] = list(told)
    feed._take(messages)


def test_a_position_moves_on_behind_what_was_taken() -> None:
    """A batch is handed on whole, with where reading stands then."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(4), Told(7))
    assert hand.taken == [(2, {_AT: Bookmark(8)})]
    assert feed._positions == {_AT: Bookmark(8)}
    assert not feed.is_caught_up


def test_what_is_refused_is_read_again() -> None:
    """Nothing moves, and the same records come once more."""
    hand = Hand()
    feed = _feed(hand)
    hand.refuses = True
    with pytest.raises(EdgeError, match="disk full"):
        _take(feed, Told(4))
    assert feed._positions == {_AT: Bookmark(0)}
    hand.refuses = False
    _take(feed, Told(4))
    assert feed._positions == {_AT: Bookmark(5)}


def test_an_end_is_reached_without_a_record() -> None:
    """Compaction and transactions leave gaps at the end; the taker is not called for them."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(9, KafkaError._PARTITION_EOF))
    assert feed.is_caught_up
    assert feed._positions == {_AT: Bookmark(9)}
    assert hand.taken == []


def test_records_that_are_gone_are_a_gap() -> None:
    """The position is forgotten, and reading begins where the taker says."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(4, KafkaError._AUTO_OFFSET_RESET))
    assert hand.gone == [_AT]
    assert feed._positions == {}
    assert feed._is_outdated


def test_what_came_before_a_gap_is_taken_before_it_is_told() -> None:
    """Else it would be remembered after all that a partition had been read so far."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(4), Told(5, KafkaError._AUTO_OFFSET_RESET))
    assert hand.steps == ["take", "lost"]
    assert feed._positions == {}


def test_a_gap_that_nobody_could_note_is_found_again() -> None:
    """Reading goes on where it stood, with the epoch that tells the log from the one before."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(4, epoch=3))
    hand.refuses = True
    with pytest.raises(EdgeError, match="disk full"):
        _take(feed, Told(5, KafkaError._AUTO_OFFSET_RESET))
    assert feed._positions == {_AT: Bookmark(5, 3)}


def test_an_epoch_belongs_to_the_record_directly_before_a_position() -> None:
    """An end behind removed records has none: a leader of a later epoch may have taken those."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(4, epoch=3))
    assert hand.taken == [(1, {_AT: Bookmark(5, 3)})]
    _take(feed, Told(5, KafkaError._PARTITION_EOF))
    assert feed._positions == {_AT: Bookmark(5, 3)}
    _take(feed, Told(6, KafkaError._PARTITION_EOF))
    assert feed._positions == {_AT: Bookmark(6)}
    _take(feed, Told(6, epoch=4), Told(7, KafkaError._PARTITION_EOF))
    assert feed._positions == {_AT: Bookmark(7, 4)}
    _take(feed, Told(8, epoch=4), Told(10, KafkaError._PARTITION_EOF))
    assert feed._positions == {_AT: Bookmark(10)}


def test_a_trouble_is_named_and_ends_with_the_next_record() -> None:
    """It never stops the feed."""
    feed = _feed(Hand())
    feed._note()
    _take(feed, Told(0, KafkaError._TRANSPORT))
    assert feed.trouble is not None
    _take(feed, Told(4))
    assert feed.trouble is None
