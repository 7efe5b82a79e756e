"""What must stand on nodes after changesets were published, worked out from the changesets alone. Pure.

The rule: nothing here has seen a log or a node. Of each resource the highest revision stands, deletes
included; a node must have what stands in its host's scope and in those of its VPCs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from loadgen.nodes.digest import MASK, hash_of
from southbound.resources import (
    PORT,
    Changeset,
    Op,
    Resource,
    Scope,
    ScopeClass,
    vpc_of_port,
)
from southbound.wire.envelope import encode_spec
from southbound.wire.keys import record_key

_NOTHING = (0, 0)


def part_of(resource: Resource) -> tuple[bytes, int]:
    """Return a resource's record key, and its part of a digest; 0 for a delete."""
    key = record_key(resource.scope, resource.kind, resource.id)
    if resource.op is Op.DELETE:
        return key, 0
    return key, hash_of(key, resource.revision, encode_spec(resource.spec))


def digest_of_changeset(changeset: Changeset) -> int:
    """Return the digest of a node that has exactly what a changeset says."""
    return sum(part_of(resource)[1] for resource in changeset.resources) & MASK


def parts_of_changeset(changeset: Changeset) -> dict[bytes, tuple[int, int]]:
    """Return by record key the revision and the part of everything that a changeset says."""
    return {
        key: (resource.revision, part)
        for resource in changeset.resources
        for key, part in (part_of(resource),)
    }


class Expectation:
    """What stands in the scopes that `wanted` says matter; each resource costs a hundred bytes."""

    def __init__(self, wanted: Callable[[Scope], bool]) -> None:
        self._wanted = wanted
        self._scopes: dict[Scope, dict[bytes, tuple[int, int]]] = {}
        self._vpcs: dict[str, dict[str, str]] = {}

    def take(self, changeset: Changeset) -> None:
        """Note that a changeset was published."""
        for resource in changeset.resources:
            if self._wanted(resource.scope):
                table = self._scopes.setdefault(resource.scope, {})
                key, part = part_of(resource)
                if resource.revision > table.get(key, _NOTHING)[0]:
                    table[key] = (resource.revision, part)
                    if resource.kind == PORT and resource.scope.cls is ScopeClass.HOST:
                        self._note_port(resource)

    def _note_port(self, port: Resource) -> None:
        ports = self._vpcs.setdefault(port.scope.id, {})
        vpc = vpc_of_port(port.spec)
        if vpc is None:
            ports.pop(port.id, None)
        else:
            ports[port.id] = vpc

    def vpcs_of(self, host: str) -> set[str]:
        """Return the VPCs that a host's ports name."""
        return set(self._vpcs.get(host, {}).values())

    def digest(self, scopes: Iterable[Scope]) -> int:
        """Return the digest of a node that follows these scopes."""
        return (
            sum(part for scope in scopes for _, part in self._scopes.get(scope, {}).values()) & MASK
        )
