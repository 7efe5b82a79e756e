"""The event loop of a simulation: processes as generators, one clock, one seed.

The rule: a process runs until it yields, and nothing else runs meanwhile; so every place where
somebody may come in between is a `yield`. It yields a number of microseconds to let pass, or a
`Wait`, which ends early when somebody wakes it. Who is due at the same moment goes in an order that
the seed decides.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Generator
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

START_US = 1_700_000_000_000_000
MS = 1_000
S = 1_000_000
MINUTE = 60 * S
HOUR = 3_600 * S
DAY = 24 * HOUR


class Wait(NamedTuple):
    """Sleep until woken, or for so many microseconds; None: until woken."""

    for_us: int | None = None


Steps = Generator["int | Wait", None, _T]


class Task:
    """One process. Made by `Loop.spawn`."""

    __slots__ = ("due_us", "is_done", "is_waiting", "is_woken", "name", "steps", "version")

    def __init__(self, name: str, steps: Steps[None]) -> None:
        self.name = name
        self.steps = steps
        self.version = 0
        self.due_us: int | None = None
        self.is_done = False
        self.is_waiting = False
        self.is_woken = False


class Overrun(Exception):
    """A schedule that does not come to rest."""


class Loop:
    """Runs processes. `steps_max` bounds a schedule: past it `Overrun` is raised."""

    def __init__(self, chance: random.Random, steps_max: int) -> None:
        self.now_us = START_US
        self.steps = 0
        self._chance = chance
        self._steps_max = steps_max
        self._frozen: dict[str, int] = {}
        self._heap: list[tuple[int, float, int, Task]] = []

    def spawn(self, name: str, steps: Steps[None], after_us: int = 0) -> Task:
        """Begin a process."""
        task = Task(name, steps)
        self._put(task, after_us)
        return task

    def wake(self, task: Task, after_us: int = 0) -> None:
        """End the process's `Wait` early, or the one that it comes to next."""
        if task.is_done:
            return
        if not task.is_waiting:
            task.is_woken = True
        elif task.due_us is None or task.due_us > self.now_us + after_us:
            self._put(task, after_us)

    def kill(self, task: Task) -> None:
        """End a process where it is."""
        if not task.is_done:
            task.is_done = True
            task.steps.close()

    def kill_all(self, begins: str) -> None:
        """End every process whose name begins so."""
        for *_, task in list(self._heap):
            if task.name.startswith(begins):
                self.kill(task)

    def freeze(self, begins: str, for_us: int) -> None:
        """Let every process whose name begins so do nothing for a time."""
        self._frozen[begins] = max(self.now_us + for_us, self._frozen.get(begins, 0))

    def thaw(self) -> None:
        """Let everybody go on."""
        self._frozen.clear()

    def _frozen_us(self, task: Task) -> int:
        for begins, until_us in self._frozen.items():
            if task.name.startswith(begins) and until_us > self.now_us:
                return until_us - self.now_us
        return 0

    def run(self, until_us: int) -> None:
        """Run everything that is due up to a moment; then it is that moment."""
        while self._heap and self._heap[0][0] <= until_us:
            due_us, _, version, task = heapq.heappop(self._heap)
            if task.is_done or version != task.version:
                continue
            self.now_us = max(self.now_us, due_us)
            if self._frozen and (frozen_us := self._frozen_us(task)):
                self._put(task, min(frozen_us, S))
                continue
            self._step(task)
        self.now_us = max(self.now_us, until_us)

    def _step(self, task: Task) -> None:
        self.steps += 1
        if self.steps > self._steps_max:
            raise Overrun(f"no rest after {self._steps_max} steps (last: {task.name})")
        task.is_waiting = False
        try:
            wanted = next(task.steps)
        except StopIteration:
            task.is_done = True
            return
        if not isinstance(wanted, Wait):
            self._put(task, wanted)
            return
        if task.is_woken:
            task.is_woken = False
            self._put(task, 0)
            return
        task.is_waiting = True
        task.version += 1
        task.due_us = None
        if wanted.for_us is not None:
            self._put(task, wanted.for_us)

    def _put(self, task: Task, after_us: int) -> None:
        task.version += 1
        task.due_us = self.now_us + after_us
        entry = (task.due_us, self._chance.random(), task.version, task)
        heapq.heappush(self._heap, entry)
