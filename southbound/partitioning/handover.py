"""The handover of a batch of streams from one slot to another, as a transition table. Pure.

The rule: the record says what has been done, `next_action` what is to be done next, and `advance`
alone makes the next record. Whoever carries a move out works so, and only so:

1. `claim` the record, which raises its token, and store it;
2. perform `next_action(move)`;
3. store `advance(move, outcome)`, and go on with 2 only when that was accepted.

Storing is compare-and-set (`move.follows`), so of two who work on one move the overtaken one stops
when it next stores. An executor may leave steps unstored, for speed: its record then lags, which is
no worse than one that has fallen back. What an overtaken one can leave behind does no harm: a copy,
a seal, an entry or a marker twice, which readers tell by revision and epoch; an entry of a lower
epoch behind a higher one, or a copy behind a newer revision, which the janitor mends within the
compaction lag.

Not even the record is trusted: it may fall back to any that was stored before, down to the plan's.
Whether a stream has left, and from which offset it begins, is decided by the journal alone, where
the first entry of an epoch wins. Hence three things:

* the journal is written before `sb.moves`, which repeats what it has decided;
* an offset noted anew gives way to the one that was decided, behind which publishers may have been
  accepted already; what was copied before that offset counts for nothing then;
* a move is abandoned by an entry of its epoch that says "stays", never by dropping the record; and
  only once the slot where it stays is sealed, or that entry would hide the move that is filling it.

The order, and what breaks without it (tests/model finds each): journal before `sb.moves` (two starts
for one epoch); `sb.moves` before the marker and before the old slot's end is asked for (a change is
accepted behind it); the delta after that; copying before the seal (a snapshot deletes what is on its
way); mending before the seal, and everything from a source that is itself sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from southbound.errors import PlanError
from southbound.partitioning.move import (
    Kind,
    Move,
    Part,
    Standing,
    Step,
    check,
    decided_row,
    decode_record,
    encode_record,
    follows,
    proposed_row,
    same_slot,
)
from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.steps import (
    Action,
    Announced,
    Announcement,
    AnnounceMoves,
    AppendJournal,
    Copied,
    Decided,
    Delta,
    Finished,
    Flip,
    Flipped,
    Mark,
    Marked,
    Mend,
    Mended,
    Outcome,
    Precopied,
    Precopy,
    Proposal,
    Release,
    Released,
    Reserve,
    Reserved,
    Seal,
    Sealed,
    Sign,
    Span,
)

__all__ = [
    "TABLE",
    "Kind",
    "Move",
    "Part",
    "Standing",
    "Step",
    "abandon",
    "advance",
    "claim",
    "decided_move",
    "decode_record",
    "encode_record",
    "follows",
    "next_action",
    "note_error",
    "plan_move",
]

TABLE: Mapping[Step, tuple[type[Outcome], Step]] = {
    Step.PLANNED: (Reserved, Step.RESERVED),
    Step.RESERVED: (Precopied, Step.PRECOPIED),
    Step.PRECOPIED: (Decided, Step.DECIDED),
    Step.DECIDED: (Announced, Step.LEFT),
    Step.LEFT: (Flipped, Step.FLIPPED),
    Step.FLIPPED: (Marked, Step.MARKED),
    Step.MARKED: (Copied, Step.COPIED),
    Step.COPIED: (Mended, Step.MENDED),
    Step.MENDED: (Sealed, Step.SEALED),
    Step.SEALED: (Released, Step.DONE),
}
"""At each step, the outcome that leads on, and where to. A step with nothing to do is passed over."""

_UNDECIDED = frozenset({Step.PLANNED, Step.RESERVED, Step.PRECOPIED})


def plan_move(
    plan: str, id: str, kind: Kind, slots: tuple[Address, Address | None], parts: Iterable[Part]
) -> Move:
    """Return the record of a batch that nobody has begun; `slots` are the old and the new one.

    Raises `PlanError` for a batch that cannot be carried out.
    """
    fresh = (_begun_at(msgspec.structs.replace(part, standing=Standing.OPEN), 0) for part in parts)
    # A removal reserves and copies nothing: it begins at the decision.
    step = Step.PRECOPIED if kind is Kind.REMOVE else Step.PLANNED
    move = Move(
        plan=plan, id=id, kind=kind, old=slots[0], new=slots[1], parts=tuple(fresh), step=step
    )
    check(move)
    return move


def decided_move(
    plan: str, id: str, kind: Kind, slots: tuple[Address, Address | None], part: Part
) -> Move:
    """Return a record of a move that the journal has decided, and of which no other is left.

    The part says what was decided. How much was copied nobody knows: the delta begins at the beginning
    of the old stream. Raises `PlanError` for a move that cannot be carried out.
    """
    left = msgspec.structs.replace(part, standing=Standing.LEFT, copied=0)
    move = Move(
        plan=plan, id=id, kind=kind, old=slots[0], new=slots[1], parts=(left,), step=Step.DECIDED
    )
    check(move)
    return move


def claim(move: Move, owner: str) -> Move:
    """Take a move over: once this is stored, what others make from an earlier record is refused."""
    return msgspec.structs.replace(
        move, owner=owner, token=move.token + 1, serial=move.serial + 1, error=""
    )


def note_error(move: Move, error: str) -> Move:
    """Note why the last action failed; what is to be done next stays the same."""
    return msgspec.structs.replace(move, error=error, serial=move.serial + 1)


def abandon(move: Move) -> Move:
    """Turn a move that is not known to have left; it is then carried out like any other.

    One that nobody has ever claimed ends at once. Any other asks the journal to let everything
    stay, and goes forward with what has left after all.
    Raises `PlanError` when something of it has left: then only a move back undoes it.
    """
    if move.step not in _UNDECIDED or move.has_left:
        raise PlanError(f"move {move.id!r} is {move.step}: it can only go forward, and then back")
    step = Step.ABANDONED if move.token == 0 else Step.PRECOPIED
    return msgspec.structs.replace(
        move, abandoning=True, step=step, serial=move.serial + 1, error=""
    )


def next_action(move: Move) -> Action:
    """Return what is to be done next; the same for whoever asks."""
    if move.step in _UNDECIDED:
        return _leaving_action(move)
    match move.step:
        case Step.DECIDED:
            return AnnounceMoves(tuple(_announcements(move)))
        case Step.LEFT:
            return Flip(_decided_rows(move))
        case Step.FLIPPED:
            return Mark(move.old, _markers(move))
        case Step.MENDED:
            return Seal(move.old, move.new, _entered(move), _stayed(move))
        case Step.SEALED:
            return _release(move)
        case Step.DONE | Step.ABANDONED:
            return Finished()
    assert move.new is not None
    spans = tuple(_span(part, part.copied, move.m) for part in move.of(Standing.LEFT))
    if move.step is Step.MARKED:
        return Delta(move.old, move.new, spans)
    return Mend(move.new, spans)


def advance(move: Move, outcome: Outcome) -> Move:
    """Return the record after an outcome of `next_action(move)`.

    `Decided` may come at any step before the decision, for any of the parts; a part of a VPC whose
    set somebody else has changed is then proposed again, behind that change. Raises `PlanError` for
    an outcome that does not belong to the step, or that cannot be.
    """
    if isinstance(outcome, Decided) and move.step in _UNDECIDED:
        return _go_on(move, _decide(move, outcome))
    expected, step = TABLE.get(move.step, (None, move.step))
    if expected is None or not isinstance(outcome, expected):
        raise PlanError(
            f"move {move.id!r} is {move.step}: {type(outcome).__name__} does not belong there"
        )
    changed = msgspec.structs.replace(move, step=step)
    match outcome:
        case Reserved():
            changed = _reserve(changed, outcome)
        case Precopied():
            changed = _note_copied(changed)
        case Marked():
            _check_offset(move, outcome.m)
            changed = msgspec.structs.replace(changed, m=outcome.m)
    return _go_on(move, changed)


# What the actions consist of.


def _leaving_action(move: Move) -> Action:
    parts = move.of(Standing.OPEN)
    if move.step is Step.PRECOPIED:
        return AppendJournal(
            tuple(
                Proposal(
                    part.cls,
                    part.id,
                    part.epoch + 1,
                    proposed_row(part, move.kind, staying=move.abandoning),
                )
                for part in parts
            )
        )
    assert move.new is not None
    if move.step is Step.PLANNED:
        return Reserve(move.old, move.new, parts)
    return Precopy(move.old, move.new, tuple(_span(part, 0, move.p1) for part in parts))


def _span(part: Part, copied: int, end: int) -> Span:
    assert part.new is not None
    begin = max(part.old.start, copied)
    return Span(part.cls, part.id, begin, max(begin, end), part.new, part.old.epoch)


def _announcements(move: Move) -> Iterator[Announcement]:
    """Tell the fence; of a replica that is no more, also the cluster that it was in.

    Whoever publishes a port there looks at that cluster's `sb.moves` anyway.
    """
    for part in move.of(Standing.LEFT):
        clusters = [part.fence]
        if move.kind is Kind.REMOVE and move.old.cluster != part.fence:
            clusters.append(move.old.cluster)
        for cluster in clusters:
            yield Announcement(cluster, part.cls, part.id, _row_epoch(part), decided_row(part))


def _row_epoch(part: Part) -> int:
    """Epoch of the decided row: a host's placement's, a VPC's own."""
    if part.cls == "vpc":
        return part.epoch
    placement = part.new if part.standing is Standing.LEFT else part.old
    assert placement is not None
    return placement.epoch


