"""From a row without its seal, and the rows before it, to what brings the move to its end."""

from __future__ import annotations

import pytest

from southbound.partitioning.handover import Kind, Step, next_action
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.steps import AnnounceMoves
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.rebalance.leftovers import Abandoned, Doubt, Stay, drops, of_host, of_vpc
from southbound.resources import host_scope, vpc_scope

WORLD = Topology(
    region="test",
    azs=(Az(id="az-a", journal="c1"),),
    clusters=tuple(Cluster(id=id, az="az-a", bootstrap=("127.0.0.1:1",)) for id in ("c1", "c2")),
    pools=tuple(
        Pool(
            id=f"{cls[0]}{cluster[1]}{letter}",
            cluster=cluster,
            cls=cls,
            topics=1,
            partitions=8,
            max_per_slot=9,
        )
        for cluster in ("c1", "c2")
        for cls in ("host", "vpc")
        for letter in "ab"
    ),
)
HOST, VPC = host_scope("h"), vpc_scope("v")


def test_a_host_goes_on_from_its_decision() -> None:
    """Its record has left, from the row before to the row that holds, and tells the old cluster first."""
    entered = Placement("h2a", 1, 3, 70)
    found = of_host(HOST, entered, {2: "h1a:0:2:5", 1: "h1b:0:1:0"}, WORLD)
    assert isinstance(found, Abandoned)
    move = found.record("plan", 0, WORLD)
    assert move is not None
    assert (move.step, move.kind, move.old.cluster, move.new and move.new.cluster) == (
        Step.DECIDED,
        Kind.MOVE,
        "c1",
        "c2",
    )
    (part,) = move.parts
    assert (part.epoch, part.old, part.new, part.copied) == (
        2,
        Placement("h1a", 0, 2, 5),
        entered,
        0,
    )
    action = next_action(move)
    assert isinstance(action, AnnounceMoves)
    assert [(one.cluster, one.row) for one in action.entries] == [("c1", "h2a:1:3:70")]


def test_a_host_that_was_told_to_stay_lacks_a_seal_alone() -> None:
    """The row before names the same slot; where that was entered itself, its seal must be there."""
    found = of_host(HOST, Placement("h1a", 0, 3, 5), {2: "h1a:0:2:5"}, WORLD)
    assert found == Stay(HOST, Placement("h1a", 0, 3, 5), 2)


@pytest.mark.parametrize(
    ("earlier", "word"), [({1: "h1a:0:1:0"}, "does not tell"), ({2: "gone:0:2:0"}, "gone")]
)
def test_nothing_is_guessed(earlier: dict[int, str], word: str) -> None:
    """Without the row before, or without its pool, a stream is in doubt."""
    found = of_host(HOST, Placement("h2a", 0, 3, 7), earlier, WORLD)
    assert isinstance(found, Doubt)
    assert word in found.why


def vpc_row(epoch: int, *rows: Placement) -> VpcPlacement:
    """Return a VPC's row."""
    return VpcPlacement(epoch, rows)


def test_what_became_of_a_replica_follows_from_the_set_before() -> None:
    """One went: a move; it was there: a home that was given; neither: a replica that was added."""
    home, other = Placement("v1a", 0, 1), Placement("v2a", 0, 2, 9)
    cases = {
        "move": (
            vpc_row(2, home, Placement("v2b", 0, 1)),
            vpc_row(3, home, Placement("v2a", 0, 3)),
        ),
        "home": (vpc_row(2, home, other), vpc_row(3, Placement("v2a", 0, 3, 9), home)),
        "add": (vpc_row(1, home), vpc_row(2, home, other)),
    }
    for action, (before, after) in cases.items():
        entered = next(one for one in after.replicas if one.epoch == after.epoch)
        earlier = {before.epoch: before.row()}
        found = of_vpc(VPC, after, entered, earlier, WORLD)
        assert isinstance(found, Abandoned)
        assert found.planned.action == action
        assert (found.record("plan", 0, WORLD) is not None) == (action == "move")


def test_a_replica_that_went_is_told_by_two_sets() -> None:
    """It leads on to the home; one whose slot was entered again is none that went."""
    home, gone = Placement("v1a", 0, 1), Placement("v2a", 0, 2, 9)
    earlier = {2: vpc_row(2, home, gone).row()}
    (drop,) = drops(VPC, vpc_row(3, home), earlier, WORLD)
    assert (drop.gone, drop.epoch, drop.abandoned.planned.action) == (gone, 3, "drop")
    move = drop.abandoned.record("plan", 0, WORLD)
    assert move is not None
    assert (move.kind, move.new) == (Kind.REMOVE, None)
    back = {**earlier, 3: vpc_row(3, home).row()}
    assert list(drops(VPC, vpc_row(4, home, Placement("v2a", 0, 4, 30)), back, WORLD)) == []
