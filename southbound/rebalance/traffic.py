"""How much each slot carries, measured on the logs themselves.

The rule: a slot's end rises by one with every record, so two looks at all ends are a measurement; it
costs the clusters two questions and the publishers nothing.
"""

from __future__ import annotations

import time

from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Pool, Topology, topic_name
from southbound.rebalance.slots import Slots

_TIMEOUT_S = 30.0


def measure(topology: Topology, sample_s: float) -> dict[str, list[float]]:
    """Return the records that each slot of each pool takes a second. Raises `EdgeError`."""
    slots = Slots(lambda: topology, client_id="southbound-traffic", timeout_s=_TIMEOUT_S)
    addresses = {pool.id: _addresses(pool) for pool in topology.pools}
    every = [address for those in addresses.values() for address in those]
    try:
        before = slots.ends(every)
        began_s = time.monotonic()
        time.sleep(sample_s)
        after = slots.ends(every)
        took_s = time.monotonic() - began_s
    finally:
        slots.close()
    return {
        pool: [(after[one] - before[one]) / took_s for one in those]
        for pool, those in addresses.items()
    }


def _addresses(pool: Pool) -> list[Address]:
    """Return a pool's slots in the order of their numbers."""
    return [
        Address(pool.cluster, topic_name(pool.id, topic), partition)
        for topic in range(pool.topics)
        for partition in range(pool.partitions)
    ]
