"""The topology as the directory keeps it: one document with a version, and what was retired.

The rule: a pool is added and never resized, and an id once used is never used again, since a
topic's name must never mean two things (docs/design.md §2). A journal's cluster never changes: it
would leave the truth behind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from southbound.directory.keys import public_pool
from southbound.errors import ConfigError, Fault, WireError
from southbound.partitioning.topology import Az, Cluster, Pool, Topology


class Stored(msgspec.Struct, frozen=True):
    """A topology and the pools (and public kinds, as `public/<kind>`) that may not come back."""

    topology: Topology
    retired: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(Stored)


def encode_stored(stored: Stored) -> str:
    """Return the document that the journal and Redis keep."""
    return msgspec.json.encode(stored).decode()


def decode_stored(document: str) -> Stored:
    """Read what `encode_stored` wrote. Raises `WireError`."""
    try:
        return _decoder.decode(document)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"malformed topology in the directory: {error}") from error


class CurrentTopology:
    """The newest topology that this process knows of. Thread-safe; it never goes back."""

    def __init__(self, given: Topology | None) -> None:
        self._lock = threading.Lock()
        self._stored = None if given is None else Stored(given)

    @property
    def stored(self) -> Stored:
        """The newest topology and what is retired. Raises `ConfigError` when there is none yet."""
        stored = self._stored
        if stored is None:
            raise ConfigError("no topology: apply one first (southbound topology apply FILE)")
        return stored

    @property
    def topology(self) -> Topology:
        """The newest topology. Raises `ConfigError` when there is none yet."""
        return self.stored.topology

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return self._stored is not None

    def adopt(self, stored: Stored) -> None:
        """Take a topology of the directory over one that is older, or has no version yet."""
        with self._lock:
            if self._stored is None or stored.topology.version >= self._stored.topology.version:
                self._stored = stored


def pool_slots(topology: Topology) -> dict[str, int]:
    """Return every name under which slots are counted, and how many slots it has."""
    return {
        **{pool.id: pool.slots for pool in topology.pools},
        **{public_pool(public.kind): public.partitions for public in topology.public},
    }


def succeed(before: Stored | None, wanted: Topology, totals: Mapping[str, int]) -> Stored:
    """Return what follows `before` when `wanted` is put: the next version, or `before` if equal.

    `totals` says how many rows each pool holds: one that holds some cannot be retired. Raises
    `ConfigError` with every fault.
    """
    if before is None:
        return Stored(msgspec.structs.replace(wanted, version=1))
    old = before.topology
    if msgspec.structs.replace(wanted, version=old.version) == old:
        return before
    faults = [*_reused(before, wanted), *_pool_faults(old, wanted), *_public_faults(old, wanted)]
    faults += [*_az_faults(old, wanted), *_cluster_faults(old, wanted)]
    gone = sorted(pool_slots(old).keys() - pool_slots(wanted).keys())
    faults += [
        Fault(
            f"pools[{name}]", f"{totals[name]} placements", "cannot be removed while it holds any"
        )
        for name in gone
        if totals.get(name, 0)
    ]
    if faults:
        raise ConfigError("the topology cannot follow the one that is there", faults)
    following = msgspec.structs.replace(wanted, version=old.version + 1)
    return Stored(following, tuple(sorted({*before.retired, *gone})))


def _reused(before: Stored, wanted: Topology) -> Iterable[Fault]:
    for name in pool_slots(wanted):
        if name in before.retired:
            yield Fault(f"pools[{name}]", name, "was retired, and its name is never used again")


def _pool_faults(old: Topology, wanted: Topology) -> Iterable[Fault]:
    for pool, was in _both(wanted.pools, {pool.id: pool for pool in old.pools}):
        yield from _fixed(
            f"pools[{pool.id}]", pool, was, ("cluster", "cls", "topics", "partitions")
        )


def _public_faults(old: Topology, wanted: Topology) -> Iterable[Fault]:
    before = {public.kind: public for public in old.public}
    for public in wanted.public:
        was = before.get(public.kind)
        if was is None:
            continue
        place = f"public[{public.kind}]"
        if public.cluster != was.cluster:
            yield Fault(f"{place}.cluster", public.cluster, f"must stay {was.cluster!r}")
        if public.partitions < was.partitions:
            yield Fault(
                f"{place}.partitions", public.partitions, f"must not fall from {was.partitions}"
            )


def _az_faults(old: Topology, wanted: Topology) -> Iterable[Fault]:
    kept = {az.id for az in wanted.azs}
    for az, was in _both(wanted.azs, {az.id: az for az in old.azs}):
        yield from _fixed(f"azs[{az.id}]", az, was, ("journal",))
    for az in old.azs:
        if az.id not in kept:
            yield Fault(f"azs[{az.id}]", az.id, "must stay: its journal holds placements")
    if wanted.azs[0].id != old.azs[0].id:
        # Where several journals could, the first one decides, and keeps the plans of moves.
        yield Fault("azs[0]", wanted.azs[0].id, f"must stay {old.azs[0].id!r}, the first one")


def _cluster_faults(old: Topology, wanted: Topology) -> Iterable[Fault]:
    for cluster, was in _both(wanted.clusters, {cluster.id: cluster for cluster in old.clusters}):
        fixed = ("az", "interest_partitions", *(("kafka_id",) if was.kafka_id else ()))
        yield from _fixed(f"clusters[{cluster.id}]", cluster, was, fixed)


_Named = TypeVar("_Named", Az, Cluster, Pool)


def _both(
    wanted: Sequence[_Named], before: Mapping[str, _Named]
) -> Iterable[tuple[_Named, _Named]]:
    return ((entry, before[entry.id]) for entry in wanted if entry.id in before)


def _fixed(
    place: str, entry: msgspec.Struct, was: msgspec.Struct, fields: Sequence[str]
) -> Iterable[Fault]:
    for field in fields:
        value, stays = getattr(entry, field), getattr(was, field)
        if value != stays:
            yield Fault(f"{place}.{field}", value, f"must stay {stays!r}")
