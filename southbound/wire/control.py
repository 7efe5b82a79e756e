"""Values of the control records `!handover` and `!seal`, and of entries in `sb.moves` and
`sb.directory` (docs/wire.md).

The rule: whatever tells where a scope lives is a placement row with an epoch, in one small msgpack
array behind the same version byte as every other value, and is only ever appended to.
"""

from __future__ import annotations

import msgspec

from southbound.wire.versioned import VERSION_BYTE, Count, Micros, opened

NULL_BELIEVED_US = 86_400_000_000
"""A null in `sb.moves` ends only an entry that was written at least this long before it.

Whoever prunes an old entry may be overtaken by a new one, which his null would hide from the fence.
"""


class Marker(msgspec.Struct, frozen=True, array_like=True):
    """`!handover`: this scope's stream goes on at `row` (a placement's), from offset `start`."""

    epoch: Count
    row: str
    start: Count


class Seal(msgspec.Struct, frozen=True, array_like=True):
    """`!seal`: everything of this scope up to `epoch` has been copied into this slot."""

    epoch: Count


class MoveEntry(msgspec.Struct, frozen=True, array_like=True):
    """`sb.moves`: who has left a slot of this cluster, or which replicas a VPC homed here has.

    `row` is a placement's row for a host, a VPC's row for a VPC; `epoch` is the row's.
    """

    epoch: Count
    row: str
    written_us: Micros


class JournalEntry(msgspec.Struct, frozen=True, array_like=True):
    """`sb.directory`: a placement, before it is used.

    Highest epoch wins; among equals one with `mended` (written by a reader who saw which came
    first); then the first. `writer` tells a writer its own entry from another's. For a public
    resource, `row` is `<partition>`.
    """

    epoch: Count
    row: str
    writer: str
    written_us: Micros
    mended: bool = False


_encoder = msgspec.msgpack.Encoder()
_markers = msgspec.msgpack.Decoder(Marker)
_seals = msgspec.msgpack.Decoder(Seal)
_moves = msgspec.msgpack.Decoder(MoveEntry)
_journals = msgspec.msgpack.Decoder(JournalEntry)


def encode_control(value: Marker | Seal | MoveEntry | JournalEntry) -> bytes:
    """Return the value of a control record or entry."""
    return VERSION_BYTE + _encoder.encode(value)


def decode_marker(data: bytes) -> Marker:
    """Read a `!handover` value. Raises `WireError`."""
    return opened(data, _markers, "marker")


def decode_seal(data: bytes) -> Seal:
    """Read a `!seal` value. Raises `WireError`."""
    return opened(data, _seals, "seal")


def decode_move(data: bytes) -> MoveEntry:
    """Read an entry of `sb.moves`. Raises `WireError`."""
    return opened(data, _moves, "entry of sb.moves")


def decode_journal(data: bytes) -> JournalEntry:
    """Read an entry of `sb.directory`. Raises `WireError`."""
    return opened(data, _journals, "entry of sb.directory")
