"""Malformed records of ten kinds, as somebody with write access and bad intentions makes them.

The rule: each kind is recognized by what the quarantine says of it, so that a test can tell whether
every record was refused for its own reason, and none for another's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.faults.record import commit, now

_FIELDS = (3, 0, 1, "c", 0, 1, 5, 0, b"\x80")
_DEEP = b"\x91" * 1_500 + b"\xc0"


class Malformed(NamedTuple):
    """A record that is none. `kind` is one of `KINDS`."""

    kind: str
    key: bytes
    value: bytes


def _with(at: int, value: object) -> bytes:
    fields: list[object] = list(_FIELDS)
    fields[at] = value
    return b"\x01" + msgspec.msgpack.encode(fields)


_GOOD = _with(0, 3)

KINDS = {
    "empty": (b"port\x1f%d", b"", "empty value"),
    "version": (b"port\x1f%d", b"\x02" + _GOOD[1:], "unknown wire version 2"),
    "cut": (b"port\x1f%d", _GOOD[:-4], "truncated"),
    "announcing": (b"port\x1f%d", b"\x01\xdd\xff\xff\xff\xff", "truncated"),
    "deep": (b"port\x1f%d", b"\x01\x9a" + _GOOD[2:] + _DEEP, "recursion"),
    "huge": (b"port\x1f%d", _with(0, 2**63), r"at `\$\[0\]`"),
    "index": (b"port\x1f%d", _with(4, 7), "index 7"),
    "nested spec": (b"port\x1f%d", _with(8, b"\x81\xa1a" + _DEEP[-900:]), "malformed spec"),
    "key": (b"port\x1f%d" + b"x" * 255, _GOOD, "invalid id"),
    "marker": (b"!handover\x1f%d", b"\x01\x93\x09\xa1x\x00", "not a placement row"),
}
"""By kind: the key behind the scope's prefix, the value, and what the quarantine says."""


def malformed(prefix: bytes, count: int) -> Iterator[Malformed]:
    """Yield so many records of the kinds in turn, under the prefix of a scope."""
    for number, (kind, (key, value, _)) in zip(
        range(count), itertools.cycle(KINDS.items()), strict=False
    ):
        yield Malformed(kind, prefix + key % (number % 1_000), value)


def kind_of(key: bytes, value: bytes, why: str) -> str:
    """Return the kind of a record that was put aside, once it was for that kind's reason."""
    for kind, (id, made, said) in KINDS.items():  # what it is
        if (
            value == made
            and (b"%d" in id)
            and re.search(re.escape(id).replace(b"%d", rb"\d+"), key)
        ):
            assert re.search(said, why), (kind, why)
            return kind
    raise AssertionError(f"nobody made {key!r} {value[:80]!r}")


class HostileRecord(msgspec.Struct, kw_only=True):
    """What one agent took: malformed records by kind, and good ones among them.

    `snapshot_s`: from its start until it had applied the first half of them, with nothing else at
    work; `live_s`: from the first record of the second half being written until it had applied that,
    with the writer on the same machine. `peak_mib`: of its process, resident, at the most.
    """

    kind: str = "hostile"
    at: str = msgspec.field(default_factory=now)
    commit: str = msgspec.field(default_factory=commit)
    malformed: int
    good: int
    kinds: dict[str, int]
    snapshot_s: float
    live_s: float
    peak_mib: float
    peak_mib_max: float
    store_mib: float
    store_mib_max: float
    rows_kept: int
    rows_kept_max: int

    def write(self, file: Path) -> None:
        """Write it, readably."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
