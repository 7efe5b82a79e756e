"""Where a scope's stream stands, seen from one slot. Pure.

The rule: the journal alone says it. A scope is `HERE` when its row names this slot, and its stream
then begins at the placement's `start`: what lies before is of an earlier stay. It is `AWAY` when its
row names other slots. Of a scope that the journal does not know nothing is said, and nothing done.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from southbound.directory.verdict import Held
from southbound.partitioning.placement import (
    Address,
    Placement,
    address_of,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.topology import Topology
from southbound.resources import PUBLIC_SCOPE, Scope, ScopeClass


class Whereabouts(enum.Enum):
    """Where a scope is, seen from one slot."""

    HERE = "here"
    AWAY = "away"
    UNKNOWN = "unknown"


class Standing(NamedTuple):
    """A scope seen from one slot.

    `epoch`: of the placement that is here; of the row, when it is away. `start`: the offset at which
    its stream begins here.
    """

    whereabouts: Whereabouts
    epoch: int = 0
    start: int = 0


UNKNOWN = Standing(Whereabouts.UNKNOWN)
PUBLIC = Standing(Whereabouts.HERE)
"""Public resources never move: their topic's partitions are theirs for ever."""


def placements_of(scope: Scope, held: Held) -> tuple[Placement, ...]:
    """Return a host's placement or a VPC's replicas. Raises `WireError`."""
    if scope.cls is ScopeClass.VPC:
        return parse_vpc_placement(held.row).replicas
    return (parse_placement(held.row),)


def standing_of(scope: Scope, held: Held | None, address: Address, topology: Topology) -> Standing:
    """Return where a scope stands, by what the journal holds for it. Raises `WireError`."""
    if scope == PUBLIC_SCOPE:
        return PUBLIC
    if held is None:
        return UNKNOWN
    for placement in placements_of(scope, held):
        if topology.find_pool(placement.pool) is None:
            # This topology is older than the row: nothing can be said by it.
            return UNKNOWN
        if address_of(scope.cls.value, scope.id, placement, topology) == address:
            return Standing(Whereabouts.HERE, placement.epoch, placement.start)
    return Standing(Whereabouts.AWAY, held.epoch)


def entered(scope: Scope, held: Held) -> Iterator[Placement]:
    """Yield the placements that were filled by copying: they are whole once their seal is there.

    Raises `WireError`.
    """
    return (one for one in placements_of(scope, held) if one.epoch > 1)
