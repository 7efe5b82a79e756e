"""The same configuration as documents: one with everything, and each node's own. Pure.

The rule: baselines get the best of it. Documents carry the resources that the streams carry, in the
same encoding (msgpack), each scope's part encoded once; and who takes a document decodes nothing but
its own part and only skips over the rest, at the speed of C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec

from loadgen.workloads.fleet import Fleet
from southbound.resources import Resource


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A resource in a document; its scope is where it stands."""

    kind: str
    id: str
    revision: int
    spec: dict[str, Any]


Parts = dict[str, msgspec.Raw]


class Whole(msgspec.Struct, frozen=True):
    """The document with everything: each host's part and each VPC's, by id."""

    version: int
    hosts: Parts
    vpcs: Parts


class Own(msgspec.Struct, frozen=True):
    """A node's own document: its part, and those of its VPCs."""

    version: int
    host: msgspec.Raw
    vpcs: Parts


Held = dict[str, list[Entry]]
"""What a node holds: its own entries under `""`, and those of each of its VPCs."""

_encode = msgspec.msgpack.Encoder().encode
_entries = msgspec.msgpack.Decoder(list[Entry]).decode
_whole = msgspec.msgpack.Decoder(Whole).decode
_own = msgspec.msgpack.Decoder(Own).decode


def of_host(fleet: Fleet, i: int, revision: int) -> Iterator[Resource]:
    """Yield what a host itself is told."""
    return iter(fleet.host_changeset(i, revision).resources)


def of_vpc(fleet: Fleet, j: int, revision: int) -> Iterator[Resource]:
    """Yield what each host of a VPC is told: its networks, and its neighbours where it has them."""
    yield from fleet.vpc_changeset(j, revision).resources
    if fleet.has_neighbors(j):
        told = fleet.neighbor_changesets(j, revision)
        yield from chain.from_iterable(changeset.resources for changeset in told)


def part(resources: Iterator[Resource]) -> bytes:
    """Return a scope's part of a document."""
    return _encode([Entry(one.kind, one.id, one.revision, dict(one.spec)) for one in resources])


def raw(parts: Mapping[str, bytes]) -> Parts:
    """Return parts as documents hold them."""
    return {id: msgspec.Raw(data) for id, data in parts.items()}


def write_whole(version: int, hosts: Parts, vpcs: Parts) -> bytes:
    """Return the document with everything."""
    return _encode(Whole(version, hosts, vpcs))


def write_own(version: int, host: msgspec.Raw, vpcs: Parts) -> bytes:
    """Return a node's own document."""
    return _encode(Own(version, host, vpcs))


def take_whole(data: bytes, host: str) -> Held:
    """Find a node's part in the document with everything. Raises `KeyError` when there is none."""
    document = _whole(data)
    return _held(document.hosts[host], document.vpcs.__getitem__)


def take_own(data: bytes) -> Held:
    """Read a node's own document."""
    document = _own(data)
    return _held(document.host, document.vpcs.__getitem__)


def vpcs_of(host: msgspec.Raw) -> list[str]:
    """Return the VPCs that the ports of a host's part name, each once."""
    return list(_vpcs(_entries(host)))


def _vpcs(entries: list[Entry]) -> dict[str, None]:
    return {entry.spec["vpc_id"]: None for entry in entries if entry.kind == "port"}


def _held(host: msgspec.Raw, vpc: Callable[[str], msgspec.Raw]) -> Held:
    own = _entries(host)
    return {"": own, **{id: _entries(vpc(id)) for id in _vpcs(own)}}
