"""Which scopes ever had a record in a slot, as far as it was read: memory of one executor.

The rule: a scope that enters a slot for the first time has nothing there that would have to be
cleared, and to know that, a slot is read once and then on from where it was read to. Without this
each round would read the slots that it fills from their beginnings, and a cluster that is being
filled would be read again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from southbound.partitioning.placement import Address
from southbound.rebalance.copying import Record
from southbound.rebalance.slots import Slots
from southbound.rebalance.sources import prefix_of

_KNOWN_MAX = 500_000


class Residents:
    """For one thread. It holds some hundred bytes for each scope of each slot that it was asked about.

    When it holds `known_max` of them, it forgets all, and reads anew.
    """

    def __init__(self, slots: Slots, known_max: int = _KNOWN_MAX) -> None:
        self._slots = slots
        self._known_max = known_max
        self._seen: dict[Address, set[bytes]] = {}
        self._next: dict[Address, int] = {}

    def stays(self, entering: Mapping[Address, AbstractSet[bytes]]) -> dict[Address, list[Record]]:
        """Return all records of those slots in which one of the entering scopes has been before.

        `entering`: the scopes' key prefixes, by slot. Raises `EdgeError`.
        """
        if sum(map(len, self._seen.values())) >= self._known_max:
            self._seen.clear()
            self._next.clear()
        ends = self._slots.ends(entering)
        grown = {
            address: (self._next.get(address, 0), end)
            for address, end in ends.items()
            if end > self._next.get(address, 0)
        }
        read = self._slots.read(grown)
        for address, records in read.items():
            self._note(address, records, ends[address])
        back = [one for one, prefixes in entering.items() if prefixes & self._seen.get(one, set())]
        # What was read from its beginning just now need not be read again.
        found = {one: read[one] for one in back if one in grown and grown[one][0] == 0}
        rest = {one: (0, ends[one]) for one in back if one not in found}
        return found | self._slots.read(rest)

    def _note(self, address: Address, records: Iterable[Record], end: int) -> None:
        self._seen.setdefault(address, set()).update(prefix_of(one.key) for one in records)
        self._next[address] = end
