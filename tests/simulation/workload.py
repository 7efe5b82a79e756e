"""What a schedule is made of: operations of the control plane, moves, and faults, each at its time.

The rule: a schedule is plain data, drawn from the seed at once and before anything runs, so that it
can be written down, cut down, and run again. Revisions are drawn in the order in which the control
plane decides; who sends them, and when they arrive, is another matter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from southbound.resources import PUBLIC_SCOPE, Changeset, Op, Resource, Scope, host_scope, vpc_scope
from tests.simulation.faults import (
    ALL_FAULTS,
    DISASTERS,
    FAULTS,
    TRACKER_FAULTS,
    TRAPS,
    WORKER_FAULTS,
    Fault,
    FaultKind,
)
from tests.simulation.flavours import FLAVOURS, flavour_of
from tests.simulation.fleet import CLUSTERS, HOST_POOLS, PUBLIC_KIND, TOPOLOGY, pools_beside
from tests.simulation.loop import DAY, HOUR, MINUTE, S

PUBLISHERS = ("pub1", "pub2")
WORKERS = ("w1", "w2", "w3")


class Item(msgspec.Struct, frozen=True):
    """One resource of a changeset; `spec` None: a delete. A public one has no scope."""

    cls: str
    scope: str
    kind: str
    id: str
    revision: int
    spec: dict[str, Any] | None


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """A changeset, published by one of the instances."""

    at_us: int
    id: str
    publisher: str
    items: tuple[Item, ...]

    def changeset(self) -> Changeset:
        """Return it as a publisher takes it."""
        return Changeset(self.id, tuple(_resource(item) for item in self.items))


class Relocate(msgspec.Struct, frozen=True, tag="relocate"):
    """A wish that a host, or a VPC's home, moves to a pool."""

    at_us: int
    id: str
    mover: str
    cls: str
    scope: str
    pool: str


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """A wish that a VPC's replica in a cluster goes, if nobody needs it."""

    at_us: int
    id: str
    mover: str
    vpc: str
    cluster: str


class Rehome(msgspec.Struct, frozen=True, tag="rehome"):
    """A wish that a VPC has its home in another cluster."""

    at_us: int
    id: str
    mover: str
    vpc: str
    cluster: str


class Register(msgspec.Struct, frozen=True, tag="register"):
    """A wish that a host be given a place."""

    at_us: int
    host: str
    publisher: str


class Grow(msgspec.Struct, frozen=True, tag="grow"):
    """A wish that the public kind's topic has more partitions."""

    at_us: int
    mover: str
    partitions: int


Wished = Relocate | Drop | Rehome
"""What executors may be asked for."""

Happening = Publish | Wished | Register | Grow | Fault


class Schedule(msgspec.Struct, frozen=True):
    """Everything that happens to a world from outside. `hosts`: where each begins.

    `pauses`: how often a process stops between two steps. `ages`: days pass in the end. `is_swept`:
    a janitor is at work. `workers`: those of the public kind. `is_tracked`: a tracker service is at work.
    `newcomers`: hosts that are registered meanwhile, some by several. `grows`: partitions are added.
    `dozes`: how often a publisher stops around a delivery. `chance`: what decides, beside the seed, who comes first.
    """

    seed: int
    hosts: dict[str, str]
    operations: tuple[Publish, ...]
    moves: tuple[Wished, ...]
    faults: tuple[Fault, ...]
    pauses: float = 0.0
    dozes: float = 0.0
    ages: bool = False
    is_swept: bool = True
    workers: tuple[str, ...] = ()
    is_tracked: bool = False
    newcomers: tuple[Register, ...] = ()
    grows: tuple[Grow, ...] = ()
    chance: int = 0


def happenings(schedule: Schedule) -> list[Happening]:
    """Return everything that happens, in the order of its time."""
    found: list[Happening] = [*schedule.operations]
    found += schedule.moves
    found += schedule.newcomers
    found += schedule.grows
    found += schedule.faults
    return sorted(found, key=lambda one: one.at_us)


