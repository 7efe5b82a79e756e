"""The simulated nodes of some clusters, and whether each has what it must have.

The rule: what a node must have is worked out from the fleet and the revisions alone, never from what
was read: a digest for each node, kept in eight bytes, and for a sample every single resource.
"""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from loadgen.ends import ends_of
from loadgen.expectation import digest_of_changeset, parts_of_changeset
from loadgen.nodes.compact import CompactNode
from loadgen.nodes.digest import MASK
from loadgen.nodes.entries import HASH, REVISION_SHIFT
from loadgen.nodes.hall import Hall
from loadgen.share import Placed, Progress
from loadgen.workloads.fleet import Fleet
from southbound.directory import Directory
from southbound.partitioning.topology import Topology, topic_name
from southbound.resources import Changeset

_TIMEOUT_S = 600.0
_SAID_EVERY = 50_000
_SHOWN_MAX = 20
_PLACED_AT_ONCE = 20_000


class Revisions(NamedTuple):
    """What was published last: all hosts at `hosts`, all VPCs at `vpcs` but those in `others`."""

    hosts: int
    vpcs: int
    others: Mapping[int, int]

    def of_vpc(self, j: int) -> int:
        """Return a VPC's revision."""
        return self.others.get(j, self.vpcs)


class Checked(NamedTuple):
    """What a comparison has found. `wrong`: what is amiss, in words, of the first few nodes."""

    nodes: int
    sampled: int
    wrong_count: int
    wrong: list[str]


