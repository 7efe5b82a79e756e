"""Values of the control records `!handover` and `!seal`, and of entries in `sb.moves` and
`sb.directory` (docs/wire.md).

The rule: whatever tells where a scope lives is a placement row with an epoch, in one small msgpack
array behind the same version byte as every other value, and is only ever appended to.
"""

from __future__ import annotations

import msgspec

from southbound.errors import WireError
from southbound.wire.envelope import VERSION

_VERSION_BYTE = bytes([VERSION])

NULL_BELIEVED_US = 86_400_000_000
"""A null in `sb.moves` ends only an entry that was written at least this long before it.

Whoever prunes an old entry may be overtaken by a new one, which his null would hide from the fence.
"""


class Marker(msgspec.Struct, frozen=True, array_like=True):
    """`!handover`: this scope's stream goes on at `row` (a placement's), from offset `start`."""

    epoch: int
    row: str
    start: int


class Seal(msgspec.Struct, frozen=True, array_like=True):
    """`!seal`: everything of this scope up to `epoch` has been copied into this slot."""

    epoch: int


class MoveEntry(msgspec.Struct, frozen=True, array_like=True):
    """`sb.moves`: who has left a slot of this cluster, or which replicas a VPC homed here has.

    `row` is a placement's row for a host, a VPC's row for a VPC; `epoch` is the row's.
    """

    epoch: int
    row: str
    written_us: int


class JournalEntry(msgspec.Struct, frozen=True, array_like=True):
    """`sb.directory`: a placement, before it is used.

    Highest epoch wins; among equals one with `mended` (written by a reader who saw which came
    first); then the first. `writer` tells a writer its own entry from another's. For a public
    resource, `row` is `<partition>`.
    """

    epoch: int
    row: str
    writer: str
    written_us: int
    mended: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoders = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (Marker, Seal, MoveEntry, JournalEntry)
}


def encode_control(value: Marker | Seal | MoveEntry | JournalEntry) -> bytes:
    """Return the value of a control record or entry."""
    return _VERSION_BYTE + _encoder.encode(value)


def _decode(data: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    if data[:1] != _VERSION_BYTE:
        raise WireError(f"unknown wire version {data[0]}" if data else "empty value")
    try:
        value: msgspec.Struct = _decoders[kind].decode(memoryview(data)[1:])  # type: ignore[index]
    except (msgspec.MsgspecError, ValueError) as error:
        raise WireError(f"malformed {kind.__name__}: {error}") from error
    return value


def decode_marker(data: bytes) -> Marker:
    """Read a `!handover` value. Raises `WireError`."""
    value = _decode(data, Marker)
    assert isinstance(value, Marker)
    return value


def decode_seal(data: bytes) -> Seal:
    """Read a `!seal` value. Raises `WireError`."""
    value = _decode(data, Seal)
    assert isinstance(value, Seal)
    return value


def decode_move(data: bytes) -> MoveEntry:
    """Read an entry of `sb.moves`. Raises `WireError`."""
    value = _decode(data, MoveEntry)
    assert isinstance(value, MoveEntry)
    return value


def decode_journal(data: bytes) -> JournalEntry:
    """Read an entry of `sb.directory`. Raises `WireError`."""
    value = _decode(data, JournalEntry)
    assert isinstance(value, JournalEntry)
    return value
