"""What reading documents yields, whatever their format.

The rule: everything that was read is in here: as a resource of a changeset, or as something that
could not be placed, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from southbound.resources import Changeset


class Unplaced(NamedTuple):
    """Something that was read and will not be published.

    `kind` is the kind in its own words (`port`, `trunk`, `document`); `id` is its id, or the file's
    name for what has none; `why` says what is missing.
    """

    kind: str
    id: str
    why: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """Changesets ready to be published, and what is not among them.

    `warnings` are for the person who imports: nothing is missing because of one.
    """

    changesets: tuple[Changeset, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def resources(self) -> int:
        """Number of resources in all changesets."""
        return sum(len(changeset.resources) for changeset in self.changesets)

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            self.changesets + other.changesets,
            self.unplaced + other.unplaced,
            self.warnings + other.warnings,
        )
