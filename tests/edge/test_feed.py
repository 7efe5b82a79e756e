"""Feeds without a broker: when positions move, and what a taker may count on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from southbound.edge.feed import ClusterFeed, Place
from southbound.edge.kafka import Consumer, KafkaError, Message
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

_CLUSTER = Cluster(id="c1", az="az", bootstrap=("127.0.0.1:1",))
_AT = ("t", 0)


class Told:
    """A message of one partition, or an error."""

    def __init__(self, offset: int, error: int | None = None) -> None:
        self._offset = offset
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


class Hand:
    """A taker that can refuse."""

    def __init__(self) -> None:
        self.refuses = False
        self.taken: list[tuple[int, dict[Place, int]]] = []
        self.gone: list[Place] = []

    def begin(self, consumer: Consumer, place: Place, kafka_id: str) -> int:
        """Begin at the beginning."""
        return 0

    def take(self, messages: Sequence[Message], positions: Mapping[Place, int]) -> None:
        """Take, or refuse."""
        if self.refuses:
            raise EdgeError("disk full", retryable=True)
        self.taken.append((len(messages), dict(positions)))

    def lost(self, place: Place) -> None:
        """Note a gap."""
        self.gone.append(place)


def _feed(hand: Hand) -> ClusterFeed:
    feed = ClusterFeed(_CLUSTER, "test", ["t"], hand)
    feed._positions[_AT] = 0
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
    assert hand.taken == [(2, {_AT: 8})]
    assert feed._positions == {_AT: 8}
    assert not feed.is_caught_up


def test_what_is_refused_is_read_again() -> None:
    """Nothing moves, and the same records come once more."""
    hand = Hand()
    feed = _feed(hand)
    hand.refuses = True
    with pytest.raises(EdgeError, match="disk full"):
        _take(feed, Told(4))
    assert feed._positions == {_AT: 0}
    hand.refuses = False
    _take(feed, Told(4))
    assert feed._positions == {_AT: 5}


def test_an_end_is_reached_without_a_record() -> None:
    """Compaction and transactions leave gaps at the end; the taker is not called for them."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(9, KafkaError._PARTITION_EOF))
    assert feed.is_caught_up
    assert feed._positions == {_AT: 9}
    assert hand.taken == []


def test_records_that_are_gone_are_a_gap() -> None:
    """The position is forgotten, and reading begins where the taker says."""
    hand = Hand()
    feed = _feed(hand)
    _take(feed, Told(4, KafkaError._AUTO_OFFSET_RESET))
    assert hand.gone == [_AT]
    assert feed._positions == {}
    assert feed._is_outdated


def test_a_trouble_is_named_and_ends_with_the_next_record() -> None:
    """It never stops the feed."""
    feed = _feed(Hand())
    feed._note()
    _take(feed, Told(0, KafkaError._TRANSPORT))
    assert feed.trouble is not None
    _take(feed, Told(4))
    assert feed.trouble is None
