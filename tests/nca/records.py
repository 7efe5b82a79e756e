"""Records as a publisher writes them, in few words, for tests of agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from southbound.resources import Op, ResourceKey, Scope, host_scope, vpc_scope
from southbound.wire.envelope import EMPTY_SPEC, Envelope, encode, encode_spec


@dataclass(frozen=True)
class Put:
    """One resource to be written. `spec` None: a delete."""

    scope: Scope
    kind: str
    id: str
    revision: int
    spec: Mapping[str, Any] | None = field(default_factory=dict)

    @property
    def key(self) -> ResourceKey:
        """Identity of the resource."""
        return ResourceKey(self.scope, self.kind, self.id)


@dataclass(frozen=True)
class Place:
    """Where a record stands in its changeset, and how it was sent."""

    index: int = 0
    count: int = 1
    flags: int = 0
    sent_us: int = 0


def value_of(put: Put, changeset: str, place: Place | None = None) -> bytes:
    """Return the value of a record."""
    place = place or Place()
    spec = EMPTY_SPEC if put.spec is None else encode_spec(put.spec)
    op = Op.DELETE if put.spec is None else Op.UPSERT
    return encode(
        Envelope(
            put.revision,
            op,
            1,
            changeset,
            place.index,
            place.count,
            place.sent_us,
            place.flags,
            spec,
        )
    )


def port(host: str, id: str, revision: int, vpc: str | None = None, **more: Any) -> Put:
    """Return a port of a host."""
    spec = dict(more) if vpc is None else {"vpc_id": vpc, **more}
    return Put(host_scope(host), "port", id, revision, spec)


def of_host(host: str, kind: str, id: str, revision: int, **spec: Any) -> Put:
    """Return a resource of a host."""
    return Put(host_scope(host), kind, id, revision, spec)


def of_vpc(vpc: str, kind: str, id: str, revision: int, **spec: Any) -> Put:
    """Return a resource of a VPC."""
    return Put(vpc_scope(vpc), kind, id, revision, spec)


def gone(put: Put, revision: int) -> Put:
    """Return the delete of a resource."""
    return Put(put.scope, put.kind, put.id, revision, None)


def expected(*puts: Put) -> dict[ResourceKey, tuple[int, Mapping[str, Any]]]:
    """Return what a node has once these are applied."""
    return {put.key: (put.revision, put.spec) for put in puts if put.spec is not None}
