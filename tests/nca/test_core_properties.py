"""The agent's core against a second implementation that is too simple to be wrong.

Whatever is written, however it is cut into batches, and whenever the agent is killed: in the end the
node is what the highest revision of each key in the log says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from southbound.nca.plan import Plan
from southbound.nca.state import State
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.resources import Op, ResourceKey, ScopeClass, host_scope, references, vpc_scope
from southbound.wire.keys import encode_key
from tests.nca.records import Put, gone, of_host, of_vpc, port
from tests.nca.world import HOST, Stopped, World, address, host

VPCS = ("va", "vb")

_revisions = st.integers(1, 6)


@st.composite
def _puts(draw: st.DrawFn) -> Put:
    revision = draw(_revisions)
    vpc = draw(st.sampled_from(VPCS))
    # The content follows from the revision: two writers never use one number for two contents.
    put = draw(
        st.sampled_from(
            [
                port(HOST, "p0", revision, VPCS[revision % 2], n=revision),
                port(HOST, "p1", revision, "va", fixed_ips=[{"subnet_id": "s0"}]),
                port(HOST, "p2", revision, n=revision),
                of_host(HOST, "router", "r0", revision, n=revision),
                of_host(HOST, "route", "t0", revision, router_id="r0"),
                of_vpc(vpc, "vpc", vpc, revision, n=revision),
                of_vpc(vpc, "subnet", "s0", revision, vpc_id=vpc),
                of_vpc(vpc, "neighbor", "n0", revision, vpc_id=vpc, subnet_id="s0"),
            ]
        )
    )
    return gone(put, revision) if revision % 5 == 0 else put


@st.composite
def _changesets(draw: st.DrawFn) -> tuple[Put, ...]:
    puts = draw(st.lists(_puts(), min_size=1, max_size=4))
    first = puts[0].scope
    return tuple({put.key: put for put in puts if put.scope == first}.values())


_actions = st.one_of(
    st.tuples(st.just("publish"), _changesets()),
    st.tuples(st.just("publish"), _changesets()),
    st.tuples(st.just("foreign"), st.just(())),
    st.tuples(st.just("garbage"), st.binary(max_size=6)),
    st.tuples(st.just("read"), st.integers(1, 3)),
    st.tuples(st.just("acknowledge"), st.just(())),
    st.tuples(st.just("kill"), st.integers(0, 4)),
    st.tuples(st.just("restart"), st.just(())),
    st.tuples(st.just("wait"), st.sampled_from([0.4, 6.0])),
)


class _Model:
    """The second implementation: everything ever published, and the highest revision of each key."""

    def __init__(self) -> None:
        self.sets: dict[str, tuple[Put, ...]] = {}
        self.highest: dict[ResourceKey, Put] = {}
        self.applied: dict[ResourceKey, int] = {}

    def publish(self, changeset: str, puts: tuple[Put, ...]) -> None:
        self.sets[changeset] = puts
        for put in puts:
            held = self.highest.get(put.key)
            if held is None or held.revision < put.revision:
                self.highest[put.key] = put

    def followed(self) -> set[str]:
        return {
            str(put.spec["vpc_id"])
            for key, put in self.highest.items()
            if key.kind == "port" and put.spec is not None and "vpc_id" in put.spec
        }

    def wanted(self) -> dict[ResourceKey, Put]:
        vpcs = self.followed()
        return {
            key: put
            for key, put in self.highest.items()
            if put.spec is not None and (key.scope.cls is ScopeClass.HOST or key.scope.id in vpcs)
        }

    def certain(self) -> dict[ResourceKey, tuple[int, Mapping[str, Any]]]:
        """What must be on the node: all that refers only to what must be there."""
        wanted = self.wanted()
        certain: dict[ResourceKey, tuple[int, Mapping[str, Any]]] = {}
        while True:
            more = {
                key: (put.revision, put.spec)
                for key, put in wanted.items()
                if key not in certain
                and put.spec is not None
                and all(reference in certain for reference in references(key, put.spec))
            }
            if not more:
                return certain
            certain.update(more)


class _Run:
    def __init__(self) -> None:
        self.world = World()
        self.model = _Model()
        for vpc in VPCS:
            self.world.vpcs[vpc] = VpcPlacement(1, (Placement("vpc-a", 0),))
        self.world.on_plan = self.check_plan
        self.world.start()

    def act(self, name: str, what: Any) -> None:
        world = self.world
        try:
            match name:
                case "publish":
                    self.model.publish(world.publish(*what), what)
                case "foreign":
                    other = encode_key(ResourceKey(host_scope("h2"), "port", "p0"))
                    world.write(world.places(host())[0], other, b"\xff")
                case "garbage":
                    key = encode_key(ResourceKey(host(), "port", "broken"))
                    world.write(world.places(host())[0], key, b"\xff" + what)
                case "read":
                    world.read(what)
                case "acknowledge":
                    world.settle()
                case "kill":
                    world.effects_left = what
                case "restart":
                    world.start()
                case "wait":
                    world.wait(what)
        except Stopped:
            world.effects_left = None
            world.start()

    def check_plan(self, plan: Plan) -> None:
        """Revisions never go down, and what is applied of a changeset is applied with the rest."""
        table = self.world.core._desired
        for change in plan.changes:
            if change.changeset:
                assert change.revision >= self.model.applied.get(change.key, 0)
                self.model.applied[change.key] = change.revision
            for put in self.model.sets.get(change.changeset, ()):
                held = table.get(put.key)
                assert held is not None
                assert held.revision >= put.revision

    def finish(self) -> None:
        world = self.world
        world.effects_left = None
        world.run()
        world.wait(40.0)
        world.run()
        world.wait(40.0)


def _check(run: _Run) -> None:
    node = run.world.node.resources
    wanted = run.model.wanted()
    assert set(node) <= set(wanted)
    for key, (revision, spec) in node.items():
        assert revision <= wanted[key].revision
        if revision == wanted[key].revision:
            assert spec == wanted[key].spec
    certain = run.model.certain()
    assert {key: node.get(key) for key in certain} == certain


@given(st.lists(_actions, max_size=40))
@settings(max_examples=300)
def test_the_node_ends_as_the_log_says(actions: list[tuple[str, Any]]) -> None:
    """Any interleaving of records, batches, acknowledgements, kills and restarts."""
    run = _Run()
    for name, what in actions:
        run.act(name, what)
    run.finish()
    _check(run)


@given(st.lists(_actions, max_size=25))
@settings(max_examples=100)
def test_a_fresh_agent_reaches_the_same_state(actions: list[tuple[str, Any]]) -> None:
    """An agent that starts with nothing, on a node that has everything, ends in the same state."""
    run = _Run()
    for name, what in actions:
        run.act(name, what)
    run.finish()
    run.world.disk = State()
    run.world.start()
    run.finish()
    # A resource whose references are gone is on the node, or waits, as history had it.
    certain = run.model.certain()
    node = run.world.node.resources
    assert {key: node.get(key) for key in certain} == certain
    parked = {
        key.scope
        for key, put in run.model.wanted().items()
        if key not in certain and put.spec is not None
    }
    leftovers = {key for key in node if key not in run.model.wanted() and key.scope not in parked}
    assert {key for key in leftovers if key.scope.id not in VPCS} == set()


@given(st.lists(_actions, max_size=25))
@settings(max_examples=100)
def test_what_was_published_is_told_about(actions: list[tuple[str, Any]]) -> None:
    """Every change of the host's own gets a last word: applied, superseded, or still pending."""
    run = _Run()
    for name, what in actions:
        run.act(name, what)
    run.finish()
    told = {(entry.changeset, entry.resource, entry.revision) for entry in run.world.told}
    for changeset, puts in run.model.sets.items():
        for put in puts:
            if put.scope == host():
                assert (changeset, put.key, put.revision) in told


