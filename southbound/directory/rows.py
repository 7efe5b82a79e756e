"""Rows and key texts of the three classes: reading them, and which slots they count in.

The rule: what the journal or Redis holds for a key is one short text; this is the only place that
knows the three shapes. Equal placements are one object, since of a million hosts nearly all have
one of a few dozen (pool, probe, epoch 1, start 0).
"""

from __future__ import annotations

from collections.abc import Iterator

from southbound.directory.keys import HOST, PUBLIC, TOPOLOGY_TEXT, VPC, parts_of, public_pool
from southbound.directory.topologies import decode_stored
from southbound.directory.verdict import Held
from southbound.errors import WireError
from southbound.partitioning.allocation import slot_index
from southbound.partitioning.placement import (
    Placement,
    VpcPlacement,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.topology import Topology
from southbound.wire.keys import SEPARATOR, id_problem

_SHARED_MAX = 4_096
_CLASSES = {HOST: "host", VPC: "vpc"}


class RowReader:
    """Reads rows; equal texts of hosts that never moved give the same object."""

    def __init__(self) -> None:
        self._shared: dict[str, Placement] = {}

    def host(self, row: str) -> Placement:
        """Read a host's row. Raises `WireError`."""
        placement = self._shared.get(row)
        if placement is None:
            placement = parse_placement(row)
            if placement.start == 0 and len(self._shared) < _SHARED_MAX:
                self._shared[row] = placement
        return placement

    def vpc(self, row: str) -> VpcPlacement:
        """Read a VPC's row. Raises `WireError`."""
        return parse_vpc_placement(row)

    def public(self, row: str) -> int:
        """Read a public resource's row, its partition. Raises `WireError`."""
        if not (row.isascii() and row.isdigit() and len(row) < 10):
            raise WireError(f"not a partition: {row[:80]!r}")
        return int(row)

    def held(self, text: str, row: str) -> Held:
        """Return what holds for a key whose row this is. Raises `WireError`."""
        letter, _ = parts_of(text)
        if letter == HOST:
            return Held(self.host(row).epoch, row)
        if letter == VPC:
            return Held(self.vpc(row).epoch, row)
        if letter == PUBLIC:
            self.public(row)
            return Held(1, row)
        raise WireError(f"not a key of the directory: {text[:80]!r}")

    def check(self, text: str, held: Held) -> None:
        """Raise `WireError` unless the key is one and the row says the epoch that stands beside.

        Of the topology, whose epoch stands beside its document alone, the document is read.
        """
        if text == TOPOLOGY_TEXT:
            decode_stored(held.row)
            return
        letter, field = parts_of(text)
        names = field.split(SEPARATOR) if letter == PUBLIC else [field]
        if len(names) != (2 if letter == PUBLIC else 1) or any(map(id_problem, names)):
            raise WireError(f"not a key of the directory: {text[:80]!r}")
        if self.held(text, held.row).epoch != held.epoch:
            raise WireError(f"epoch {held.epoch} stands beside the row {held.row[:80]!r}")

    def slots(self, text: str, row: str, topology: Topology) -> Iterator[tuple[str, int]]:
        """Yield (pool, slot index) of each place where a row counts.

        A pool that the topology does not know is one that was retired: nothing is counted there.
        """
        letter, field = parts_of(text)
        if letter == PUBLIC:
            yield public_pool(field.partition(SEPARATOR)[0]), self.public(row)
            return
        cls = _CLASSES[letter]
        placements = (self.host(row),) if letter == HOST else self.vpc(row).replicas
        for placement in placements:
            pool = topology.find_pool(placement.pool)
            if pool is not None:
                yield pool.id, slot_index(cls, field, pool, placement.probe)
