"""What every value begins with: one version byte, then a msgpack array. Pure.

The rule: bytes that are none of a kind raise `WireError`, whatever they are: too deeply nested, cut
short, announcing more than there is, or of numbers that a signed 64-bit integer cannot hold, which
is what databases and other languages keep them in.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from southbound.errors import WireError

VERSION = 1
VERSION_BYTE = bytes([VERSION])

INTEGER_MAX = 2**63 - 1
MICROS_MAX = 2**62 - 1
"""The year 148,108: far enough, and any retention can be added to it."""

Count = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
"""An epoch, an offset, a position: 0 to 2**63 - 1."""

Revision = Annotated[int, msgspec.Meta(ge=1, le=INTEGER_MAX)]
"""1 to 2**63 - 1."""

Flags = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
"""Bits."""

Micros = Annotated[int, msgspec.Meta(ge=-MICROS_MAX, le=MICROS_MAX)]
"""Microseconds since 1970."""

T = TypeVar("T")


def opened(data: bytes, decoder: msgspec.msgpack.Decoder[T], what: str) -> T:
    """Return what stands behind the version byte. Raises `WireError`, which says of `what`."""
    if data[:1] != VERSION_BYTE:
        raise WireError(f"unknown wire version {data[0]}" if data else "empty value")
    try:
        return decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"malformed {what}: {error}") from error
