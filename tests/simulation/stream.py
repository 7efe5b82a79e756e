"""One scope's records in one slot, as a copier reads them.

The rule: what is read is judged by `southbound.rebalance.copying`; reading goes on from where it
ended, up to an end that was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from southbound.partitioning.placement import Placement
from southbound.rebalance.copying import History, Record
from southbound.resources import Scope
from tests.simulation.fleet import address
from tests.simulation.loop import Steps

if TYPE_CHECKING:
    from tests.simulation.world import World


class Stream:
    """A scope's history in the slot of a placement, from the placement's start."""

    def __init__(self, world: World, who: str, scope: Scope, placement: Placement) -> None:
        self._world = world
        self._who = who
        self.address = address(scope, placement)
        self.history = History(scope)
        self.position = placement.start

    def catch_up(self, to: int | None = None) -> Steps[None]:
        """Read on, up to an offset or to the present end. Raises `Silence`."""
        world = self._world
        end = to
        if end is None:
            end = yield from world.network.end(self._who, self.address)
        partition = world.clusters[self.address.cluster].at(self.address)
        found = yield from world.network.call(
            self._who, self.address.cluster, lambda: partition.read(self.position, end)
        )
        self.history.take(Record(*one) for one in found if one.offset >= self.position)
        self.position = max(self.position, end)
