"""What must stand, by what was published and accepted. Pure.

The rule: the highest accepted revision of each resource must be there, and nothing higher than was
published may be; what was published and never answered may stand or not. This is told by changesets
alone: it knows nothing of slots, offsets or agents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from loadgen.histories.events import Line, Published, hash_of_resource
from loadgen.nodes.digest import MASK
from southbound.resources import Resource, Scope
from southbound.wire.keys import scope_prefix

_HOST = b"h\x1f"


class Expected:
    """All publications of a run; `conclude` once they are all in."""

    def __init__(self) -> None:
        self.published: dict[str, Published] = {}
        self.accepted: set[str] = set()
        self.lines: dict[bytes, dict[int, Line]] = {}
        self.vpcs_ever: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._by_scope: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self._highest: dict[bytes, Line] = {}
        self._parts: defaultdict[bytes, list[tuple[str, list[Line]]]] = defaultdict(list)

    def take(self, event: Published) -> None:
        """Take a changeset that was published; the same again changes nothing."""
        self.published.setdefault(event.changeset, event)
        for line in event.lines:
            revisions = self.lines.get(line.key)
            if revisions is None:
                revisions = self.lines[line.key] = {}
                self._by_scope[prefix_of(line.key)].append(line.key)
            revisions.setdefault(line.revision, line)
            if line.vpc:
                self.vpcs_ever[prefix_of(line.key)].add(vpc_prefix(line.vpc))

    def conclude(self) -> None:
        """Find the highest accepted revision of each resource."""
        for id in sorted(self.accepted & self.published.keys()):
            parts: defaultdict[bytes, list[Line]] = defaultdict(list)
            for line in self.published[id].lines:
                parts[prefix_of(line.key)].append(line)
                held = self._highest.get(line.key)
                if held is None or held.revision < line.revision:
                    self._highest[line.key] = line
            for prefix, lines in parts.items():
                self._parts[prefix].append((id, lines))

    def highest(self, key: bytes) -> Line | None:
        """Return the highest accepted line of a resource."""
        return self._highest.get(key)

    def keys_of(self, prefix: bytes) -> list[bytes]:
        """Return the keys of a scope that were published."""
        return self._by_scope.get(prefix, [])

    def parts_of(self, prefix: bytes) -> list[tuple[str, list[Line]]]:
        """Return each accepted changeset that has lines in a scope, with these lines."""
        return self._parts.get(prefix, [])

    def vpcs_of(self, host_prefix: bytes) -> set[bytes]:
        """Return the prefixes of the VPCs that a host must follow: of ports that must stand."""
        return {
            vpc_prefix(line.vpc)
            for key in self.keys_of(host_prefix)
            if (line := self._highest.get(key)) is not None
            and line.vpc
            and line.revision == max(self.lines[key])
        }

    def is_certain(self, line: Line) -> bool:
        """Tell whether all that a line refers to must stand, so that it cannot be left waiting."""
        return all(
            (named := self._highest.get(need)) is not None
            and not named.deleted
            and named.revision == max(self.lines[need])
            and self.is_certain(named)
            for need in line.needs
        )


def prefix_of(key: bytes) -> bytes:
    """Return what all keys of a key's scope begin with."""
    return key[: key.find(b"\x1f", 2) + 1]


def vpc_prefix(vpc: str) -> bytes:
    """Return what the keys of a VPC begin with."""
    return b"v\x1f" + vpc.encode() + b"\x1f"


def host_prefix(host: str) -> bytes:
    """Return what the keys of a host begin with."""
    return _HOST + host.encode() + b"\x1f"


class ExpectedDigests:
    """The digests of scopes, from the resources that must stand in them; for any number of nodes.

    Resources are taken in any order, each at its highest revision: a lower one taken before is
    replaced by whoever says `replacing` it.
    """

    def __init__(self) -> None:
        self._totals: defaultdict[bytes, int] = defaultdict(int)

    def take(self, resources: Iterable[Resource], *, replacing: Iterable[Resource] = ()) -> None:
        """Let these stand, in the place of others."""
        for resource in resources:
            self._add(resource.scope, hash_of_resource(resource))
        for resource in replacing:
            self._add(resource.scope, -hash_of_resource(resource))

    def of_scope(self, scope: Scope) -> int:
        """Return the digest of one scope."""
        return self._totals.get(scope_prefix(scope), 0)

    def of_node(self, host: Scope, vpcs: Iterable[Scope]) -> int:
        """Return the digest of a node that follows these VPCs."""
        return (self.of_scope(host) + sum(map(self.of_scope, vpcs))) & MASK

    def _add(self, scope: Scope, hash_: int) -> None:
        prefix = scope_prefix(scope)
        self._totals[prefix] = (self._totals[prefix] + hash_) & MASK
