"""What a history consists of. Pure.

The rule: an event says what was seen where it was written, and judges nothing. Times are
microseconds since 1970, of the machine that wrote. Keys are record keys (docs/wire.md), which hold
class, scope, kind and id; content is told by its hash (`loadgen.nodes.digest`).
"""

from __future__ import annotations

import msgspec

from loadgen.nodes.digest import hash_of
from southbound.resources import PORT, Changeset, Op, Resource, references, vpc_of_port
from southbound.wire.envelope import encode_spec
from southbound.wire.keys import encode_key


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One resource of a changeset as it was published.

    `hash` is 0 for a delete. `needs`: record keys of what it refers to. `vpc`: what a port names.
    """

    key: bytes
    revision: int
    deleted: bool
    hash: int
    needs: tuple[bytes, ...] = ()
    vpc: str = ""


class Effect(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One resource that a node has brought to a revision. `hash` is 0 when it was deleted.

    `changeset` is empty where a node takes over, as a whole, what others had gathered already.
    """

    key: bytes
    revision: int
    deleted: bool
    hash: int
    changeset: str = ""


class Published(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A changeset was handed to a publisher; it was to be sent at `at_us`."""

    changeset: str
    at_us: int
    lines: tuple[Line, ...]


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A publisher has said that a changeset is accepted."""

    changeset: str
    at_us: int


class Joined(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """A node whose effects are all written down began, with nothing. `node` is its host's id."""

    node: str
    at_us: int


class Applied(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """A node has brought these to stand, in one step."""

    node: str
    at_us: int
    effects: tuple[Effect, ...]


class Left(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """A node follows a scope no more; `prefix` is what the keys of that scope begin with."""

    node: str
    at_us: int
    prefix: bytes


class Read(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """What nodes have read so far: records in host and VPC slots, and how many were their own."""

    at_us: int
    host_read: int
    host_own: int
    vpc_read: int
    vpc_own: int


class Truncated(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """The file was full, or its writer was killed: what came after is not here."""

    at_us: int
    why: str


Event = Published | Accepted | Joined | Applied | Left | Read | Truncated


def hash_of_resource(resource: Resource) -> int:
    """Return the part of a node's digest that a resource makes once it stands; 0 for a delete."""
    if resource.op is Op.DELETE:
        return 0
    return hash_of(encode_key(resource.key), resource.revision, encode_spec(resource.spec))


def line_of(resource: Resource) -> Line:
    """Return the line of a resource that is published."""
    key = resource.key
    deleted = resource.op is Op.DELETE
    needs = () if deleted else tuple(map(encode_key, references(key, resource.spec)))
    vpc = "" if deleted or key.kind != PORT else vpc_of_port(resource.spec) or ""
    return Line(encode_key(key), resource.revision, deleted, hash_of_resource(resource), needs, vpc)


def published(changeset: Changeset, at_us: int) -> Published:
    """Return the event of a changeset that was to be sent at that time."""
    return Published(changeset.id, at_us, tuple(map(line_of, changeset.resources)))
