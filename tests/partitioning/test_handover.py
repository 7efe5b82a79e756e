"""The transition table of a move: scenarios, and properties of every path through it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import PlanError, WireError
from southbound.partitioning import steps
from southbound.partitioning.handover import (
    TABLE,
    Kind,
    Move,
    Part,
    Standing,
    Step,
    abandon,
    advance,
    claim,
    decode_record,
    encode_record,
    follows,
    next_action,
    note_error,
    plan_move,
)
from southbound.partitioning.move import RECORD_VERSION, UNKNOWN, check, decided_row
from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    parse_placement,
    parse_vpc_placement,
)

OLD = Address("c1", "sb.a.000", 3)
NEW = Address("c2", "sb.b.001", 7)
HOME = Placement("va", 0, 1, 0)
SECOND = Placement("vb", 1, 2, 40)
S0, P1, M = 100, 50, 70


def _host(id: str = "h1", epoch: int = 4, start: int = 20) -> Part:
    return Part(
        cls="host",
        id=id,
        epoch=epoch,
        old=Placement("a", 0, epoch, start),
        new=Placement("b", 1),
        fence="c1",
    )


def _vpc(old: Placement, new: Placement | None, *, epoch: int = 2) -> Part:
    return Part(
        cls="vpc", id="v1", epoch=epoch, old=old, new=new, replicas=(HOME, SECOND), fence="c1"
    )


def _move(kind: Kind, *parts: Part) -> Move:
    slots = (OLD, None if kind is Kind.REMOVE else NEW)
    return claim(plan_move("p", "m1", kind, slots, parts), "x")


def _moves() -> list[Move]:
    return [
        _move(Kind.MOVE, _host()),
        _move(Kind.MOVE, _host("h1"), _host("h2", epoch=1, start=0)),
        _move(Kind.MOVE, _vpc(HOME, Placement("vc", 2))),
        _move(Kind.MOVE, _vpc(SECOND, Placement("vc", 2))),
        _move(Kind.ADD, _vpc(HOME, Placement("vc", 2))),
        _move(Kind.REMOVE, _vpc(SECOND, None)),
    ]


def _answer(action: steps.Action) -> steps.Outcome:
    """Give the outcome of an action that nothing disturbs."""
    match action:
        case steps.Reserve():
            return steps.Reserved(S0, P1)
        case steps.Precopy():
            return steps.Precopied()
        case steps.AppendJournal():
            return steps.Decided({one.id: one.row for one in action.proposals})
        case steps.AnnounceMoves():
            return steps.Announced()
        case steps.Flip():
            return steps.Flipped()
        case steps.Mark():
            return steps.Marked(M)
        case steps.Delta():
            return steps.Copied()
        case steps.Mend():
            return steps.Mended()
        case steps.Seal():
            return steps.Sealed()
        case steps.Release():
            return steps.Released()
        case steps.Finished():
            raise AssertionError("nothing is left to answer")


def _run(move: Move, *, until: Step | None = None) -> tuple[Move, list[steps.Action]]:
    done: list[steps.Action] = []
    while not move.is_final and move.step is not until:
        done.append(next_action(move))
        move = advance(move, _answer(done[-1]))
    return move, done


def _names(done: list[steps.Action]) -> list[str]:
    return [type(action).__name__ for action in done]


def test_a_host_goes_through_every_step() -> None:
    """A move that nothing disturbs takes the design's steps in the design's order."""
    move, done = _run(_move(Kind.MOVE, _host()))
    assert _names(done) == [
        "Reserve",
        "Precopy",
        "AppendJournal",
        "AnnounceMoves",
        "Flip",
        "Mark",
        "Delta",
        "Mend",
        "Seal",
        "Release",
    ]
    assert move.step is Step.DONE
    assert (move.s0, move.p1, move.m) == (S0, P1, M)


def test_what_a_hosts_actions_say() -> None:
    """Spans, rows, marker and seal are those of design §8."""
    _, done = _run(_move(Kind.MOVE, _host()))
    row = "b:1:5:100"
    into = Placement("b", 1, 5, S0)
    assert done[1] == steps.Precopy(OLD, NEW, (steps.Span("host", "h1", 20, P1, into, 4),))
    assert done[2] == steps.AppendJournal((steps.Proposal("host", "h1", 5, row),))
    assert done[3] == steps.AnnounceMoves((steps.Announcement("c1", "host", "h1", 5, row),))
    assert done[4] == steps.Flip((steps.Proposal("host", "h1", 5, row),))
    assert done[5] == steps.Mark(OLD, (steps.Sign("host", "h1", 5, row, S0),))
    assert done[6] == steps.Delta(OLD, NEW, (steps.Span("host", "h1", P1, M, into, 4),))
    assert done[8] == steps.Seal(OLD, NEW, (steps.Sign("host", "h1", 5),), ())


def test_a_replica_is_added_without_a_marker() -> None:
    """Seeding notes the home's end after the entry, and marks nothing; nothing is given back."""
    move, done = _run(_move(Kind.ADD, _vpc(HOME, Placement("vc", 2))))
    assert _names(done)[5] == "Mark"
    assert done[5] == steps.Mark(OLD, ())
    assert isinstance(done[2], steps.AppendJournal)
    assert done[2].proposals[0].row == "3|va:0:1:0|vb:1:2:40|vc:2:3:100"
    assert isinstance(done[-1], steps.Release)
    assert (done[-1].left, done[-1].rest) == ((), ())
    assert move.step is Step.DONE


