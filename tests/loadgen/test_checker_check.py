"""The checker finds every kind of fault that is planted, and none where there is none."""

from __future__ import annotations

import pytest

from loadgen.checker.check import check, check_digests
from loadgen.checker.verdict import Fault, Verdict
from loadgen.histories.events import Applied, Effect, Left, Published, Read, Truncated
from loadgen.nodes.entries import DELETE, REVISION_SHIFT
from loadgen.nodes.held import Arrival, Holding
from loadgen.nodes.stream import Stream
from southbound.resources import Changeset, Op, Resource
from southbound.wire.keys import encode_key
from tests.loadgen.scene import Record, Scene, record_of

_HELD_S = 31.0


@pytest.fixture
def scene() -> Scene:
    """Return a fleet that has everything, and has read it."""
    made = Scene()
    made.publish_fleet()
    made.run()
    return made


def _kinds(verdict: Verdict) -> set[Fault]:
    return set(verdict.counts)


def _nothing(_resource: Resource, _record: Record) -> list[Record]:
    return []


def test_a_clean_history_is_clean(scene: Scene) -> None:
    """Every node, in full and by digests, after changes, deletes and sets."""
    assert check_digests(scene.expected_digests(), dict(scene.hall.digests())).clean
    scene.publish(scene.put(0, 1, "m", "n", "o"))
    scene.publish(scene.put(0, 3, "m", "n"))
    scene.publish(scene.put(0, 2, "m"))
    scene.publish(scene.put(0, 4, "m", op=Op.DELETE))
    scene.publish(scene.fleet.host_changeset(3, 2))
    scene.publish(scene.fleet.vpc_changeset(0, 2))
    scene.run()
    verdict = check(scene.events)
    assert verdict.samples == []
    assert verdict.clean
    assert verdict.nodes == verdict.in_full == 12
    assert verdict.changesets == scene.fleet.vpcs + 12 + 6
    assert verdict.convergence.count >= 12 + 4
    assert scene.hall.counts().unsettled == 0


def test_a_port_that_leaves_its_vpc_is_no_fault(scene: Scene) -> None:
    """What a node forgets because nothing names it any more is not missed, and may come again."""
    ports = scene.fleet.host_changeset(2, 1).resources
    gone = tuple(Resource(one.scope, one.kind, one.id, 2, {}, Op.DELETE) for one in ports)
    scene.publish(Changeset("gone", gone))
    scene.run(_HELD_S)
    assert any(isinstance(event, Left) for event in scene.events)
    assert check(scene.events).clean
    scene.publish(scene.fleet.host_changeset(2, 3))
    scene.run()
    verdict = check(scene.events)
    assert verdict.samples == []


def test_what_nobody_accepted_may_stand_or_not(scene: Scene) -> None:
    """A changeset whose outcome is unknown is no loss, and no invention."""
    scene.publish(scene.put(1, 1, "m"))
    for changeset, spoil in ((scene.put(1, 2, "m"), _nothing), (scene.put(1, 2, "n"), None)):
        if spoil is None:
            scene.publish(changeset)
        else:
            scene.publish(changeset, spoil)
        scene.events.pop()
    scene.run()
    assert check(scene.events).samples == []


# A broken publisher.


def test_an_accepted_record_that_was_never_written(scene: Scene) -> None:
    """The node has nothing, and nobody told it so."""
    scene.publish(scene.put(4, 1), _nothing)
    scene.run()
    assert _kinds(check(scene.events)) == {Fault.LOST, Fault.UNCONVERGED}


def test_an_accepted_change_that_was_never_written(scene: Scene) -> None:
    """The node goes on with the revision before."""
    scene.publish(scene.put(4, 1))
    scene.publish(scene.put(4, 2), _nothing)
    scene.run()
    verdict = check(scene.events)
    assert _kinds(verdict) == {Fault.LOST, Fault.UNCONVERGED}
    lost = next(sample for sample in verdict.samples if sample.fault is Fault.LOST)
    assert lost.node == scene.fleet.host(4)
    assert lost.key == f"h/{scene.fleet.host(4)}/meter/m"
    assert lost.detail == "revision 1 stands instead of revision 2"


def test_a_delete_that_was_never_written(scene: Scene) -> None:
    """What should be gone stands."""
    scene.publish(scene.put(4, 1))
    scene.publish(scene.put(4, 2, op=Op.DELETE), _nothing)
    scene.run()
    assert _kinds(check(scene.events)) == {Fault.UNDELETED}


