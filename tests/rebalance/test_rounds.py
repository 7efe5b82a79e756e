"""Records from batches and rows, and what undoes a plan."""

from __future__ import annotations

import msgspec
import pytest

from southbound.partitioning import steps
from southbound.partitioning.handover import Kind, Move, Standing, Step, advance, claim
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.plan import Goal, PlannedMove
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.rebalance.ledger import Batch, Header, Note, PlanState
from southbound.rebalance.rounds import next_group, record_of, undoing, without
from southbound.resources import Scope, host_scope, vpc_scope

_CLASSES = {"h1": "host", "h2": "host", "v1": "vpc", "w1": "vpc", "v2": "vpc"}

WORLD = Topology(
    region="test",
    azs=(Az(id="az-a", journal="c1"),),
    clusters=tuple(Cluster(id=id, az="az-a", bootstrap=("127.0.0.1:1",)) for id in ("c1", "c2")),
    pools=tuple(
        Pool(
            id=id,
            cluster=f"c{id[1]}",
            cls="host" if cls == "host" else "vpc",
            topics=1,
            partitions=1,
            max_per_slot=99,
        )
        for id, cls in _CLASSES.items()
    ),
)

AT = Placement("h1", 0, 3, 17)
SET = VpcPlacement(4, (Placement("v1", 0), Placement("v2", 0, 4, 9)))


def host_move(id: str = "a", old: Placement = AT) -> PlannedMove:
    """Return the plan of a host's move from h1 to h2."""
    return PlannedMove(
        cls="host", id=id, action="move", old=old.row(), cluster="c2", pool="h2", probe=1
    )


def made(batch: Batch, rows: dict[Scope, str]) -> Move:
    """Return a batch's record, which there must be."""
    record = record_of("p", batch, rows, WORLD)
    assert isinstance(record, Move)
    return record


def test_a_record_holds_the_rows_as_they_are() -> None:
    """A host's part has its row, its epoch and the fence of the cluster that it leaves."""
    record = made(Batch(7, (host_move(),)), {host_scope("a"): AT.row()})
    (part,) = record.parts
    assert (record.id, record.kind, record.step) == ("7", Kind.MOVE, Step.PLANNED)
    assert (record.old.cluster, record.new and record.new.cluster) == ("c1", "c2")
    assert (part.old, part.epoch, part.fence) == (AT, 3, "c1")
    assert part.new is not None
    assert (part.new.pool, part.new.probe, part.new.epoch) == ("h2", 1, 4)


def test_who_is_elsewhere_is_left_alone() -> None:
    """Streams that moved, or are nobody's any more, are no part; a batch without parts is noted."""
    moved = msgspec.structs.replace(AT, epoch=4)
    rows = {host_scope("a"): AT.row(), host_scope("b"): moved.row()}
    batch = Batch(0, tuple(host_move(id) for id in "abc"))
    assert [part.id for part in made(batch, rows).parts] == ["a"]
    del rows[host_scope("a")]
    note = record_of("p", batch, rows, WORLD)
    assert isinstance(note, Note)
    assert (note.state, note.number) == ("skipped", 0)


def test_a_vpcs_record_has_its_set_of_now() -> None:
    """Replicas that were added since the plan are in it; the fence is the home's."""
    move = PlannedMove(
        cls="vpc", id="v", action="move", old=SET.home.row(), cluster="c1", pool="w1"
    )
    (part,) = made(Batch(0, (move,)), {vpc_scope("v"): SET.row()}).parts
    assert (part.epoch, part.replicas, part.fence) == (4, SET.replicas, "c1")
    drop = PlannedMove(cls="vpc", id="v", action="drop", old=SET.replicas[1].row(), cluster="c2")
    record = made(Batch(1, (drop,)), {vpc_scope("v"): SET.row()})
    assert (record.kind, record.new) == (Kind.REMOVE, None)


def test_a_home_is_never_dropped() -> None:
    """As long as it is the home the batch is passed over, and the reason noted."""
    drop = PlannedMove(cls="vpc", id="v", action="drop", old=SET.home.row(), cluster="c1")
    note = record_of("p", Batch(0, (drop,)), {vpc_scope("v"): SET.row()}, WORLD)
    assert isinstance(note, Note)
    assert "home" in note.detail


def test_a_replica_that_became_the_home_is_the_same_stay() -> None:
    """Its epoch rose, its slot and start did not: a plan made before still means it."""
    old = SET.replicas[1]
    homed = msgspec.structs.replace(old, epoch=5)
    row = VpcPlacement(5, (homed, SET.home)).row()
    drop = PlannedMove(cls="vpc", id="v", action="drop", old=SET.home.row(), cluster="c1")
    assert made(Batch(0, (drop,)), {vpc_scope("v"): row}).parts[0].old == SET.home