@given(st.lists(_changesets(), max_size=12), st.integers(0, 30))
@settings(max_examples=100)
def test_a_handover_in_the_middle_changes_nothing(
    changesets: list[tuple[Put, ...]], kill_at: int
) -> None:
    """The host moves to another slot half-way; a kill during it changes nothing either."""
    run = _Run()
    run.world.effects_left = kill_at
    for index, puts in enumerate(changesets):
        if index == len(changesets) // 2:
            _move(run)
        run.act("publish", puts)
        run.act("read", 2)
    if len(changesets) == 0:
        _move(run)
    run.finish()
    _check(run)
    stream = run.world.core._positions.get(host())
    assert stream is not None
    assert stream.placement.epoch == 2


def _move(run: _Run) -> None:
    """Move the host: pre-copy, marker, seal."""
    world, old = run.world, run.world.rows[HOST]
    target = Placement("host-b", 0, 2)
    start = len(world.logs.get(address(host(), target), []))
    new = Placement("host-b", 0, 2, start)
    for key, put in run.model.highest.items():
        if key.scope == host():
            changeset = next(id for id, puts in run.model.sets.items() if put in puts)
            world.copy(put, changeset, address(host(), new))
    world.rows[HOST] = new
    world.mark(host(), old, new)
    world.seal(host(), new)


def test_the_model_itself_sees_a_delete() -> None:
    """The second implementation takes a deleted resource off the node."""
    model = _Model()
    first = port(HOST, "p0", 1)
    model.publish("a", (first,))
    assert set(model.certain()) == {first.key}
    model.publish("b", (gone(first, 2),))
    assert model.certain() == {}
    assert model.highest[first.key].spec is None
    assert vpc_scope("va").id in VPCS
    assert Op.DELETE
