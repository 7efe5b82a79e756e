"""What every node must hold, worked out from what was published and from nothing else. Pure.

The rule: this is a second, deliberately plain statement of who gets what, so that the check does
not share a mistake with what it checks: a host gets its own resources and those of the VPCs of its
ports; what refers to something that nobody published waits, and stands on no node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from southbound.resources import (
    Changeset,
    Op,
    Resource,
    ResourceKey,
    ScopeClass,
    host_scope,
    references,
    vpc_of_port,
)

Content = tuple[int, dict[str, Any]]
State = dict[ResourceKey, Content]


class Published:
    """Everything published so far: of each resource the highest revision."""

    def __init__(self) -> None:
        self._latest: dict[ResourceKey, Resource] = {}

    def add(self, changesets: Iterable[Changeset]) -> None:
        """Take note of what is about to be published."""
        for changeset in changesets:
            for resource in changeset.resources:
                known = self._latest.get(resource.key)
                if known is None or resource.revision > known.revision:
                    self._latest[resource.key] = resource

    def of_host(self, host: str) -> State:
        """Return what this host must hold: revision and spec of each resource."""
        mine = host_scope(host)
        standing = [one for one in self._latest.values() if one.op is Op.UPSERT]
        vpcs = {
            vpc_of_port(one.spec) for one in standing if one.scope == mine and one.kind == "port"
        }
        candidates = {
            one.key: one
            for one in standing
            if one.scope == mine or (one.scope.cls is ScopeClass.VPC and one.scope.id in vpcs)
        }
        return _complete(candidates)

    def of_workers(self, kind: str) -> State:
        """Return what all workers of a kind together must hold."""
        return {
            one.key: (one.revision, dict(one.spec))
            for one in self._latest.values()
            if one.scope.cls is ScopeClass.PUBLIC and one.kind == kind and one.op is Op.UPSERT
        }


def _complete(candidates: Mapping[ResourceKey, Resource]) -> State:
    """Leave out what refers, directly or through others, to something absent."""
    left = dict(candidates)
    while True:
        waiting = [
            key
            for key, one in left.items()
            if any(needed not in left for needed in references(key, one.spec))
        ]
        if not waiting:
            return {key: (one.revision, dict(one.spec)) for key, one in left.items()}
        for key in waiting:
            del left[key]


def differences(expected: State, found: State) -> list[str]:
    """Say each thing that is missing, foreign, or of another revision or content."""
    said = [f"missing {key}" for key in expected.keys() - found.keys()]
    said += [f"foreign {key}" for key in found.keys() - expected.keys()]
    for key in expected.keys() & found.keys():
        if expected[key][0] != found[key][0]:
            said.append(f"{key} is at revision {found[key][0]}, not {expected[key][0]}")
        elif expected[key][1] != found[key][1]:
            said.append(f"{key} has another content at revision {found[key][0]}")
    return sorted(said)