def _decided_rows(move: Move) -> tuple[Proposal, ...]:
    parts = (*move.of(Standing.LEFT), *move.of(Standing.STAYED))
    return tuple(Proposal(part.cls, part.id, _row_epoch(part), decided_row(part)) for part in parts)


def _markers(move: Move) -> tuple[Sign, ...]:
    if move.kind is Kind.ADD:
        return ()
    return tuple(_marker(part) for part in move.of(Standing.LEFT))


def _marker(part: Part) -> Sign:
    """Lead on to where it went; from a replica that is no more, to the home."""
    if part.new is not None:
        return Sign(part.cls, part.id, part.new.epoch, part.new.row(), part.new.start)
    home = part.replicas[0]
    return Sign(part.cls, part.id, part.epoch, home.row(), home.start)


def _entered(move: Move) -> tuple[Sign, ...]:
    parts = move.of(Standing.LEFT)
    return tuple(Sign(one.cls, one.id, one.new.epoch) for one in parts if one.new is not None)


def _stayed(move: Move) -> tuple[Sign, ...]:
    """Seal what stays under the epoch that leaving would have had. A VPC's replicas keep theirs."""
    parts = move.of(Standing.STAYED)
    return tuple(Sign(one.cls, one.id, one.old.epoch) for one in parts if one.cls == "host")


