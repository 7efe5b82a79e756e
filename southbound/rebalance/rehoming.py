"""Giving a VPC another home: the replica of another cluster becomes the one whose fence counts.

The rule: nothing is copied, since every replica that is sealed has all that was accepted. The new
home takes the epoch of the new row, and its slot gets the seal of that epoch only once `sb.moves` of
the old home's cluster tells the new row. Whoever adds a replica next waits for that seal; so nobody
changes the set again while a publisher asleep since before would still be let through by the old
fence. A crash anywhere leaves a home without its seal, and the same call goes on from there.
"""

from __future__ import annotations

import msgspec

from southbound.directory.directory import Directory
from southbound.errors import EdgeError, StaleMap, UnknownScope
from southbound.partitioning.placement import (
    Placement,
    VpcPlacement,
    address_of,
    parse_vpc_placement,
)
from southbound.rebalance.announcing import Announcer, Row
from southbound.rebalance.seeding import Seeder
from southbound.rebalance.slots import Slots, Written
from southbound.resources import vpc_scope
from southbound.wire.control import Seal, encode_control
from southbound.wire.keys import seal_key

_ATTEMPTS_MAX = 20


class Rehomer:
    """Moves homes. For one thread; making it does no IO."""

    def __init__(
        self, directory: Directory, seeder: Seeder, announcer: Announcer, slots: Slots
    ) -> None:
        self._directory = directory
        self._seeder = seeder
        self._announcer = announcer
        self._slots = slots

    def rehome(self, vpc: str, cluster: str, before: str) -> VpcPlacement:
        """Make `cluster` the VPC's home, whose home was in cluster `before`; return its row.

        The VPC gets a replica there if it has none; what was its home stays a replica. May be
        repeated after any error. Raises `EdgeError`, `UnknownScope`, `PlanError`.
        """
        scope = vpc_scope(vpc)
        for _ in range(_ATTEMPTS_MAX):
            row = self._row(vpc)
            if self._cluster_of(row.home) != cluster:
                row = self._seeder.ensure(vpc, cluster)
                made = self._propose(vpc, row, cluster)
                if made is None:
                    continue
                row = made
            clusters = {before, *(self._cluster_of(one) for one in row.replicas)} - {cluster}
            for other in sorted(clusters):
                self._announcer.tell(
                    {scope: Row(row.epoch, row.row())}, self._directory.topology.cluster(other)
                )
            self._seal(vpc, row.home)
            return row
        raise EdgeError(
            f"the replicas of VPC {vpc!r} change too often to move its home", retryable=True
        )

    def _row(self, vpc: str) -> VpcPlacement:
        found = self._directory.rows([vpc_scope(vpc)])
        if not found:
            raise UnknownScope("vpc", vpc, "nothing of it has been published")
        return parse_vpc_placement(found[vpc_scope(vpc)])

    def _cluster_of(self, placement: Placement) -> str:
        return self._directory.topology.pool(placement.pool).cluster

    def _propose(self, vpc: str, row: VpcPlacement, cluster: str) -> VpcPlacement | None:
        """Propose the set with another home; None when the set has changed meanwhile."""
        replica = row.in_cluster(cluster, self._directory.topology)
        if replica is None:
            return None
        home = msgspec.structs.replace(replica, epoch=row.epoch + 1)
        others = tuple(one for one in row.replicas if one != replica)
        try:
            return self._directory.propose_vpc(vpc, (home, *others), expected_epoch=row.epoch)
        except StaleMap as stale:
            if isinstance(stale.current, VpcPlacement):
                self._directory.adopt(vpc_scope(vpc), stale.current.row())
            return None

    def _seal(self, vpc: str, home: Placement) -> None:
        address = address_of("vpc", vpc, home, self._directory.topology)
        seal = encode_control(Seal(home.epoch))
        self._slots.append([Written(address, seal_key(vpc_scope(vpc), home.epoch), seal)])
