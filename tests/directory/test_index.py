from typing import Any

import msgspec
import pytest

from southbound.directory.index import (
    Basis,
    Candidate,
    Index,
    MoveWish,
    Reservation,
    Wish,
    parse_reservations,
)
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError, WireError
from southbound.settings import DirectorySettings


def test_reservations_are_read() -> None:
    """One text holds all reservations of a key."""
    assert parse_reservations("1:p:0:17:1700000000|2:q:3:9:1700000001") == [
        Reservation(1, "p", 0, 17, 1_700_000_000),
        Reservation(2, "q", 3, 9, 1_700_000_001),
    ]


@pytest.mark.parametrize("text", ["", "1:p:0:17", "x:p:0:1:1", "1:p:0:17:5|"])
def test_what_is_no_reservation_is_refused(text: str) -> None:
    """A damaged one is an error that shows it."""
    with pytest.raises(WireError, match="not a reservation"):
        parse_reservations(text)


class _Link(RedisLink):
    """A Redis that answers every script with one thing."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__("redis://nowhere", timeout_s=1, client_name="test")
        self._answer = msgspec.msgpack.encode(("", answers))

    def run(self, script: object, key: str, argument: object) -> Any:
        """Answer."""
        return self._answer


def _index(*answers: str) -> Index:
    return Index(_Link(list(answers)), DirectorySettings())


_BASIS = Basis("az-a", "kafka", 0, ("az-a",), 1)
_WISHES = [
    Wish("h\x1fa", 1, [Candidate("p", 9, [3, 4])]),
    Wish("h\x1fb", 1, [Candidate("q", 9, [1])]),
]
_MOVES = [MoveWish("h\x1fa", 2, "p", 0, 3, 9)]


def test_answers_to_wishes_are_taken_as_they_are() -> None:
    """A row, a place, no room; another move."""
    assert _index("=p:0:1:0", "+q:0").reserve(_BASIS, _WISHES, 1) == ["=p:0:1:0", "+q:0"]
    assert _index("+p:1", "!").reserve(_BASIS, _WISHES, 1) == ["+p:1", "!"]
    for answer in ("=p:0:2:0", "+", "!", "~q:0"):
        assert _index(answer).reserve_moves(_BASIS, _MOVES, 1) == [answer]
    assert _index("+3", "=0").reserve_publics(_BASIS, "elb", 4, ["a", "b"], 1) == ["+3", "=0"]


@pytest.mark.parametrize(
    "answers",
    [[], ["+p:0"], ["!"] * 3, ["", "!"], ["+", "!"], ["+:0", "!"], ["+p:16", "!"], ["+p:²", "!"],
     ["p:0", "!"], ["+p:" + "9" * 5_000, "!"], ["+p:0:7", "!"]],
    ids=lambda answers: " ".join(answers)[:20],
)  # fmt: skip
def test_what_is_no_place_is_no_answer(answers: list[str]) -> None:
    """It would be written into a journal, for good."""
    with pytest.raises(EdgeError, match="none of its answers"):
        _index(*answers).reserve(_BASIS, _WISHES, 1)


def test_a_newcomer_gets_what_was_reserved_for_it_and_a_move_what_it_wished_for() -> None:
    """Two makers of one VPC may wish for different pools: the first one's place is both's."""
    newcomer = Wish("v\x1fa", 1, [Candidate("p", 9, [3, 4])])
    assert _index("+other:7").reserve(_BASIS, [newcomer], 1) == ["+other:7"]
    move = newcomer._replace(epoch=2)
    assert _index("+p:7").reserve(_BASIS, [move], 1) == ["+p:7"]
    with pytest.raises(EdgeError, match="none of its answers"):
        _index("+other:0").reserve(_BASIS, [move], 1)


@pytest.mark.parametrize("answer", ["", "+p:0", "x", "-"])
def test_a_move_is_answered_in_its_four_ways(answer: str) -> None:
    """Anything else is no answer."""
    with pytest.raises(EdgeError, match="none of its answers"):
        _index(answer).reserve_moves(_BASIS, _MOVES, 1)


@pytest.mark.parametrize("answer", ["", "+", "+4", "+-1", "+²", "+" + "1" * 5_000, "3"])
def test_a_partition_is_one_of_those_that_there_are(answer: str) -> None:
    """Anything else is no answer."""
    with pytest.raises(EdgeError, match="none of its answers"):
        _index(answer).reserve_publics(_BASIS, "elb", 4, ["a"], 1)
