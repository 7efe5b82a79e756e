"""Which VPCs have ports on the hosts of a cluster, as its slots themselves say. Pure.

The rule: when in doubt, there is a port. Whoever takes a replica away rests on this book, so a record
counts from when it is read until something as certain ends it: a delete, or a later revision that
names another VPC, or the marker that led the host's stream out of the cluster. A marker to another
slot of the same cluster ends nothing before the seal there: until then the delta is on its way.
Nulls end nothing; a last record that cannot be read might name any VPC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from southbound.errors import SouthboundError, WireError
from southbound.partitioning.placement import Address, parse_placement
from southbound.resources import PORT, Op, vpc_of_port
from southbound.wire.control import decode_marker, decode_seal
from southbound.wire.envelope import decode, decode_spec
from southbound.wire.keys import HANDOVER, SEAL, SEPARATOR

_SEPARATOR = SEPARATOR.encode()
_HOST = b"h"
_PORT, _HANDOVER, _SEAL = PORT.encode(), HANDOVER.encode(), SEAL.encode()
_NO_VPC = ""


class PortRecord(NamedTuple):
    """A record of a slot. `at_us`: when the log took it, in microseconds since 1970."""

    key: bytes
    value: bytes | None
    at_us: int


class _Version(NamedTuple):
    revision: int
    vpc: str


class _Stream:
    """One host's ports in one slot. `left`: the epoch at which it went to another slot of here."""

    __slots__ = ("left", "ports")

    def __init__(self) -> None:
        self.left = 0
        self.ports: dict[bytes, _Version] = {}


class PortBook:
    """One cluster's. `leads_out` tells of a pool's id whether it is known to be another cluster's.

    It holds some two hundred bytes for each port.
    """

    def __init__(self, leads_out: Callable[[str], bool]) -> None:
        self._leads_out = leads_out
        self._streams: dict[tuple[Address, bytes], _Stream] = {}
        self._leaving: set[tuple[Address, bytes]] = set()
        self._sealed: dict[bytes, int] = {}
        self._counts: Counter[str] = Counter()
        self._gone_us: dict[str, int] = {}
        self._unread: set[tuple[Address, bytes]] = set()

    def has(self, vpc: str) -> bool:
        """Tell whether a host of the cluster has, or may have, a port of the VPC."""
        return bool(self._unread) or self._counts[vpc] > 0

    def counts(self) -> Mapping[str, int]:
        """Return how many ports each VPC has here; one that is moving counts twice."""
        return +self._counts

    def gone_us(self, vpc: str) -> int | None:
        """Return when the last port was seen to go, in microseconds since 1970, as far as known."""
        return self._gone_us.get(vpc)

    def take(self, address: Address, records: Iterable[PortRecord]) -> None:
        """Take the next records of a slot, in the order of its log."""
        for record in records:
            parts = record.key.split(_SEPARATOR)
            if len(parts) != 4 or parts[0] != _HOST or record.value is None:
                continue
            stream = address, parts[1]
            if parts[2] == _PORT:
                self._take_port(stream, record)
            elif parts[2] == _HANDOVER:
                self._take_marker(stream, record)
            elif parts[2] == _SEAL:
                self._take_seal(parts[1], record)
        self._settle()

    def _take_port(self, at: tuple[Address, bytes], record: PortRecord) -> None:
        place = at[0], record.key
        try:
            now = _version(record)
        except WireError:
            self._unread.add(place)
            return
        self._unread.discard(place)
        stream = self._streams.setdefault(at, _Stream())
        # Whatever comes behind a marker may be of the next stay.
        stream.left = 0
        self._leaving.discard(at)
        before = stream.ports.get(record.key)
        if before is not None and before.revision > now.revision:
            return
        stream.ports[record.key] = now
        self._count(now.vpc, 1)
        if before is not None:
            self._count(before.vpc, -1, record.at_us)

    def _take_marker(self, at: tuple[Address, bytes], record: PortRecord) -> None:
        stream = self._streams.get(at)
        if stream is None or record.value is None:
            return
        try:
            marker = decode_marker(record.value)
            leads_out = self._leads_out(parse_placement(marker.row).pool)
        except SouthboundError:
            # Where it leads is not clear: everything stays as it is.
            return
        if leads_out:
            self._end(at, record.at_us)
        else:
            stream.left = max(stream.left, marker.epoch)
            self._leaving.add(at)

    def _take_seal(self, host: bytes, record: PortRecord) -> None:
        assert record.value is not None
        try:
            epoch = decode_seal(record.value).epoch
        except WireError:
            return
        self._sealed[host] = max(epoch, self._sealed.get(host, 0))

    def _settle(self) -> None:
        """End the streams that are whole in another slot of the cluster."""
        for at in list(self._leaving):
            if self._sealed.get(at[1], 0) >= self._streams[at].left:
                self._end(at, None)

    def _end(self, at: tuple[Address, bytes], at_us: int | None) -> None:
        stream = self._streams.pop(at)
        self._leaving.discard(at)
        for version in stream.ports.values():
            self._count(version.vpc, -1, at_us)

    def _count(self, vpc: str, by: int, at_us: int | None = None) -> None:
        if vpc == _NO_VPC:
            return
        self._counts[vpc] += by
        assert self._counts[vpc] >= 0, "what was not counted cannot go"
        if at_us is not None and self._counts[vpc] == 0:
            self._gone_us[vpc] = max(at_us, self._gone_us.get(vpc, 0))


def _version(record: PortRecord) -> _Version:
    assert record.value is not None
    envelope = decode(record.value)
    if envelope.op is not Op.UPSERT:
        return _Version(envelope.revision, _NO_VPC)
    return _Version(envelope.revision, vpc_of_port(decode_spec(envelope.spec)) or _NO_VPC)