def test_half_a_changeset_written(scene: Scene) -> None:
    """The node waits for the rest, then takes what there is: the half is seen, and the loss."""

    def half(resource: Resource, record: Record) -> list[Record]:
        return [] if resource.id == "n" else [record]

    scene.publish(scene.put(4, 1, "m", "n"), half)
    scene.run()
    assert _kinds(check(scene.events)) == {Fault.LOST, Fault.UNCONVERGED}
    scene.run(_HELD_S)
    scene.run()
    assert _kinds(check(scene.events)) == {Fault.LOST, Fault.PARTIAL, Fault.UNCONVERGED}


def test_other_content_than_was_published(scene: Scene) -> None:
    """The right revision with a wrong spec is found by full checks and by digests."""

    def tamper(resource: Resource, _record: Record) -> list[Record]:
        other = Resource(resource.scope, resource.kind, resource.id, resource.revision, {"n": "?"})
        return [record_of(other, "put-1", 0, 1, scene.now_us)]

    expected = dict(scene.hall.digests())
    scene.publish(scene.put(4, 1), tamper)
    scene.run()
    verdict = check(scene.events)
    assert _kinds(verdict) == {Fault.UNPUBLISHED}
    found = check_digests(expected, dict(scene.hall.digests()))
    assert found.counts == {Fault.DIVERGED: 1}


def test_a_slot_that_is_not_the_hosts(scene: Scene) -> None:
    """A broken mapping: the record is in the log, and nobody who needs it reads it."""
    own = scene.place(scene.host(4))
    other = next(scene.place(scene.host(i)) for i in range(12) if scene.place(scene.host(i)) != own)
    scene.publish(scene.put(4, 1), place=other)
    scene.run()
    assert Fault.LOST in _kinds(check(scene.events))
    assert scene.hall.counts().strays == 1


def test_a_vpc_that_a_port_waits_for_was_lost() -> None:
    """The port never stands, though it was delivered: what it names is missing on the node."""
    scene = Scene()
    for changeset in scene.changesets():
        scene.publish(changeset, _nothing if changeset.resources[0].kind == "vpc" else _as_it_is)
    scene.run()
    verdict = check(scene.events)
    assert _kinds(verdict) == {Fault.LOST, Fault.UNCONVERGED}
    ports = scene.fleet.port_count
    assert verdict.counts[Fault.LOST] > ports
    assert scene.hall.counts().unsettled == 12
    digests = check_digests(scene.expected_digests(), dict(scene.hall.digests()))
    assert digests.counts[Fault.DIVERGED] == 12


def _as_it_is(_resource: Resource, record: Record) -> list[Record]:
    return [record]


# A broken node.


def test_a_node_that_applies_whatever_comes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that were written out of order take it back."""
    monkeypatch.setattr(Stream, "_is_newer", lambda *_: True)
    scene.publish(scene.put(4, 2))
    scene.publish(scene.put(4, 1))
    scene.run()
    verdict = check(scene.events)
    assert _kinds(verdict) == {Fault.BACKWARDS, Fault.LOST}


def test_a_node_that_applies_twice(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that the log holds twice has an effect twice."""

    def twice(_resource: Resource, record: Record) -> list[Record]:
        return [record, record]

    scene.publish(scene.put(4, 1), twice)
    scene.run()
    assert check(scene.events).clean
    monkeypatch.setattr(
        Stream,
        "_is_newer",
        lambda _self, held, entry: entry >> REVISION_SHIFT >= held >> REVISION_SHIFT,
    )
    scene.publish(scene.put(4, 2), twice)
    scene.run()
    assert _kinds(check(scene.events)) == {Fault.DUPLICATE}