def test_a_home_moves_in_its_place() -> None:
    """The set keeps its order under one new epoch, and the old home's slot gets the marker."""
    _, done = _run(_move(Kind.MOVE, _vpc(HOME, Placement("vc", 2))))
    assert isinstance(done[3], steps.AnnounceMoves)
    assert done[3].entries[0].row == "3|vc:2:3:100|vb:1:2:40"
    assert done[5] == steps.Mark(OLD, (steps.Sign("vpc", "v1", 3, "vc:2:3:100", 100),))


def test_a_removed_replica_leads_on_to_the_home() -> None:
    """A removal copies nothing; whoever still reads there is led to the home's whole stream."""
    move, done = _run(_move(Kind.REMOVE, _vpc(SECOND, None)))
    assert _names(done) == ["AppendJournal", "AnnounceMoves", "Flip", "Mark", "Release"]
    assert isinstance(done[0], steps.AppendJournal)
    assert done[0].proposals[0].row == "3|va:0:1:0"
    assert done[3] == steps.Mark(OLD, (steps.Sign("vpc", "v1", 3, "va:0:1:0", 0),))
    assert isinstance(done[4], steps.Release)
    assert [part.id for part in done[4].left] == ["v1"]
    assert move.step is Step.DONE


def test_a_removal_is_told_where_ports_are_published_too() -> None:
    """To the home's fence, and to the cluster that loses the replica; once where they are one."""
    for fence, clusters in (("c9", ["c9", "c1"]), ("c1", ["c1"])):
        part = msgspec.structs.replace(_vpc(SECOND, None), fence=fence)
        _, done = _run(_move(Kind.REMOVE, part))
        told = done[1]
        assert isinstance(told, steps.AnnounceMoves)
        assert [entry.cluster for entry in told.entries] == clusters
        assert {(entry.epoch, entry.row) for entry in told.entries} == {(3, "3|va:0:1:0")}


def test_a_start_decided_before_is_adopted() -> None:
    """A record that fell back notes other ends; the journal's start holds, and all is copied anew."""
    move, _ = _run(_move(Kind.MOVE, _host()), until=Step.PRECOPIED)
    move = advance(move, steps.Decided({"h1": "b:1:5:90"}))
    assert move.parts[0].new == Placement("b", 1, 5, 90)
    move, done = _run(move)
    delta = next(action for action in done if isinstance(action, steps.Delta))
    assert (delta.spans[0].begin, delta.spans[0].into.start) == (20, 90)


def test_a_decision_found_at_the_reservation_is_taken() -> None:
    """A record that fell back to the plan finds the move decided, and goes on from there."""
    move = _move(Kind.MOVE, _host("h1"), _host("h2"))
    move = advance(move, steps.Decided({"h1": "b:1:5:90"}))
    assert (move.step, move.parts[0].standing) == (Step.PLANNED, Standing.LEFT)
    move, done = _run(move)
    assert isinstance(done[0], steps.Reserve)
    assert [part.id for part in done[0].parts] == ["h2"]
    starts = [part.new.start for part in move.parts if part.new]
    assert starts == [90, S0]
    delta = next(action for action in done if isinstance(action, steps.Delta))
    assert [span.begin for span in delta.spans] == [20, P1]


