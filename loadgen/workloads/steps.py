"""What a scenario consists of: changesets and actions, each with the moment at which it is due.

The rule: an open loop. Moments follow from the scenario alone, in microseconds since its begin, and
never from how earlier steps fared; whoever performs a step late counts from when it was due.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from loadgen.workloads.fleet import Fleet
from southbound.resources import Changeset

SECOND_US = 1_000_000


class Deed(enum.StrEnum):
    """What is done to nodes."""

    STOP = "stop"
    """Their agents stop, with their state kept."""
    RETURN = "return"
    """Their agents start with the state that they had."""
    RESET = "reset"
    """Their agents start with empty state, whether they were running or not."""
    MOVE = "move"
    """They are moved to other slots by the rebalancer."""


class Action(NamedTuple):
    """Something done to nodes; `hosts` are indices of the fleet."""

    deed: Deed
    hosts: Sequence[int]


class Step(NamedTuple):
    """One thing to do; exactly one of `changeset` and `action` is there."""

    due_us: int
    changeset: Changeset | None = None
    action: Action | None = None


class Scenario(Protocol):
    """Settings of a scenario, and its steps on a fleet in the order in which they are due."""

    @property
    def name(self) -> str:
        """Its name, as on the command line."""

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield the steps; each call yields the same."""
