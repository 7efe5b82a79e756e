from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from southbound.janitor.judging import NEVER_US, Repair, Why, departures_us
from southbound.janitor.standing import PUBLIC, UNKNOWN, Standing, Whereabouts
from southbound.rebalance.copying import Record
from southbound.resources import PUBLIC_SCOPE, Op, ResourceKey, host_scope
from southbound.wire.envelope import FLAG_COPIED, decode
from southbound.wire.keys import encode_key
from tests.janitor.log import AWAY, BLUE, DAY_US, HERE, NOW_US, RULES, Log, key

OLD_US = RULES.retention_us
RED = host_scope("red")


def whys(log: Log) -> list[Why]:
    """Return why something would be appended."""
    return [repair.why for repair in log.judge().repairs]


# Inversions.


def test_a_lower_revision_that_came_last_is_answered_with_the_highest() -> None:
    """The highest is the last record then, once, as a copy that readers take singly."""
    log = Log()
    log.put("a", 6)
    log.put("a", 5)
    assert log.mend() == 1
    assert log.revisions("a") == [6, 5, 6]
    last = log.values("a")[-1]
    assert last is not None
    assert last.flags == FLAG_COPIED


def test_what_is_in_order_stays_as_it_is() -> None:
    """Rising and equal revisions, and deletes that are young, want nothing."""
    log = Log()
    for revision in (1, 2, 2, 3):
        log.put("a", revision)
    log.put("b", 1)
    log.put("b", 2, Op.DELETE)
    assert log.mend() == 0


def test_records_before_the_start_are_of_an_earlier_stay() -> None:
    """Their revisions are not brought back, whatever they are."""
    log = Log()
    log.put("a", 9)
    log.put("b", 1)
    log.standings[BLUE] = Standing(Whereabouts.HERE, 3, log.end)
    log.put("a", 2)
    assert log.mend() == 0


def test_a_part_of_a_young_changeset_is_repeated_as_it_was() -> None:
    """As a copy it would be applied without its set."""
    log = Log()
    log.put("a", 6, part=("half", 0, 2))
    log.put("a", 5)
    log.mend()
    last = log.values("a")[-1]
    assert last is not None
    assert (last.flags, last.changeset, last.count) == (0, "half", 2)


@pytest.mark.parametrize("ending", ["complete", "old"])
def test_a_part_of_a_settled_changeset_is_repeated_as_a_copy(ending: str) -> None:
    """Once a set is whole or given up its records are taken singly."""
    log = Log()
    age_us = RULES.hold_us if ending == "old" else 0
    log.put("a", 6, part=("set", 0, 2), age_us=age_us)
    if ending == "complete":
        log.put("b", 6, part=("set", 1, 2))
    log.put("a", 5)
    log.mend()
    last = log.values("a")[-1]
    assert last is not None
    assert last.flags == FLAG_COPIED


def test_public_resources_are_mended_too() -> None:
    """Their records have no scope's id in their keys."""
    log = Log({PUBLIC_SCOPE: PUBLIC})
    wanted = encode_key(ResourceKey(PUBLIC_SCOPE, "elb", "one"))
    other = Log()
    values = [other.records[other.put("x", revision)].value for revision in (2, 1)]
    for value in values:
        log.append(wanted, value)
    log.mend()
    assert [decode(one.value).revision for one in log.records if one.value] == [2, 1, 2]


# Tombstones.


def test_a_delete_that_had_its_time_is_tombstoned() -> None:
    """Compaction then forgets the key; a younger one stays."""
    log = Log()
    log.put("a", 2, Op.DELETE, age_us=OLD_US)
    log.put("b", 2, Op.DELETE, age_us=OLD_US - DAY_US)
    assert log.judge().due_us == NOW_US + DAY_US
    assert whys(log) == [Why.TOMBSTONE]
    log.mend()
    assert log.revisions("a") == [2, None]
    log.compact(lambda _: True)
    assert log.state() == {"b": (2, Op.DELETE)}


