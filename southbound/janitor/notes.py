"""Which records a janitor appended, or would: the list that an operator reads.

The rule: counts are complete, the list is bounded; past its bound only counts go on.
"""

from __future__ import annotations

from typing import NamedTuple

from southbound.janitor.judging import Repair, Why
from southbound.partitioning.placement import Address

_KEPT_MAX = 10_000


class Note(NamedTuple):
    """One record that was appended, or would be."""

    why: Why
    cluster: str
    topic: str
    partition: int
    key: str


class Notes:
    """The first of them."""

    def __init__(self) -> None:
        self._notes: list[Note] = []

    def __len__(self) -> int:
        return len(self._notes)

    def list(self) -> list[Note]:
        """Return them in the order in which they were made."""
        return list(self._notes)

    def add(self, address: Address, repair: Repair) -> None:
        """Note one, while there is room."""
        if len(self._notes) < _KEPT_MAX:
            key = repair.key.decode(errors="replace").replace("\x1f", ":")
            place = (address.cluster, address.topic, address.partition)
            self._notes.append(Note(repair.why, *place, key))
