"""Looking at a cluster's `sb.moves`.

The rule: what counts is what stands there up to an end asked for at that moment; what it says is judged by
`southbound.directory.moves`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from southbound.directory.moves import MovesTail
from tests.simulation.fleet import TOPOLOGY, moves_of
from tests.simulation.log import Stored
from tests.simulation.loop import MS, Steps

if TYPE_CHECKING:
    from tests.simulation.world import World


class Message:
    """A stored record as a tail takes it."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def key(self) -> bytes:
        """Return the key."""
        return self._stored.key

    def value(self) -> bytes | None:
        """Return the value."""
        return self._stored.value

    def offset(self) -> int:
        """Return the offset."""
        return self._stored.offset

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp, and when the log took it, in ms."""
        return 1, self._stored.at_us // MS


class Fence:
    """One process' tail of one cluster's `sb.moves`."""

    def __init__(self, world: World, who: str, cluster: str) -> None:
        self._world = world
        self._who = who
        self._address = moves_of(cluster)
        self._read_to = 0
        self.tail = MovesTail(TOPOLOGY.cluster(cluster), client_id=who)

    def look(self) -> Steps[None]:
        """Read up to an end asked for at that moment. Raises `Silence`."""
        end = yield from self._world.network.end(self._who, self._address)
        partition = self._world.clusters[self._address.cluster].at(self._address)
        found = yield from self._world.network.call(
            self._who, self._address.cluster, lambda: partition.read(self._read_to, end)
        )
        for stored in found:
            if stored.offset >= self._read_to:
                message: Any = Message(stored)
                self.tail._take(message)
        self._read_to = max(self._read_to, end)