def test_a_tombstone_waits_for_compaction() -> None:
    """Who reads while compaction is at work could see the upsert and the null, and nothing between."""
    log = Log()
    log.put("a", 1, age_us=OLD_US + DAY_US)
    log.put("a", 2, Op.DELETE, age_us=OLD_US)
    assert (whys(log), log.judge().due_us) == ([], NEVER_US)
    log.compact(lambda _: True)
    assert whys(log) == [Why.TOMBSTONE]


def test_a_delete_appended_late_counts_from_then() -> None:
    """However old the sending: agents could read it only since the log took it."""
    log = Log()
    log.put("a", 2, Op.DELETE, age_us=OLD_US)
    log.records[-1] = log.records[-1]._replace(at_us=NOW_US)
    assert whys(log) == []


def test_a_tombstone_behind_a_re_creation_is_answered() -> None:
    """The delete was the last record when it was judged, and was not when the null came."""
    log = Log()
    log.put("a", 5, Op.DELETE, age_us=OLD_US)
    late = log.judge().repairs
    log.put("a", 6)
    log.repair(late)
    assert log.revisions("a") == [5, 6, None]
    assert whys(log) == [Why.ANSWER]
    log.mend()
    log.compact(lambda _: True)
    assert log.upserts() == {"a": 6}


def test_a_null_behind_a_young_delete_is_answered() -> None:
    """Agents ignore nulls: one that was away for an hour must still read the delete."""
    log = Log()
    log.put("a", 5, Op.DELETE, age_us=DAY_US)
    log.null("a")
    log.mend()
    assert log.revisions("a") == [5, None, 5]


