"""One who plans moves and carries them out, in a process of its own, as an operator would."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from southbound.directory import Directory
from southbound.errors import EdgeError
from southbound.partitioning.plan import Goal, batches
from southbound.partitioning.planner import make_plan
from southbound.rebalance.executor import Executor, Progress
from southbound.rebalance.mapping import snapshot_of
from southbound.settings import DirectorySettings, RebalanceSettings


class Round(NamedTuple):
    """The hosts of one round, and when it began and ended (microseconds since 1970)."""

    hosts: Sequence[str]
    begin_us: int
    end_us: int


class Moving(NamedTuple):
    """A plan carried out: its rounds, how many records were copied, and seconds to plan and to move."""

    rounds: Sequence[Round]
    copied: int
    planned_s: float
    moved_s: float


class Mover:
    """A hand of a `Crew`. Opens a directory of its own."""

    def __init__(self, redis_url: str) -> None:
        self._directory = Directory(DirectorySettings(redis_url=redis_url, client_id="bench-mover"))
        self._directory.open()

    def move(self, goal: Goal, per_round: int, parts: int) -> Moving:
        """Carry a goal out. Raises `EdgeError` when not everything was moved."""
        directory = self._directory
        began_s = time.monotonic()
        plan = make_plan(snapshot_of(directory), goal)
        settings = RebalanceSettings(
            client_id="bench-mover", hosts_per_round=per_round, batch_parts=parts
        )
        marks: list[tuple[int, int]] = []

        def told(progress: Progress) -> None:
            marks.append((progress.done, time.time_ns() // 1000))

        planned_s = time.monotonic()
        with Executor(directory, settings) as executor:
            done = executor.run(executor.begin(plan), told)
        if done.done < done.total:
            raise EdgeError(f"not everything was moved: {dict(done.failed)}", retryable=False)
        runs = [move for run in batches(plan.moves, directory.topology, parts) for move in run]
        rounds = [
            Round([one.id for one in runs[first:last] if one.cls == "host"], begin_us, end_us)
            for (first, begin_us), (last, end_us) in pairwise(marks)
        ]
        moved_s = time.monotonic() - planned_s
        return Moving(rounds, done.copied, planned_s - began_s, moved_s)

    def close(self) -> None:
        """Close the directory."""
        self._directory.close()
