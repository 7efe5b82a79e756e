"""What a schedule is made of: operations of the control plane, moves, and faults, each at its time.

The rule: a schedule is plain data, drawn from the seed at once and before anything runs, so that it
can be written down, cut down, and run again. Revisions are drawn in the order in which the control
plane decides; who sends them, and when they arrive, is another matter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from southbound.resources import Changeset, Op, Resource, Scope, host_scope, vpc_scope
from tests.simulation.faults import DISASTERS, FAULTS, Fault, FaultKind
from tests.simulation.fleet import HOST_POOLS, TOPOLOGY
from tests.simulation.loop import DAY, HOUR, MINUTE, S

PUBLISHERS = ("pub1", "pub2")
FLAVOURS = ("mixed", "moves", "mixed", "days", "mixed", "moves", "mixed", "disaster")
"""What schedules dwell on, by their seeds in turn."""

_MOVES = {"mixed": (0, 1, 1, 2), "moves": (2, 3, 4), "days": (0, 1, 2), "disaster": (0,)}
_FAULTS = {"mixed": (0, 2, 3, 4, 6), "moves": (0, 1, 2, 4), "days": (1, 2, 4), "disaster": (0, 1)}


class Item(msgspec.Struct, frozen=True):
    """One resource of a changeset; `spec` None: a delete."""

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


class Schedule(msgspec.Struct, frozen=True):
    """Everything that happens to a world from outside. `hosts`: where each begins.

    `pauses`: how often a process stops between two steps. `ages`: days pass in the end.
    `chance`: what decides, beside the seed, who comes first.
    """

    seed: int
    hosts: dict[str, str]
    operations: tuple[Publish, ...]
    moves: tuple[Relocate, ...]
    faults: tuple[Fault, ...]
    pauses: float = 0.0
    ages: bool = False
    chance: int = 0


def happenings(schedule: Schedule) -> list[Publish | Relocate | Fault]:
    """Return everything that happens, in the order of its time."""
    found: list[Publish | Relocate | Fault] = [*schedule.operations]
    found += schedule.moves
    found += schedule.faults
    return sorted(found, key=lambda one: one.at_us)


def _resource(item: Item) -> Resource:
    scope = host_scope(item.scope) if item.cls == "host" else vpc_scope(item.scope)
    if item.spec is None:
        return Resource(scope, item.kind, item.id, item.revision, {}, Op.DELETE)
    return Resource(scope, item.kind, item.id, item.revision, item.spec)


class Draw:
    """Draws one schedule."""

    def __init__(self, seed: int, stress: tuple[str, ...] = ()) -> None:
        self._stress = stress
        self._chance = random.Random(seed)
        self._seed = seed
        self._flavour = flavour_of(seed)
        self._revisions: dict[tuple[str, str, str, str], int] = {}
        self._alive: dict[tuple[str, str, str, str], dict[str, Any]] = {}

    def schedule(self) -> Schedule:
        """Return the schedule of the seed."""
        chance, flavour = self._chance, self._flavour
        hosts = {f"h{n}": chance.choice(HOST_POOLS) for n in range(1, chance.choice((2, 2, 3)) + 1)}
        vpcs = ["v1", "v2"][: chance.choice((1, 1, 2))]
        times = list(self._times(chance.randint(5, 14)))
        operations = [self._begin(vpcs)]
        for at_us in times:
            operations.append(self._operation(at_us, list(hosts), vpcs, len(operations)))
        span_us = max(times)
        moves = [
            self._move(chance.randint(0, span_us), n, list(hosts), vpcs)
            for n in range(chance.choice(_MOVES[flavour]))
        ]
        faults = [
            self._fault(chance.randint(0, span_us), list(hosts), FAULTS)
            for _ in range(chance.choice(_FAULTS[flavour]))
        ]
        if flavour == "disaster":
            faults.append(self._fault(chance.randint(span_us // 2, span_us), [], DISASTERS))
        for kind in self._stress:
            at_us = faults[-1].at_us if flavour == "disaster" else chance.choice(times)
            at_us = max(0, at_us + chance.randint(-S // 4, S // 4))
            faults.insert(0, self._fault(at_us, list(hosts), {kind: FAULTS[kind]}))
        if flavour == "moves":
            moves += self._rivals(moves, hosts)
        return Schedule(
            self._seed,
            hosts,
            tuple(operations),
            tuple(sorted(moves, key=lambda one: one.at_us)),
            tuple(sorted(faults, key=lambda one: one.at_us)),
            pauses=chance.choice((0.02, 0.1) if flavour == "moves" else (0.0, 0.02, 0.1)),
            ages=flavour == "days" or chance.random() < 0.2,
        )

    def _times(self, count: int) -> Iterator[int]:
        """Yield rising times: mostly close together, sometimes hours or days apart."""
        chance = self._chance
        at_us = S
        pace = chance.choice((50_000, 500_000, 5 * S))
        often = 5 if self._flavour == "days" else 1
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
        wanted = chance.choice((1, 1, 1, 2, 3))
        items: dict[tuple[str, str, str, str], Item] = {}
        for _ in range(wanted):
            item = self._item(hosts, vpcs)
            items.setdefault((item.cls, item.scope, item.kind, item.id), item)
        return Publish(at_us, f"cs{number}", chance.choice(PUBLISHERS), tuple(items.values()))

    def _item(self, hosts: list[str], vpcs: list[str]) -> Item:
        chance = self._chance
        draw = chance.random()
        if draw < 0.45:
            # A port stays in its VPC for life.
            number = chance.randint(1, 2)
            id, vpc = f"p{number}", vpcs[number % len(vpcs)]
            spec = {"vpc_id": vpc, "fixed_ips": [{"subnet_id": f"s-{vpc}"}]}
            return self._change("host", chance.choice(hosts), "port", id, spec, 0.25)
        if draw < 0.65:
            return self._change("host", chance.choice(hosts), "router", "r1", {}, 0.25)
        vpc = chance.choice(vpcs)
        if draw < 0.9:
            spec = {"vpc_id": vpc, "subnet_id": f"s-{vpc}"}
            return self._change("vpc", vpc, "neighbor", f"n{chance.randint(1, 2)}", spec, 0.25)
        if draw < 0.97:
            return self._change("vpc", vpc, "security_group", "g1", {}, 0.25)
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

    def _move(self, at_us: int, number: int, hosts: list[str], vpcs: list[str]) -> Relocate:
        chance = self._chance
        mover = chance.choice(("mover1", "mover2"))
        if chance.random() < 0.8:
            pool = chance.choice(HOST_POOLS)
            return Relocate(at_us, f"m{number}", mover, "host", chance.choice(hosts), pool)
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
            pool = hosts[one.scope] if is_back else chance.choice(HOST_POOLS)
            at_us = one.at_us + chance.choice((0, 30_000, S, 4 * S) if not is_back else (S, 4 * S))
            yield Relocate(at_us, f"r{number}", mover, one.cls, one.scope, pool)

    def _fault(self, at_us: int, hosts: list[str], kinds: Mapping[str, FaultKind]) -> Fault:
        chance = self._chance
        kind = chance.choice(list(kinds))
        who = {
            "node": hosts,
            "publisher": list(PUBLISHERS),
            "mover": ["mover1", "mover2"],
            "janitor": ["janitor"],
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


def flavour_of(seed: int) -> str:
    """Return what the schedule of a seed dwells on."""
    return FLAVOURS[seed % len(FLAVOURS)]
