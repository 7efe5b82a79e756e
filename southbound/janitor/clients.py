"""A janitor's clients, three for each cluster, however many slots it has.

The rule: they are made when they are first needed, kept between sweeps, and let go when a cluster
has other addresses.
"""

from __future__ import annotations

from typing import NamedTuple

from southbound.edge.slots import SlotEnds, SlotReader, SlotWriter
from southbound.partitioning.topology import Cluster


class SlotClients(NamedTuple):
    """What asks, reads and writes the slots of one cluster."""

    cluster: Cluster
    ends: SlotEnds
    reader: SlotReader
    writer: SlotWriter

    def close(self) -> None:
        """Let go of them; they come back by themselves."""
        self.ends.close()
        self.reader.close()
        self.writer.close()


class ClientPool:
    """The clients of all clusters. For one thread; making it does no IO."""

    def __init__(self, client_id: str, timeout_s: float) -> None:
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._clients: dict[str, SlotClients] = {}

    def of(self, cluster: Cluster) -> SlotClients:
        """Return a cluster's clients."""
        found = self._clients.get(cluster.id)
        if found is not None and found.cluster == cluster:
            return found
        if found is not None:
            found.close()
        made = SlotClients(
            cluster,
            SlotEnds(cluster, self._client_id),
            SlotReader(cluster, self._client_id),
            SlotWriter(cluster, self._client_id, timeout_s=self._timeout_s),
        )
        self._clients[cluster.id] = made
        return made

    def close(self) -> None:
        """Let go of all."""
        for clients in self._clients.values():
            clients.close()
