"""What is to be done at each step of a move, and what can come of it. Pure.

The rule: an action names everything that it needs, so that whoever performs it decides nothing; it
may be performed again, by anybody, at any time. An outcome is given only once what it says is
acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from southbound.partitioning.move import Part
from southbound.partitioning.placement import Address, Placement

# What actions are made of.


class Span(msgspec.Struct, frozen=True):
    """One scope's records in the old slot, from `begin` to before `end`, and where they go.

    `into`: the placement in the new slot, whose `start` is where its stream is read from there, and
    whose `epoch` flags the copies. `source_epoch`: above 1, the old slot must hold the seal of that
    epoch before anything is copied from it; until then it is still being filled itself.
    """

    cls: str
    id: str
    begin: int
    end: int
    into: Placement
    source_epoch: int


class Proposal(msgspec.Struct, frozen=True):
    """A row, to follow the one of `epoch` - 1."""

    cls: str
    id: str
    epoch: int
    row: str


class Announcement(msgspec.Struct, frozen=True):
    """An entry for `sb.moves` of `cluster`."""

    cluster: str
    cls: str
    id: str
    epoch: int
    row: str


class Sign(msgspec.Struct, frozen=True):
    """A `!handover` or a `!seal` of one scope. A seal has no row and no start.

    A marker's stream goes on at `row`'s slot from `start`; `epoch` may be higher than the row's.
    """

    cls: str
    id: str
    epoch: int
    row: str = ""
    start: int = 0


# What is to be done.


class Reserve(msgspec.Struct, frozen=True):
    """Count the parts in the new slot, and only then ask for the ends of both slots.

    Nothing else may be due there for a part: no other move of it, no clean-up of an earlier stay.
    Answer: `Reserved`; or `Decided` where a row has a higher epoch than the part's already.
    """

    old: Address
    new: Address
    parts: tuple[Part, ...]


class Precopy(msgspec.Struct, frozen=True):
    """Copy each span's highest revisions, deletes too, without young incomplete changesets.

    Answer: `Precopied`.
    """

    old: Address
    new: Address
    spans: tuple[Span, ...]


class AppendJournal(msgspec.Struct, frozen=True):
    """Propose each row to the journal, which decides: its first entry of an epoch wins.

    Answer: `Decided` with the row that holds now of each, whoever wrote it.
    """

    proposals: tuple[Proposal, ...]


class AnnounceMoves(msgspec.Struct, frozen=True):
    """See to it that `sb.moves` tells each row, or one of a higher epoch, and tells that last.

    Answer: `Announced`.
    """

    entries: tuple[Announcement, ...]


class Flip(msgspec.Struct, frozen=True):
    """Set Redis' rows by compare-and-set; one that is as high or higher is left as it is.

    Answer: `Flipped`.
    """

    proposals: tuple[Proposal, ...]


class Mark(msgspec.Struct, frozen=True):
    """Append the markers (none for `ADD`) to the slot, and then ask for its end.

    Answer: `Marked`.
    """

    address: Address
    markers: tuple[Sign, ...]


class Delta(msgspec.Struct, frozen=True):
    """Copy what each span has and the new slot, read from `into.start`, has not.

    The old slot is read on from the span's end to its present end: when a move is resumed late,
    compaction may have dropped an accepted revision for one that stands behind the noted end. Young
    incomplete changesets are left out, as by `Precopy`. Answer: `Copied`.
    """

    old: Address
    new: Address
    spans: tuple[Span, ...]


class Mend(msgspec.Struct, frozen=True):
    """Read each span's scope in the slot from `into.start` to the end, and append again whatever a
    lower revision or, unless it is a delete, a null came behind, until nothing is. Answer: `Mended`.
    """

    address: Address
    spans: tuple[Span, ...]


class Seal(msgspec.Struct, frozen=True):
    """Append seals: to the new slot those of what `entered` it, to the old those of what `stayed`.

    Answer: `Sealed`.
    """

    old: Address
    new: Address | None
    entered: tuple[Sign, ...]
    stayed: tuple[Sign, ...]


class Release(msgspec.Struct, frozen=True):
    """Give occupancy back: in the old slot of the parts that `left` it, which are to be cleaned
    there later; in the new one of the parts that never entered it, the `rest`. Where VPCs have lost a
    replica, look for ports on hosts of that cluster once more, and seed what is needed after all.
    Answer: `Released`.
    """

    old: Address
    new: Address | None
    left: tuple[Part, ...]
    rest: tuple[Part, ...]


class Finished(msgspec.Struct, frozen=True):
    """Nothing is left to be done."""


Action = (
    Reserve
    | Precopy
    | AppendJournal
    | AnnounceMoves
    | Flip
    | Mark
    | Delta
    | Mend
    | Seal
    | Release
    | Finished
)


# What came of it.


class Reserved(msgspec.Struct, frozen=True):
    """Ends of the new and of the old slot, asked for after everything was reserved."""

    s0: int
    p1: int


class Precopied(msgspec.Struct, frozen=True):
    """All spans are in the new slot."""


class Decided(msgspec.Struct, frozen=True):
    """The rows that hold now, by the scope's id. It may name only some of the parts."""

    rows: Mapping[str, str]


class Announced(msgspec.Struct, frozen=True):
    """Whoever looks at the fence from now on is turned."""


class Flipped(msgspec.Struct, frozen=True):
    """Redis was told."""


class Marked(msgspec.Struct, frozen=True):
    """End of the old slot, asked for after the markers were acknowledged."""

    m: int


class Copied(msgspec.Struct, frozen=True):
    """All spans are in the new slot."""


class Mended(msgspec.Struct, frozen=True):
    """The last record of each resource in the new slot is its highest."""


class Sealed(msgspec.Struct, frozen=True):
    """The seals are there."""


class Released(msgspec.Struct, frozen=True):
    """Occupancy was given back."""


Outcome = (
    Reserved
    | Precopied
    | Decided
    | Announced
    | Flipped
    | Marked
    | Copied
    | Mended
    | Sealed
    | Released
)
