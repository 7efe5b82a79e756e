"""Who has been in a slot before: each record is read once, unless somebody comes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from southbound.partitioning.placement import Address
from southbound.rebalance.copying import Record
from southbound.rebalance.residents import Residents
from southbound.rebalance.slots import Slots

ONE, TWO = Address("c1", "sb.a.000", 0), Address("c1", "sb.a.000", 1)
A, B, C = b"h\x1fa\x1f", b"h\x1fb\x1f", b"h\x1fc\x1f"


class CountingSlots:
    """Slots in memory that count what is read of them."""

    def __init__(self) -> None:
        self.logs: dict[Address, list[bytes]] = {ONE: [], TWO: []}
        self.read_count = 0

    def ends(self, addresses: Iterable[Address]) -> dict[Address, int]:
        """Return the ends."""
        return {address: len(self.logs[address]) for address in addresses}

    def read(self, ranges: Mapping[Address, tuple[int, int]]) -> dict[Address, list[Record]]:
        """Return the records of ranges."""
        found = {
            address: [Record(at, self.logs[address][at], b"v", 0) for at in range(begin, end)]
            for address, (begin, end) in ranges.items()
        }
        self.read_count += sum(map(len, found.values()))
        return found


def _residents(slots: CountingSlots, known_max: int = 100) -> Residents:
    return Residents(cast("Slots", slots), known_max)


def test_a_slot_that_is_filled_is_read_on_and_not_anew() -> None:
    """Newcomers have nothing to be cleared; each record is looked at once."""
    slots = CountingSlots()
    residents = _residents(slots)
    for number, prefix in enumerate((A, B, C)):
        assert residents.stays({ONE: {prefix}}) == {}
        slots.logs[ONE] += [prefix + b"port\x1f%d" % at for at in range(4)]
        assert slots.read_count == 4 * number


def test_who_has_been_there_is_told_with_the_whole_slot() -> None:
    """However long ago it was read; other slots are left alone."""
    slots = CountingSlots()
    residents = _residents(slots)
    slots.logs[ONE] = [A + b"x\x1f1", B + b"x\x1f1"]
    assert residents.stays({ONE: {C}, TWO: {A}}) == {}
    slots.logs[ONE].append(C + b"x\x1f1")
    found = residents.stays({ONE: {A}, TWO: {A}})
    assert [record.offset for record in found[ONE]] == [0, 1, 2]
    assert set(found) == {ONE}


def test_a_first_look_is_enough() -> None:
    """A slot that was read from its beginning is not read twice for one question."""
    slots = CountingSlots()
    slots.logs[ONE] = [A + b"x\x1f1", B + b"x\x1f1"]
    assert set(_residents(slots).stays({ONE: {A}})) == {ONE}
    assert slots.read_count == 2


def test_a_full_memory_begins_anew() -> None:
    """It is bounded; what it forgot it reads again."""
    slots = CountingSlots()
    residents = _residents(slots, known_max=2)
    slots.logs[ONE] = [A + b"x\x1f1", B + b"x\x1f1"]
    assert residents.stays({ONE: {C}}) == {}
    assert set(residents.stays({ONE: {B}})) == {ONE}
    assert slots.read_count == 4
