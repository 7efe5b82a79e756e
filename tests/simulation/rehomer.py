"""Giving a VPC another home: the order of `southbound.rebalance.rehoming`, step by step.

The rule: the set is proposed with another replica first; then every other cluster of the VPC is told; then
the new home's slot gets the seal of that epoch. Whoever finds it half-way goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from southbound.directory.verdict import Held
from southbound.errors import EdgeError
from southbound.partitioning.placement import VpcPlacement, parse_vpc_placement
from southbound.resources import Scope, vpc_scope
from southbound.wire.control import Seal, encode_control
from southbound.wire.keys import scope_text, seal_key
from tests.simulation.announcer import Announcer
from tests.simulation.directory import Directory
from tests.simulation.fleet import address, cluster_of, replica_in
from tests.simulation.loop import Steps
from tests.simulation.seeder import Seeder

if TYPE_CHECKING:
    from tests.simulation.world import World

_ATTEMPTS = 20


class Rehomer:
    """One process'."""

    def __init__(
        self, world: World, who: str, directory: Directory, seeder: Seeder, announcer: Announcer
    ) -> None:
        self._world = world
        self._who = who
        self._directory = directory
        self._seeder = seeder
        self._announcer = announcer

    def rehome(self, vpc: str, cluster: str, before: str) -> Steps[None]:
        """Make a cluster the VPC's home; `before`: the one that it was. Raises `EdgeError`."""
        scope = vpc_scope(vpc)
        for _ in range(_ATTEMPTS):
            held = yield from self._directory.look_up(scope)
            if held is None:
                return
            row = parse_vpc_placement(held.row)
            if cluster_of(row.home) != cluster:
                row = yield from self._seeder.ensure(vpc, cluster)
                made = yield from self._propose(scope, row, cluster)
                yield self._world.pause_us()
                if made is None:
                    continue
                row = made
            clusters = {before, *map(cluster_of, row.replicas)} - {cluster}
            yield from self.tell_all(scope, row, sorted(clusters))
            yield self._world.pause_us()
            yield from self.seal(scope, row)
            return
        raise EdgeError(f"the replicas of {vpc} change too often", retryable=True)

    def _propose(self, scope: Scope, row: VpcPlacement, cluster: str) -> Steps[VpcPlacement | None]:
        replica = replica_in(row, cluster)
        if replica is None:
            return None
        home = msgspec.structs.replace(replica, epoch=row.epoch + 1)
        made = VpcPlacement(row.epoch + 1, (home, *(one for one in row.replicas if one != replica)))
        text = scope_text(scope)
        held = (yield from self._directory.decide({text: Held(made.epoch, made.row())}))[text]
        self._directory.adopt(scope, held)
        return made if held.row == made.row() else None

    def tell_all(self, scope: Scope, row: VpcPlacement, clusters: list[str]) -> Steps[None]:
        """Tell the fences of every other cluster."""
        for other in clusters:
            yield from self._announcer.tell(other, {scope: Held(row.epoch, row.row())})

    def seal(self, scope: Scope, row: VpcPlacement) -> Steps[None]:
        """Say that the new home is one."""
        seal = (seal_key(scope, row.home.epoch), encode_control(Seal(row.home.epoch)))
        yield from self._world.network.produce(self._who, address(scope, row.home), [seal])
        self._world.note(self._who, f"{scope} is at home in {cluster_of(row.home)}")
