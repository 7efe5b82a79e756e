"""Planted bugs of allocation (§3, §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from southbound.directory.registrar import Newcomers
from southbound.partitioning.allocation import FIRST_PROBES, choose_probe
from southbound.partitioning.topology import Pool
from tests.simulation import directory, registrar
from tests.simulation.bug import Bug, bug
from tests.simulation.directory import Redis


def _first_with_room(counts: Sequence[int], max_per_slot: int) -> int | None:
    return next((at for at, count in enumerate(counts) if count < max_per_slot), None)


def _never_full(counts: Sequence[int], max_per_slot: int) -> int | None:
    return choose_probe(counts, 1 << 30)


def _tried_already(first: Pool, group: Newcomers, totals: Mapping[str, int]) -> list[Pool]:
    return [first]


def _reserved_anew(self: Redis, text: str, *more: Any) -> str | None:
    """Reserve without looking whether somebody has for the same host."""
    reserved = dict(self.memory.reserved)
    reserved.pop((text, 1), None)
    self.memory = self.memory._replace(reserved=reserved)
    return _ALLOCATE(self, text, *more)


_ALLOCATE = Redis.allocate

PLANTED: Mapping[str, Bug] = {
    "the first probe with room": bug(
        "§4 two probes, the emptier slot", "crowd", (directory, "choose_probe", _first_with_room)
    ),
    "a full slot is taken": bug(
        "§4 at most `max_per_slot` in a slot", "crowd", (directory, "choose_probe", _never_full)
    ),
    "two probes and no more": bug(
        "§4 then probes 2 to 15", "crowd", (registrar, "PROBES_MAX", FIRST_PROBES)
    ),
    "no other pool is tried": bug(
        "§4 then another pool, then an error", "crowd", (registrar, "_after", _tried_already)
    ),
    "a reservation is made anew": bug(
        "§4 a reservation of the same host is taken over",
        "crowd",
        (Redis, "allocate", _reserved_anew),
        stress=("publisher killed", "network slow"),
    ),
}
