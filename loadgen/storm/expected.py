"""What each node must hold in the end, and how much that is, from the fleet alone. Pure.

The rule: this shares nothing with what is measured but the fleet and the wire format. A VPC is worked
out once, however many nodes hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from loadgen.nodes.digest import MASK, digest_of, hash_of
from loadgen.storm.documents import Held, of_host, of_vpc, part
from loadgen.workloads.fleet import Fleet
from southbound.resources import Op, Resource, Scope, host_scope, vpc_scope
from southbound.wire.envelope import Envelope, encode, encode_spec
from southbound.wire.keys import record_key

# A moment of this century: its encoding is as long as any that a record will have.
_SOME_TIME_US = 1_800_000_000_000_000
_SOME_CHANGESET = "h0000000-r1"


class Weight(NamedTuple):
    """What a scope comes to: its digest, its resources, and its bytes in records and in a document."""

    digest: int
    resources: int
    record_bytes: int
    document_bytes: int


def weigh(resources: Iterable[Resource]) -> Weight:
    """Weigh the resources of one scope."""
    digest = count = carried = 0
    kept = list(resources)
    for one in kept:
        key, spec = record_key(one.scope, one.kind, one.id), encode_spec(one.spec)
        envelope = Envelope(
            one.revision, Op.UPSERT, 1, _SOME_CHANGESET, 0, 1, _SOME_TIME_US, 0, spec
        )
        digest = digest + hash_of(key, one.revision, spec) & MASK
        carried += len(key) + len(encode(envelope))
        count += 1
    return Weight(digest, count, carried, len(part(iter(kept))))


class Expected:
    """Weights of a fleet's hosts and VPCs at one revision; VPCs are remembered."""

    def __init__(self, fleet: Fleet, revision: int) -> None:
        self._fleet = fleet
        self._revision = revision
        self._vpcs: dict[int, Weight] = {}

    def host(self, i: int) -> Weight:
        """Weigh what a host itself is told."""
        return weigh(of_host(self._fleet, i, self._revision))

    def vpc(self, j: int) -> Weight:
        """Weigh what a VPC's hosts are told."""
        found = self._vpcs.get(j)
        if found is None:
            found = self._vpcs[j] = weigh(of_vpc(self._fleet, j, self._revision))
        return found

    def parts(self, i: int) -> list[Weight]:
        """Weigh all that a node must hold: its own part, then its VPCs'."""
        return [self.host(i), *(self.vpc(j) for j in self._fleet.host_vpcs(i))]

    def digest(self, i: int) -> int:
        """Return the digest of all that a node must hold."""
        return digest_of(one.digest for one in self.parts(i))

    def resources(self, i: int) -> int:
        """Return how many resources a node must hold."""
        return sum(one.resources for one in self.parts(i))


def digest_of_held(host: str, held: Held) -> int:
    """Return the digest of what a node took from a document."""
    return digest_of(_hashes(host, held))


def _hashes(host: str, held: Held) -> Iterator[int]:
    for vpc, entries in held.items():
        scope: Scope = vpc_scope(vpc) if vpc else host_scope(host)
        for entry in entries:
            key = record_key(scope, entry.kind, entry.id)
            yield hash_of(key, entry.revision, encode_spec(entry.spec))
