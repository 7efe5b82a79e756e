"""Record values: one version byte, then a msgpack array (docs/wire.md).

    0x01 [revision, op, epoch, changeset, index, count, sent_us, flags, spec, ...]

The rule: fields are only ever appended. A reader ignores what follows the fields it knows, and
quarantines a record whose version byte it does not know. `spec` is a msgpack document inside a bin,
so a carrier moves it without looking, and a resource is encoded once however many replicas get it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from southbound.errors import Fault, InvalidResource, WireError
from southbound.resources import Op

VERSION = 1
_VERSION_BYTE = bytes([VERSION])

FLAG_COPIED = 1
"""The record was copied from another slot by a handover or a replica's seeding."""

RECORD_BYTES_MAX = (1 << 20) - 16 * 1024
"""Key and value of a record together: 1 MiB less headroom for the batch around it."""

EMPTY_SPEC = b"\x80"


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The fields of a record's value.

    `revision` counts from 1; `epoch` is the placement's that the sender believed in; `index` and
    `count` place the record within its scope's part of the changeset; `sent_us` is the intended
    time of sending in microseconds since 1970; `spec` is msgpack.
    """

    revision: int
    op: Op
    epoch: int
    changeset: str
    index: int
    count: int
    sent_us: int
    flags: int
    spec: bytes

    @property
    def copied(self) -> bool:
        """Whether a handover or a seeding wrote this record."""
        return bool(self.flags & FLAG_COPIED)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_spec_decoder = msgspec.msgpack.Decoder(dict[str, Any])


def encode(envelope: Envelope) -> bytes:
    """Return a record's value."""
    return _VERSION_BYTE + _encoder.encode(envelope)


def decode(data: bytes) -> Envelope:
    """Read a record's value. Raises `WireError` for an unknown version or a malformed array."""
    if data[:1] != _VERSION_BYTE:
        raise WireError(f"unknown wire version {data[0]}" if data else "empty value")
    try:
        envelope = _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"malformed envelope: {error}") from error
    if envelope.revision < 1 or envelope.epoch < 0:
        raise WireError(f"revision {envelope.revision} or epoch {envelope.epoch} is out of range")
    if not 0 <= envelope.index < envelope.count:
        raise WireError(f"index {envelope.index} is not below count {envelope.count}")
    return envelope


def encode_spec(spec: Mapping[str, Any], place: str = "spec") -> bytes:
    """Return a spec as msgpack. Raises `InvalidResource` for what msgpack cannot carry."""
    if not spec:
        return EMPTY_SPEC
    try:
        return _encoder.encode(spec)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidResource("invalid spec", [Fault(place, spec, str(error))]) from error


def decode_spec(data: bytes) -> dict[str, Any]:
    """Read a spec. Raises `WireError` when it is not a msgpack map with string keys."""
    try:
        return _spec_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"malformed spec: {error}") from error


def with_flags(data: bytes, *, epoch: int, flags: int) -> bytes:
    """Return the value with another epoch and more flags set, for a copy into another slot.

    What a newer writer appended is kept.
    """
    decode(data)
    fields = msgspec.msgpack.decode(memoryview(data)[1:])
    fields[2] = epoch
    fields[7] |= flags
    return _VERSION_BYTE + _encoder.encode(fields)
