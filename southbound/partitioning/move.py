"""The record of a move: a batch of streams that go from one slot to another. Pure.

The rule: the record holds everything that any process needs to carry the move on, and what it says
can be checked (`check`). It is stored by compare-and-set: one record replaces another only if it
`follows` it, so of two who hold the same record only one can store what comes next. Only
`southbound.partitioning.handover` makes one record from another.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

import msgspec

from southbound.errors import PlanError, WireError
from southbound.partitioning.placement import Address, Placement, VpcPlacement

RECORD_VERSION = 1
UNKNOWN = -1
"""An offset that is not noted yet."""


class Kind(enum.StrEnum):
    """What a move does to its scopes.

    `MOVE`: a host's stream, or one replica of a VPC (its home or another), goes to another slot.
    `ADD`: a VPC gets a further replica, copied from its home. `REMOVE`: a VPC loses a replica.
    """

    MOVE = "move"
    ADD = "add"
    REMOVE = "remove"


class Step(enum.StrEnum):
    """What of a move has been done, in this order. `DONE` and `ABANDONED` are final."""

    PLANNED = "planned"
    RESERVED = "reserved"
    PRECOPIED = "precopied"
    DECIDED = "decided"
    LEFT = "left"
    FLIPPED = "flipped"
    MARKED = "marked"
    COPIED = "copied"
    MENDED = "mended"
    SEALED = "sealed"
    DONE = "done"
    ABANDONED = "abandoned"


class Standing(enum.StrEnum):
    """What the journal has said about one scope of a move.

    `OPEN`: nothing yet. `LEFT`: it goes. `STAYED`: it stays, since the move was abandoned first.
    `OVERTAKEN`: somebody else has placed it anew; this move has nothing more to do with it.
    """

    OPEN = "open"
    LEFT = "left"
    STAYED = "stayed"
    OVERTAKEN = "overtaken"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One scope's share of a move.

    `cls` is `host` or `vpc`. `epoch`: the row's before the move, which decides `epoch` + 1; of a VPC
    that has left, the row's after it. `old`: the placement that ends; for `ADD`, the home's that is
    copied from. `new`: the placement that begins (None for `REMOVE`): pool and probe are planned,
    epoch and start are those of the reservation, and then those that were decided. `replicas`: of a
    VPC, the row's set at `epoch`, the home first. `fence`: the cluster whose `sb.moves` turns those
    who publish under the epoch before. `copied`: the offset in the old slot up to which this scope
    stands in the new one behind `new.start`. `detail`: why it does not go.
    """

    cls: str
    id: str
    epoch: int
    old: Placement
    fence: str
    new: Placement | None = None
    replicas: tuple[Placement, ...] = ()
    standing: Standing = Standing.OPEN
    copied: int = 0
    detail: str = ""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one batch: all its parts go from one slot to one slot.

    `old`: the slot that is left; for `ADD`, the homes' slot. `new`: the slot that is entered (None
    for `REMOVE`). `s0`: the new slot's end when everything was reserved; `p1`: the old slot's end
    then; `m`: the old slot's end when nothing could be accepted there any more. `abandoning`: what
    has not left shall stay. `token` counts the claims, `owner` names who holds the last one,
    `serial` counts the changes of the record. `error`: why the last action failed, if it did.
    """

    plan: str
    id: str
    kind: Kind
    old: Address
    new: Address | None
    parts: tuple[Part, ...]
    step: Step = Step.PLANNED
    s0: int = UNKNOWN
    p1: int = UNKNOWN
    m: int = UNKNOWN
    abandoning: bool = False
    token: int = 0
    owner: str = ""
    serial: int = 0
    error: str = ""
    version: int = RECORD_VERSION

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to be done."""
        return self.step in {Step.DONE, Step.ABANDONED}

    @property
    def is_decided(self) -> bool:
        """Whether the journal has spoken about every part."""
        return not any(part.standing is Standing.OPEN for part in self.parts)

    @property
    def has_left(self) -> bool:
        """Whether a part of it has left for good: from then on it can only go forward."""
        return any(part.standing is Standing.LEFT for part in self.parts)

    def of(self, standing: Standing) -> tuple[Part, ...]:
        """Return the parts of a standing."""
        return tuple(part for part in self.parts if part.standing is standing)


def same_slot(one: Placement, other: Placement) -> bool:
    """Tell whether two placements of one scope mean the same slot."""
    return (one.pool, one.probe) == (other.pool, other.probe)


