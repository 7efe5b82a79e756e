from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from southbound.resources import ResourceKey, host_scope
from southbound.wire.keys import encode_key
from tests.faults.child import Applied
from tests.faults.judging import Judge

pytestmark = pytest.mark.subset

ONE, TWO = (
    encode_key(ResourceKey(host_scope("mine"), "router", id)).decode() for id in ("one", "two")
)
FOREIGN = encode_key(ResourceKey(host_scope("other"), "router", "one")).decode()
Write = Callable[[Applied], None]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """The judge of a host that was asked nothing yet."""
    return Judge("mine", tmp_path / "plans")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what adds a line to its log."""

    def add(plan: Applied) -> None:
        with (tmp_path / "plans").open("ab") as file:
            file.write(msgspec.json.encode(plan) + b"\n")

    return add


def test_nothing_is_wrong_with_rising_revisions(judge: Judge, write: Write) -> None:
    """Nor with a snapshot that repeats them, nor with a life that begins with the last of them."""
    assert judge.wrong() == []
    write(Applied([(ONE, 1, 0), (TWO, 1, 0)], []))
    assert judge.wrong() == judge.repeated() == []
    write(Applied([(ONE, 1, 0), (TWO, 1, 0)], [str(host_scope("mine"))]))
    write(Applied([], [], begins=True))
    write(Applied([(ONE, 1, 0)], []))
    assert judge.wrong() == judge.repeated() == []


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Applied([(ONE, 1, 0)], []), "fell"),
        (Applied([(FOREIGN, 1, 0)], []), "foreign"),
        (Applied([(TWO, 3, 1)], []), "deleted"),
        (Applied([(ONE, 2, 0)], [str(host_scope("mine"))]), "taken down"),
        (Applied([], [], only=[str(host_scope("other"))]), "taken down"),
    ],
)
def test_what_is_wrong_is_named(judge: Judge, write: Write, plan: Applied, words: str) -> None:
    """Whenever it comes, and from then on."""
    write(Applied([(ONE, 2, 0), (TWO, 2, 0)], []))
    assert judge.wrong() == []
    write(plan)
    for _ in range(2):
        assert words in " ".join(judge.wrong())


def test_what_comes_twice_is_named(judge: Judge, write: Write) -> None:
    """In one life of the agent; that is wrong only where nothing was to be tried again."""
    write(Applied([(ONE, 2, 0)], []))
    write(Applied([(ONE, 2, 0)], []))
    assert judge.wrong() == []
    assert len(judge.repeated()) == 1
