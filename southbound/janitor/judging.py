"""What must be appended to a slot so that compaction drops nothing that counts. Pure.

The rules, each of which may be followed twice, or by several at once:

* `inversion`: the last record of a key is a lower revision than its highest: the highest again.
* `answer`: the last record is a null, and the highest is no delete that has had its time: the
  highest again. Whoever wrote the null did not see it come. Half of the retention is time enough: an
  agent that was away for longer reads a snapshot.
* `tombstone`: the last record is a delete older than the retention of deletes, and compaction has
  taken everything else of its key: a null. Sooner, somebody who reads while compaction is at work
  could see an upsert and the null, and not the delete between them.
* `clean`: the scope is away, and has left by a marker behind its last stay here, or what is here are
  copies of a move that was never decided: a null for each key that has another last record. Not
  while copies of an epoch above the row's are here, since then it may be on its way back; a null
  behind one of these is answered.
* `outdated`: a marker with a higher one behind it, or a seal of an earlier stay than the one that is
  sealed, older than the retention of deletes: a null. The last marker of a scope stays for ever: it
  is the one by which an agent without Redis finds where its stream goes on.

What cannot be read, and scopes that the journal does not know, are left alone. What is repeated is
flagged as copied, so that readers take it singly; only a record of a changeset that is young and
incomplete is repeated as it was, since it may only be applied with its set.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from southbound.janitor.facts import NULL, KeyFacts, OpenSet, ScopeFacts, SlotFacts
from southbound.janitor.standing import Whereabouts
from southbound.resources import Op, Scope
from southbound.wire.envelope import FLAG_COPIED, decode, with_flags

NEVER_US = 1 << 62


class Why(enum.StrEnum):
    """Why a record is appended."""

    INVERSION = "inversion"
    ANSWER = "answer"
    TOMBSTONE = "tombstone"
    CLEAN = "clean"
    OUTDATED = "outdated"


REPEATS = frozenset({Why.INVERSION, Why.ANSWER})
"""Those that append a record again; the others append a null."""


class Rules(NamedTuple):
    """What the judgement rests on, in microseconds.

    `retention_us`: how long deletes are kept. `hold_us`: how long an incomplete changeset is young.
    `grace_us`: for how long a scope that left must have been quiet. `lag_us`: the compaction lag.
    """

    retention_us: int
    hold_us: int
    grace_us: int
    lag_us: int


class Repair(NamedTuple):
    """One record to append. `source`: the offset of the record to repeat; of a null, -1.

    `as_it_was`: it is repeated without the flag of a copy.
    """

    why: Why
    scope: Scope
    key: bytes
    source: int = -1
    as_it_was: bool = False


class Abandoned(NamedTuple):
    """A changeset of which some records never came. `first` is its first record's offset."""

    scope: Scope
    changeset: str
    seen: int
    wanted: int
    first: int


class Judgement(NamedTuple):
    """What is to be done in a slot, and what else was found.

    `due_us`: when time alone makes something due. `hold`: the first offset of a changeset that may
    still be completed, or None. `strays`: scopes that are away and cannot be cleaned yet.
    """

    repairs: list[Repair]
    abandoned: list[Abandoned]
    due_us: int
    hold: int | None
    unreadable: int
    unknown: int
    strays: int


def judge(facts: SlotFacts, rules: Rules, now_us: int) -> Judgement:
    """Judge a slot by everything that was noted of it."""
    repairs: list[Repair] = []
    abandoned: list[Abandoned] = []
    due_us, hold = NEVER_US, None
    unreadable = unknown = strays = 0
    for scope in facts.scopes():
        unreadable += sum(one.unreadable for one in scope.keys.values())
        if scope.standing.whereabouts is Whereabouts.UNKNOWN:
            unknown += 1
            continue
        if scope.standing.whereabouts is Whereabouts.HERE:
            found, scope_due_us = _mend(scope, rules, now_us)
            abandoned += _abandoned(scope, rules, now_us)
            hold = _least(hold, scope, rules, now_us)
        else:
            found, scope_due_us = _clean(scope, rules, now_us)
            strays += not found and _has_records(scope)
        due_us = min(due_us, scope_due_us)
        repairs += found
        repairs += _outdated(scope, rules, now_us)
    return Judgement(repairs, abandoned, due_us, hold, unreadable, unknown, strays)


def record_of(repair: Repair, value: bytes | None) -> tuple[bytes, bytes | None]:
    """Return the record to append; `value` is the source's where there is one."""
    if repair.why not in REPEATS or value is None or repair.as_it_was:
        return repair.key, value
    return repair.key, with_flags(value, epoch=decode(value).epoch, flags=FLAG_COPIED)


def departures_us(facts: SlotFacts, rules: Rules) -> int:
    """Return when a slot should be looked at since scopes have left it, by the markers noted."""
    times = (
        marker.at_us + rules.grace_us
        for scope in facts.scopes()
        if scope.standing.whereabouts is not Whereabouts.HERE
        for marker in scope.markers.values()
    )
    return min(times, default=NEVER_US)


