"""Types of fields: what an address, a prefix, an id look like.

The rule: bulk work checks millions of addresses, so each type is one regular expression that
pydantic runs natively, not a Python call; tests hold them against the standard library's `ipaddress`.
A pattern means the same as its sentence in `MEANINGS`, which is what a fault shows.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from southbound.resources import ID_BYTES_MAX

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_H = r"[0-9A-Fa-f]{1,4}"


def _ipv6() -> str:
    """RFC 4291, section 2.2: eight groups; one run of them may be `::`, the last two an IPv4."""
    forms = [rf"(?:{_H}:){{6}}(?:{_H}:{_H}|{_V4})"]
    for left in range(8):
        head = rf"{_H}(?::{_H}){{{left - 1}}}" if left else ""
        right = 7 - left
        tails = [rf"{_H}(?::{_H}){{0,{right - 1}}}"] if right else []
        if right >= 2:
            tails.append(rf"(?:{_H}:){{0,{right - 2}}}{_V4}")
        forms.append(rf"{head}::(?:{'|'.join(tails)})?")
    return "(?:" + "|".join(forms) + ")"


_V6 = _ipv6()
_V4_LENGTH = "/(?:3[0-2]|[12]?[0-9])"
_V6_LENGTH = "/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])"

IP_PATTERN = rf"^(?:{_V4}|{_V6})$"
CIDR_PATTERN = rf"^(?:{_V4}{_V4_LENGTH}|{_V6}{_V6_LENGTH})$"
IP_OR_CIDR_PATTERN = rf"^(?:{_V4}(?:{_V4_LENGTH})?|{_V6}(?:{_V6_LENGTH})?)$"
MAC_PATTERN = r"^[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})$"
ID_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]+$"

MEANINGS = {
    IP_PATTERN: "must be an IPv4 or IPv6 address",
    CIDR_PATTERN: "must be an IPv4 or IPv6 prefix, such as 10.0.0.0/24",
    IP_OR_CIDR_PATTERN: "must be an IPv4 or IPv6 address or prefix",
    MAC_PATTERN: "must be a MAC address, such as fa:16:3e:00:00:01",
    ID_PATTERN: "must not hold control characters",
}

Ip = Annotated[str, StringConstraints(pattern=IP_PATTERN)]
Cidr = Annotated[str, StringConstraints(pattern=CIDR_PATTERN)]
IpOrCidr = Annotated[str, StringConstraints(pattern=IP_OR_CIDR_PATTERN)]
Mac = Annotated[str, StringConstraints(pattern=MAC_PATTERN)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=ID_BYTES_MAX, pattern=ID_PATTERN)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0)]
Transport = Annotated[int, Field(strict=True, ge=0, le=65_535)]
