"""Telling a cluster's fences where a scope is now.

The rule: the last entry of a scope in `sb.moves` is the one of its highest epoch; whoever has
appended looks again, and appends what is higher once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from southbound.directory.verdict import Held
from southbound.resources import Scope
from southbound.wire.control import MoveEntry, encode_control
from southbound.wire.keys import scope_text
from tests.simulation.fence import Fence
from tests.simulation.fleet import CLUSTERS, moves_of
from tests.simulation.loop import Steps

if TYPE_CHECKING:
    from tests.simulation.world import World


class Announcer:
    """One process' way to write into `sb.moves`."""

    def __init__(self, world: World, who: str) -> None:
        self._world = world
        self._who = who
        self._fences = {cluster: Fence(world, who, cluster) for cluster in CLUSTERS}

    def told(self, cluster: str, scopes: Iterable[Scope]) -> Steps[dict[Scope, Held]]:
        """Return what a cluster's `sb.moves` says of scopes. Raises `EdgeError`."""
        wanted = list(scopes)
        if wanted:
            yield from self._fences[cluster].look()
        found = {scope: self._fences[cluster].tail.entry(scope) for scope in wanted}
        return {scope: Held(one.epoch, one.row) for scope, one in found.items() if one is not None}

    def tell(self, cluster: str, rows: Mapping[Scope, Held]) -> Steps[dict[Scope, MoveEntry]]:
        """Return once these rows, or those of higher epochs, are told last. Raises `EdgeError`."""
        fence = self._fences[cluster]
        yield from fence.look()
        last = dict(rows)
        pending = {
            scope: held
            for scope, held in rows.items()
            if (there := fence.tail.entry(scope)) is None or there.epoch < held.epoch
        }
        while pending:
            now_us = self._world.loop.now_us
            yield from self._world.network.produce(
                self._who,
                moves_of(cluster),
                [
                    (
                        scope_text(scope).encode(),
                        encode_control(MoveEntry(one.epoch, one.row, now_us)),
                    )
                    for scope, one in pending.items()
                ],
            )
            yield from fence.look()
            pending = {}
            for scope in rows:
                there = fence.tail.entry(scope)
                if there is not None and there.epoch > last[scope].epoch:
                    last[scope] = pending[scope] = Held(there.epoch, there.row)
        return {scope: one for scope in rows if (one := fence.tail.entry(scope)) is not None}
