"""The model of handovers: every slice keeps the promises, and every planted bug breaks one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.engine import Violation, exhaust, search
from tests.model.slices import models, planted

_NAMES = list(models(deep=False))
_BUGS = list(planted())


@pytest.mark.parametrize("name", _NAMES)
def test_every_promise_is_kept(name: str) -> None:
    """No reachable state breaks a promise, and from each every way ends where all is done."""
    found = exhaust(models(deep=False)[name])
    assert found.finals > 0


@pytest.mark.parametrize("bug", _BUGS)
def test_every_planted_bug_is_found(bug: str, request: pytest.FixtureRequest) -> None:
    """A bug planted in the rules leads to a violation; `-v` prints the way to it."""
    violation = search(planted()[bug])
    assert violation is not None, f"{bug} breaks nothing"
    assert violation.trace
    if request.config.get_verbosity() > 0:
        reporter = request.config.pluginmanager.get_plugin("terminalreporter")
        assert reporter is not None
        reporter.write_line(f"\n{bug}: {violation}")


class _Counter:
    """A model of a number that is counted up to a limit, by one or two."""

    def __init__(self, limit: int, *, bad: int = -1, back: bool = False) -> None:
        self._limit, self._bad, self._back = limit, bad, back

    def initial(self) -> int:
        return 0

    def successors(self, state: int) -> list[tuple[str, int]]:
        found = [(f"+{by}", state + by) for by in (1, 2) if state + by <= self._limit]
        return [*found, ("back", 0)] if self._back and state == self._limit else found

    def problem(self, state: int) -> str | None:
        return "bad" if state == self._bad else None

    def is_final(self, state: int) -> bool:
        return state == 7


def test_the_engine_goes_everywhere() -> None:
    """Every state is counted once, and every step."""
    found = exhaust(_Counter(7))
    assert (found.states, found.steps, found.finals) == (8, 13, 1)


def test_the_engine_finds_the_shortest_way() -> None:
    """A search gives the least number of steps to a violation."""
    violation = search(_Counter(7, bad=5))
    assert violation is not None
    assert (violation.problem, len(violation.trace)) == ("bad", 3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_Counter(7, bad=5), "bad"),
        (_Counter(6), "stuck"),
        (_Counter(7, back=True), "for ever"),
    ],
)
def test_the_engine_knows_what_is_wrong(model: Any, words: str) -> None:
    """A broken promise, a state that leads nowhere, and a way round are all violations."""
    with pytest.raises(Violation, match=words):
        exhaust(model)
