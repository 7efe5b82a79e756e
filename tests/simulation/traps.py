"""Faults that wait for their moment, since chance would seldom find it.

The rule: a trap is set by the schedule, at its time, and sprung at most once. It does only what could have
happened by itself: a process dies, or somebody publishes, between two steps of another.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation.loop import HOUR, MINUTE, S

_STEPS = (
    *("Reserve", "Precopy", "AppendJournal", "AnnounceMoves", "Flip"),
    *("Mark", "Delta", "Mend", "Seal", "Release"),
)
_AWAY_US = (2 * S, 5 * S, 30 * S, 10 * MINUTE, 2 * HOUR)


class StepTrap(NamedTuple):
    """An executor dies behind an action, and another takes up its moves after a time."""

    mover: str
    action: str
    away_us: int


class Died(Exception):
    """The executor's process ended. `away_us`: for so long nobody takes up what it did."""

    def __init__(self, away_us: int) -> None:
        self.away_us = away_us
        super().__init__("died at a step")


class Traps:
    """Those of one world that are set. `nulls`: how many tombstones are still to be overtaken; `clocks`:
    how many who go away until one of them has a clock that is ahead, 0: none.
    """

    def __init__(self) -> None:
        self.nulls = 0
        self.clocks = 0
        self._steps: list[StepTrap] = []

    def set_step(self, mover: str, draw: float) -> None:
        """Let an executor die behind one of its steps; `draw` decides behind which, and for how long."""
        at = int(draw * len(_STEPS) * len(_AWAY_US))
        action, away = divmod(min(at, len(_STEPS) * len(_AWAY_US) - 1), len(_AWAY_US))
        self._steps.append(StepTrap(mover, _STEPS[action], _AWAY_US[away]))

    def behind(self, mover: str, action: str) -> None:
        """Spring what waits for this. Raises `Died`."""
        for trap in self._steps:
            if (trap.mover, trap.action) == (mover, action):
                self._steps.remove(trap)
                raise Died(trap.away_us)

    def runs_ahead(self) -> bool:
        """Tell whether the clock of who goes away now is to be far ahead; of two the second one's."""
        self.clocks -= 1
        return self.clocks == 0

    def overtakes_null(self) -> bool:
        """Tell whether the tombstone that is about to be written is to be overtaken."""
        if self.nulls == 0:
            return False
        self.nulls -= 1
        return True