def test_what_somebody_else_placed_is_left_alone() -> None:
    """A row of another slot, or of a later epoch, takes the part out of the move."""
    for row in ("z:0:5:0", "b:1:6:90", "a:0:6:9"):
        move, _ = _run(_move(Kind.MOVE, _host("h1"), _host("h2")), until=Step.PRECOPIED)
        move = advance(move, steps.Decided({"h1": row, "h2": "b:1:5:100"}))
        assert move.parts[0].standing is Standing.OVERTAKEN
        assert row in move.parts[0].detail
        move, done = _run(move)
        mark = next(action for action in done if isinstance(action, steps.Mark))
        assert [sign.id for sign in mark.markers] == ["h2"]
        assert isinstance(done[-1], steps.Release)
        assert [part.id for part in done[-1].rest] == ["h1"]


def test_a_move_overtaken_as_a_whole_ends() -> None:
    """Nothing is announced, marked or sealed for parts that somebody else has placed."""
    move, _ = _run(_move(Kind.MOVE, _host()), until=Step.PRECOPIED)
    move, done = _run(advance(move, steps.Decided({"h1": "z:0:5:0"})))
    assert (_names(done), move.step) == (["Release"], Step.ABANDONED)


def test_a_changed_set_is_proposed_again() -> None:
    """When another replica was added meanwhile, the change is proposed behind it."""
    move, _ = _run(_move(Kind.MOVE, _vpc(HOME, Placement("vc", 2))), until=Step.PRECOPIED)
    move = advance(move, steps.Decided({"v1": "3|va:0:1:0|vb:1:2:40|vd:0:3:5"}))
    assert move.step is Step.PRECOPIED
    action = next_action(move)
    assert isinstance(action, steps.AppendJournal)
    assert action.proposals == (steps.Proposal("vpc", "v1", 4, "4|vc:2:4:100|vb:1:2:40|vd:0:3:5"),)
    move, done = _run(move)
    delta = next(action for action in done if isinstance(action, steps.Delta))
    assert delta.spans[0].begin == P1


def test_a_set_whose_home_has_moved_needs_another_plan() -> None:
    """The fence and the source are of the home: with another home the part is left alone."""
    move, _ = _run(_move(Kind.ADD, _vpc(HOME, Placement("vc", 2))), until=Step.PRECOPIED)
    move = advance(move, steps.Decided({"v1": "3|vx:0:3:8|vb:1:2:40"}))
    assert move.parts[0].standing is Standing.OVERTAKEN


def test_an_abandoned_move_asks_the_journal_to_stay() -> None:
    """Staying takes the epoch, is sealed, and gives the reservation back."""
    move, _ = _run(_move(Kind.MOVE, _host()), until=Step.PRECOPIED)
    move, done = _run(abandon(move))
    assert _names(done) == ["AppendJournal", "Flip", "Seal", "Release"]
    assert done[0] == steps.AppendJournal((steps.Proposal("host", "h1", 5, "a:0:5:20"),))
    assert done[2] == steps.Seal(OLD, NEW, (), (steps.Sign("host", "h1", 5),))
    assert isinstance(done[3], steps.Release)
    assert [part.id for part in done[3].rest] == ["h1"]
    assert (move.step, move.parts[0].standing) == (Step.ABANDONED, Standing.STAYED)


def test_an_abandoned_move_that_has_left_goes_on() -> None:
    """When the journal had decided to leave, abandoning finds out and the move is completed."""
    move, _ = _run(_move(Kind.MOVE, _host()), until=Step.PRECOPIED)
    move = advance(abandon(move), steps.Decided({"h1": "b:1:5:100"}))
    assert (move.step, move.has_left) == (Step.DECIDED, True)
    assert _run(move)[0].step is Step.DONE


def test_a_vpc_that_stays_needs_no_seal() -> None:
    """Its replicas keep their epochs; only the set's epoch rises."""
    move, _ = _run(_move(Kind.MOVE, _vpc(HOME, Placement("vc", 2))), until=Step.PRECOPIED)
    move, done = _run(abandon(move))
    assert _names(done) == ["AppendJournal", "Flip", "Release"]
    assert decided_row(move.parts[0]) == "3|va:0:1:0|vb:1:2:40"


