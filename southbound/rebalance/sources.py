"""What each scope has in a slot, as far as it was read: memory of one round of moves.

The rule: a slot is read once for all scopes of a round that are in it, and only on from where it was
read to. A scope's history goes from the beginning of its stream: a changeset that stands half before
an offset and half behind it is whole only in a history that has seen both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from southbound.errors import WireError
from southbound.partitioning.placement import Address
from southbound.rebalance.copying import History, Record
from southbound.rebalance.slots import Slots
from southbound.resources import Scope
from southbound.wire.envelope import decode
from southbound.wire.keys import SEPARATOR, scope_prefix

_SEPARATOR = SEPARATOR.encode()


class Reach(NamedTuple):
    """A scope in a slot, the offset at which its stream begins there, and up to where to read."""

    address: Address
    scope: Scope
    begin: int
    end: int


class _Known:
    """One scope's history in one slot, and how far it goes."""

    def __init__(self, scope: Scope, begin: int) -> None:
        self.history = History(scope)
        self.begin = begin
        self.next = begin


class Sources:
    """Histories by slot and scope. For one thread."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._known: dict[tuple[Address, Scope], _Known] = {}

    def read(self, wanted: Iterable[Reach]) -> dict[Scope, History]:
        """Return the history of each scope, from its beginning to its end. Raises `EdgeError`."""
        takers: defaultdict[Address, list[tuple[_Known, Reach]]] = defaultdict(list)
        for reach in wanted:
            key = reach.address, reach.scope
            known = self._known.get(key)
            if known is None or known.begin != reach.begin:
                known = self._known[key] = _Known(reach.scope, reach.begin)
            takers[reach.address].append((known, reach))
        ranges = {
            address: (
                min(known.next for known, _ in those),
                max(reach.end for _, reach in those),
            )
            for address, those in takers.items()
            if any(known.next < reach.end for known, reach in those)
        }
        for address, records in self._slots.read(ranges).items():
            _share_out(records, takers[address])
        return {reach.scope: known.history for those in takers.values() for known, reach in those}

    def forget(self) -> None:
        """Let go of everything."""
        self._known.clear()


def _share_out(records: Iterable[Record], takers: Iterable[tuple[_Known, Reach]]) -> None:
    """Give each scope its records; those before its position, or behind its end, are not its own."""
    by_prefix = {scope_prefix(reach.scope): (known, reach) for known, reach in takers}
    own: defaultdict[bytes, list[Record]] = defaultdict(list)
    for record in records:
        prefix = prefix_of(record.key)
        taker = by_prefix.get(prefix)
        if taker is not None and taker[0].next <= record.offset < taker[1].end:
            own[prefix].append(record)
    for prefix, (known, reach) in by_prefix.items():
        known.history.take(own[prefix])
        known.next = max(known.next, reach.end)


def prefix_of(key: bytes) -> bytes:
    """Return what the keys of one scope begin with, of any key."""
    return key[: key.find(_SEPARATOR, 2) + 1]


def stale_keys(
    records: Iterable[Record], coming: Mapping[bytes, int], control: bytes
) -> list[bytes]:
    """Return the keys whose last record is not a null, and of an earlier stay; no control records.

    `coming`: by a scope's prefix, the epoch of the stay that is to begin. What has that epoch already
    was copied, or sent, by others who brought the same move further: a null behind it would be
    believed by who has read it as a delete, and what is sent late could come back to life.
    """
    last: dict[bytes, bool] = {}
    for record in records:
        prefix = prefix_of(record.key)
        if prefix in coming and not record.key.startswith(control, len(prefix)):
            last[record.key] = _is_stale(record.value, coming[prefix])
    return [key for key, is_stale in last.items() if is_stale]


def _is_stale(value: bytes | None, coming: int) -> bool:
    if value is None:
        return False
    try:
        return decode(value).epoch < coming
    except WireError:
        return True