def proposed_row(part: Part, kind: Kind, *, staying: bool = False) -> str:
    """Return the row of `part.epoch` + 1 that an open part proposes.

    `staying`: the row that says "where it was", and takes the epoch that leaving would have.
    """
    if part.cls == "host":
        if staying:
            return msgspec.structs.replace(part.old, epoch=part.epoch + 1).row()
        assert part.new is not None
        return part.new.row()
    replicas = part.replicas if staying else _replicas_after(part, kind)
    return VpcPlacement(part.epoch + 1, replicas).row()


def decided_row(part: Part) -> str:
    """Return the row that was decided for a part that left or stayed."""
    assert part.standing in {Standing.LEFT, Standing.STAYED}
    if part.cls == "vpc":
        return VpcPlacement(part.epoch, part.replicas).row()
    placement = part.new if part.standing is Standing.LEFT else part.old
    assert placement is not None
    return placement.row()


def _replicas_after(part: Part, kind: Kind) -> tuple[Placement, ...]:
    if part.new is None:
        return tuple(one for one in part.replicas if not same_slot(one, part.old))
    if kind is Kind.ADD:
        return (*part.replicas, part.new)
    return tuple(part.new if same_slot(one, part.old) else one for one in part.replicas)


# Storing.


class _Version(msgspec.Struct):
    version: int


def encode_record(move: Move) -> bytes:
    """Return a record as JSON, which `decode_record` reads."""
    return msgspec.json.encode(move)


def decode_record(data: bytes) -> Move:
    """Read a record. Raises `WireError` when it is not one, or of a later version."""
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version != RECORD_VERSION:
            raise WireError(f"a move's record of version {version} cannot be read")
        return msgspec.json.decode(data, type=Move)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not a move's record: {error}") from error


def follows(stored: Move | None, record: Move) -> bool:
    """Tell whether a record may replace the stored one: made from it, by who holds it or claims it."""
    if stored is None:
        return record.serial == 0
    if (record.plan, record.id, record.serial) != (stored.plan, stored.id, stored.serial + 1):
        return False
    is_same_hand = (record.token, record.owner) == (stored.token, stored.owner)
    return is_same_hand or record.token == stored.token + 1


# Checking.

_ORDER = {step: at for at, step in enumerate(Step)}


def check(move: Move) -> None:
    """Raise `PlanError` when a record breaks an invariant, naming it."""
    for problem in _problems(move):
        raise PlanError(f"move {move.id!r} ({move.step}): {problem}")


def _problems(move: Move) -> Iterator[str]:
    if not move.parts:
        yield "it holds no part"
    if (move.new is None) != (move.kind is Kind.REMOVE):
        yield "a removal has no new slot, and everything else has one"
    if move.new == move.old:
        yield "it goes nowhere"
    if len({(part.cls, part.id) for part in move.parts}) < len(move.parts):
        yield "it holds a scope twice"
    yield from _step_problems(move)
    for part in move.parts:
        for problem in _part_problems(move, part):
            yield f"{part.cls} {part.id!r} {problem}"


def _step_problems(move: Move) -> Iterable[str]:
    at = _ORDER[move.step]
    if _ORDER[Step.DECIDED] <= at <= _ORDER[Step.DONE] and not move.is_decided:
        yield "it is past the decision with a part that nobody has decided"
    if _ORDER[Step.MARKED] <= at <= _ORDER[Step.DONE] and move.has_left and move.m < 0:
        yield "it is past the marker, and the old slot's end was not noted"
    if move.step is Step.ABANDONED and move.has_left:
        yield "it was abandoned after it had left"


def _part_problems(move: Move, part: Part) -> Iterable[str]:
    if part.cls not in {"host", "vpc"} or (part.cls == "host" and move.kind is not Kind.MOVE):
        yield f"cannot be in a move of kind {move.kind}"
    if (part.new is None) != (move.kind is Kind.REMOVE):
        yield "must have a new placement, unless it is a removal"
    if part.new is not None and same_slot(part.old, part.new):
        yield "would go to where it is"
    if part.cls == "vpc" and part.standing is Standing.OPEN:
        yield from _set_problems(move, part)
    if part.cls == "host" and part.standing is Standing.OPEN and part.old.epoch != part.epoch:
        yield "has an epoch that is not its placement's"
    if part.standing is Standing.LEFT and part.new is not None and part.new.epoch <= part.old.epoch:
        yield "has left for a placement of no higher epoch"


def _set_problems(move: Move, part: Part) -> Iterable[str]:
    if not any(same_slot(one, part.old) for one in part.replicas):
        yield "has no replica in the old slot"
    elif move.kind is not Kind.MOVE:
        is_home = same_slot(part.replicas[0], part.old)
        if is_home != (move.kind is Kind.ADD):
            yield "has another home: what is added is copied from it, and it is never removed"
    if part.new is not None and any(same_slot(one, part.new) for one in part.replicas):
        yield "is in the new slot already"
