"""The unit of change: a resource, its kind, its scope, and the changeset that carries several.

The rule: whoever gets a resource, and in which order and after what it is applied, follows from
this one table. It is shared by the publisher, the agent and the command line, and needs nothing
but the standard library and msgspec, so an agent can hold it cheaply.

Field names inside a spec are those of the OpenStack Networking API v2, except that a network is a
VPC here: `vpc_id` where that API says `network_id`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

ID_BYTES_MAX = 255


class ScopeClass(enum.StrEnum):
    """Who must get a resource: one host, every host of a VPC, or one worker of a group."""

    HOST = "host"
    VPC = "vpc"
    PUBLIC = "public"

    # Scopes are looked up by the million; an enum's own hash is computed in Python.
    __hash__ = str.__hash__


class Op(enum.IntEnum):
    """What a record does to its resource."""

    UPSERT = 0
    DELETE = 1


class Scope(NamedTuple):
    """An address of delivery. `id` is the host's or the VPC's; for `public` it is empty."""

    cls: ScopeClass
    id: str

    def __str__(self) -> str:
        return f"{self.cls.value}:{self.id}" if self.id else self.cls.value


def host_scope(host: str) -> Scope:
    """Scope of one host."""
    return Scope(ScopeClass.HOST, host)


def vpc_scope(vpc: str) -> Scope:
    """Scope of every host that has a port in `vpc`."""
    return Scope(ScopeClass.VPC, vpc)


PUBLIC_SCOPE = Scope(ScopeClass.PUBLIC, "")


class ResourceKey(NamedTuple):
    """Identity of a resource; one log record key corresponds to each."""

    scope: Scope
    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.scope}/{self.kind}/{self.id}"


class Resource(msgspec.Struct, frozen=True, gc=False):
    """One resource at one revision.

    `revision` is a positive integer that the control plane raises with every change of this
    resource, deletes included. `spec` is a plain mapping of what msgpack can carry; a delete's is
    empty.
    """

    scope: Scope
    kind: str
    id: str
    revision: int
    spec: Mapping[str, Any] = msgspec.field(default_factory=dict)
    op: Op = Op.UPSERT

    @property
    def key(self) -> ResourceKey:
        """Identity of the resource."""
        return ResourceKey(self.scope, self.kind, self.id)


class Changeset(msgspec.Struct, frozen=True):
    """Resources published together: those of one scope are applied in one step, or not at all."""

    id: str
    resources: tuple[Resource, ...]


class Reference(NamedTuple):
    """A field of a spec that names another resource. `many`: the field is a list.

    `item`: in a list of mappings, the field of each that holds the id.
    """

    field: str
    kind: str
    many: bool = False
    item: str = ""


class Kind(NamedTuple):
    """What Southbound knows of one kind of resource.

    `rank`: upserts are applied in rising rank, deletes in falling rank.
    """

    name: str
    cls: ScopeClass
    rank: int
    references: tuple[Reference, ...] = ()


RANK_UNKNOWN_KIND = 100

_VPC = Reference("vpc_id", "vpc")
_SUBNET = Reference("subnet_id", "subnet")

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("vpc", ScopeClass.VPC, 0),
        Kind("subnet", ScopeClass.VPC, 10, (_VPC,)),
        Kind("security_group", ScopeClass.VPC, 20),
        Kind(
            "security_group_rule",
            ScopeClass.VPC,
            30,
            (Reference("security_group_id", "security_group"),),
        ),
        Kind("router", ScopeClass.HOST, 40),
        Kind("route", ScopeClass.HOST, 45, (Reference("router_id", "router"),)),
        Kind("gateway", ScopeClass.HOST, 50),
        Kind(
            "port",
            ScopeClass.HOST,
            60,
            (
                _VPC,
                Reference("fixed_ips", "subnet", many=True, item="subnet_id"),
                Reference("security_groups", "security_group", many=True),
            ),
        ),
        Kind("dhcp", ScopeClass.HOST, 70, (Reference("port_id", "port"),)),
        Kind("neighbor", ScopeClass.VPC, 80, (_VPC, _SUBNET)),
        Kind("elb", ScopeClass.PUBLIC, 0),
        Kind("nat_gateway", ScopeClass.PUBLIC, 0),
        Kind("eip", ScopeClass.PUBLIC, 0),
    )
}

PORT = "port"


def rank_of(kind: str) -> int:
    """Rank of a kind; kinds that Southbound does not know come last."""
    known = KINDS.get(kind)
    return known.rank if known is not None else RANK_UNKNOWN_KIND


def vpc_of_port(spec: Mapping[str, Any]) -> str | None:
    """Return the VPC that a port's spec names, or None when it names none."""
    vpc = spec.get("vpc_id")
    return vpc if isinstance(vpc, str) and vpc else None


def _ids(value: object, reference: Reference) -> Iterator[str]:
    """Yield the ids in a field's value; what is malformed names none."""
    items = value if reference.many and isinstance(value, list | tuple) else (value,)
    for item in items:
        # Nearly all are plain dictionaries, and asking for the interface is slow.
        is_mapping = type(item) is dict or isinstance(item, Mapping)
        named = item.get(reference.item) if is_mapping else item
        if isinstance(named, str) and named:
            yield named


def references(key: ResourceKey, spec: Mapping[str, Any]) -> Iterator[ResourceKey]:
    """Yield what must be applied before the resource `key` with this `spec` can be.

    A reference to a VPC-class kind is looked for in the scope of the VPC that the spec names in
    `vpc_id`, else in the resource's own scope; one to a host-class kind in the resource's own.
    A field that is absent or malformed refers to nothing.
    """
    kind = KINDS.get(key.kind)
    if kind is None or not kind.references:
        return
    own = key.scope
    vpc = None if own.cls is ScopeClass.VPC else vpc_of_port(spec)
    network = vpc_scope(vpc) if vpc else own
    for reference in kind.references:
        in_vpc = KINDS[reference.kind].cls is ScopeClass.VPC
        scope = network if in_vpc else own
        if in_vpc and scope.cls is not ScopeClass.VPC:
            continue
        value = spec.get(reference.field)
        if type(value) is str:
            if value:
                yield ResourceKey(scope, reference.kind, value)
        elif value is not None:
            for named in _ids(value, reference):
                yield ResourceKey(scope, reference.kind, named)
