"""A process' share of a fleet: whole clusters, and their hosts in the order of their slots.

The rule: who publishes to a host, and who reads for it, follows from the cluster that it is placed in,
so that all records of a partition come from one process, next to each other, and are read by one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self

import msgspec

from loadgen.workloads.fleet import Fleet, FleetShape
from southbound.directory import Directory
from southbound.errors import EdgeError
from southbound.partitioning.topology import Topology

Progress = Callable[[str], None]

_LOOKED_UP = 20_000


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told at first: the directory's address, the fleet, and which clusters are its."""

    redis_url: str
    shape: FleetShape
    clusters: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """Return it as plain data."""
        made: dict[str, object] = msgspec.to_builtins(self)
        return made

    @classmethod
    def of(cls, plain: object) -> Self:
        """Read it from plain data."""
        return msgspec.convert(plain, cls)


class Placed(NamedTuple):
    """The hosts of one cluster: `hosts` are their indices in the fleet, in the order of their slots.

    `slots`: topic x partitions + partition of each.
    """

    cluster: str
    pool: str
    hosts: array[int]
    slots: array[int]


def placed_hosts(
    directory: Directory, fleet: Fleet, clusters: Sequence[str], say: Progress
) -> list[Placed]:
    """Return where the fleet's hosts are, as far as it is in these clusters' host pools.

    Raises `EdgeError` when a host of the fleet is not registered.
    """
    topology = directory.topology
    wanted = {
        pool.id: pool for cluster in clusters for pool in topology.pools_in("host", cluster=cluster)
    }
    found: dict[str, list[int]] = {pool: [] for pool in wanted}
    for hosts in _pieces(fleet.hosts):
        ids = {fleet.host(i): i for i in hosts}
        placements = directory.hosts(ids)
        if len(placements) < len(ids):
            missing = next(id for id in ids if id not in placements)
            raise EdgeError(f"host {missing} of the fleet is not registered", retryable=False)
        for id, placement in placements.items():
            pool = wanted.get(placement.pool)
            if pool is not None:
                topic, partition = placement.slot("host", id, pool)
                # Slot before host, so that sorting puts neighbours together.
                found[pool.id].append((topic * pool.partitions + partition) << 32 | ids[id])
        say(f"looking hosts up: {hosts.stop:,} of {fleet.hosts:,}")
    return [_placed(topology, pool, packed) for pool, packed in found.items()]


def only(placed: Placed, chosen: Callable[[int], bool]) -> Placed:
    """Return the same with some of its hosts, by their indices in the fleet."""
    kept = [at for at, i in enumerate(placed.hosts) if chosen(i)]
    return placed._replace(
        hosts=array("I", [placed.hosts[at] for at in kept]),
        slots=array("I", [placed.slots[at] for at in kept]),
    )


def _placed(topology: Topology, pool: str, packed: list[int]) -> Placed:
    packed.sort()
    low = (1 << 32) - 1
    hosts = array("I", [one & low for one in packed])
    slots = array("I", [one >> 32 for one in packed])
    return Placed(topology.pool(pool).cluster, pool, hosts, slots)


def _pieces(count: int) -> Iterator[range]:
    return (range(first, min(count, first + _LOOKED_UP)) for first in range(0, count, _LOOKED_UP))


def deal(clusters: Sequence[str], workers: int) -> list[tuple[str, ...]]:
    """Return whole clusters for each worker, as evenly as may be; none may go away empty-handed."""
    assert 1 <= workers <= len(clusters), (workers, len(clusters))
    return [tuple(clusters[number::workers]) for number in range(workers)]
