"""Making a VPC present in a cluster: reserve, pre-copy, propose, tell the fences, copy, mend, seal.

The rule: the order of `southbound.rebalance.seeding`, over `southbound.rebalance.copying`; whoever
finds a replica without its seal takes up from telling the fences.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from southbound.directory.verdict import Held
from southbound.errors import EdgeError, PlanError
from southbound.partitioning.placement import Placement, VpcPlacement, parse_vpc_placement
from southbound.rebalance.copying import copies
from southbound.resources import Scope, vpc_scope
from southbound.wire.control import Seal, encode_control
from southbound.wire.keys import scope_text, seal_key
from tests.simulation.announcer import Announcer
from tests.simulation.directory import Directory
from tests.simulation.fleet import CLUSTERS, VPC_POOLS, address, cluster_of, replica_in
from tests.simulation.loop import Steps
from tests.simulation.stream import Stream

if TYPE_CHECKING:
    from tests.simulation.world import World

_ATTEMPTS = 20


class Seeder:
    """One process' seeding."""

    def __init__(self, world: World, who: str, directory: Directory) -> None:
        self._world = world
        self._who = who
        self._directory = directory
        self._announcer = Announcer(world, who)
        self._sealed: set[tuple[str, str, int]] = set()
        self._unmended: set[tuple[str, str]] = set()

    def place(self, vpc: str, cluster: str | None) -> Steps[Held]:
        """Give a VPC that nobody has mentioned its home. Raises `EdgeError`."""
        at = cluster or self._world.chance.choice(CLUSTERS)
        row = VpcPlacement(1, (Placement(pool_in(at), 0),))
        text = scope_text(vpc_scope(vpc))
        held = (yield from self._directory.decide({text: Held(1, row.row())}))[text]
        self._directory.adopt(vpc_scope(vpc), held)
        return held

    def ensure(self, vpc: str, cluster: str) -> Steps[VpcPlacement]:
        """Return a row with a replica in the cluster that is complete. Raises `EdgeError`."""
        scope = vpc_scope(vpc)
        for _ in range(_ATTEMPTS):
            held = yield from self._directory.find(scope)
            if held is None:
                held = yield from self.place(vpc, cluster)
            row = parse_vpc_placement(held.row)
            replica = replica_in(row, cluster)
            if (vpc, cluster) not in self._unmended and replica is not None:
                is_original = replica == row.home and replica.epoch == 1
                if is_original or (vpc, cluster, replica.epoch) in self._sealed:
                    return row
            done = yield from self._attempt(scope, row, cluster)
            if done is not None:
                return done
        raise EdgeError(f"the replicas of {vpc} change too often", retryable=True)

    def is_present(self, vpc: str, cluster: str) -> bool:
        """Tell whether the row that is known has a replica in the cluster that was seen complete."""
        held = self._directory.known(vpc_scope(vpc))
        row = None if held is None else parse_vpc_placement(held.row)
        replica = None if row is None else replica_in(row, cluster)
        if row is None or replica is None:
            return False
        is_original = replica == row.home and replica.epoch == 1
        return is_original or (vpc, cluster, replica.epoch) in self._sealed

    def _attempt(self, scope: Scope, row: VpcPlacement, cluster: str) -> Steps[VpcPlacement | None]:
        """Bring the replica to its seal; None: another row holds."""
        replica = replica_in(row, cluster)
        home = self._stream(scope, row.home)
        if replica is None:
            return (yield from self._add(scope, row, cluster, home))
        target = self._stream(scope, replica)
        yield from target.catch_up()
        if not target.history.sealed(replica.epoch):
            if replica == row.home:
                raise EdgeError(f"the home of {scope} is being moved", retryable=True)
            if not (yield from self._complete(scope, row, replica, home, target)):
                return None
        elif (scope.id, cluster) in self._unmended:
            yield from self._mend(scope, target, replica)
        self._unmended.discard((scope.id, cluster))
        self._sealed.add((scope.id, cluster, replica.epoch))
        return row

    def _stream(self, scope: Scope, placement: Placement) -> Stream:
        return Stream(self._world, self._who, scope, placement)

    def _add(
        self, scope: Scope, row: VpcPlacement, cluster: str, home: Stream
    ) -> Steps[VpcPlacement | None]:
        pool = pool_in(cluster)
        epoch = row.epoch + 1
        text = scope_text(scope)
        # A reservation of somebody else's runs out; the journal decides between the two.
        with contextlib.suppress(PlanError):
            yield from self._directory.reserve(scope, epoch, Placement(pool, 0))
        slot = Placement(pool, 0, epoch)
        start = yield from self._world.network.end(self._who, address(scope, slot))
        replica = Placement(pool, 0, epoch, start)
        target = self._stream(scope, replica)
        yield from self._catch_up_home(home, row.home)
        yield from self._copy(scope, home, target, replica)
        made = VpcPlacement(epoch, (*row.replicas, replica))
        held = (yield from self._directory.decide({text: Held(epoch, made.row())}))[text]
        self._directory.adopt(scope, held)
        if held.row != made.row():
            return None
        if not (yield from self._complete(scope, made, replica, home, target)):
            return None
        self._unmended.discard((scope.id, cluster))
        self._sealed.add((scope.id, cluster, epoch))
        return made

    def _complete(
        self, scope: Scope, row: VpcPlacement, replica: Placement, home: Stream, target: Stream
    ) -> Steps[bool]:
        """Tell the fences, copy what the home holds by then, mend, seal; False: a newer row holds."""
        told = yield from self._announcer.tell(
            cluster_of(row.home), {scope: Held(row.epoch, row.row())}
        )
        if told[scope].epoch > row.epoch:
            self._directory.adopt(scope, Held(told[scope].epoch, told[scope].row))
            return False
        yield from self._catch_up_home(home, row.home)
        yield from self._copy(scope, home, target, replica)
        yield from self._mend(scope, target, replica)
        seal = (seal_key(scope, replica.epoch), encode_control(Seal(replica.epoch)))
        yield from self._world.network.produce(self._who, target.address, [seal])
        self._world.note(self._who, f"{scope} is sealed in {target.address.cluster}")
        return True

    def _catch_up_home(self, home: Stream, placement: Placement) -> Steps[None]:
        yield from home.catch_up()
        if placement.epoch > 1 and not home.history.sealed(placement.epoch):
            raise EdgeError("the home is being moved, and is not complete yet", retryable=True)

    def _copy(self, scope: Scope, home: Stream, target: Stream, replica: Placement) -> Steps[None]:
        yield from target.catch_up()
        now_us = self._world.loop.now_us
        missing = list(
            copies(home.history.highest(now_us), target.history.highest(now_us), replica.epoch)
        )
        self._unmended.add((scope.id, cluster_of(replica)))
        if missing:
            yield from self._world.network.produce(self._who, target.address, missing)

    def _mend(self, scope: Scope, target: Stream, replica: Placement) -> Steps[None]:
        for _ in range(50):
            yield from target.catch_up()
            found = list(target.history.inversions(self._world.loop.now_us, replica.epoch))
            if not found:
                return
            yield from self._world.network.produce(self._who, target.address, found)
        raise EdgeError(f"revisions of {scope} keep coming in falling order", retryable=True)


def pool_in(cluster: str) -> str:
    """Return the pool of VPCs of a cluster."""
    return next(id for id, at in VPC_POOLS.items() if at == cluster)
