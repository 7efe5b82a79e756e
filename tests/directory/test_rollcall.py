"""Signs of life, in a Redis where anybody may have written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from southbound.directory.rollcall import RollCall, Sign
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError

_SIGN = Sign(service="janitor", where="m-1", saying="well", at_us=1)


class _Link(RedisLink):
    """Answers with one thing after another."""

    def __init__(self, *answers: object) -> None:
        super().__init__("redis://nowhere", timeout_s=1, client_name="test")
        self._answers = list(answers)

    def call(self, *command: object, timeout_s: float | None = None) -> Any:
        """Answer."""
        return self._answers.pop(0)


@pytest.mark.parametrize(
    "other", [None, b"", b"{}", b"\xff", b'{"a":' * 9_000, b'{"service": "\xff"}'], ids=repr
)
def test_what_is_no_sign_is_passed_by(other: bytes | None) -> None:
    """The others stand."""
    values = [other, msgspec.json.encode(_SIGN), other]
    assert RollCall(_Link([b"0", [b"a", b"b", b"c"]], values)).signs() == [_SIGN]


@pytest.mark.parametrize(
    "answers", [[b"x"], [7], [[b"x", []]], [[b"0", [b"a"]], 7], [[b"0"]], [[b"0", [b"a"]], [3]]]
)
def test_a_redis_that_answers_something_else_is_an_edge_error(answers: list[object]) -> None:
    """It names the address."""
    with pytest.raises(EdgeError, match="nowhere"):
        RollCall(_Link(*answers)).signs()


class _Endless(_Link):
    """Has always more to tell."""

    def call(self, *command: object, timeout_s: float | None = None) -> Any:
        """Answer."""
        return [b"7", []]


def test_a_list_that_never_ends_is_read_for_a_while() -> None:
    """A Redis that is none may always name a further place to look at."""
    with pytest.raises(EdgeError, match="does not end"):
        RollCall(_Endless()).signs()
