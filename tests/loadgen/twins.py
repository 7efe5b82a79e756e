"""A real agent's core and a compact node, fed the same records in the same order, one at a time.

What the real one's world is asked for (watermarks, where VPCs are), the hall is told at the same
moment, so the two must agree after every single record.
"""

from __future__ import annotations

from loadgen.nodes.digest import digest_of, hash_of
from loadgen.nodes.hall import Hall, Place
from loadgen.nodes.tally import Limits
from southbound.nca import events as ev
from southbound.nca.appliers.memory import MemoryApplier
from southbound.partitioning.placement import Address, Placement
from southbound.resources import ScopeClass
from southbound.settings import AgentSettings
from southbound.wire.envelope import encode_spec
from southbound.wire.keys import encode_key
from tests.nca.world import HOST, TOPOLOGY, World


def place_of(address: Address) -> Place:
    """Return an address as halls name it."""
    return address.cluster, address.topic, address.partition


def digest_of_node(node: MemoryApplier) -> int:
    """Return the digest of what a real agent has applied."""
    return digest_of(
        hash_of(encode_key(key), revision, encode_spec(spec))
        for key, (revision, spec) in node.resources.items()
    )


class Twins(World):
    """A world whose agent has a compact twin. `step` lets both read one record."""

    def __init__(self, settings: AgentSettings | None = None) -> None:
        super().__init__(settings)
        hold_us = int(self.settings.changeset_hold_s * 1e6)
        grace_us = int(self.settings.interest_grace_s * 1e6)
        self.hall = Hall(TOPOLOGY, Limits(hold_us, grace_us, self.settings.held_max))
        self.twin = self.hall.join(HOST, self.rows[HOST], high=None)
        self.start()

    def step(self, choice: int) -> bool:
        """Let both take the next record of a partition that has one; return whether there was one."""
        ready = [
            where
            for where, position in self._reading.items()
            if position < len(self.logs.get(where, []))
        ]
        if not ready:
            return False
        where = ready[choice % len(ready)]
        offset = self._reading[where]
        key, value = self.logs[where][offset]
        self._reading[where] = offset + 1
        record = ev.Record(where, offset, key, value)
        self._feed(ev.Batch(self.now, (record,), {where: offset + 1}))
        self.hall.feed(place_of(where), offset, key, value, self.now.us)
        self._look_around()
        return True

    def read_all(self, choice: int = 0) -> None:
        """Let both read everything that there is."""
        self._look_around()
        while self.step(choice):
            self.settle()
        self._read_beside()

    def agree(self, *, at_end: bool = False) -> None:
        """Assert that what stands on one stands on the other.

        A node that has changed its cluster reads its VPCs there at once if it is real, and when both
        clusters' streams say the same if it is compact: until the end they are not compared.
        """
        if self.twin.apart and not at_end:
            return
        real, twin = self.node.resources, self.twin
        for key, (revision, _) in real.items():
            assert twin.revision_of(encode_key(key)) == revision, key
        stands = sum(
            stream.standing(suffix) != 0 for stream in twin.streams() for suffix in stream.entries
        )
        assert stands == len(real)
        assert twin.digest() == digest_of_node(self.node)
        assert all(stream.total == stream.recount() for stream in twin.streams())

    def _look_around(self) -> None:
        self.hall.tick(self.now.us)
        super()._look_around()

    def _read_beside(self) -> None:
        """Read on, for the hall alone, in a cluster that the real agent has left."""
        for place, position in self.hall.positions().items():
            where = Address(*place)
            if where not in self._reading:
                for offset, (key, value) in list(enumerate(self.logs.get(where, [])))[position:]:
                    self.hall.feed(place, offset, key, value, self.now.us)
        self.hall.tick(self.now.us)

    def _do_assign(self) -> None:
        for vpc in [name for name in self.hall.unplaced() if self._is_followed(name)]:
            self.hall.place(vpc, self.vpcs[vpc], high=None, now_us=self.now.us)
        for where in self.core.assignment().marks:
            if place_of(where) in self.hall.unmarked():
                self.hall.mark(place_of(where), len(self.logs.get(where, [])), self.now.us)
        super()._do_assign()
        self.hall.orders.clear()

    def _is_followed(self, vpc: str) -> bool:
        return any(
            stream.scope.cls is ScopeClass.VPC and stream.scope.id == vpc
            for stream in self.core._positions
        )


def moved_to(pool: str, epoch: int, start: int) -> Placement:
    """Return a placement after a move."""
    return Placement(pool, 0, epoch, start)