# A scope that is here.


def _mend(scope: ScopeFacts, rules: Rules, now_us: int) -> tuple[list[Repair], int]:
    found: list[Repair] = []
    due_us = NEVER_US
    for key, one in scope.keys.items():
        why = _fault(one, rules, now_us)
        if why is None:
            # What is due and waits for compaction is looked at again with everything.
            one_due_us = _due_us(one, rules)
            due_us = min(due_us, one_due_us if one_due_us > now_us else NEVER_US)
        elif why is Why.TOMBSTONE:
            found.append(Repair(why, scope.scope, key))
        else:
            open_ = scope.open.get(one.changeset)
            as_it_was = open_ is not None and _is_young(open_, rules, now_us)
            found.append(Repair(why, scope.scope, key, one.offset, as_it_was))
    return found, due_us


def _fault(one: KeyFacts, rules: Rules, now_us: int) -> Why | None:
    if one.unreadable or not one.revision:
        return None
    if one.last == NULL:
        had_its_time = one.op is Op.DELETE and one.age_us + rules.retention_us // 2 <= now_us
        return None if had_its_time else Why.ANSWER
    if one.last < one.revision:
        return Why.INVERSION
    is_due = _due_us(one, rules) <= now_us
    return Why.TOMBSTONE if is_due and not one.has_others else None


def _due_us(one: KeyFacts, rules: Rules) -> int:
    """Return when a key's tombstone is due: only of a delete that is highest and last."""
    is_delete = one.op is Op.DELETE and one.last_op is Op.DELETE and one.last == one.revision
    return one.age_us + rules.retention_us if is_delete and not one.unreadable else NEVER_US


# A scope that is away.


def _has_records(scope: ScopeFacts) -> bool:
    return any(one.last != NULL for one in scope.keys.values())


def _clean(scope: ScopeFacts, rules: Rules, now_us: int) -> tuple[list[Repair], int]:
    if scope.copied_epoch > scope.standing.epoch:
        return _answers(scope, rules, now_us), NEVER_US
    if not _has_records(scope):
        return [], NEVER_US
    due_us = _clean_us(scope, rules)
    if due_us > now_us:
        return [], due_us
    return [
        Repair(Why.CLEAN, scope.scope, key)
        for key, one in scope.keys.items()
        if one.last != NULL and not one.unreadable
    ], NEVER_US


def _answers(scope: ScopeFacts, rules: Rules, now_us: int) -> list[Repair]:
    """Repeat what was copied for a coming stay, and what a null of the last clean-up came behind."""
    return [
        Repair(Why.ANSWER, scope.scope, key, one.offset)
        for key, one in scope.keys.items()
        if one.copied_epoch > scope.standing.epoch and _fault(one, rules, now_us) is Why.ANSWER
    ]


def _clean_us(scope: ScopeFacts, rules: Rules) -> int:
    """Return when the records of a scope that is away may go."""
    if not scope.markers:
        # Copies of a move that nobody finished; whoever it was has had days to do it.
        return scope.youngest_us + rules.retention_us
    marker = max(scope.markers.values())
    entered = max((seal.epoch for seal in scope.seals.values()), default=0)
    if not entered < marker.epoch <= scope.standing.epoch:
        # It came back and left again, and the marker of that is still to come.
        return NEVER_US
    return max(scope.youngest_us, marker.at_us) + rules.grace_us


# Both.


def _outdated(scope: ScopeFacts, rules: Rules, now_us: int) -> Iterator[Repair]:
    oldest_us = now_us - rules.retention_us
    last = max((marker.epoch for marker in scope.markers.values()), default=0)
    for key, marker in scope.markers.items():
        if marker.epoch < last and marker.at_us <= oldest_us:
            yield Repair(Why.OUTDATED, scope.scope, key)
    if scope.standing.whereabouts is not Whereabouts.HERE:
        return
    present = scope.standing.epoch
    if any(seal.epoch >= present for seal in scope.seals.values()):
        for key, seal in scope.seals.items():
            if seal.epoch < present and seal.at_us <= oldest_us:
                yield Repair(Why.OUTDATED, scope.scope, key)


def _abandoned(scope: ScopeFacts, rules: Rules, now_us: int) -> Iterator[Abandoned]:
    """Yield the sets that nobody completed; what compaction may have thinned says nothing."""
    for changeset, open_ in scope.open.items():
        if not _is_young(open_, rules, now_us) and open_.at_us > now_us - rules.lag_us:
            yield Abandoned(scope.scope, changeset, len(open_.indexes), open_.count, open_.first)


def _least(hold: int | None, scope: ScopeFacts, rules: Rules, now_us: int) -> int | None:
    young = (one.first for one in scope.open.values() if _is_young(one, rules, now_us))
    return min(young if hold is None else (hold, *young), default=None)


def _is_young(open_: OpenSet, rules: Rules, now_us: int) -> bool:
    return open_.latest_us > now_us - rules.hold_us
