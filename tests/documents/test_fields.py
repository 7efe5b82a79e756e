"""The patterns of fields, held against the standard library."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from southbound.documents.fields import Cidr, Id, Ip, IpOrCidr, Mac

_IP: TypeAdapter[str] = TypeAdapter(Ip)
_CIDR: TypeAdapter[str] = TypeAdapter(Cidr)
_IP_OR_CIDR: TypeAdapter[str] = TypeAdapter(IpOrCidr)
_MAC: TypeAdapter[str] = TypeAdapter(Mac)
_ID: TypeAdapter[str] = TypeAdapter(Id)

_NEARLY = st.text(alphabet="0123456789abcfAF:./", max_size=24)
_GROUPS = st.lists(
    st.sampled_from(["0", "1", "ffff", "00ab", "", "12345", "1.2.3.4"]), max_size=9
).map(":".join)


def fits(adapter: TypeAdapter[str], text: str) -> bool:
    """Tell whether a text is of a field's type."""
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True


def is_address(text: str) -> bool:
    """Tell what the standard library says of an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_prefix(text: str) -> bool:
    """Tell what the standard library says of a prefix whose length is written as a number."""
    address, slash, length = text.partition("/")
    if not slash or not length.isdigit() or (len(length) > 1 and length[0] == "0"):
        return False
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return is_address(address)


@given(st.ip_addresses().map(str) | _NEARLY | _GROUPS)
def test_addresses(text: str) -> None:
    """An address is what `ipaddress` takes for one."""
    assert fits(_IP, text) == is_address(text)


@given(st.ip_addresses(v=6))
def test_every_way_to_write_an_ipv6_address(address: ipaddress.IPv6Address) -> None:
    """Long, short and upper case forms of an address all fit."""
    assert fits(_IP, address.exploded)
    assert fits(_IP, address.compressed.upper())
    low = int(address) & 0xFFFFFFFF
    head = ":".join(address.exploded.split(":")[:6])
    assert fits(_IP, f"{head}:{ipaddress.IPv4Address(low)}")


@given(
    st.tuples(st.ip_addresses().map(str) | _GROUPS, st.integers(0, 140)).map("{0[0]}/{0[1]}".format)
    | _NEARLY
)
def test_prefixes(text: str) -> None:
    """A prefix is what `ipaddress` takes for one; either field takes either."""
    assert fits(_CIDR, text) == is_prefix(text)
    assert fits(_IP_OR_CIDR, text) == (is_prefix(text) or is_address(text))


@pytest.mark.parametrize("text", ["fa:16:3e:00:00:01", "FA-16-3E-00-00-01"])
def test_macs(text: str) -> None:
    """Colons or dashes, in either case."""
    assert fits(_MAC, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fa:16:3e:00:00",
        "fa:16:3e:00:00:0g",
        "fa16.3e00.0001",
        "fa-16:3e:00:00:01",
        "fa:16:3e:00:00:01\n",
    ],
)
def test_no_macs(text: str) -> None:
    """Anything else is no MAC."""
    assert not fits(_MAC, text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("ä" * 255, True),
        ("", False),
        ("a\n", False),
        ("a\x1fb", False),
        ("a" * 256, False),
    ],
)
def test_ids(text: str, good: bool) -> None:
    """Ids hold no control characters and are bounded."""
    assert fits(_ID, text) is good