def _resource(item: Item) -> Resource:
    scope = {
        "host": lambda: host_scope(item.scope),
        "vpc": lambda: vpc_scope(item.scope),
        "public": lambda: PUBLIC_SCOPE,
    }[item.cls]()
    if item.spec is None:
        return Resource(scope, item.kind, item.id, item.revision, {}, Op.DELETE)
    return Resource(scope, item.kind, item.id, item.revision, item.spec)


class Draw:
    """Draws one schedule."""

    def __init__(self, seed: int, stress: tuple[str, ...] = ()) -> None:
        self._stress = stress
        self._chance = random.Random(seed)
        self._seed = seed
        self._name = flavour_of(seed)
        self._flavour = FLAVOURS[self._name]
        self._vpcs = 1
        self._crowded: list[str] = []
        self._revisions: dict[tuple[str, str, str, str], int] = {}
        self._alive: dict[tuple[str, str, str, str], dict[str, Any]] = {}

    def schedule(self) -> Schedule:
        """Return the schedule of the seed."""
        chance, flavour = self._chance, self._flavour
        hosts = {
            f"h{n}": chance.choice(list(HOST_POOLS)) for n in range(1, chance.choice((2, 2, 3)) + 1)
        }
        self._vpcs = chance.choice((1, 1, 2))
        vpcs = [f"v{n}" for n in range(1, self._vpcs + 1)]
        times = list(self._times(chance.randint(5, 14)))
        moves = [
            self._move(chance.randint(0, max(times)), n, hosts, vpcs)
            for n in range(chance.choice(flavour.moves))
        ]
        if self._name == "unswept":
            self._crowded = [one.scope for one in moves if one.cls == "host"]
            times += [
                max(0, one.at_us + chance.randint(-S // 4, 3 * S))
                for one in moves
                for _ in range(5)
            ]
        if self._name == "returns":
            moves = [one for move in moves for one in self._return(move, hosts, times)]
        operations = [self._begin(vpcs)]
        for at_us in sorted(times):
            operations.append(self._operation(at_us, list(hosts), vpcs, len(operations)))
        if self._name == "unswept":
            # What one instance publishes is sent in its order, so nothing has to be put right later.
            operations = [
                msgspec.structs.replace(one, publisher=PUBLISHERS[0]) for one in operations
            ]
        elif self._name == "moves":
            moves += self._rivals(moves, hosts)
        newcomers: tuple[Register, ...] = ()
        if self._name == "crowd":
            newcomers = tuple(self._newcomers(times, operations))
        wishes: list[Wished] = [*moves]
        if self._name == "replicas":
            wishes += self._changes_of_replicas(hosts, operations)
        return Schedule(
            self._seed,
            hosts,
            tuple(sorted(operations, key=lambda one: one.at_us)),
            tuple(sorted(wishes, key=lambda one: one.at_us)),
            tuple(sorted(self._faults(list(hosts), times, moves), key=lambda one: one.at_us)),
            pauses=chance.choice(flavour.pauses),
            dozes=chance.choice(flavour.dozes),
            ages=chance.random() < flavour.ages,
            is_swept=self._name != "unswept",
            workers=WORKERS[: chance.choice((2, 3))] if self._name == "public" else (),
            is_tracked=self._name == "tracked",
            newcomers=newcomers,
            grows=tuple(self._grows(times)) if self._name == "public" else (),
        )

    def _faults(
        self, hosts: list[str], times: list[int], moves: Sequence[Relocate]
    ) -> Iterator[Fault]:
        """Yield the faults: those of the flavour, and those that a planted bug needs beside."""
        chance, span_us = self._chance, max(times)
        for _ in range(chance.choice(self._flavour.faults)):
            yield self._fault(chance.randint(0, span_us), hosts, FAULTS)
        for _ in range(chance.choice((1, 2, 3)) if self._name == "public" else 0):
            yield self._fault(chance.randint(0, span_us), hosts, WORKER_FAULTS)
        for _ in range(chance.choice((1, 2, 3)) if self._name == "tracked" else 0):
            yield self._fault(chance.randint(0, span_us), hosts, TRACKER_FAULTS)
        for kind in self._flavour.traps:
            yield self._fault(chance.randint(0, span_us), hosts, {kind: TRAPS[kind]})
        disaster_us = chance.randint(span_us // 2, span_us)
        if self._name == "disaster":
            yield self._fault(disaster_us, [], DISASTERS)
        moments = [disaster_us] if self._name == "disaster" else times
        if moves and self._name in {"moves", "returns", "replicas"}:
            moments = [one.at_us for one in moves]
        for kind in self._stress:
            at_us = max(0, chance.choice(moments) + chance.randint(-S // 4, S // 4))
            yield self._fault(at_us, hosts, ALL_FAULTS, kind)

    def _changes_of_replicas(
        self, hosts: dict[str, str], operations: list[Publish]
    ) -> Iterator[Wished]:
        """Yield replicas that go when their last ports have gone, while others come; and homes that change.

        The ports are added to the operations, in the order of their revisions.
        """
        chance = self._chance
        at_us = chance.randint(0, 4 * S)
        for number in range(chance.choice((2, 3, 4))):
            host, publisher = chance.choice(list(hosts)), chance.choice(PUBLISHERS)
            vpc, mover = f"v{chance.randint(1, self._vpcs)}", chance.choice(("mover1", "mover2"))
            spec = {"vpc_id": vpc, "fixed_ips": [{"subnet_id": f"s-{vpc}"}]}
            key = ("host", host, "port", f"p-{vpc}")
            steps = [at_us, at_us + chance.randint(S, 4 * S)]
            steps.append(steps[1] + chance.randint(0, 6 * S))
            operations.append(self._alone(at_us, f"a{number}", publisher, self._upsert(*key, spec)))
            gone = Item(*key, self._next(*key), None)
            operations.append(self._alone(steps[1], f"g{number}", publisher, gone))
            again = self._upsert(*key, spec)
            operations.append(self._alone(steps[2], f"b{number}", publisher, again))
            drop_us = steps[1] + chance.randint(0, 3 * S)
            yield Drop(drop_us, f"d{number}", mover, vpc, HOST_POOLS[hosts[host]])
            if chance.random() < 0.4:
                cluster = chance.choice(list(CLUSTERS))
                yield Rehome(drop_us + chance.randint(-S, S), f"o{number}", mover, vpc, cluster)
            at_us = steps[2] + chance.randint(S, 10 * S)
            if chance.random() < 0.5:
                gone = Item(*key, self._next(*key), None)
                operations.append(self._alone(at_us, f"e{number}", publisher, gone))

    def _grows(self, times: list[int]) -> Iterator[Grow]:
        """Yield that the public topic grows: in half of the schedules, once or twice, by anybody."""
        for partitions in self._chance.choice(((), (), (4,), (5,), (4, 6))):
            mover = self._chance.choice(("mover1", "mover2"))
            yield Grow(self._chance.randint(0, max(times)), mover, partitions)

    def _newcomers(self, times: list[int], operations: list[Publish]) -> Iterator[Register]:
        """Yield hosts that are registered, some by both instances at once; and publish to some of them."""
        chance = self._chance
        at_us = chance.choice(times)
        count, pace_us = chance.choice((4, 9, 16, 19)), chance.choice((0, 0, 10_000, S))
        jitter_us = chance.choice((50, 3_000, 40_000))
        for number in range(count):
            host = f"n{number}"
            both = list(PUBLISHERS)
            chance.shuffle(both)
            for publisher in both[: chance.choice((1, 1, 2))]:
                yield Register(at_us + chance.randint(0, jitter_us), host, publisher)
            # Of many, some find no room, and nothing can be sent to those.
            if chance.random() < 0.5 and count <= 10:
                item = self._upsert("host", host, "router", "r1", {})
                at = at_us + chance.randint(0, 3 * S)
                operations.append(self._alone(at, f"n{number}", chance.choice(both), item))
            at_us += pace_us

    def _alone(self, at_us: int, id: str, publisher: str, item: Item) -> Publish:
        return Publish(at_us, f"cs-{id}", publisher, (item,))

    def _return(
        self, move: Relocate, hosts: dict[str, str], times: list[int]
    ) -> Iterator[Relocate]:
        """Yield a move away, and one back right behind it; with changes all around them."""
        chance = self._chance
        away_us = chance.choice((200_000, 500_000, 2 * S, 8 * S))
        yield move
        if move.cls != "host":
            return
        times += [
            move.at_us + chance.randint(-S // 2, away_us + S // 2)
            for _ in range(chance.choice((2, 3)))
        ]
        times[:] = [max(one, 0) for one in times]
        mover = chance.choice(("mover1", "mover2"))
        at_us, pool = move.at_us + away_us, hosts[move.scope]
        yield Relocate(at_us, f"b{move.id}", mover, "host", move.scope, pool)
        if chance.random() < 0.3:
            at_us += away_us
            yield Relocate(at_us, f"c{move.id}", mover, "host", move.scope, move.pool)

    def _times(self, count: int) -> Iterator[int]:
        """Yield rising times: mostly close together, sometimes hours or days apart."""
        chance = self._chance
        at_us = S
        pace = chance.choice((50_000, 500_000, 5 * S))
        often = 5 if self._name == "days" else 1
        for _ in range(count):
            at_us += int(chance.expovariate(1) * pace)
            draw = chance.random()
            if draw < 0.06:
                at_us += chance.choice((10 * MINUTE, HOUR, 3 * HOUR))
            elif draw < 0.06 + 0.02 * often:
                at_us += chance.choice((DAY, 5 * DAY, 16 * DAY))
            yield at_us

    def _begin(self, vpcs: list[str]) -> Publish:
        items = []
        for vpc in vpcs:
            items.append(self._upsert("vpc", vpc, "vpc", vpc, {"name": vpc}))
            items.append(self._upsert("vpc", vpc, "subnet", f"s-{vpc}", {"vpc_id": vpc}))
        return Publish(0, "cs0", PUBLISHERS[0], tuple(items))

    def _operation(self, at_us: int, hosts: list[str], vpcs: list[str], number: int) -> Publish:
        chance = self._chance
        items: dict[tuple[str, str, str, str], Item] = {}
        wanted = chance.choice((1, 1, 1, 2, 3))
        only = None
        if chance.random() < self._flavour.sets:
            wanted, only = chance.choice((2, 3)), chance.choice(self._crowded or hosts)
        for _ in range(wanted):
            item = self._item([only], []) if only else self._item(hosts, vpcs)
            items.setdefault((item.cls, item.scope, item.kind, item.id), item)
        return Publish(at_us, f"cs{number}", chance.choice(PUBLISHERS), tuple(items.values()))

    def _item(self, hosts: list[str], vpcs: list[str]) -> Item:
        chance, deletes = self._chance, self._flavour.deletes
        draw = chance.random() * (1 if vpcs else 0.65)
        if self._name == "public" and chance.random() < 0.7:
            id = f"e{chance.randint(1, 7)}"
            return self._change("public", "", PUBLIC_KIND, id, {}, deletes)
        if self._name == "replicas":
            # Its ports come and go by a plan of their own.
            draw = max(draw, 0.45)
        if draw < 0.45:
            # A port stays in its VPC for life.
            number = chance.randint(1, 2)
            id, vpc = f"p{number}", f"v{number % self._vpcs + 1}"
            spec = {"vpc_id": vpc, "fixed_ips": [{"subnet_id": f"s-{vpc}"}]}
            return self._change("host", chance.choice(hosts), "port", id, spec, deletes)
        if draw < 0.65:
            return self._change("host", chance.choice(hosts), "router", "r1", {}, deletes)
        vpc = chance.choice(vpcs)
        if draw < 0.9:
            spec = {"vpc_id": vpc, "subnet_id": f"s-{vpc}"}
            id = f"n{chance.randint(1, 2)}"
            return self._change("vpc", vpc, "neighbor", id, spec, deletes)
        if draw < 0.97:
            return self._change("vpc", vpc, "security_group", "g1", {}, deletes)
        # No control plane deletes a subnet that ports are in.
        return self._change("vpc", vpc, "subnet", f"s-{vpc}", {"vpc_id": vpc}, 0.0)

    def _change(
        self, cls: str, scope: str, kind: str, id: str, spec: dict[str, Any], deletes: float
    ) -> Item:
        if (cls, scope, kind, id) in self._alive and self._chance.random() < deletes:
            del self._alive[cls, scope, kind, id]
            return Item(cls, scope, kind, id, self._next(cls, scope, kind, id), None)
        return self._upsert(cls, scope, kind, id, spec)

    def _upsert(self, cls: str, scope: str, kind: str, id: str, spec: dict[str, Any]) -> Item:
        revision = self._next(cls, scope, kind, id)
        self._alive[cls, scope, kind, id] = spec
        return Item(cls, scope, kind, id, revision, {**spec, "mark": revision})

    def _next(self, *key: str) -> int:
        found = self._revisions[key[0], key[1], key[2], key[3]] = (
            self._revisions.get((key[0], key[1], key[2], key[3]), 0) + 1
        )
        return found

    def _move(self, at_us: int, number: int, hosts: dict[str, str], vpcs: list[str]) -> Relocate:
        chance = self._chance
        mover = chance.choice(("mover1", "mover2"))
        if chance.random() < 0.8:
            host = chance.choice(list(hosts))
            pool = chance.choice(pools_beside(hosts[host]))
            return Relocate(at_us, f"m{number}", mover, "host", host, pool)
        pool = chance.choice(("va", "vd"))
        return Relocate(at_us, f"m{number}", mover, "vpc", chance.choice(vpcs), pool)

    def _rivals(self, moves: list[Relocate], hosts: dict[str, str]) -> Iterator[Relocate]:
        """Yield moves that another executor is asked for at the same time, or right behind, or back."""
        chance = self._chance
        for number, one in enumerate(list(moves)):
            if one.cls != "host" or chance.random() < 0.4:
                continue
            mover = "mover1" if one.mover == "mover2" else "mover2"
            is_back = chance.random() < 0.6
            beside = pools_beside(hosts[one.scope])
            pool = hosts[one.scope] if is_back else chance.choice(beside)
            at_us = one.at_us + chance.choice((0, 30_000, S, 4 * S) if not is_back else (S, 4 * S))
            yield Relocate(at_us, f"r{number}", mover, one.cls, one.scope, pool)

    def _fault(
        self, at_us: int, hosts: list[str], kinds: Mapping[str, FaultKind], kind: str = ""
    ) -> Fault:
        chance = self._chance
        kind = kind or chance.choice(list(kinds))
        who = {
            "node": hosts,
            "publisher": list(PUBLISHERS),
            "mover": ["mover1", "mover2"],
            "janitor": ["janitor"],
            "tracker": ["tracker"],
            "worker": list(WORKERS[:2]),
            "cluster": [one.id for one in TOPOLOGY.clusters],
            "anyone": [*hosts, *PUBLISHERS, "mover1", "mover2"],
            "": [""],
        }[kinds[kind].target]
        return Fault(at_us, kind, chance.choice(who), chance.random())


def draw(seed: int, stress: tuple[str, ...] = ()) -> Schedule:
    """Return the schedule of a seed; `stress` names faults that are added to it."""
    return Draw(seed, stress).schedule()


def scope_of(wish: Relocate) -> Scope:
    """Return what is to move."""
    return host_scope(wish.scope) if wish.cls == "host" else vpc_scope(wish.scope)
