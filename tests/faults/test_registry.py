from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from southbound.failpoints import POINTS
from tests.faults import test_kills, test_kills_janitor

pytestmark = pytest.mark.subset


def killed_at(module: ModuleType) -> Iterator[str]:
    """Yield the failpoints that a file's tests are given."""
    for test in vars(module).values():
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "parametrize" and mark.args[0] == "name":
                yield from (parameters.values[0] for parameters in mark.args[1])


def test_no_failpoint_is_left_out() -> None:
    """Every registered one is killed at by exactly one cell."""
    names = [*killed_at(test_kills), *killed_at(test_kills_janitor)]
    assert sorted(names) == sorted(POINTS)
