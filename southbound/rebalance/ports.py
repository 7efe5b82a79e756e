"""The ports of clusters' hosts, read from the slots and followed on from look to look.

The rule: a look asks for the ends of all host slots of a cluster first, then reads up to them. So it
holds every port that was acknowledged before it began (docs/decisions/0024). The first look reads a
cluster's host slots as a whole, each further one what they have gained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Topology, topic_name
from southbound.pieces import in_pieces
from southbound.rebalance.portbook import PortBook, PortRecord
from southbound.rebalance.slots import Slots, taken_us

_SLOTS_AT_ONCE = 500


class Ports:
    """Books of clusters. For one thread; making it does no IO."""

    def __init__(self, topology: Callable[[], Topology], slots: Slots) -> None:
        self._topology = topology
        self._slots = slots
        self._books: dict[str, PortBook] = {}
        self._next: dict[Address, int] = {}

    def look(self, cluster: str) -> PortBook:
        """Return the book of a cluster, with everything that its slots hold by now.

        Raises `EdgeError`, `PlanError` for a cluster that is not there.
        """
        topology = self._topology()
        topology.cluster(cluster)
        if cluster not in self._books:
            self._books[cluster] = PortBook(lambda pool: self._leads_out(pool, cluster))
        ends = self._slots.ends(_host_slots(topology, cluster))
        grown = [address for address, end in ends.items() if end > self._next.get(address, 0)]
        for piece in in_pieces(grown, _SLOTS_AT_ONCE):
            self._read(self._books[cluster], {one: ends[one] for one in piece})
        return self._books[cluster]

    def _leads_out(self, pool: str, cluster: str) -> bool:
        found = self._topology().find_pool(pool)
        return found is not None and found.cluster != cluster

    def _read(self, book: PortBook, ends: dict[Address, int]) -> None:
        ranges = {address: (self._next.get(address, 0), end) for address, end in ends.items()}
        for address, messages in self._slots.messages(ranges).items():
            book.take(
                address,
                (
                    PortRecord(message.key() or b"", message.value(), taken_us(message))
                    for message in messages
                ),
            )
            self._next[address] = ends[address]


def _host_slots(topology: Topology, cluster: str) -> Iterator[Address]:
    for pool in topology.pools_in("host", cluster=cluster):
        for topic in range(pool.topics):
            for partition in range(pool.partitions):
                yield Address(cluster, topic_name(pool.id, topic), partition)
