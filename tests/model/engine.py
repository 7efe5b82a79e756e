"""Exploring every state of a model, and finding the shortest way to a violation.

A model is a value with `initial()`, `successors(state)`, `problem(state)` and `is_final(state)`.
States are hashable. The whole graph is walked; a state from which nothing follows must be final, and
no state may be reached from itself: then from every state every way ends in a final state, so every
move can finish.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Model(Protocol[S]):
    """What is explored."""

    def initial(self) -> S:
        """Return the one state that everything begins with."""
        ...

    def successors(self, state: S) -> list[tuple[str, S]]:
        """Return every step that can be taken, with its name."""
        ...

    def problem(self, state: S) -> str | None:
        """Say which promise is broken in this state, if one is."""
        ...

    def is_final(self, state: S) -> bool:
        """Tell whether everything that was begun has come to an end."""
        ...


class Explored(NamedTuple):
    """How much was walked through."""

    states: int
    steps: int
    finals: int


class Violation(Exception):  # what was found is no error of the program
    """A promise that is broken, and the steps that lead there."""

    def __init__(self, problem: str, trace: tuple[str, ...] = ()) -> None:
        self.problem = problem
        self.trace = trace
        super().__init__("\n".join([problem, *(f"  {at:2} {one}" for at, one in enumerate(trace))]))


def _verdict(model: Model[S], state: S, following: list[tuple[str, S]]) -> str | None:
    problem = model.problem(state)
    if problem is None and not following and not model.is_final(state):
        return "it is stuck: nothing can be done, and a move or a publisher is not at its end"
    return problem


@contextmanager
def _without_collector() -> Iterator[None]:
    """States are tuples without circles: looking for some in millions of them only costs."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_without_collector()
def exhaust(model: Model[S]) -> Explored:
    """Walk through every reachable state, depth first. Raises `Violation`."""
    first = model.initial()
    following = model.successors(first)
    # Each state on the way has the steps that are still to be taken; `True` means on the way.
    way: list[tuple[S, str, Iterator[tuple[str, S]]]] = [(first, "", iter(following))]
    seen: dict[S, bool] = {first: True}
    steps, finals = 0, int(model.is_final(first))
    while way:
        state, _, rest = way[-1]
        for name, after in rest:
            steps += 1
            on_way = seen.get(after)
            if on_way is None:
                following = model.successors(after)
                problem = _verdict(model, after, following)
                if problem is not None:
                    raise Violation(problem, (*(one for _, one, _ in way[1:]), name))
                finals += model.is_final(after)
                seen[after] = True
                way.append((after, name, iter(following)))
                break
            if on_way:
                trace = (*(one for _, one, _ in way[1:]), name)
                raise Violation("it can go round for ever", trace)
        else:
            seen[state] = False
            way.pop()
    return Explored(len(seen), steps, finals)


@_without_collector()
def search(model: Model[S], states_max: int = 2_000_000) -> Violation | None:
    """Return the shortest way to a violation, or None when there is none.

    Raises `MemoryError` when neither is known after `states_max` states.
    """
    first = model.initial()
    came: dict[S, tuple[S, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        following = model.successors(state)
        problem = _verdict(model, state, following)
        if problem is not None:
            return Violation(problem, _trace(came, state))
        for name, after in following:
            if after not in came:
                came[after] = (state, name)
                waiting.append(after)
        if len(came) > states_max:
            raise MemoryError(f"nothing found in {len(came)} states")
    return None


def _trace(came: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    names: list[str] = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
