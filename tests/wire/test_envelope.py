"""Envelopes: what reads, what is quarantined, what a copy keeps."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import InvalidResource, WireError
from southbound.resources import Op
from southbound.wire.envelope import (
    FLAG_COPIED,
    Envelope,
    decode,
    decode_spec,
    encode,
    encode_spec,
    with_flags,
)

SAMPLE = Envelope(7, Op.UPSERT, 3, "set", 0, 2, 1, 0, encode_spec({"a": 1}))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_a_wire_error(data: bytes) -> None:
    """Reading never fails in another way."""
    for candidate in (data, b"\x01" + data):
        try:
            decode(candidate)
        except WireError:
            continue


@pytest.mark.parametrize(
    "fields",
    [
        [0, 0, 1, "c", 0, 1, 0, 0, b""],
        [-1, 0, 1, "c", 0, 1, 0, 0, b""],
        [1, 2, 1, "c", 0, 1, 0, 0, b""],
        [1, 0, -1, "c", 0, 1, 0, 0, b""],
        [1, 0, 1, 5, 0, 1, 0, 0, b""],
        [1, 0, 1, "c", 1, 1, 0, 0, b""],
        [1, 0, 1, "c", -1, 1, 0, 0, b""],
        [1, 0, 1, "c", 0, 0, 0, 0, b""],
        [1, 0, 1, "c", 0, 1, 0, 0, {}],
        [1, 0, 1, "c", 0, 1, 0, 0],
        {},
    ],
)
def test_out_of_range_fields_are_refused(fields: object) -> None:
    """Whatever is well-formed msgpack but no envelope is a wire error."""
    with pytest.raises(WireError):
        decode(b"\x01" + msgspec.msgpack.encode(fields))


def test_unknown_versions_are_refused() -> None:
    """The version byte is looked at before anything else."""
    with pytest.raises(WireError, match="version 2"):
        decode(b"\x02" + encode(SAMPLE)[1:])
    with pytest.raises(WireError, match="empty"):
        decode(b"")


def test_a_copy_keeps_everything_but_epoch_and_flags() -> None:
    """A copied record is the same change: only where it was written, and by whom, differs."""
    longer = b"\x01" + msgspec.msgpack.encode([*msgspec.msgpack.decode(encode(SAMPLE)[1:]), "new"])
    copied = with_flags(longer, epoch=9, flags=FLAG_COPIED)
    read = decode(copied)
    assert read.copied
    assert read.epoch == 9
    assert msgspec.structs.replace(read, epoch=3, flags=0) == SAMPLE
    assert msgspec.msgpack.decode(copied[1:])[-1] == "new"


def test_a_spec_that_msgpack_cannot_carry_is_named() -> None:
    """The error says which spec; nothing is sent."""
    with pytest.raises(InvalidResource, match=r"resources\[0\]\.spec"):
        encode_spec({"n": 2**70}, "resources[0].spec")


@pytest.mark.parametrize("data", [b"", b"\x90", b"\x81\x01\x02", b"\xc1", b"\x91" * 5000])
def test_broken_specs_are_wire_errors(data: bytes) -> None:
    """A spec is a map with string keys, however deep somebody nests something else."""
    with pytest.raises(WireError):
        decode_spec(data)
