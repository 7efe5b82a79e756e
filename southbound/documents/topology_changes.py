"""What lies between two topologies: which changes are safe, and how each is shown.

The rule: a placement is recomputed from a pool's size and found by its id, so a pool may be added
and never resized, moved or re-classed; and since Kafka clients that held a deleted topic never see
its successor, no name of a topic is ever used again. The same goes for what hashes and journals
rest on: partitions of the interest topic, the journal of an AZ, the identity of a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from southbound.documents.document import joined
from southbound.documents.topology import document_of
from southbound.errors import Fault
from southbound.partitioning.topology import Topology

_SECTIONS = {"azs": "id", "clusters": "id", "pools": "id", "public": "kind"}
_NOUNS = {"azs": "az", "clusters": "cluster", "pools": "pool", "public": "public kind"}

_FIXED: Mapping[str, Mapping[str, str]] = {
    "azs": {"journal": "a journal never moves: what it holds would be forgotten"},
    "clusters": {
        "az": "a cluster never changes its AZ: add a new cluster",
        "kafka_id": "another Kafka cluster needs another id",
        "interest_partitions": "is never resized: a VPC is found there by its hash",
    },
    "pools": {
        "cluster": "a pool never moves: add a new pool",
        "class": "a pool never changes its class: add a new pool",
        "topics": "a pool is never resized: add a new pool",
        "partitions": "a pool is never resized: add a new pool",
    },
    "public": {"cluster": "a public kind never moves: its topic stays where it is"},
}
_GROWING = {("clusters", "status_partitions"), ("public", "partitions")}
_KEPT = {"azs": "the journal that it holds would be forgotten"}


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a comparison: what happens to which entry, and which field, if to one."""

    action: str
    noun: str
    id: str
    field: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class TopologyChanges:
    """What lies between two topologies.

    `rows` are for people; `faults` are the changes that must not be made; `retired` are the names
    that this change takes out of use for ever: pool ids, and `public.<kind>`.
    """

    rows: tuple[Change, ...]
    faults: tuple[Fault, ...]
    retired: frozenset[str]


def changes(
    old: Topology, new: Topology, retired: AbstractSet[str] = frozenset()
) -> TopologyChanges:
    """Compare two topologies; `retired` holds the names that earlier changes took out of use.

    The places of faults are those of the new document.
    """
    before, after = document_of(old), document_of(new)
    rows: list[Change] = []
    faults: list[Fault] = []
    if old.region != new.region:
        rows.append(Change("change", "region", new.region, "region", old.region, new.region))
    for section in _SECTIONS:
        found = _Comparison(section, before[section], after[section])
        rows.extend(found.rows())
        faults.extend(found.faults(retired))
    return TopologyChanges(tuple(rows), tuple(faults), retired_names(old) - retired_names(new))


def retired_names(topology: Topology) -> frozenset[str]:
    """Return the names that would be out of use for ever if this topology's entries were removed."""
    pools = {pool.id for pool in topology.pools}
    return frozenset(pools | {f"public.{public.kind}" for public in topology.public})


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One section, before and after."""

    section: str
    before: Sequence[dict[str, Any]]
    after: Sequence[dict[str, Any]]

    def rows(self) -> Iterator[Change]:
        noun = _NOUNS[self.section]
        old, new = self._by_name(self.before), self._by_name(self.after)
        for name, entry in new.items():
            if name not in old:
                yield Change("add", noun, name, after=_summary(entry))
            else:
                for field, value in _different(old[name], entry):
                    yield Change("change", noun, name, field, _text(value[0]), _text(value[1]))
        for name, entry in old.items():
            if name not in new:
                yield Change("remove", noun, name, before=_summary(entry))

    def faults(self, retired: AbstractSet[str]) -> Iterator[Fault]:
        old = self._by_name(self.before)
        for index, entry in enumerate(self.after):
            name = entry[_SECTIONS[self.section]]
            if name in old:
                yield from self._change_faults(index, old[name], entry)
            elif _retired_name(self.section, name) in retired:
                place = joined(self.section, index, _SECTIONS[self.section])
                yield Fault(place, name, "was used before, and names are never used again")
        why = _KEPT.get(self.section)
        if why is not None:
            for name in old.keys() - self._by_name(self.after).keys():
                yield Fault(self.section, name, f"cannot be removed: {why}")

    def _by_name(self, entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {entry[_SECTIONS[self.section]]: entry for entry in entries}

    def _change_faults(
        self, index: int, old: dict[str, Any], new: dict[str, Any]
    ) -> Iterator[Fault]:
        fixed = _FIXED[self.section]
        for field, (before, after) in _different(old, new):
            place = joined(self.section, index, field)
            # A cluster's identity may be filled in, or left out again; it may not become another.
            named = field != "kafka_id" or (before and after)
            if field in fixed and named:
                yield Fault(place, after, f"{fixed[field]} (it was {_text(before)})")
            elif (self.section, field) in _GROWING and after < before:
                yield Fault(place, after, f"partitions are only ever added (it was {before})")


def _retired_name(section: str, name: str) -> str:
    return f"public.{name}" if section == "public" else name if section == "pools" else ""


def _different(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for field in dict.fromkeys((*old, *new)):
        if old.get(field) != new.get(field):
            yield field, (old.get(field), new.get(field))


def _summary(entry: dict[str, Any]) -> str:
    return ", ".join(f"{field} {_text(value)}" for field, value in list(entry.items())[1:])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        # Client settings hold passwords; their names are enough to see what changed.
        return "{" + ", ".join(sorted(value)) + "}"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)