def test_a_node_that_does_not_wait_for_whole_changesets(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends right; but in between, half of a changeset stood."""

    def pass_on(
        _self: Holding, arrival: Arrival, _deadline_us: int, *, news: bool
    ) -> list[Arrival]:
        return [arrival]

    monkeypatch.setattr(Holding, "take", pass_on)
    scene.publish(scene.put(4, 1, "m", "n"))
    scene.run()
    assert _kinds(check(scene.events)) == {Fault.PARTIAL}


def test_a_node_that_forgets_its_deletes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late record of an older revision brings back what was deleted."""

    def forgetful(self: Stream, held: int, entry: int) -> bool:
        return bool(held & DELETE) or entry >> REVISION_SHIFT > held >> REVISION_SHIFT

    monkeypatch.setattr(Stream, "_is_newer", forgetful)
    scene.publish(scene.put(4, 2))
    scene.publish(scene.put(4, 3, op=Op.DELETE))
    scene.publish(scene.put(4, 1))
    scene.run()
    assert _kinds(check(scene.events)) == {Fault.RESURRECTED, Fault.UNDELETED}


def test_a_node_that_takes_its_neighbours_records(scene: Scene) -> None:
    """What is another host's, or of a VPC that no port here names, is foreign."""
    changeset = scene.put(5, 1)
    scene.publish(changeset)
    scene.run()
    key = encode_key(changeset.resources[0].key)
    effect = next(
        effect
        for event in scene.events
        if isinstance(event, Applied)
        for effect in event.effects
        if effect.key == key
    )
    scene.events.append(Applied(scene.fleet.host(4), scene.now_us, (effect,)))
    assert _kinds(check(scene.events)) == {Fault.FOREIGN}


def test_a_node_that_drops_what_stands(scene: Scene) -> None:
    """What a snapshot wrongly did not speak of is missed at the end."""
    scene.publish(scene.put(4, 1))
    scene.run()
    key = encode_key(scene.put(4, 1).resources[0].key)
    gone = Effect(key, 1, deleted=True, hash=0)
    scene.events.append(Applied(scene.fleet.host(4), scene.now_us, (gone,)))
    assert _kinds(check(scene.events)) == {Fault.LOST}


def test_a_node_that_makes_things_up(scene: Scene) -> None:
    """A revision that nobody published."""
    key = encode_key(scene.put(4, 9).resources[0].key)
    effect = Effect(key, 9, deleted=False, hash=1, changeset="made up")
    scene.events.append(Applied(scene.fleet.host(4), scene.now_us, (effect,)))
    assert _kinds(check(scene.events)) == {Fault.UNPUBLISHED}


def test_a_node_that_deletes_without_being_told(scene: Scene) -> None:
    """A delete at a revision that was published as something to be."""
    scene.publish(scene.put(4, 1))
    scene.run()
    key = encode_key(scene.put(4, 1).resources[0].key)
    effect = Effect(key, 1, deleted=True, hash=0, changeset="put-1")
    scene.events.append(Applied(scene.fleet.host(4), scene.now_us, (effect,)))
    assert Fault.UNPUBLISHED in _kinds(check(scene.events))


# What the verdict is made of.


def test_a_history_that_ends_too_early_is_not_clean(scene: Scene) -> None:
    """A full or broken file says so, and the verdict too."""
    scene.events.append(Truncated(scene.now_us, "full"))
    verdict = check(scene.events)
    assert _kinds(verdict) == {Fault.INCOMPLETE}
    assert not verdict.clean
    assert not check([]).clean


def test_digests_of_absent_and_unexpected_nodes() -> None:
    """A node that nobody has seen, one that nobody expects, and one that differs."""
    verdict = check_digests({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 9, "d": 4})
    assert verdict.counts == {Fault.DIVERGED: 1, Fault.ABSENT: 1, Fault.FOREIGN: 1}
    assert verdict.nodes == 3
    assert verdict.samples[0].detail == "0000000000000009 instead of 0000000000000002"


def test_samples_are_bounded_and_counts_are_not() -> None:
    """A million faults are counted; a few are named."""
    verdict = check_digests({str(n): n for n in range(1_000)}, {}, samples_max=3)
    assert verdict.counts == {Fault.ABSENT: 1_000}
    assert len(verdict.samples) == 3
    merged = check_digests({"x": 1}, {}, samples_max=3)
    merged.merge(verdict)
    assert merged.counts == {Fault.ABSENT: 1_001}
    assert len(merged.samples) == 3
    assert merged.nodes == 1_001


def test_merged_verdicts_are_one(scene: Scene) -> None:
    """Workers judge their own nodes; together they have judged all."""
    scene.events.append(Read(scene.now_us, 100, 10, 30, 15))
    one, other = check(scene.events), check(scene.events)
    count = one.convergence.count
    one.merge(other)
    assert one.convergence.count == 2 * count
    document = one.document()
    assert document.clean
    assert document.nodes == 24
    assert document.host_amplification == 10.0
    assert document.vpc_amplification == 2.0
    assert document.convergence_us.p99 > 0


@pytest.mark.parametrize("first", ["publications", "effects"])
def test_a_publication_may_stand_behind_its_effects(scene: Scene, first: str) -> None:
    """Histories of several processes come one after the other, in any order."""
    publications = [event for event in scene.events if isinstance(event, Published)]
    others = [event for event in scene.events if not isinstance(event, Published)]
    in_order = [*publications, *others] if first == "publications" else [*others, *publications]
    assert check(in_order).clean
