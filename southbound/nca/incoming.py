"""A record that is a resource of ours, read and checked. Pure.

The rule: whatever could make a record unusable is found here, once, before it can change anything;
past this point there are only good ones. Bytes that are none raise `WireError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from southbound.nca.state import Entry
from southbound.resources import Op, ResourceKey
from southbound.wire.envelope import EMPTY_SPEC, decode, decode_spec
from southbound.wire.keys import decode_key


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One revision of one resource. `entry` is what it would become on this node.

    `spec` is the decoded form of `entry.spec`. `index` of `count` is its place in its changeset.
    """

    key: ResourceKey
    wire_key: bytes
    offset: int
    entry: Entry
    spec: Mapping[str, Any]
    index: int
    count: int
    sent_us: int
    copied: bool


def read(wire_key: bytes, value: bytes, offset: int) -> Incoming:
    """Read key and value of a record. Raises `WireError`."""
    key = decode_key(wire_key)
    envelope = decode(value)
    if envelope.op is Op.DELETE:
        spec: Mapping[str, Any] = {}
        entry = Entry(envelope.revision, Op.DELETE, EMPTY_SPEC, envelope.changeset)
    else:
        spec = decode_spec(envelope.spec)
        entry = Entry(envelope.revision, Op.UPSERT, envelope.spec, envelope.changeset)
    return Incoming(
        key=key,
        wire_key=wire_key,
        offset=offset,
        entry=entry,
        spec=spec,
        index=envelope.index,
        count=envelope.count,
        sent_us=envelope.sent_us,
        copied=envelope.copied,
    )