class Population:
    """The nodes of a share, in a hall. Nothing is read here."""

    def __init__(
        self, directory: Directory, fleet: Fleet, placed: Sequence[Placed], say: Progress
    ) -> None:
        self.hall = Hall(directory.topology)
        self._directory = directory
        self._fleet = fleet
        self._placed = placed
        self._say = say
        self._revisions = Revisions(0, 0, {})
        self._own: list[array[int]] = []
        self._expected: list[array[int]] = []

    def join(self) -> int:
        """Let all nodes begin where their slots end now, and place all VPCs; return how many nodes."""
        now_us = time.time_ns() // 1_000
        for placed in self._placed:
            self._join(placed, now_us)
        fleet, hall = self._fleet, self.hall
        for first in range(0, fleet.vpcs, _PLACED_AT_ONCE):
            numbers = range(first, min(fleet.vpcs, first + _PLACED_AT_ONCE))
            for vpc, row in self._directory.vpcs([fleet.vpc(j) for j in numbers]).items():
                hall.place(vpc, row, high=None, now_us=now_us)
        return len(hall.nodes)

    def _join(self, placed: Placed, now_us: int) -> None:
        topology = self._directory.topology
        ends = _ends(topology, placed)
        fleet, hall = self._fleet, self.hall
        for slot, end in enumerate(ends):
            topic, partition = divmod(slot, topology.pool(placed.pool).partitions)
            name = topic_name(placed.pool, topic)
            hall.slot(placed.cluster, name, partition).high = end
        for at, (hosts, slots) in enumerate(_pieces(placed), 1):
            rows = self._directory.hosts([fleet.host(i) for i in hosts])
            for i, slot in zip(hosts, slots, strict=True):
                host, end = fleet.host(i), ends[slot]
                row = msgspec.structs.replace(rows[host], start=end)
                hall.join(host, row, high=end, now_us=now_us)
            joined = min(at * _PLACED_AT_ONCE, len(placed.hosts))
            self._say(f"nodes of {placed.cluster}: {joined:,} of {len(placed.hosts):,}")

    def expect(self, revisions: Revisions) -> None:
        """Work out what every node must have."""
        fleet = self._fleet
        if revisions.hosts != self._revisions.hosts:
            self._own = [self._own_digests(placed, revisions.hosts) for placed in self._placed]
        vpcs = [
            digest_of_changeset(fleet.vpc_changeset(j, revisions.of_vpc(j)))
            for j in range(fleet.vpcs)
        ]
        self._expected = [
            array(
                "Q",
                [
                    (digest + sum([vpcs[j] for j in fleet.host_vpcs(i)])) & MASK
                    for i, digest in zip(placed.hosts, own, strict=True)
                ],
            )
            for placed, own in zip(self._placed, self._own, strict=True)
        ]
        self._revisions = revisions

    def _own_digests(self, placed: Placed, revision: int) -> array[int]:
        digests = array("Q")
        for i in placed.hosts:
            digests.append(digest_of_changeset(self._fleet.host_changeset(i, revision)))
            if len(digests) % _SAID_EVERY == 0:
                self._say(f"what nodes of {placed.cluster} must have: {len(digests):,}")
        return digests

    def check(self, sample: int) -> Checked:
        """Compare every node's digest, and all that `sample` nodes have, one by one."""
        fleet, nodes = self._fleet, self.hall.nodes
        wrong: list[str] = []
        count = 0
        for placed, expected in zip(self._placed, self._expected, strict=True):
            for i, digest in zip(placed.hosts, expected, strict=True):
                host = fleet.host(i)
                if nodes[host].digest() != digest:
                    count += 1
                    if len(wrong) < _SHOWN_MAX:
                        wrong.append(self._difference(i) or f"{host}: its digest differs")
        chosen = self._sample(sample)
        for i in chosen:
            difference = self._difference(i)
            if difference:
                count += 1
                wrong.append(difference)
        return Checked(sum(map(len, self._expected)), len(chosen), count, wrong[:_SHOWN_MAX])

    def _sample(self, count: int) -> list[int]:
        hosts = [i for placed in self._placed for i in placed.hosts] if count else []
        return random.Random(count).sample(hosts, min(count, len(hosts)))

    def _difference(self, i: int) -> str:
        """Return in words in what a node differs from what it must have; empty when in nothing."""
        wanted: dict[bytes, tuple[int, int]] = {}
        for changeset in self._changesets(i):
            wanted |= parts_of_changeset(changeset)
        host = self._fleet.host(i)
        found = standing_of(self.hall.nodes[host])
        words = [
            f"{_shown(key)} is at {_told(found.get(key))} and must be at {_told(wanted.get(key))}"
            for key in sorted(wanted.keys() | found.keys())
            if found.get(key) != wanted.get(key)
        ]
        return f"{host}: {'; '.join(words[:3])}" if words else ""

    def _changesets(self, i: int) -> Iterator[Changeset]:
        fleet, told = self._fleet, self._revisions
        yield fleet.host_changeset(i, told.hosts)
        for j in fleet.host_vpcs(i):
            yield fleet.vpc_changeset(j, told.of_vpc(j))


def standing_of(node: CompactNode) -> dict[bytes, tuple[int, int]]:
    """Return by record key the revision and the digest's part of all that stands on a node."""
    return {
        stream.prefix + suffix: (entry >> REVISION_SHIFT, entry & HASH)
        for stream in node.streams()
        for suffix in stream.entries
        if (entry := stream.standing(suffix))
    }


def _ends(topology: Topology, placed: Placed) -> list[int]:
    """Return where each slot of a host pool ends now, by topic x partitions + partition."""
    pool = topology.pool(placed.pool)
    positions = [
        (topic_name(pool.id, topic), partition)
        for topic in range(pool.topics)
        for partition in range(pool.partitions)
    ]
    found = ends_of(topology.cluster(placed.cluster), positions, _TIMEOUT_S)
    return [found[position] for position in positions]


def _pieces(placed: Placed) -> Iterator[tuple[array[int], array[int]]]:
    for first in range(0, len(placed.hosts), _PLACED_AT_ONCE):
        some = slice(first, first + _PLACED_AT_ONCE)
        yield placed.hosts[some], placed.slots[some]


def _told(found: tuple[int, int] | None) -> str:
    return "nothing" if found is None else f"revision {found[0]} ({found[1]:016x})"


def _shown(key: bytes) -> str:
    return key.decode(errors="replace").replace("\x1f", "/")
