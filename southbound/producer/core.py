"""Where a part goes, and whether it has arrived: the publisher's rule. Pure.

The rule: deliver, then look (docs/design.md §4). A part is accepted when every slot of its route has
it, and `sb.moves` of the cluster that fences it, read up to an end asked for after the deliveries,
holds no entry of a higher epoch than the route's. An entry that does turns the route: what it names
and was not sent to is sent to, and its fence is looked at. Nothing here knows of Redis.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from southbound.errors import SouthboundError
from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    address_of,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.topology import Topology, public_topic_name
from southbound.resources import Op, Scope, ScopeClass
from southbound.wire.control import MoveEntry


class Record(msgspec.Struct, frozen=True, gc=False):
    """One resource, encoded once for however many slots: its key and its spec as they are sent."""

    key: bytes
    revision: int
    op: Op
    spec: bytes


class Route(msgspec.Struct, frozen=True, gc=False):
    """Where a part is sent.

    `addresses`: for a host and a VPC, each gets every record; for public resources, the one at an
    index gets the record of that index. `stays`: beside each address, the epoch at which the stream
    came there: who has left a slot and come back reads it from a later offset. `fence`: the cluster
    whose `sb.moves` decides; None where nothing ever moves.
    """

    epoch: int
    addresses: tuple[Address, ...]
    stays: tuple[int, ...]
    fence: str | None

    @property
    def keeper(self) -> str:
        """The cluster under which the part is kept while it is on its way."""
        return self.fence or self.addresses[0].cluster


class Standing(enum.Enum):
    """How far a part has come."""

    OPEN = "open"
    ACCEPTED = "accepted"
    FAILED = "failed"


class Owner(Protocol):
    """Whoever is told that parts of its have settled."""

    def settle(self, parts: int) -> None:
        """Take note that so many more stand no longer open."""
        ...


class Parcel(msgspec.Struct, eq=False, gc=False):
    """One scope's share of a changeset on its way.

    `vpcs`: VPCs that must be present in the host's cluster before this is accepted. `sent`: the
    routes that it was sent on so far; `awaited`: how many deliveries are not known to be complete.
    `owner` is let go of when the part settles: hundreds of thousands of parts are kept out of the
    garbage collector's sight, so they must not stay in a circle.
    """

    scope: Scope
    changeset: str
    records: tuple[Record, ...]
    sent_us: int
    vpcs: tuple[str, ...] = ()
    route: Route | None = None
    sent: tuple[Route, ...] = ()
    awaited: int = 0
    resends: int = 0
    standing: Standing = Standing.OPEN
    error: SouthboundError | None = None
    owner: Owner | None = None

    def accept(self) -> None:
        """Settle as accepted."""
        assert self.standing is Standing.OPEN
        self.standing = Standing.ACCEPTED

    def fail(self, error: SouthboundError) -> None:
        """Settle as not accepted, or not known to be."""
        assert self.standing is Standing.OPEN
        self.standing, self.error = Standing.FAILED, error


def route_host(host: str, placement: Placement, topology: Topology) -> Route:
    """Return a host's route: its one slot, fenced by that slot's cluster."""
    address = address_of("host", host, placement, topology)
    return Route(placement.epoch, (address,), (placement.epoch,), address.cluster)


def route_vpc(vpc: str, placement: VpcPlacement, topology: Topology) -> Route:
    """Return a VPC's route: every replica, fenced by the home's cluster."""
    addresses = tuple(address_of("vpc", vpc, replica, topology) for replica in placement.replicas)
    stays = tuple(replica.epoch for replica in placement.replicas)
    return Route(placement.epoch, addresses, stays, addresses[0].cluster)


def route_public(kinds: Sequence[str], partitions: Sequence[int], topology: Topology) -> Route:
    """Return the route of public resources, one address for each; they never move."""
    addresses = tuple(
        Address(topology.public_kind(kind).cluster, public_topic_name(kind), partition)
        for kind, partition in zip(kinds, partitions, strict=True)
    )
    return Route(0, addresses, (0,) * len(addresses), None)


def route_of_row(scope: Scope, row: str, topology: Topology) -> Route:
    """Return the route that a row of the directory means. Raises `WireError`, `PlanError`."""
    if scope.cls is ScopeClass.HOST:
        return route_host(scope.id, parse_placement(row), topology)
    return route_vpc(scope.id, parse_vpc_placement(row), topology)


def judge(parcel: Parcel, entry: MoveEntry | None, topology: Topology) -> Route | None:
    """Return None when a delivered part is accepted, or the route that it must take now.

    `entry` is what the fence's `sb.moves` holds for the scope, read after the deliveries.
    Raises `WireError` or `PlanError` for an entry that leads nowhere.
    """
    assert parcel.route is not None
    assert parcel.awaited == 0, "only what was delivered everywhere is looked at"
    if entry is None or entry.epoch <= parcel.route.epoch:
        return None
    return route_of_row(parcel.scope, entry.row, topology)


def unsent(parcel: Parcel, route: Route) -> list[Address]:
    """Return the addresses of a route at whose present stay the part was not sent yet."""
    known = {stop for sent in parcel.sent for stop in _stops(sent)}
    return [stop[0] for stop in _stops(route) if stop not in known]


def _stops(route: Route) -> Iterator[tuple[Address, int]]:
    return zip(route.addresses, route.stays, strict=True)