def _release(move: Move) -> Release:
    gone = move.of(Standing.LEFT) if move.kind is not Kind.ADD else ()
    rest = tuple(part for part in move.parts if part.standing is not Standing.LEFT)
    return Release(move.old, move.new, gone, rest)


# What outcomes change.


def _reserve(move: Move, outcome: Reserved) -> Move:
    _check_offset(move, outcome.s0)
    _check_offset(move, outcome.p1)
    parts = (
        _begun_at(part, outcome.s0) if part.standing is Standing.OPEN else part
        for part in move.parts
    )
    return msgspec.structs.replace(move, s0=outcome.s0, p1=outcome.p1, parts=tuple(parts))


def _begun_at(part: Part, start: int) -> Part:
    if part.new is None:
        return part
    new = Placement(part.new.pool, part.new.probe, part.epoch + 1, start)
    return msgspec.structs.replace(part, new=new, copied=0)


def _note_copied(move: Move) -> Move:
    parts = (
        msgspec.structs.replace(part, copied=move.p1) if part.standing is Standing.OPEN else part
        for part in move.parts
    )
    return msgspec.structs.replace(move, parts=tuple(parts))


def _check_offset(move: Move, offset: int) -> None:
    if offset < 0:
        raise PlanError(f"move {move.id!r}: {offset} is no offset")


