"""Which VPCs have ports on the hosts of a cluster, by what its slots say.

The rule: the book is `southbound.rebalance.portbook`; a look asks for the ends of all host slots of the
cluster first, and then reads up to them, as `southbound.rebalance.ports` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from southbound.partitioning.placement import Address
from southbound.rebalance.portbook import PortBook, PortRecord
from tests.simulation.fleet import HOST_POOLS, host_slots
from tests.simulation.loop import Steps

if TYPE_CHECKING:
    from tests.simulation.world import World


class Ports:
    """One process' books."""

    def __init__(self, world: World, who: str) -> None:
        self._world = world
        self._who = who
        self._books: dict[str, PortBook] = {}
        self._next: dict[Address, int] = {}

    def look(self, cluster: str) -> Steps[PortBook]:
        """Return a cluster's book, with everything that was acknowledged before. Raises `EdgeError`."""
        if cluster not in self._books:
            self._books[cluster] = PortBook(lambda pool: HOST_POOLS.get(pool, cluster) != cluster)
        ends = {}
        for where in host_slots(cluster):
            ends[where] = yield from self._world.network.end(self._who, where)
        for where, end in ends.items():
            start = self._next.get(where, 0)
            partition = self._world.clusters[cluster].at(where)
            found = yield from self._world.network.call(
                self._who,
                cluster,
                lambda: partition.read(start, end),  # noqa: B023  # called at once
            )
            self._books[cluster].take(
                where, [PortRecord(one.key, one.value, one.at_us) for one in found]
            )
            self._next[where] = end
        return self._books[cluster]