def test_a_plan_nobody_has_touched_is_dropped() -> None:
    """A move that was never claimed can have done nothing."""
    move = plan_move("p", "m1", Kind.MOVE, (OLD, NEW), [_host()])
    assert abandon(move).step is Step.ABANDONED


@pytest.mark.parametrize("step", [Step.DECIDED, Step.MARKED, Step.SEALED, Step.DONE])
def test_what_has_left_is_not_abandoned(step: Step) -> None:
    """After the decision a move goes only forward."""
    move, _ = _run(_move(Kind.MOVE, _host()), until=step)
    with pytest.raises(PlanError, match="only go forward"):
        abandon(move)


@pytest.mark.parametrize(
    "change",
    [
        lambda: plan_move("p", "m", Kind.MOVE, (OLD, OLD), [_host()]),
        lambda: plan_move("p", "m", Kind.MOVE, (OLD, None), [_host()]),
        lambda: plan_move("p", "m", Kind.MOVE, (OLD, NEW), []),
        lambda: plan_move("p", "m", Kind.MOVE, (OLD, NEW), [_host(), _host()]),
        lambda: plan_move("p", "m", Kind.ADD, (OLD, NEW), [_host()]),
        lambda: plan_move("p", "m", Kind.REMOVE, (OLD, None), [_vpc(HOME, None)]),
        lambda: plan_move("p", "m", Kind.ADD, (OLD, NEW), [_vpc(SECOND, Placement("vc", 0))]),
        lambda: plan_move("p", "m", Kind.MOVE, (OLD, NEW), [_vpc(HOME, Placement("vb", 1))]),
        lambda: plan_move("p", "m", Kind.MOVE, (OLD, NEW), [_vpc(Placement("q", 0), HOME)]),
    ],
)
def test_batches_that_cannot_be(change: Callable[[], Move]) -> None:
    """A batch that no order of steps could carry out is refused when it is planned."""
    with pytest.raises(PlanError):
        change()


@pytest.mark.parametrize(
    "outcome",
    [
        steps.Reserved(-1, 0),
        steps.Reserved(0, -1),
        steps.Decided({"h1": "a:0:4:20"}),
        steps.Decided({"h9": "b:1:5:100"}),
        steps.Decided({}),
        steps.Marked(7),
    ],
)
def test_outcomes_that_cannot_be(outcome: steps.Outcome) -> None:
    """An outcome that does not belong to the step, or says nothing possible, is a `PlanError`."""
    with pytest.raises(PlanError):
        advance(_move(Kind.MOVE, _host()), outcome)


def test_of_two_who_hold_a_record_one_stores_the_next() -> None:
    """A claim overtakes whoever works on the record; the overtaken one cannot store any more."""
    planned = plan_move("p", "m1", Kind.MOVE, (OLD, NEW), [_host()])
    first = claim(planned, "x")
    assert follows(None, planned)
    assert follows(planned, first)
    second = claim(first, "y")
    late = advance(first, steps.Reserved(S0, P1))
    assert follows(first, second)
    assert follows(first, late)
    assert not follows(second, late)
    assert not follows(late, second)
    assert follows(second, advance(second, steps.Reserved(S0, P1)))


def test_two_claims_of_one_record() -> None:
    """Of two who claim the same record, the second to store is refused."""
    planned = plan_move("p", "m1", Kind.MOVE, (OLD, NEW), [_host()])
    assert not follows(claim(planned, "x"), claim(planned, "y"))


def test_an_error_is_noted_and_forgotten() -> None:
    """An error changes nothing of what is next, and goes with the next success."""
    move = note_error(_move(Kind.MOVE, _host()), "c2 does not answer")
    assert move.error == "c2 does not answer"
    assert isinstance(next_action(move), steps.Reserve)
    assert advance(move, steps.Reserved(S0, P1)).error == ""


def test_a_record_of_a_later_version_is_refused() -> None:
    """Software that does not know a record's version leaves the move alone."""
    move = msgspec.structs.replace(_move(Kind.MOVE, _host()), version=RECORD_VERSION + 1)
    with pytest.raises(WireError, match="version"):
        decode_record(encode_record(move))
    with pytest.raises(WireError):
        decode_record(b"{}")


