"""A control-plane instance's publisher: look up, deliver, look, be accepted or turned; and its tracker.

The rule: routes and verdicts are `southbound.producer.core`'s, what a fence holds is
`southbound.directory.moves`', what was applied is `southbound.producer.tracker_core`'s. What is here
performs them over the simulated network, and can stop between any two steps.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from southbound.directory.verdict import Held
from southbound.errors import EdgeError, OutcomeUnknown, SouthboundError
from southbound.partitioning.placement import Address
from southbound.producer.checks import parcels_of
from southbound.producer.core import (
    Parcel,
    Route,
    Standing,
    judge,
    route_of_row,
    route_public,
    unsent,
)
from southbound.producer.tracker_core import Applied, TrackedPart, TrackerCore, Watch
from southbound.resources import Changeset, Resource, Scope, ScopeClass, vpc_scope
from southbound.wire.envelope import Envelope, encode
from southbound.wire.keys import decode_key
from southbound.wire.reports import decode_report, parse_interest_key
from tests.simulation.directory import Directory
from tests.simulation.fence import Fence
from tests.simulation.fleet import (
    CLUSTERS,
    TOPOLOGY,
    interest_of,
    status_of,
)
from tests.simulation.herald import Herald
from tests.simulation.loop import MS, S, Steps, Task, Wait
from tests.simulation.network import Item
from tests.simulation.registrar import Registrar
from tests.simulation.seeder import Seeder

if TYPE_CHECKING:
    from tests.simulation.world import World

_RESENDS_MAX = 16


class Publisher:
    """One instance. `attempts` counts what it was asked to publish."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.directory = Directory(world, name)
        self.fences = {cluster: Fence(world, name, cluster) for cluster in CLUSTERS}
        self.seeder = Seeder(world, name, self.directory)
        self.tracker = TrackerCore(1_000)
        self.herald = Herald(world, name, self._wake_herald)
        self._telling: Task | None = None
        self.watches: dict[str, Watch] = {}
        self.expected: dict[tuple[Watch, Scope], set[str]] = {}
        self._numbers: Counter[Scope] = Counter()
        self._turns: Counter[Scope] = Counter()
        self.skew_us = 0
        self.is_alive = True
        self._tasks: list[Task] = []
        self._ears: dict[str, Task] = {}
        self._reports_read = dict.fromkeys(CLUSTERS, 0)

    @property
    def now_us(self) -> int:
        """Its clock."""
        return self.world.loop.now_us + self.skew_us

    def start(self) -> None:
        """Begin to listen to reports, and to follow the map."""
        for cluster in CLUSTERS:
            self._ears[cluster] = self._spawn(f"hears {cluster}", self._listen(cluster))
        if self.world.schedule.is_tracked:
            self._telling = self._spawn("tells the tracker", self.herald.tell())
        follower = self._spawn("follows the map", self._follow())
        wake = self.world.loop.wake
        self.world.redis.followers[self.name] = lambda: wake(follower, 2 * MS)

    def _wake_herald(self) -> None:
        if self._telling is not None:
            self.world.loop.wake(self._telling)

    def die(self) -> None:
        """End with whatever it is doing."""
        self.is_alive = False
        for task in self._tasks:
            self.world.loop.kill(task)

    def _spawn(self, what: str, steps: Steps[None]) -> Task:
        task = self.world.loop.spawn(f"{self.name} {what}", steps)
        self._tasks.append(task)
        return task

    def _follow(self) -> Steps[None]:
        """Whoever follows the map's changes connects anew at once, and rolls Redis forward."""
        while True:
            try:
                yield from self.directory.settle()
            except EdgeError:
                yield 2 * S
                continue
            yield Wait()

    # Publishing.

    def publish(self, changeset: Changeset) -> None:
        """Publish, as often as it takes until every part is accepted."""
        self._spawn(f"publishes {changeset.id}", self._publish(changeset))

    def repeat(self, scope: Scope) -> None:
        """Publish the latest revisions of a scope once more, each as it was."""
        truth = self.world.truth
        resources = [
            Resource(key.scope, key.kind, key.id, revision, one.spec, one.op)
            for key, sent in truth.sent.items()
            for revision, one in sorted(sent.items())[-1:]
            if key.scope == scope
        ]
        if resources:
            self.publish(Changeset(f"again-{scope.id}", tuple(resources)))

    def _publish(self, changeset: Changeset) -> Steps[None]:
        parcels = parcels_of(changeset, self.now_us, None)
        for parcel in parcels:
            self.world.truth.note_sent(parcel)
        watch = self.tracker.watch(
            changeset.id,
            [TrackedPart(one.scope, {r.key: r.revision for r in one.records}) for one in parcels],
        )
        self.watches[changeset.id] = watch
        self._announce(watch)
        for parcel in parcels:
            self._spawn(f"sends {changeset.id}", self._in_turn(watch, parcel))
        yield 0

    def _announce(self, watch: Watch) -> None:
        parts = {scope: dict(part.revisions) for scope, part in watch.parts.items()}
        self.herald.published(watch.changeset, parts)

    def _in_turn(self, watch: Watch, parcel: Parcel) -> Steps[None]:
        """Send a part; where no janitor puts anything right, once the part before it is accepted."""
        number = self._numbers[parcel.scope] = self._numbers[parcel.scope] + 1
        while not self.world.schedule.is_swept and self._turns[parcel.scope] != number - 1:
            yield 50 * MS
        yield from self._until_accepted(watch, parcel)
        self._turns[parcel.scope] = number

    def _until_accepted(self, watch: Watch, parcel: Parcel) -> Steps[None]:
        """Whoever is told that an outcome is unknown publishes the same once more."""
        while True:
            yield from self.carry(parcel)
            if parcel.standing is Standing.ACCEPTED:
                break
            self.world.note(self.name, f"{parcel.changeset} {parcel.scope}: {parcel.error}")
            if not self.is_to_be_tried_again(parcel):
                self.world.truth.given_up.append(f"{parcel.changeset} {parcel.scope}")
                return
            yield int(self.world.chance.uniform(0.1, 5) * S)
            self._announce(watch)
            parcel = Parcel(
                parcel.scope, parcel.changeset, parcel.records, self.now_us, parcel.vpcs
            )
        self.world.note(self.name, f"{parcel.changeset} {parcel.scope} accepted")
        self.world.truth.note_accepted(parcel)
        accepted = self.world.truth.accepted_parts
        if all((scope, parcel.changeset) in accepted for scope in watch.parts):
            self.herald.settled(parcel.changeset)
        if parcel.scope.cls is ScopeClass.VPC:
            yield from self._expect(watch, parcel)

    def is_to_be_tried_again(self, parcel: Parcel) -> bool:
        """Tell whether an attempt that was not accepted is repeated: of an unknown outcome, always."""
        return parcel.error is not None

    def carry(self, parcel: Parcel) -> Steps[None]:
        """Bring one part to its verdict."""
        try:
            parcel.route = yield from self._route(parcel)
            for _ in range(_RESENDS_MAX):
                yield from self.send(parcel)
                if parcel.scope.cls is ScopeClass.PUBLIC:
                    # Public resources never move, so there is nothing to look at.
                    parcel.accept()
                    return
                turned = yield from self.verdict(parcel)
                if turned is None and self.has_vpcs(parcel):
                    parcel.accept()
                    return
                if turned is None:
                    yield from self._make_present(parcel)
                    continue
                self.world.note(self.name, f"{parcel.changeset} {parcel.scope} turned")
                parcel.route = turned
                if parcel.vpcs:
                    yield from self._make_present(parcel)
        except SouthboundError as error:
            parcel.fail(error)
            return
        parcel.fail(OutcomeUnknown("turned too often"))

    def _route(self, parcel: Parcel) -> Steps[Route]:
        scope = parcel.scope
        if scope.cls is ScopeClass.PUBLIC:
            return (yield from self._public_route(parcel))
        held = yield from self.directory.find(scope)
        if held is None and scope.cls is ScopeClass.VPC:
            held = yield from self.seeder.place(scope.id, None)
        if held is None:
            raise EdgeError(f"{scope} is unknown", retryable=True)
        parcel.route = route_of_row(scope, held.row, TOPOLOGY)
        yield from self._make_present(parcel)
        return parcel.route

    def _public_route(self, parcel: Parcel) -> Steps[Route]:
        """Give each public resource its partition, if it has none."""
        keys = [decode_key(record.key) for record in parcel.records]
        found: dict[str, int] = {}
        for key in keys:
            found[key.id] = yield from self.directory.place_public(key.id)
        partitions = [found[key.id] for key in keys]
        return route_public([key.kind for key in keys], partitions, TOPOLOGY)

    def _make_present(self, parcel: Parcel) -> Steps[None]:
        assert parcel.route is not None
        for vpc in parcel.vpcs:
            yield from self.seeder.ensure(vpc, parcel.route.keeper)

    def send(self, parcel: Parcel) -> Steps[None]:
        """Deliver to every address of the route that was not sent to yet. Raises `OutcomeUnknown`."""
        route = parcel.route
        assert route is not None
        if parcel.scope.cls is ScopeClass.PUBLIC:
            for where, item in zip(route.addresses, items_of(parcel, route), strict=True):
                yield from self.world.network.produce(self.name, where, [item])
                yield self.world.doze_us()
            return
        addresses = self.unsent(parcel, route)
        parcel.sent = (*parcel.sent, route)
        self.world.chance.shuffle(addresses)
        yield self.world.doze_us()
        for address in addresses:
            yield from self.world.network.produce(self.name, address, items_of(parcel, route))
            yield self.world.doze_us()

    def unsent(self, parcel: Parcel, route: Route) -> list[Address]:
        """Return the addresses that the part has to be sent to."""
        return unsent(parcel, route)

    def verdict(self, parcel: Parcel) -> Steps[Route | None]:
        """Look at the fence after the deliveries; return the route to take now, if turned."""
        assert parcel.route is not None
        assert parcel.route.fence is not None
        fence = self.fences[parcel.route.fence]
        yield from fence.look()
        entry = fence.tail.entry(parcel.scope)
        turned = judge(parcel, entry, TOPOLOGY)
        if turned is not None and entry is not None:
            self.directory.adopt(parcel.scope, Held(entry.epoch, entry.row))
        return turned

    def has_vpcs(self, parcel: Parcel) -> bool:
        """Tell whether the VPCs of a part's ports are still where it was delivered.

        Who drops a replica tells this cluster's `sb.moves` first, and looks for ports after that.
        """
        assert parcel.route is not None
        assert parcel.route.fence is not None
        tail = self.fences[parcel.route.fence].tail
        told = False
        for vpc in parcel.vpcs:
            entry = tail.entry(vpc_scope(vpc))
            if entry is not None:
                self.directory.adopt(vpc_scope(vpc), Held(entry.epoch, entry.row))
                told = True
        keeper = parcel.route.keeper
        return not told or all(self.seeder.is_present(vpc, keeper) for vpc in parcel.vpcs)

    def register(self, host: str) -> None:
        """Give a host its place."""
        self._spawn(
            f"registers {host}", Registrar(self.world, self.name, self.directory).register(host)
        )

    # Following what becomes of it.

    def _listen(self, cluster: str) -> Steps[None]:
        address = status_of(cluster)
        partition = self.world.clusters[cluster].at(address)
        partition.watchers[self.name] = lambda: self.world.loop.wake(self._ears[cluster], 2 * MS)
        while True:
            start = self._reports_read[cluster]
            found = partition.read(start, partition.high)
            if not found or not self.world.network.reaches(self.name, cluster):
                yield Wait(None if not found else S)
                continue
            for stored in found:
                assert stored.value is not None
                self.tracker.heard(decode_report(stored.value))
            self._reports_read[cluster] = found[-1].offset + 1

    def _expect(self, watch: Watch, parcel: Parcel) -> Steps[None]:
        """Ask who follows a VPC, in every cluster of its route, now that its part is accepted."""
        assert parcel.route is not None
        hosts: set[str] = set()
        for cluster in dict.fromkeys(one.cluster for one in parcel.route.addresses):
            while True:
                try:
                    hosts |= yield from self._followers(cluster, parcel.scope.id)
                    break
                except EdgeError:
                    yield S
        self.expected[watch, parcel.scope] = hosts
        self.tracker.expect(watch, parcel.scope, hosts)

    def _followers(self, cluster: str, vpc: str) -> Steps[set[str]]:
        partition = self.world.clusters[cluster].at(interest_of(cluster))
        found = yield from self.world.network.call(
            self.name, cluster, lambda: partition.read(0, partition.high)
        )
        hosts: set[str] = set()
        for stored in found:
            word = parse_interest_key(stored.key)
            if word[0] == vpc:
                (hosts.discard if stored.value is None else hosts.add)(word[1])
        return hosts

    def applied(self, changeset: str) -> Applied:
        """Return what its tracker says of a changeset."""
        return self.tracker.state(self.watches[changeset])


def items_of(parcel: Parcel, route: Route) -> list[Item]:
    """Return a part's records as they are sent on a route."""
    return [
        (
            record.key,
            encode(
                Envelope(
                    record.revision,
                    record.op,
                    route.epoch,
                    parcel.changeset,
                    index,
                    len(parcel.records),
                    parcel.sent_us,
                    0,
                    record.spec,
                )
            ),
        )
        for index, record in enumerate(parcel.records)
    ]