def state_of(*batches: Batch) -> PlanState:
    """Return a plan as the ledger tells it."""
    state = PlanState()
    state.found = Header(
        id="p", goal=Goal(kind="even"), map_version=1, moves=len(batches), chunks=1, begun_us=1
    )
    state.batches.update((batch.number, batch) for batch in batches)
    return state


def test_what_was_moved_is_undone_and_nothing_else() -> None:
    """Hosts go back from where they are now; homes go back; what stayed or was skipped is left."""
    home = PlannedMove(cls="vpc", id="v", action="home", old=SET.home.row(), cluster="c2")
    drop = PlannedMove(cls="vpc", id="u", action="drop", old=SET.replicas[1].row(), cluster="c2")
    state = state_of(
        Batch(0, (host_move("a"), host_move("b"))),
        Batch(1, (host_move("c"),)),
        Batch(2, (home,)),
        Batch(3, (drop,)),
    )
    rows = {host_scope(id): AT.row() for id in "ab"} | {vpc_scope("u"): SET.row()}
    record = made(state.batches[0], rows)
    now = Placement("h2", 1, 4, 30)
    parts = (
        msgspec.structs.replace(record.parts[0], new=now, standing=Standing.LEFT),
        msgspec.structs.replace(record.parts[1], standing=Standing.STAYED),
    )
    state.moves[0] = msgspec.structs.replace(record, parts=parts, step=Step.DONE)
    dropped = made(state.batches[3], rows)
    gone = msgspec.structs.replace(dropped.parts[0], standing=Standing.LEFT)
    state.moves[3] = msgspec.structs.replace(dropped, parts=(gone,), step=Step.DONE)
    state.notes[1] = Note(plan="p", number=1, state="skipped")
    state.notes[2] = Note(plan="p", number=2, state="done")
    found = list(undoing(state, WORLD))
    assert [(one.id, one.action, one.cluster) for one in found] == [
        ("a", "move", "c1"),
        ("u", "add", "c2"),
        ("v", "home", "c1"),
    ]
    assert (found[0].old, found[0].pool, found[0].probe) == (now.row(), "h1", 0)
    assert state.rest() == []


def test_what_is_needed_after_all_is_left_out() -> None:
    """Replicas with ports are taken from a batch; an empty one is only noted."""
    drops = tuple(
        PlannedMove(cls="vpc", id=id, action="drop", old="v2:0:4:9", cluster="c2") for id in "vw"
    )
    batch = Batch(3, (*drops, host_move()))
    left = without(batch, {("v", "c2"), ("w", "c1"), ("a", "c2")})
    assert left == Batch(3, (drops[1], host_move()))
    nothing = record_of("p", without(Batch(3, drops[:1]), {("v", "c2")}), {}, WORLD)
    assert isinstance(nothing, Note)
    assert (nothing.state, nothing.number) == ("skipped", 3)


def _at(step: Step) -> Move:
    """Return a host's move that stands at a step on its way to its marker."""
    record = claim(made(Batch(0, (host_move(),)), {host_scope("a"): AT.row()}), "x")
    for outcome in (
        steps.Reserved(0, 0),
        steps.Precopied(),
        steps.Decided({"a": "h2:1:4:0"}),
        steps.Announced(),
        steps.Flipped(),
        steps.Marked(1),
    ):
        if record.step is step:
            break
        record = advance(record, outcome)
    assert record.step is step
    return record


@pytest.mark.parametrize("step", [Step.DECIDED, Step.LEFT, Step.FLIPPED])
def test_whoever_is_leaving_goes_before_anybody_else(step: Step) -> None:
    """Between the decision and the marker nothing is waited for, not even what is further behind."""
    moves = {1: _at(Step.PLANNED), 2: _at(step), 3: _at(Step.MARKED), 4: _at(step)}
    assert list(next_group(moves, 1)) == [2, 4]


def test_a_round_leaves_in_waves() -> None:
    """All are copied first, then so many are decided at once; what is larger than a wave goes alone."""
    moves = {number: _at(Step.RESERVED) for number in range(5)}
    assert list(next_group(moves, 2)) == [0, 1, 2, 3, 4]
    moves = {number: _at(Step.PRECOPIED) for number in range(5)}
    assert list(next_group(moves, 2)) == [0, 1]
    assert list(next_group(moves, 0)) == [0]
    moves |= {0: _at(Step.MARKED), 1: _at(Step.MARKED)}
    assert list(next_group(moves, 2)) == [2, 3]
