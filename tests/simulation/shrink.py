"""Cutting a failing schedule down to what it takes to fail.

The rule: a smaller schedule counts only if it breaks the same promise; what can go alone goes first,
and the last to stay is what matters. Since what is left out changes what chance gives to the rest, each
cut is tried a few times with other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from tests.simulation.workload import Publish, Schedule

_T = TypeVar("_T")

Fails = Callable[[Schedule], str | None]
"""Runs a schedule; returns the promise that it breaks, if any."""

_PARTS = ("faults", "moves", "operations", "newcomers", "grows")
_TRIES = 3
_RUNS_MAX = 600


class Shrinker:
    """Shrinks schedules that break one promise. `runs` counts what that took."""

    def __init__(self, fails: Fails, promise: str) -> None:
        self._fails = fails
        self._promise = promise
        self.runs = 0

    def shrink(self, schedule: Schedule) -> Schedule:
        """Return a schedule of which nothing more can be left out, as far as was tried."""
        smaller: Schedule | None = schedule
        while smaller is not None:
            schedule = smaller
            smaller = next(
                (found for one in _cuts(schedule) if (found := self._still(one)) is not None), None
            )
        return schedule

    def _still(self, schedule: Schedule) -> Schedule | None:
        """Return the schedule, perhaps with another number, if it still breaks the promise."""
        for number in range(_TRIES):
            if self.runs >= _RUNS_MAX:
                return None
            self.runs += 1
            one = msgspec.structs.replace(schedule, chance=schedule.chance + number)
            if self._fails(one) == self._promise:
                return one
        return None


def _cuts(schedule: Schedule) -> Iterator[Schedule]:
    """Yield what is smaller: first halves, then single things, then single resources."""
    for size in (0, 1):
        for name in _PARTS:
            kept = getattr(schedule, name)
            for rest in _less(kept, max(1, len(kept) // 2) if size == 0 else 1):
                yield _with(schedule, name, rest)
    for at, one in enumerate(schedule.operations):
        for items in _less(one.items, 1) if len(one.items) > 1 else ():
            changed: list[Publish] = list(schedule.operations)
            changed[at] = msgspec.structs.replace(one, items=items)
            yield _with(schedule, "operations", tuple(changed))
    if schedule.ages:
        yield _with(schedule, "ages", False)
    for rest in _less(schedule.workers, 1):
        yield _with(schedule, "workers", rest)
    if schedule.is_tracked:
        yield _with(schedule, "is_tracked", False)
    if not schedule.is_swept:
        yield _with(schedule, "is_swept", True)
    for name in ("pauses", "dozes"):
        if getattr(schedule, name):
            yield _with(schedule, name, 0.0)


def _less(kept: tuple[_T, ...], size: int) -> Iterator[tuple[_T, ...]]:
    for begin in range(len(kept) - 1, -1, -size):
        yield (*kept[: max(0, begin + 1 - size)], *kept[begin + 1 :])


def _with(schedule: Schedule, name: str, value: Any) -> Schedule:
    return msgspec.structs.replace(schedule, **{name: value})
