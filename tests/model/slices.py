"""Which slices of the model are exhausted, in tests and by `python -m tests.model --deep`.

The full product of everything is out of reach. Each slice lets some of it vary, to the bounds that
it names, and goes through every interleaving of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from southbound.partitioning.handover import Kind, Step
from tests.model.engine import Model
from tests.model.replicas import ReplicaFault, Replicas
from tests.model.state import Bounds, Fault, Left, Trip
from tests.model.tombstones import Tombstones
from tests.model.world import World

_THERE = (Trip(Kind.MOVE, 0, 1),)
_AND_BACK = (Trip(Kind.MOVE, 0, 1), Trip(Kind.MOVE, 1, 0))
_TWO_WAYS = (Trip(Kind.MOVE, 0, 1), Trip(Kind.MOVE, 0, 2))
_AGAIN = (Trip(Kind.MOVE, 0, 1), Trip(Kind.MOVE, 0, 1))
_ADD, _REMOVE = Trip(Kind.ADD, 0, 1), Trip(Kind.REMOVE, 1, -1)
_HOME = Trip(Kind.MOVE, 0, 2)
_OTHER = Trip(Kind.MOVE, 1, 2)
_SELDOM = frozenset({Step.PRECOPIED, Step.MARKED, Step.DONE, Step.ABANDONED})
"""An executor that stores its record only after these; in between it works on unseen."""


def _bounds(*trips: Trip, **rest: Any) -> Bounds:
    left = {name: rest.pop(name) for name in list(rest) if name in Left._fields}
    return Bounds(trips, left=Left(**left), **rest)


def _vpc(*trips: Trip, **rest: Any) -> Bounds:
    slots = 1 + max(max(trip.old, trip.new) for trip in trips)
    return _bounds(*trips, vpc=True, slots=slots, **rest)


def _replicated(*trips: Trip, **rest: Any) -> Bounds:
    return _vpc(*trips, replicas=(0, 1), agents=(0, 1), **rest)


QUICK: Mapping[str, Bounds] = {
    "a move, two publishers, one dies, a compaction": _bounds(
        *_THERE, senders=2, deaths=1, compactions=1
    ),
    "a move, one publisher, an executor is overtaken": _bounds(
        *_THERE, senders=1, takeovers=1, clearing=True, storing=_SELDOM
    ),
    "a move, one publisher, its record falls back": _bounds(
        *_THERE, senders=1, fallbacks=1, clearing=True, storing=_SELDOM
    ),
    "a move, one publisher, abandoned or not, and once more": _bounds(
        *_AGAIN, senders=1, abandons=1, storing=_SELDOM
    ),
    "two moves to different slots, one publisher": _bounds(*_TWO_WAYS, senders=1, slots=3, early=1),
    "there and back, one publisher, planned too early": _bounds(*_AND_BACK, senders=1, early=1),
    "there and back, a change and then a delete that is forgotten": _bounds(
        *_AND_BACK, senders=2, in_turn=True, deletes=frozenset({2}), burials=1
    ),
    "there and back, earlier stays are cleaned": _bounds(*_AND_BACK, senders=1, cleaning=True),
    "there and back, cleaned, planned too early": _bounds(
        *_AND_BACK, senders=1, cleaning=True, early=1
    ),
    "there and back, earlier stays are cleared when reserving": _bounds(
        *_AND_BACK, senders=1, clearing=True
    ),
    "a move, slow agents, one fresh, a compaction": _bounds(
        *_THERE, senders=1, lazy=True, fresh=1, compactions=1
    ),
    "a move, a slow agent that reads anew, a compaction": _bounds(
        *_THERE, senders=1, lazy=True, compactions=1, resyncs=1
    ),
    "a replica is added, two publishers, one dies": _vpc(_ADD, senders=2, deaths=1),
    "a replica is added, an executor is overtaken": _vpc(_ADD, senders=1, takeovers=1),
    "a replica is added and removed": _vpc(_ADD, _REMOVE, senders=2),
    "a replica is removed, late followers": _replicated(_REMOVE, senders=2, fresh=1),
    "a home moves, two publishers": _replicated(_HOME, senders=2),
    "a replica moves, one publisher dies or not": _replicated(_OTHER, senders=1, deaths=1),
    "a replica is added while the home moves": _vpc(_ADD, _HOME, senders=1, early=1),
    "a home moves while a replica is added": _vpc(_HOME, _ADD, senders=1, early=1),
}

DEEP: Mapping[str, Bounds] = {
    "a move, two publishers, an executor is overtaken": _bounds(
        *_THERE, senders=2, takeovers=1, storing=_SELDOM
    ),
    "a move, one publisher, two executors are overtaken": _bounds(
        *_THERE, senders=1, takeovers=2, storing=_SELDOM
    ),
    "a move, one publisher, overtaken, and its record falls back": _bounds(
        *_THERE, senders=1, takeovers=1, fallbacks=1
    ),
    "there and back, two publishers": _bounds(*_AND_BACK, senders=2),
    "there and back, one publisher, an executor is overtaken": _bounds(
        *_AND_BACK, senders=1, takeovers=1, storing=_SELDOM
    ),
    "there and back, a change and a delete at once": _bounds(
        *_AND_BACK, senders=2, deletes=frozenset({2}), burials=1
    ),
    "there and back, cleaned, two publishers in turn, planned too early": _bounds(
        *_AND_BACK, senders=2, in_turn=True, cleaning=True, early=1
    ),
    "a move, slow agents, one fresh, one reads anew, a compaction": _bounds(
        *_THERE, senders=1, lazy=True, fresh=1, compactions=1, resyncs=1
    ),
    "a replica is added, its record falls back": _vpc(_ADD, senders=1, fallbacks=1),
    "a replica is added, two publishers, an executor is overtaken": _vpc(
        _ADD, senders=2, takeovers=1, storing=_SELDOM
    ),
    "a home moves, two publishers, one dies": _replicated(_HOME, senders=2, deaths=1),
    "a home moves, abandoned or not, while a replica is removed": _replicated(
        _HOME, _REMOVE, senders=1, early=1, abandons=1
    ),
}


class Planted(NamedTuple):
    """A bug, and the slice in which it is looked for."""

    fault: Fault
    bounds: Bounds


PLANTED: tuple[Planted, ...] = (
    Planted(Fault.NO_FENCE, _bounds(*_THERE, senders=1)),
    Planted(Fault.REDIS_FENCE, _bounds(*_THERE, senders=1)),
    Planted(Fault.MARKER_FIRST, _bounds(*_THERE, senders=1)),
    Planted(Fault.NO_DELTA, _bounds(*_THERE, senders=1)),
    Planted(Fault.NO_MEND, _bounds(*_THERE, senders=2)),
    Planted(Fault.NO_SEAL, _bounds(*_THERE, senders=1)),
    Planted(Fault.FROM_ZERO, QUICK["there and back, a change and then a delete that is forgotten"]),
    Planted(Fault.LATE_CLEANING, QUICK["there and back, earlier stays are cleaned"]),
    Planted(Fault.MOVES_FIRST, _bounds(*_THERE, senders=1, fallbacks=1)),
    Planted(Fault.NO_ADOPTION, _bounds(*_THERE, senders=1, fallbacks=1)),
    Planted(Fault.DROPPED, QUICK["a move, one publisher, abandoned or not, and once more"]),
    Planted(Fault.UNSEALED_SOURCE, QUICK["there and back, one publisher, planned too early"]),
    Planted(Fault.DELTA_TO_M, QUICK["a move, two publishers, one dies, a compaction"]),
    Planted(Fault.UNANSWERED_NULL, QUICK["there and back, cleaned, planned too early"]),
    Planted(Fault.END_FIRST, _vpc(_ADD, senders=1)),
    Planted(Fault.NO_FORWARDING, _replicated(_REMOVE, senders=1)),
    Planted(Fault.SLOW_SNAPSHOT, QUICK["a move, a slow agent that reads anew, a compaction"]),
)

TOMBSTONES = "tombstones, two janitors, a re-creation and a delete"


def models(*, deep: bool) -> dict[str, Model[Any]]:
    """Return what is to be exhausted, by name."""
    found: dict[str, Model[Any]] = {
        TOMBSTONES: Tombstones(),
        "a replica is dropped while a port comes": Replicas(),
        "a replica is dropped while a port comes to a host that moves": Replicas(moving=True),
    }
    found |= {name: World(bounds) for name, bounds in QUICK.items()}
    if deep:
        found |= {name: World(bounds) for name, bounds in DEEP.items()}
    return found


def planted() -> dict[str, Model[Any]]:
    """Return what must be found to be wrong, by the name of the bug."""
    found: dict[str, Model[Any]] = {
        "a tombstone behind a re-creation": Tombstones((3,), answers=False)
    }
    found |= {one.fault.value: World(one.bounds, one.fault) for one in PLANTED}
    found |= {fault.value: Replicas(moving=True, fault=fault) for fault in ReplicaFault}
    return found