def test_a_null_behind_a_delete_that_is_half_way_harms_nobody() -> None:
    """Whoever was away for longer reads a snapshot; nothing is due any more."""
    log = Log()
    log.put("a", 5, Op.DELETE, age_us=OLD_US // 2)
    log.null("a")
    assert (whys(log), log.judge().due_us) == ([], NEVER_US)


def test_nulls_alone_say_nothing() -> None:
    """What compaction has left of a tombstone."""
    log = Log()
    log.null("a")
    assert log.mend() == 0


def test_a_conflict_is_left_to_those_who_made_it() -> None:
    """One revision that is a delete and is none: neither is tombstoned."""
    log = Log()
    log.put("a", 5, age_us=OLD_US)
    log.put("a", 5, Op.DELETE, age_us=OLD_US)
    assert whys(log) == []


# What is left alone.


def test_what_cannot_be_read_is_left_alone() -> None:
    """It may be of a newer format: repeating what was before it would bury it."""
    log = Log()
    log.put("a", 2)
    log.append(key("a"), b"\xffnonsense")
    log.put("a", 1)
    log.put("b", 2)
    log.put("b", 1)
    assert [repair.key for repair in log.judge().repairs] == [key("b")]
    assert log.judge().unreadable == 1


def test_scopes_that_no_journal_knows_are_left_alone() -> None:
    """Nothing is concluded from an absence."""
    log = Log({BLUE: UNKNOWN, RED: HERE})
    log.put("a", 2)
    log.put("a", 1)
    log.put("a", 2, scope=RED)
    judgement = log.judge()
    assert (judgement.repairs, judgement.unknown) == ([], 1)


def test_keys_of_no_known_shape_are_passed_by() -> None:
    """Whatever somebody has written into a slot."""
    log = Log()
    for bad in (b"", b"x", b"\x1f", b"v\x1f", b"h\x1f\x00\x1fport\x1f1", b"\xff\xfe\x1fa\x1fb"):
        log.append(bad, b"x")
    log.put("a", 2)
    log.put("a", 1)
    assert whys(log) == [Why.INVERSION]


# A scope that has left.


def left(age_us: int = RULES.grace_us) -> Log:
    """Return a slot that a scope has left, with a neighbour that stays."""
    log = Log({BLUE: HERE, RED: HERE})
    log.put("a", 1, age_us=2 * DAY_US)
    log.put("b", 2, Op.DELETE, age_us=2 * DAY_US)
    log.put("r", 1, scope=RED, age_us=2 * DAY_US)
    log.mark(2, age_us=age_us)
    log.standings[BLUE] = AWAY
    return log


def test_the_records_of_a_scope_that_left_go_and_the_marker_stays() -> None:
    """Deletes too; the neighbour's records are not touched."""
    log = left()
    assert whys(log) == [Why.CLEAN, Why.CLEAN]
    log.mend()
    log.compact(lambda _: True)
    assert log.state() == {"r": (1, Op.UPSERT)}
    assert [record.key for record in log.records if b"!" in record.key] == [
        b"v\x1fblue\x1f!handover\x1f2"
    ]


def test_a_late_write_behind_the_marker_goes_too() -> None:
    """Its publisher was turned by the fence."""
    log = left()
    log.put("c", 1, age_us=RULES.grace_us)
    log.mend()
    assert log.revisions("c") == [1, None]


def test_a_scope_that_has_just_left_is_left_alone_for_a_while() -> None:
    """Those who read here still do; when it is due is told."""
    log = left(age_us=60_000_000)
    judgement = log.judge()
    assert (judgement.repairs, judgement.strays) == ([], 1)
    assert judgement.due_us == NOW_US + RULES.grace_us - 60_000_000
    assert departures_us(log.facts(3), RULES) == judgement.due_us


def test_without_its_marker_a_scope_is_not_cleaned() -> None:
    """The journal says that it leaves; whoever moves it has not come so far."""
    log = Log({BLUE: AWAY})
    log.put("a", 1, age_us=DAY_US)
    assert whys(log) == []


def test_the_marker_must_be_of_the_last_stay() -> None:
    """It came back, was sealed, and is leaving again: the old marker does not count."""
    log = left()
    log.seal(3, age_us=DAY_US)
    log.standings[BLUE] = Standing(Whereabouts.AWAY, 4)
    assert (whys(log), log.judge().due_us) == ([], NEVER_US)
    log.mark(4, age_us=RULES.grace_us)
    assert whys(log) == [Why.CLEAN, Why.CLEAN]


def test_a_marker_of_which_the_journal_does_not_know_yet_does_not_count() -> None:
    """Then this journal was read too early."""
    log = left()
    log.standings[BLUE] = Standing(Whereabouts.AWAY, 1)
    assert whys(log) == []


def test_copies_of_a_move_back_are_left_alone() -> None:
    """They are there before the journal decides that it comes back."""
    log = left()
    log.put("a", 1, copied_at=3, age_us=RULES.grace_us)
    assert whys(log) == []
    log.standings[BLUE] = Standing(Whereabouts.AWAY, 3)
    assert whys(log) == [Why.CLEAN, Why.CLEAN], "that epoch was decided otherwise"


def test_a_null_behind_copies_of_a_move_back_is_answered() -> None:
    """The new stay begins before the copies, whose mover may never look again."""
    log = left()
    late = log.judge().repairs
    start = log.end
    log.put("a", 1, copied_at=3)
    log.put("b", 2, Op.DELETE, copied_at=3)
    log.put("x", 7, copied_at=3)
    log.repair(late)
    assert whys(log) == [Why.ANSWER, Why.ANSWER]
    log.mend()
    log.standings[BLUE] = Standing(Whereabouts.HERE, 3, start)
    assert log.mend() == 0
    assert log.state(start) == {"a": (1, Op.UPSERT), "b": (2, Op.DELETE), "x": (7, Op.UPSERT)}


def test_copies_of_a_move_that_never_was_go_after_days() -> None:
    """A seeder or a mover that died before anything was decided."""
    log = Log({BLUE: AWAY})
    log.put("a", 1, copied_at=2, age_us=OLD_US - DAY_US)
    assert (whys(log), log.judge().due_us) == ([], NOW_US + DAY_US)
    log.now_us += DAY_US
    assert whys(log) == [Why.CLEAN]


def test_a_scope_that_came_back_keeps_what_it_has_since() -> None:
    """Nulls that were judged before it came back are answered."""
    log = left()
    late = log.judge().repairs
    log.standings[BLUE] = Standing(Whereabouts.HERE, 3, log.end)
    start = log.end
    log.put("a", 1, copied_at=3)
    log.put("b", 2, Op.DELETE, copied_at=3)
    log.put("a", 4)
    log.repair(late)
    log.mend()
    log.compact(lambda _: True)
    assert log.state(start) == {"a": (4, Op.UPSERT), "b": (2, Op.DELETE)}


# Control records.


def test_markers_with_a_higher_one_behind_them_go_after_days() -> None:
    """An agent that still reads before it finds the higher one; the last marker stays."""
    log = Log({BLUE: Standing(Whereabouts.AWAY, 4)})
    log.mark(2, age_us=OLD_US)
    log.mark(4, age_us=OLD_US)
    assert [repair.key for repair in log.judge().repairs] == [b"v\x1fblue\x1f!handover\x1f2"]
    log.mend()
    log.now_us += 100 * DAY_US
    assert log.mend() == 0


def test_seals_of_earlier_stays_go_after_days() -> None:
    """The seal of the present stay never does: fresh readers wait for it."""
    log = Log({BLUE: Standing(Whereabouts.HERE, 5, 0)})
    log.seal(3, age_us=OLD_US)
    log.seal(5, age_us=OLD_US)
    assert [repair.key for repair in log.judge().repairs] == [b"v\x1fblue\x1f!seal\x1f3"]


def test_a_seal_stays_until_the_present_stay_has_its_own() -> None:
    """Until then a reader that knows the earlier epoch may still wait for that."""
    log = Log({BLUE: Standing(Whereabouts.HERE, 5, 0)})
    log.seal(3, age_us=OLD_US)
    assert whys(log) == []


# Abandoned changesets.


def test_abandoned_changesets_are_told() -> None:
    """With how many of their records came; a young one holds the position back instead."""
    log = Log({BLUE: HERE, RED: HERE})
    log.put("a", 1, part=("old", 0, 3), age_us=2 * RULES.hold_us)
    log.put("b", 1, part=("old", 2, 3), age_us=2 * RULES.hold_us)
    log.put("c", 1, part=("whole", 0, 1), age_us=2 * RULES.hold_us)
    log.put("d", 1, scope=RED, part=("young", 0, 2))
    judgement = log.judge()
    (one,) = judgement.abandoned
    assert (one.scope, one.changeset, one.seen, one.wanted, one.first) == (BLUE, "old", 2, 3, 0)
    assert judgement.hold == 3


def test_what_compaction_may_have_thinned_is_not_called_abandoned() -> None:
    """A set older than the lag has lost the records that newer revisions came behind."""
    log = Log()
    log.put("a", 1, part=("old", 0, 3), age_us=2 * RULES.lag_us)
    assert log.judge().abandoned == []


# Any order, any compaction, any number of janitors.


class Step(NamedTuple):
    """One thing that happens to a slot."""

    what: str
    id: str = "a"
    revision: int = 1
    janitor: int = 0


ids = st.sampled_from("abc")
steps = st.one_of(
    st.builds(Step, st.just("put"), ids, st.integers(1, 8)),
    st.builds(Step, st.sampled_from(["look", "apply"]), janitor=st.integers(0, 1)),
    st.just(Step("compact")),
)
# Whether a revision of a key is a delete is the key's and the revision's alone.
deletes = st.sets(st.tuples(ids, st.integers(1, 8)))
Rolls = random.Random


def played(happened: list[Step], gone: set[tuple[str, int]], rolls: Rolls, *, is_old: bool) -> Log:
    """Return the log after all steps; what janitors looked at they may repair much later.

    Nothing is compacted within the lag, in which somebody mends.
    """
    log = Log()
    late: dict[int, list[Repair]] = {}
    for step in happened:
        if step.what == "put":
            op = Op.DELETE if (step.id, step.revision) in gone else Op.UPSERT
            age_us = OLD_US if is_old and op is Op.DELETE else 0
            log.put(step.id, step.revision, op, age_us=age_us)
        elif step.what == "compact":
            log.mend()
            log.compact(lambda _: rolls.random() < 0.5)
        elif step.what == "look":
            late[step.janitor] = log.judge().repairs
        else:
            log.repair(late.pop(step.janitor, []))
    return log


def highest(records: list[Record]) -> dict[str, tuple[int, Op]]:
    """Return each key's highest revision, nulls or not."""
    found: dict[str, tuple[int, Op]] = {}
    for record in records:
        if record.value is not None:
            one, id = decode(record.value), record.key.decode().rpartition("\x1f")[2]
            found[id] = max(found.get(id, (0, Op.UPSERT)), (one.revision, one.op))
    return found


@given(st.lists(steps, max_size=30), deletes, st.booleans(), st.randoms(use_true_random=False))
def test_any_compaction_after_mending_keeps_the_highest(
    happened: list[Step], gone: set[tuple[str, int]], is_old: bool, rolls: Rolls
) -> None:
    """Two janitors, each as late as it likes, and others that mend now and then: whatever compaction
    drops, the highest revision of each key stays, and what was deleted does not come back.
    """
    log = played(happened, gone, rolls, is_old=is_old)
    wanted = highest(log.records)
    upserts = {id: one[0] for id, one in wanted.items() if one[1] is Op.UPSERT}
    assert log.mend() <= 3
    for _ in range(4):
        log.compact(lambda _: rolls.random() < 0.5)
        assert log.upserts() == upserts
        before = log.end
        log.mend()
        new = [record.value for record in log.records if record.offset >= before]
        assert new == [None] * len(new), "compaction makes no work but tombstones"
    log.compact(lambda _: True)
    assert log.upserts() == upserts
    for id, one in log.state().items():
        assert one == wanted[id]


@given(st.lists(steps, max_size=20), deletes, st.booleans(), st.randoms(use_true_random=False))
def test_janitors_at_once_come_to_rest(
    happened: list[Step], gone: set[tuple[str, int]], is_old: bool, rolls: Rolls
) -> None:
    """Two that always see the same, and then both write, are done after two rounds."""
    log = played(happened, gone, rolls, is_old=is_old)
    for _ in range(2):
        one, other = log.judge().repairs, log.judge().repairs
        log.repair(one)
        log.repair(other)
    assert log.judge().repairs == []


stays = st.lists(st.sampled_from(["put", "leave", "return", "look", "apply"]), max_size=25)


@given(stays)
def test_a_scope_that_comes_and_goes_loses_nothing(happened: list[str]) -> None:
    """Nulls that come after a return hide nothing of the new stay, and the marker always stays."""
    log = Log()
    epoch, revision, start = 1, 0, 0
    late: list[Repair] = []
    for what in happened:
        is_here = log.standings[BLUE].whereabouts is Whereabouts.HERE
        if what == "put" and is_here:
            revision += 1
            log.put("abc"[revision % 3], revision, age_us=OLD_US)
        elif what == "leave" and is_here:
            epoch += 1
            log.mark(epoch, age_us=OLD_US)
            log.standings[BLUE] = Standing(Whereabouts.AWAY, epoch)
        elif what == "return" and not is_here:
            epoch += 1
            start = log.end
            log.standings[BLUE] = Standing(Whereabouts.HERE, epoch, start)
            log.seal(epoch, age_us=OLD_US)
        elif what == "look":
            late = log.judge().repairs
        elif what == "apply":
            log.repair(late)
    is_here = log.standings[BLUE].whereabouts is Whereabouts.HERE
    wanted = {
        record.key: decode(record.value).revision
        for record in log.records
        if record.value is not None and b"!" not in record.key and record.offset >= start
    }
    log.mend()
    log.compact(lambda _: True)
    assert log.upserts(start) == (
        {name.decode().rpartition("\x1f")[2]: top for name, top in wanted.items()}
        if is_here
        else {}
    )
    marked = [one.key for one in log.records if b"!handover" in one.key and one.value is not None]
    assert is_here or marked, "a scope that has left is led on"


class Mover:
    """A scope that comes and goes, in the order that a mover keeps; `truth` is what it has."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.epoch = 1
        self.start = 0
        self.truth: dict[str, int] = {}
        self._reserved: int | None = None

    @property
    def is_here(self) -> bool:
        """Whether the journal says so."""
        return self.log.standings[BLUE].whereabouts is Whereabouts.HERE

    def put(self) -> None:
        """Publish to wherever it is."""
        revision = sum(self.truth.values()) + 1
        id = "abc"[revision % 3]
        self.truth[id] = revision
        if self.is_here:
            self.log.put(id, revision, age_us=OLD_US)

    def move(self) -> None:
        """Do the next step: leave; note the end and copy; decide, copy the rest, seal."""
        if self.is_here:
            self.epoch += 1
            self.log.standings[BLUE] = Standing(Whereabouts.AWAY, self.epoch)
            self.log.mark(self.epoch, age_us=OLD_US)
        elif self._reserved is None:
            self._reserved = self.log.end
            self._copy(self.epoch + 1)
        else:
            self.epoch += 1
            self.start, self._reserved = self._reserved, None
            self.log.standings[BLUE] = Standing(Whereabouts.HERE, self.epoch, self.start)
            self._copy(self.epoch)
            self.log.seal(self.epoch, age_us=OLD_US)

    def _copy(self, epoch: int) -> None:
        """Copy what is not there; a null behind a copy is overlooked, as by the hastiest mover."""
        start = self.start if self._reserved is None else self._reserved
        there = highest([one for one in self.log.records if one.offset >= start])
        for id, revision in self.truth.items():
            if there.get(id, (0, Op.UPSERT))[0] < revision:
                self.log.put(id, revision, copied_at=epoch, age_us=OLD_US)


def janitor(log: Log) -> Iterator[None]:
    """Look once as a sweep does, with anything happening between any two of its steps."""
    books, is_mended = dict(log.standings), False
    while True:
        yield
        seen = Log(books)
        seen.records = list(log.records)
        repairs = seen.judge().repairs
        yield
        if not repairs and not is_mended:
            return
        known, books = books, dict(log.standings)
        if books != known:
            continue
        if not repairs:
            return
        yield
        log.repair(repairs)
        is_mended = True


_LOOK = ["first"] * 3


# Its nulls land behind the copies, and the scope has not come back yet when it looks again.
@example(["put", "move", *_LOOK, "move", *_LOOK, "move"])
# They land when the scope has come back.
@example(["put", "move", *_LOOK, "move", "move", *_LOOK, "first"])
@given(st.lists(st.sampled_from(["put", "move", "first", "second"]), max_size=40))
def test_whenever_janitors_are_done_the_stay_is_whole(happened: list[str]) -> None:
    """Though scopes come back between any two of a janitor's steps, and no mover looks again."""
    log = Log()
    mover = Mover(log)
    at_work: dict[str, Iterator[None]] = {}
    for what in happened:
        if what in {"put", "move"}:
            getattr(mover, what)()
        elif next(at_work.setdefault(what, janitor(log)), "done") == "done":
            del at_work[what]
    for one in at_work.values():
        # It ends what it has begun; nobody begins anew.
        list(one)
    if mover.is_here:
        log.compact(lambda _: True)
        assert log.upserts(mover.start) == mover.truth
