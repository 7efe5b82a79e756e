"""Record values: one version byte, then a msgpack array (docs/wire.md).

    0x01 [revision, op, epoch, changeset, index, count, sent_us, flags, spec, ...]

The rule: fields are only ever appended. A reader ignores what follows the fields it knows, and
quarantines a record whose version byte it does not know. `spec` is a msgpack document inside a bin,
so a carrier moves it without looking, and a resource is encoded once however many replicas get it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Annotated, Any

import msgspec

from southbound.errors import Fault, InvalidResource, WireError
from southbound.resources import ID_BYTES_MAX, Op
from southbound.wire.versioned import VERSION_BYTE, Count, Flags, Micros, Revision, opened

FLAG_COPIED = 1
"""The record was copied from another slot by a handover or a replica's seeding."""

RECORD_BYTES_MAX = (1 << 20) - 16 * 1024
"""Key and value of a record together: 1 MiB less headroom for the batch around it."""

EMPTY_SPEC = b"\x80"

SPEC_DEPTH_MAX = 64
"""Maps and arrays of a spec within one another, the spec itself among them.

A bound of our own: without it a spec could be read where the stack is shallow, and not be read again,
or written as JSON, where it is deeper.
"""

# A spec is no deeper than it has bytes that could begin a map or an array.
_LEAVES = bytes(one for one in range(256) if not (0x80 <= one <= 0x9F or 0xDC <= one <= 0xDF))


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The fields of a record's value.

    `revision` counts from 1; `epoch` is the placement's that the sender believed in; `index` and
    `count` place the record within its scope's part of the changeset; `sent_us` is the intended
    time of sending in microseconds since 1970; `spec` is msgpack.
    """

    revision: Revision
    op: Op
    epoch: Count
    changeset: Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)]
    index: Count
    count: Count
    sent_us: Micros
    flags: Flags
    spec: bytes

    @property
    def copied(self) -> bool:
        """Whether a handover or a seeding wrote this record."""
        return bool(self.flags & FLAG_COPIED)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_spec_decoder = msgspec.msgpack.Decoder(dict[str, Any])


def encode(envelope: Envelope) -> bytes:
    """Return a record's value."""
    return VERSION_BYTE + _encoder.encode(envelope)


def decode(data: bytes) -> Envelope:
    """Read a record's value. Raises `WireError` for an unknown version or a malformed array."""
    envelope = opened(data, _decoder, "envelope")
    if envelope.index >= envelope.count:
        raise WireError(f"index {envelope.index} is not below count {envelope.count}")
    return envelope


def encode_spec(spec: Mapping[str, Any], place: str = "spec") -> bytes:
    """Return a spec as msgpack. Raises `InvalidResource` for what readers would not take."""
    if not spec:
        return EMPTY_SPEC
    try:
        encoded = _encoder.encode(spec)
        if _may_be_deep(encoded):
            decode_spec(encoded)
    except (
        msgspec.MsgspecError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        WireError,
    ) as error:
        raise InvalidResource("invalid spec", [Fault(place, spec, str(error))]) from error
    return encoded


def decode_spec(data: bytes) -> dict[str, Any]:
    """Read a spec. Raises `WireError` when it is not a msgpack map with string keys, or too deep."""
    try:
        spec = _spec_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"malformed spec: {error}") from error
    if _may_be_deep(data) and _is_deeper(spec, SPEC_DEPTH_MAX):
        raise WireError(f"malformed spec: nested deeper than {SPEC_DEPTH_MAX} levels")
    return spec


def _may_be_deep(data: bytes) -> bool:
    return len(data.translate(None, _LEAVES)) > SPEC_DEPTH_MAX


def _is_deeper(spec: object, levels: int) -> bool:
    """Tell whether maps and arrays stand in one another through more levels, keys counted too."""
    level: list[Any] = [spec]
    for _ in range(levels):
        inside = (chain(one, one.values()) if isinstance(one, dict) else one for one in level)
        items: chain[Any] = chain.from_iterable(inside)
        level = [item for item in items if item and isinstance(item, dict | list | tuple)]
        if not level:
            return False
    return True


def with_flags(data: bytes, *, epoch: int, flags: int) -> bytes:
    """Return the value with another epoch and more flags set, for a copy into another slot.

    What a newer writer appended is kept as it is, unread. Raises `WireError`.
    """
    envelope = decode(data)
    fields = opened(data, _raw_decoder, "envelope")
    fields[2] = msgspec.Raw(_encoder.encode(epoch))
    fields[7] = msgspec.Raw(_encoder.encode(envelope.flags | flags))
    return VERSION_BYTE + _encoder.encode(fields)
