"""Running one schedule, and saying what came of it.

The rule: whatever ends a run early is a broken promise: an assertion of the system's own, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.invariants import Violation
from tests.simulation.workload import Schedule
from tests.simulation.world import World


class Run(NamedTuple):
    """One run: its world, and the promise that was broken, with what; empty: none."""

    world: World
    promise: str = ""
    what: str = ""


def run(schedule: Schedule, make: Callable[..., World] = World, *, traced: bool = False) -> Run:
    """Run a schedule through a new world."""
    world = make(schedule, traced=traced)
    try:
        world.run()
    except Violation as violation:
        return Run(world, violation.promise, str(violation))
    except Exception as error:  # noqa: BLE001  # whatever it is, it ended the run
        return Run(world, f"nothing crashes ({type(error).__name__})", repr(error))
    return Run(world)
