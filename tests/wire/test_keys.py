"""Record keys: what is one, what is not, and that the two never mix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import InvalidResource, WireError
from southbound.resources import PUBLIC_SCOPE, ResourceKey, host_scope, vpc_scope
from southbound.wire.keys import (
    check_id,
    decode_key,
    encode_key,
    handover_key,
    id_problem,
    is_control,
    parse_scope_text,
    scope_prefix,
    scope_text,
)

ids = st.text(min_size=1, max_size=80).filter(lambda text: id_problem(text) is None)
scopes = st.one_of(ids.map(host_scope), ids.map(vpc_scope), st.just(PUBLIC_SCOPE))


@given(scopes, ids, ids)
def test_round_trip(scope: tuple[object, str], kind: str, id: str) -> None:
    """Every valid key reads back as what it was, and begins with its scope's prefix."""
    key = ResourceKey(scope, kind, id)  # type: ignore[arg-type]
    data = encode_key(key)
    assert decode_key(data) == key
    assert data.startswith(scope_prefix(key.scope))


@given(ids, ids, ids)
def test_a_neighbour_is_never_taken_for_ones_own(mine: str, other: str, id: str) -> None:
    """No other host's key begins with this host's prefix, even where one id extends the other."""
    if mine != other:
        for neighbour in (other, mine + other):
            data = encode_key(ResourceKey(host_scope(neighbour), "port", id))
            assert not data.startswith(scope_prefix(host_scope(mine)))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_key_or_a_wire_error(data: bytes) -> None:
    """Reading never fails in another way, and what it reads writes back to the same bytes."""
    try:
        key = decode_key(data)
    except WireError:
        return
    assert encode_key(key) == data


@pytest.mark.parametrize(
    "bad",
    ["", "a\x1fb", "a\x00b", "line\n", "\x7f", "\x85", "x" * 256, "ö" * 128, "\ud800", 7, None],
)
def test_bad_ids_are_named(bad: object) -> None:
    """An error names the place and the value; the message never holds a raw control character."""
    with pytest.raises(InvalidResource) as caught:
        check_id(bad, "resources[3].id")
    assert "resources[3].id" in str(caught.value)
    assert "\x1f" not in str(caught.value)
    assert len(caught.value.faults) == 1


def test_longest_ids() -> None:
    """255 bytes are allowed, however many characters they are."""
    assert check_id("x" * 255, "id") == "x" * 255
    assert check_id("ö" * 127, "id") == "ö" * 127


def test_control_records_are_told_apart() -> None:
    """A marker's key is a control key; a resource's is not."""
    assert is_control(decode_key(handover_key(host_scope("h"), 2)))
    assert not is_control(ResourceKey(host_scope("h"), "port", "!handover"))


def test_scope_text_round_trip() -> None:
    """Directory keys read back; anything else is a wire error."""
    for scope in (host_scope("h-1"), vpc_scope("v-1")):
        assert parse_scope_text(scope_text(scope)) == scope
    for text in ("", "h", "x\x1fa", "h\x1f", "p\x1fa"):
        with pytest.raises(WireError):
            parse_scope_text(text)
