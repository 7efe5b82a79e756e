"""Hosts that come: each is given a slot by two probes, by whoever registers it first.

The rule: the order of `southbound.directory.registrar`: Redis is brought to the journals' ends, a slot is
reserved in the least loaded pool by two probes, where that is full by any probe in any pool, and the journal
decides. Which slot it is `southbound.partitioning.allocation` says. Who finds no room says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from southbound.directory.registrar import Newcomers, _after
from southbound.directory.verdict import Held
from southbound.errors import CapacityError, EdgeError
from southbound.partitioning.allocation import FIRST_PROBES, share_out
from southbound.partitioning.hashing import PROBES_MAX
from southbound.partitioning.topology import Pool
from southbound.resources import host_scope
from southbound.wire.keys import scope_text
from tests.simulation.directory import Directory
from tests.simulation.fleet import CROWD_POOLS, JOURNALS, TOPOLOGY, az_of_pool
from tests.simulation.loop import S, Steps
from tests.simulation.network import REDIS

if TYPE_CHECKING:
    from tests.simulation.world import World


class Registrar:
    """One process' way to register hosts."""

    def __init__(self, world: World, who: str, directory: Directory) -> None:
        self._world = world
        self._who = who
        self._directory = directory

    def register(self, host: str) -> Steps[None]:
        """Give a host its place, however often it takes; one that finds no room is noted as refused."""
        while True:
            try:
                held = yield from self._attempt(host)
            except CapacityError:
                self._world.note(self._who, f"{host} finds no room")
                self._world.refused.add(host)
                self._world.invariants.refused(host)
                return
            except EdgeError as error:
                self._world.note(self._who, f"{host}: {error}")
                yield int(self._world.chance.uniform(0.1, 3) * S)
                continue
            self._world.note(self._who, f"{host} is registered: {held.row}")
            self._world.refused.discard(host)
            return

    def _attempt(self, host: str) -> Steps[Held]:
        text = scope_text(host_scope(host))
        pools = [TOPOLOGY.pool(id) for id in CROWD_POOLS]
        for az in JOURNALS:
            yield from self._directory.roll(az)
        az = az_of_pool(pools[0].id)
        end = yield from self._directory.roll(az)
        totals = (yield from self._directory.totals()) or {}
        group = Newcomers("h", [host], pools, "the crowd")
        first = share_out(pools, totals, 1)[0]
        row = yield from self._reserve(text, host, [first], FIRST_PROBES, az, end)
        if row is None:
            others = _after(first, group, totals)
            row = yield from self._reserve(text, host, others, PROBES_MAX, az, end)
        if row is None:
            raise CapacityError(f"no room for {host}")
        yield self._world.pause_us()
        return (yield from self._directory.decide({text: Held(1, row)}))[text]

    def _reserve(
        self, text: str, host: str, pools: list[Pool], probes: int, az: str, end: int
    ) -> Steps[str | None]:
        redis = self._world.redis

        def act() -> str | None:
            is_new = text not in redis.memory.rows and (text, 1) not in redis.memory.reserved
            found = redis.allocate(text, host, pools, probes, az, end)
            if is_new and (text, 1) in redis.memory.reserved:
                self._world.invariants.allocated(host, found or "")
            return found

        found = yield from self._world.network.call(self._who, REDIS, act)
        if found == "behind":
            raise EdgeError("Redis is behind", retryable=True)
        return found
