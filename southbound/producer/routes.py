"""Hosts' routes, one object for each slot and epoch.

The rule: hosts that share a slot and an epoch share a route, so what goes to one slot is put together
by looking at routes alone. A pool never changes its cluster or its size, so a route made once stays
right; when too many are kept, all are let go of and made again.
"""

from __future__ import annotations

from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import Topology
from southbound.producer.core import Route, route_host


class HostRoutes:
    """At most `count_max` routes. Thread-safe: two threads may only make the same one twice."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._routes: dict[tuple[str, int, int, int], Route] = {}

    def of_host(self, host: str, placement: Placement, topology: Topology) -> Route:
        """Return a host's route: its one slot, fenced by that slot's cluster.

        Raises `PlanError` when the topology does not know the placement's pool.
        """
        pool = topology.pool(placement.pool)
        topic, partition = placement.slot("host", host, pool)
        stay = (pool.id, topic, partition, placement.epoch)
        route = self._routes.get(stay)
        if route is None:
            route = route_host(host, placement, topology)
            if len(self._routes) >= self._count_max:
                self._routes = {}
            self._routes[stay] = route
        return route
