"""A topology that is being judged: its sound entries, and the names of all.

The rule: one bad entry hides no fault of another. An entry whose fields are wrong is left out, but
its name still counts as known, so that nobody is told about a reference that is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from southbound.documents.document import joined
from southbound.documents.findings import faults_of
from southbound.documents.topology_models import (
    AzEntry,
    ClusterEntry,
    PoolEntry,
    PublicEntry,
    Sections,
)
from southbound.errors import Fault

_Entry = TypeVar("_Entry", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Section(Generic[_Entry]):
    """One list of the document: `sound` pairs each good entry with its position in the list."""

    name: str
    key: str
    raw: Sequence[Any]
    sound: Sequence[tuple[int, _Entry]]
    faults: Sequence[Fault]

    @property
    def entries(self) -> list[_Entry]:
        """The good entries."""
        return [entry for _, entry in self.sound]

    @property
    def whole(self) -> bool:
        """Whether every entry is a good one."""
        return len(self.sound) == len(self.raw)

    def names(self) -> list[tuple[int, str]]:
        """Return the name of each entry that has one, with its position."""
        named = [
            (index, item.get(self.key))
            for index, item in enumerate(self.raw)
            if isinstance(item, dict)
        ]
        return [(index, name) for index, name in named if isinstance(name, str)]

    def known(self) -> set[str]:
        """Return the names, those of bad entries among them."""
        return {name for _, name in self.names()}

    def place(self, index: int, *steps: str | int) -> str:
        """Name a field of one entry."""
        return joined(self.name, index, *steps)


@dataclass(frozen=True, slots=True)
class Draft:
    """The whole document, entry by entry."""

    region: str
    azs: Section[AzEntry]
    clusters: Section[ClusterEntry]
    pools: Section[PoolEntry]
    public: Section[PublicEntry]

    def faults(self) -> list[Fault]:
        """Return what is wrong with the fields of single entries."""
        sections = (self.azs, self.clusters, self.pools, self.public)
        return [fault for section in sections for fault in section.faults]


def draft_of(document: Any) -> Draft:
    """Judge each entry by itself. Raises pydantic's error when not even the outline is there."""
    outline = Sections.model_validate(document)
    return Draft(
        outline.region,
        _section("azs", "id", outline.azs, AzEntry),
        _section("clusters", "id", outline.clusters, ClusterEntry),
        _section("pools", "id", outline.pools, PoolEntry),
        _section("public", "kind", outline.public, PublicEntry),
    )


def _section(name: str, key: str, raw: Sequence[Any], model: type[_Entry]) -> Section[_Entry]:
    sound: list[tuple[int, _Entry]] = []
    faults: list[Fault] = []
    for index, item in enumerate(raw):
        try:
            sound.append((index, model.model_validate(item)))
        except ValidationError as error:
            faults.extend(faults_of(error, joined(name, index)))
    return Section(name, key, raw, sound, faults)
