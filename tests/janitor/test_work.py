from __future__ import annotations

import pytest

from southbound.janitor.books import Odd, SlotState
from southbound.janitor.digest import Digest
from southbound.janitor.standing import UNKNOWN, Standing
from southbound.janitor.work import SlotWork, batches
from southbound.partitioning.placement import Address
from southbound.rebalance.copying import Record
from southbound.resources import Scope
from tests.janitor.log import AWAY, BLUE, HERE, NOW_US, RULES, Log

SLOT = Address("c1", "sb.p.000", 0)


def state(log: Log, position: int) -> SlotState:
    """Return what a look at the first records remembers."""
    digest = Digest()
    seen = Log(log.standings)
    seen.records = [record for record in log.records if record.offset < position]
    digest.take(seen.facts())
    return SlotState(position, NOW_US, NOW_US + 1_000, digest.encode(), Odd(1, 2, 3))


def read(log: Log, known: SlotState | None, *, whole: bool) -> SlotWork:
    """Return a slot that was read to its end."""
    work = SlotWork(SLOT, known, log.end)
    work.begin(lambda scope, _: log.standings[scope], whole=whole)
    while (span := work.span(2)) is not None:
        work.take([r for r in log.records if span[0] <= r.offset < span[1]], span[1])
    return work


def test_a_glance_reads_what_is_new_and_remembers_the_rest() -> None:
    """The whole look's findings stay; what is due sooner is due sooner."""
    log = Log()
    log.put("a", 3)
    known = state(log, 1)
    log.put("a", 4)
    log.put("b", 1)
    work = read(log, known, whole=False)
    judgement = work.judge(RULES, NOW_US)
    assert not work.is_doubtful(judgement)
    after = work.state_after(judgement, RULES, NOW_US + 5)
    assert (after.position, after.looked_us, after.odd) == (3, NOW_US, Odd(1, 2, 3))
    assert len(Digest(after.digest)) == 2


def test_a_lower_revision_than_before_is_a_doubt() -> None:
    """Though the higher one lies before the window."""
    log = Log()
    log.put("a", 3)
    known = state(log, 1)
    log.put("a", 2)
    work = read(log, known, whole=False)
    assert work.is_doubtful(work.judge(RULES, NOW_US))
    work.begin(lambda scope, _: log.standings[scope], whole=True)
    assert work.read_to == 0


def test_a_null_is_a_doubt() -> None:
    """Somebody has tombstoned; whether rightly, only the whole slot tells."""
    log = Log()
    log.put("a", 3)
    known = state(log, 1)
    log.put("a", 4)
    log.null("a")
    work = read(log, known, whole=False)
    assert work.is_doubtful(work.judge(RULES, NOW_US))


def test_the_position_waits_for_a_changeset_that_may_be_completed() -> None:
    """Its first record is read again with its last; abandoned ones are told once."""
    log = Log()
    log.put("a", 1)
    log.put("b", 1, part=("set", 0, 2))
    log.put("c", 1)
    work = read(log, None, whole=True)
    judgement = work.judge(RULES, NOW_US)
    after = work.state_after(judgement, RULES, NOW_US)
    assert after.position == 1
    later = read(log, after, whole=False)
    abandoned = later.judge(RULES, NOW_US + 2 * RULES.hold_us)
    assert [one.changeset for one in later.abandoned(abandoned)] == ["set"]
    passed = later.state_after(abandoned, RULES, NOW_US)
    assert passed.position == 3
    again = read(log, passed, whole=True)
    assert not list(again.abandoned(again.judge(RULES, NOW_US + 2 * RULES.hold_us)))


def test_a_marker_in_the_window_makes_the_slot_due() -> None:
    """The records that may go then lie before it."""
    log = Log()
    log.put("a", 1)
    known = state(log, 1)._replace(due_us=1 << 62)
    log.standings[BLUE] = AWAY
    log.mark(2)
    work = read(log, known, whole=False)
    judgement = work.judge(RULES, NOW_US)
    assert work.state_after(judgement, RULES, NOW_US).due_us == NOW_US + RULES.grace_us


def test_a_slot_in_which_a_scope_stands_otherwise_is_not_current() -> None:
    """Whatever was concluded from where it stood does not count."""
    log = Log()
    log.put("a", 1)
    work = read(log, None, whole=True)
    assert work.is_current(lambda scope, _: log.standings[scope])

    def elsewhere(scope: Scope, address: Address) -> Standing:
        return UNKNOWN

    assert not work.is_current(elsewhere)


@pytest.mark.parametrize(("standing", "wanted"), [(HERE, True), (AWAY, False), (UNKNOWN, False)])
def test_only_what_is_here_is_surely_judged(standing: Standing, wanted: bool) -> None:
    """With an old journal a scope may be here and not be known to be."""
    log = Log({BLUE: standing})
    log.put("a", 1)
    assert read(log, None, whole=True).is_all_here is wanted


def test_reading_speeds_up_where_compaction_has_thinned() -> None:
    """A million offsets with hardly a record in them are few steps."""
    work = SlotWork(SLOT, None, 1_000_000)
    work.begin(lambda *_: UNKNOWN, whole=True)
    steps = 0
    while (span := work.span(10)) is not None:
        work.take([Record(span[0], b"x", b"x", 0)], span[1])
        steps += 1
    assert steps < 20


def test_batches_are_bounded_by_weight_and_number() -> None:
    """One slot that is heavier than a batch may be goes alone."""
    known = SlotState(0, 0, 0, b"", Odd())
    ends = [10, 10, 500, 10, 10, 10]
    work = [SlotWork(SLOT, known, end) for end in ends]
    cut = [[one.end for one in batch] for batch in batches(work, 100, 2)]
    assert cut == [[10, 10], [500], [10, 10], [10]]
