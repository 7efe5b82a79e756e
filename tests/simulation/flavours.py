"""What schedules dwell on: flavours, by their seeds in turn.

The rule: a flavour makes situations likely and forbids nothing that may happen elsewhere, but for what
its checks could not tell from a broken promise.
"""

from __future__ import annotations

from typing import NamedTuple


class Flavour(NamedTuple):
    """How a schedule is drawn.

    `moves`, `faults`: how many, by chance. `pauses`: how often a process stops between two steps.
    `dozes`: how often a publisher stops around a delivery. `deletes`: how often a resource that is there is deleted. `ages`: how likely days pass in the end.
    `traps`: faults that wait for their moment, each once. `sets`: how likely a changeset is of one host.
    """

    moves: tuple[int, ...] = (0, 1, 1, 2)
    faults: tuple[int, ...] = (0, 2, 3, 4, 6)
    pauses: tuple[float, ...] = (0.0, 0.02, 0.1)
    deletes: float = 0.25
    dozes: tuple[float, ...] = (0.0, 0.02, 0.1)
    ages: float = 0.2
    traps: tuple[str, ...] = ()
    sets: float = 0.0


FLAVOURS = {
    "mixed": Flavour(),
    "moves": Flavour(
        (2, 3, 4), (0, 1, 2, 4), (0.02, 0.1), traps=("mover dies at a step",), sets=0.3
    ),
    "returns": Flavour((1, 1, 2), (0, 0, 1), (0.0, 0.05), dozes=(0.3, 0.5), sets=0.4),
    "days": Flavour((0, 1, 2), (1, 2, 4), ages=1.0),
    "recreations": Flavour(
        (0, 1), (0, 1), (0.02,), deletes=0.6, ages=1.0, traps=("null overtaken",) * 3
    ),
    "unswept": Flavour((1, 2), (0,), (0.3, 0.5), dozes=(0.0,), ages=1.0, sets=0.7),
    "replicas": Flavour((0, 0, 1), (0, 0, 1, 2), (0.05, 0.2), deletes=0.45),
    "public": Flavour((0,), (0, 1, 2)),
    "tracked": Flavour((0, 0, 1), (0, 1, 2, 3), ages=0.3),
    "crowd": Flavour((0, 0, 1), (0, 1, 2, 3)),
    "disaster": Flavour((0,), (0, 1)),
}
"""Every flavour by its name. `returns`: away and back within one publish; `recreations`: deletes, and what
comes back while their tombstones are written; `replicas`: VPCs whose replicas go and whose homes change,
while ports come; `public`: workers that share out public resources, and partitions that are added;
`tracked`: a tracker service that dies and whose disk refuses; `crowd`: hosts that are registered; `unswept`: no janitor, and nothing that needs one."""

_OFTEN = (
    *("mixed", "moves", "returns", "days", "replicas", "moves", "unswept", "disaster"),
    *("mixed", "moves", "returns", "recreations", "public", "replicas", "unswept", "public"),
)
_TURNS = (*_OFTEN * 4, *("tracked", "crowd") * 8)


def flavour_of(seed: int) -> str:
    """Return what the schedule of a seed dwells on."""
    return _TURNS[seed % len(_TURNS)]
