"""What `doctor` says of a Redis that answers as none does."""

from __future__ import annotations

from typing import Any

import pytest

from southbound.cli.redis_checks import redis_findings
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError


class _Link(RedisLink):
    """Answers each command in its own way."""

    def __init__(self, time: object, info: object, saves: object) -> None:
        super().__init__("redis://nowhere", timeout_s=1, client_name="test")
        self._told = {"TIME": time, "INFO": info, "CONFIG": saves}

    def call(self, *command: object, timeout_s: float | None = None) -> Any:
        """Answer."""
        return self._told[str(command[0])]


def test_a_redis_is_judged() -> None:
    """By what it says of itself."""
    found = list(redis_findings(_Link([b"1", b"2"], b"redis_version:7\r\n", [b"save", b""])))
    assert len(found) >= 3


@pytest.mark.parametrize(
    ("time", "info", "saves"),
    [
        (None, b"", []),
        (7, b"", []),
        ([b"x", b"y"], b"", []),
        ([b"1"], b"", []),
        ([b"9" * 5_000, b"1"], b"", []),
        ([b"1", b"2"], b"", 7),
    ],
)
def test_one_that_answers_something_else_is_an_edge_error(
    time: object, info: object, saves: object
) -> None:
    """Naming its address; no traceback."""
    with pytest.raises(EdgeError, match="nowhere"):
        list(redis_findings(_Link(time, info, saves)))