def test_a_tampered_record_is_found_out() -> None:
    """Invariants name what is wrong with a record."""
    move, _ = _run(_move(Kind.MOVE, _host()), until=Step.COPIED)
    with pytest.raises(PlanError, match="not noted"):
        check(msgspec.structs.replace(move, m=UNKNOWN))
    with pytest.raises(PlanError, match="decided"):
        check(msgspec.structs.replace(move, parts=(_host(),)))


# Every path through the table.


@st.composite
def _answers(draw: st.DrawFn, move: Move) -> steps.Outcome:
    """Draw any outcome that a world of fallen-back records and rivals could give."""
    action = next_action(move)
    match action:
        case steps.Reserve():
            return steps.Reserved(draw(st.integers(0, 200)), draw(st.integers(0, 60)))
        case steps.AppendJournal():
            rows = {one.id: draw(_rivals(move, one)) for one in action.proposals}
            return steps.Decided(rows)
        case steps.Mark():
            return steps.Marked(draw(st.integers(60, 90)))
        case _:
            return _answer(action)


@st.composite
def _rivals(draw: st.DrawFn, move: Move, proposal: steps.Proposal) -> str:
    """Draw a row that may hold instead of the proposed one."""
    if proposal.cls == "host":
        now = parse_placement(proposal.row)
        other = draw(
            st.sampled_from(
                [
                    now,
                    msgspec.structs.replace(now, start=now.start + 3),
                    Placement("a", 0, now.epoch, 20),
                    Placement("z", 0, now.epoch + draw(st.integers(0, 2)), 1),
                ]
            )
        )
        return other.row()
    row = parse_vpc_placement(proposal.row)
    more = Placement(f"w{row.epoch}", 0, row.epoch, 9)
    part = move.parts[0]
    others = [
        row,
        VpcPlacement(row.epoch, (*part.replicas, more)),
        VpcPlacement(row.epoch, (more, *part.replicas[1:])),
        VpcPlacement(row.epoch, part.replicas),
    ]
    # In the end somebody gives in: a set does not change for ever.
    return others[0 if row.epoch > 8 else draw(st.integers(0, 3))].row()


@given(data=st.data())
def test_every_path_ends_in_order(data: st.DataObject) -> None:
    """Whatever the journal says, each path ends, keeps the order, and its records survive storing."""
    move = data.draw(st.sampled_from(_moves()))
    seen: list[str] = []
    for _ in range(40):
        if move.is_final:
            break
        if not move.has_left and move.step in {Step.RESERVED, Step.PRECOPIED}:
            move = abandon(move) if data.draw(st.integers(0, 5)) == 0 else move
        action = next_action(move)
        assert next_action(decode_record(encode_record(move))) == action
        seen.append(type(action).__name__)
        following = advance(move, data.draw(_answers(move)))
        assert follows(move, following)
        assert not follows(following, move)
        move = following
    assert move.is_final
    order = [
        *("Reserve", "Precopy", "AppendJournal", "AnnounceMoves", "Flip"),
        *("Mark", "Delta", "Mend", "Seal", "Release"),
    ]
    assert seen == sorted(seen, key=order.index)
    assert ("AnnounceMoves" in seen) == ("Mark" in seen) == move.has_left
    assert (move.step is Step.DONE) == move.has_left
    for part in move.of(Standing.LEFT):
        assert part.new is None or part.new.epoch > part.old.epoch


@given(data=st.data())
def test_what_is_copied_covers_the_old_stream(data: st.DataObject) -> None:
    """Pre-copy behind the decided start and delta together cover the old stream up to its end."""
    move = data.draw(st.sampled_from([one for one in _moves() if one.kind is not Kind.REMOVE]))
    precopied: dict[tuple[str, int], int] = {}
    while not move.is_final:
        action = next_action(move)
        if isinstance(action, steps.Precopy):
            for span in action.spans:
                precopied[span.id, span.into.start] = span.end
        if isinstance(action, steps.Delta):
            for span in action.spans:
                reached = precopied.get((span.id, span.into.start), 0)
                old = next(part.old for part in move.parts if part.id == span.id)
                assert span.begin <= max(old.start, reached)
                assert span.end == max(move.m, span.begin)
        move = advance(move, data.draw(_answers(move)))


def test_the_table_knows_every_step() -> None:
    """Every step but the final ones has an outcome that leads to the next."""
    assert set(TABLE) == set(Step) - {Step.DONE, Step.ABANDONED}
    assert [following for _, following in TABLE.values()] == list(Step)[1:-1]