def _decide(move: Move, outcome: Decided) -> Move:
    rows = dict(outcome.rows)
    parts = tuple(
        _settle(move, part, rows.pop(part.id))
        if part.standing is Standing.OPEN and part.id in rows
        else part
        for part in move.parts
    )
    known = {part.id for part in move.parts}
    strange = [id for id in rows if id not in known]
    if strange or parts == move.parts:
        raise PlanError(f"move {move.id!r}: the decision is not about it ({strange or 'no part'})")
    changed = msgspec.structs.replace(move, parts=parts)
    return msgspec.structs.replace(changed, step=Step.DECIDED) if changed.is_decided else changed


def _settle(move: Move, part: Part, row: str) -> Part:
    settled = (
        _settle_host(part, parse_placement(row))
        if part.cls == "host"
        else _settle_vpc(move, part, parse_vpc_placement(row))
    )
    if settled.standing is Standing.OVERTAKEN:
        return msgspec.structs.replace(settled, detail=f"placed anew meanwhile: {row}")
    return settled


def _settle_host(part: Part, now: Placement) -> Part:
    assert part.new is not None
    if now.epoch <= part.epoch:
        raise PlanError(f"host {part.id!r}: {now.row()} decides nothing after epoch {part.epoch}")
    if now.epoch == part.epoch + 1:
        if same_slot(now, part.new):
            return _left_for(part, now)
        if same_slot(now, part.old):
            return msgspec.structs.replace(part, old=now, standing=Standing.STAYED)
    return msgspec.structs.replace(part, standing=Standing.OVERTAKEN)


def _left_for(part: Part, decided: Placement) -> Part:
    """Take the decided placement; copies that were made for another start may lie before it."""
    assert part.new is not None
    copied = part.copied if decided.start == part.new.start else 0
    return msgspec.structs.replace(part, new=decided, copied=copied, standing=Standing.LEFT)


def _settle_vpc(move: Move, part: Part, now: VpcPlacement) -> Part:
    if now.epoch <= part.epoch:
        raise PlanError(f"VPC {part.id!r}: epoch {now.epoch} decides nothing after {part.epoch}")
    entered = _find(now, part.new)
    remains = _find(now, part.old) is not None
    seen = msgspec.structs.replace(part, epoch=now.epoch, replicas=now.replicas)
    if entered is not None and (not remains or move.kind is Kind.ADD):
        return _left_for(seen, entered)
    if part.new is None and not remains:
        return msgspec.structs.replace(seen, standing=Standing.LEFT)
    if not remains or not same_slot(now.home, part.replicas[0]):
        # The fence, or what is copied from, is another one now: that takes another plan.
        return msgspec.structs.replace(part, standing=Standing.OVERTAKEN)
    if move.abandoning:
        return msgspec.structs.replace(seen, standing=Standing.STAYED)
    start = part.new.start if part.new is not None else 0
    copied = part.copied
    return msgspec.structs.replace(_begun_at(seen, start), copied=copied)


def _find(row: VpcPlacement, wanted: Placement | None) -> Placement | None:
    if wanted is None:
        return None
    return next((one for one in row.replicas if same_slot(one, wanted)), None)


# Going on.


def _go_on(before: Move, changed: Move) -> Move:
    """Pass over the steps that have nothing to do, count the change, and check it."""
    step = changed.step
    while step in TABLE and not _has_work(changed, step):
        step = TABLE[step][1]
    if step is Step.DONE and not changed.has_left:
        step = Step.ABANDONED
    changed = msgspec.structs.replace(changed, step=step, serial=before.serial + 1, error="")
    check(changed)
    return changed


def _has_work(move: Move, step: Step) -> bool:
    match step:
        case Step.PLANNED | Step.RESERVED | Step.PRECOPIED:
            return not move.is_decided
        case Step.DECIDED | Step.FLIPPED:
            return move.has_left
        case Step.LEFT:
            return bool(_decided_rows(move))
        case Step.MARKED | Step.COPIED:
            return move.has_left and move.kind is not Kind.REMOVE
        case Step.MENDED:
            return bool(_entered(move) or _stayed(move))
        case _:
            return True
