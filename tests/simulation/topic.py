"""The public kind's topic, which grows while everything runs; and who lets it grow.

The rule: partitions are made before the topology names them, and never fewer; who has died between the two
begins again. Workers learn of new ones when their group next looks; who gives places does so by the newest
topology that Redis or the process knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from southbound.errors import EdgeError
from tests.simulation.fleet import PUBLIC_PARTITIONS, public_slot
from tests.simulation.loop import MINUTE, S, Steps
from tests.simulation.network import REDIS

if TYPE_CHECKING:
    from tests.simulation.world import World


class Topic:
    """The topic as its cluster has it: `partitions`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.partitions = PUBLIC_PARTITIONS

    def grow(self, who: str, partitions: int) -> None:
        """Let a process bring it to so many partitions, however often it takes."""
        self._world.loop.spawn(f"{who} grows the topic", self._until_grown(who, partitions))

    def _until_grown(self, who: str, partitions: int) -> Steps[None]:
        while True:
            try:
                yield from self.make(who, partitions)
                yield self._world.pause_us()
                yield from self.name(who, partitions)
            except EdgeError:
                yield 2 * S
                continue
            self._world.note(who, f"the topic has {partitions} partitions")
            return

    def make(self, who: str, partitions: int) -> Steps[None]:
        """Add partitions; the group learns of them some time later."""

        def act() -> None:
            self.partitions = max(self.partitions, partitions)

        yield from self._world.network.call(who, public_slot(0).cluster, act)
        self._world.loop.spawn("group looks", self._notice())

    def _notice(self) -> Steps[None]:
        yield int(self._world.chance.uniform(0, 5) * MINUTE)
        self._world.group.notice(self.partitions)

    def name(self, who: str, partitions: int) -> Steps[None]:
        """Store a topology that names them."""
        redis = self._world.redis
        yield from self._world.network.call(who, REDIS, lambda: redis.name_partitions(partitions))
