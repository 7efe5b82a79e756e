"""Scenarios are the same for everybody, due in order, valid, and never let a revision fall."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.workloads.fleet import Fleet, FleetShape
from loadgen.workloads.scenarios import SCENARIOS
from loadgen.workloads.scenarios.az_loss import AzLoss
from loadgen.workloads.scenarios.churn import Churn
from loadgen.workloads.scenarios.first_fill import FirstFill
from loadgen.workloads.scenarios.fleet_restart import FleetRestart
from loadgen.workloads.scenarios.group_change import GroupChange
from loadgen.workloads.scenarios.neighbor_storm import NeighborStorm
from loadgen.workloads.scenarios.publics import Publics
from loadgen.workloads.scenarios.rebalance import Rebalance
from loadgen.workloads.sizes import VpcSizes
from loadgen.workloads.steps import SECOND_US, Deed, Scenario, Step
from southbound.documents.kinds import validate_spec
from southbound.resources import Changeset, Op, Resource, ResourceKey, ScopeClass


def _small(hosts: int, dhcp: bool = False) -> Fleet:
    azs = tuple(f"az-{number}" for number in range(min(3, hosts)))
    return Fleet(FleetShape(hosts=hosts, vms_per_host=4, azs=azs, dhcp=dhcp, neighbors_max=20))


_SCENARIOS: st.SearchStrategy[Scenario] = st.one_of(
    st.builds(FirstFill, rate=st.sampled_from([0.0, 100.0])),
    st.builds(
        Churn,
        per_minute=st.floats(60, 6_000),
        seconds=st.floats(0.1, 5),
        empty_s=st.floats(0, 10),
        seed=st.integers(0, 99),
    ),
    st.builds(GroupChange, changes=st.integers(1, 6)),
    st.builds(NeighborStorm, rounds=st.integers(1, 3), batch=st.integers(1, 30)),
    st.builds(AzLoss, rate=st.floats(0, 10)),
    st.builds(FleetRestart, rate=st.floats(0, 10)),
    st.builds(Rebalance, rate=st.floats(0, 10), batch=st.integers(1, 10)),
    st.builds(Publics, count=st.integers(1, 30), seconds=st.floats(0, 2)),
)


def _changesets(steps: list[Step]) -> list[Changeset]:
    return [step.changeset for step in steps if step.changeset is not None]


def _resources(steps: list[Step]) -> list[Resource]:
    return [one for changeset in _changesets(steps) for one in changeset.resources]


@given(_SCENARIOS, st.integers(1, 30), st.booleans())
@settings(max_examples=60)
def test_every_scenario_keeps_the_rules(scenario: Scenario, hosts: int, dhcp: bool) -> None:
    """Repeatable, in due order, one thing a step, ids of changesets unique, revisions rise."""
    fleet = _small(hosts, dhcp)
    steps = list(scenario.steps(fleet))
    assert list(scenario.steps(_small(hosts, dhcp))) == steps
    assert all(a.due_us <= b.due_us for a, b in itertools.pairwise(steps))
    assert all((step.changeset is None) != (step.action is None) for step in steps)
    ids = Counter(changeset.id for changeset in _changesets(steps))
    assert set(ids.values()) <= {1}
    last: dict[ResourceKey, int] = {}
    for resource in _resources(steps):
        assert resource.revision > last.get(resource.key, 0)
        last[resource.key] = resource.revision
        if resource.op is Op.UPSERT:
            assert validate_spec(resource.kind, resource.spec) == []
        else:
            assert resource.spec == {}


def test_the_first_fill_tells_everything_once() -> None:
    """Each host, each VPC, and the neighbours of VPCs that are small enough; networks first."""
    fleet = _small(20)
    steps = list(FirstFill(rate=1_000).steps(fleet))
    found = Counter(resource.kind for resource in _resources(steps))
    assert found["port"] == fleet.port_count
    assert found["vpc"] == fleet.vpcs
    small = [j for j in range(fleet.vpcs) if fleet.has_neighbors(j)]
    assert 0 < len(small) < fleet.vpcs
    assert found["neighbor"] == sum(fleet.vpc_ports(j) for j in small)
    classes = [changeset.resources[0].scope.cls for changeset in _changesets(steps)]
    assert classes == sorted(classes, key=lambda cls: cls is ScopeClass.HOST)
    assert steps[-1].due_us == (len(steps) - 1) * 1_000


def test_churn_launches_ten_thousand_a_minute_in_other_places() -> None:
    """As many ends as launches, spread over hosts; each end is followed by its launch."""
    fleet = Fleet(FleetShape(hosts=5_000))
    steps = list(Churn(seconds=12).steps(fleet))
    kinds = Counter(changeset.id.split("-")[0] for changeset in _changesets(steps))
    assert kinds["launch"] == kinds["end"] == pytest.approx(2_000, rel=0.1)
    hosts = {one.scope.id for one in _resources(steps) if one.kind == "port"}
    assert len(hosts) > 1_500
    assert max(step.due_us for step in steps) <= 17.1 * SECOND_US
    due = {step.changeset.id: step.due_us for step in steps if step.changeset is not None}
    for id, due_us in due.items():
        if id.startswith("end-"):
            launch = id.replace("end-", "launch-").replace("-r2", "-r3")
            assert due[launch] - due_us == 5 * SECOND_US


def test_a_group_change_reaches_a_vpc_of_ten_thousand_ports() -> None:
    """At a million hosts there is such a VPC; its changes are whole groups, with a rule that goes."""
    fleet = Fleet(FleetShape(hosts=1_000_000))
    scenario = GroupChange(changes=2)
    j = scenario.vpc(fleet)
    assert fleet.vpc_ports(j) == pytest.approx(10_000, rel=0.01)
    first, second = _changesets(list(scenario.steps(fleet)))
    assert {resource.scope.id for resource in first.resources} == {fleet.vpc(j)}
    assert len(first.resources) == fleet.shape.rules + 1
    assert [resource.op for resource in second.resources].count(Op.DELETE) == 1


def test_a_neighbor_storm_tells_of_every_port_at_its_rate() -> None:
    """All neighbours of the VPC, at two thousand a second."""
    fleet = Fleet(FleetShape(hosts=20_000, sizes=VpcSizes(largest=20_000)))
    scenario = NeighborStorm()
    ports = fleet.vpc_ports(scenario.vpc(fleet))
    assert ports == pytest.approx(10_000, rel=0.2)
    steps = list(scenario.steps(fleet))
    assert len(_resources(steps)) == ports
    assert steps[-1].due_us == pytest.approx(ports / 2_000 * SECOND_US, rel=0.01)


def test_an_az_leaves_and_comes_back_while_changes_go_on() -> None:
    """Its hosts are changed too while they are away."""
    fleet = _small(30)
    steps = list(AzLoss(rate=10).steps(fleet))
    actions = [(step.due_us, step.action) for step in steps if step.action is not None]
    lost = fleet.az_hosts("az-2")
    assert [(due_us / SECOND_US, action.deed) for due_us, action in actions] == [
        (10, Deed.STOP),
        (40, Deed.RETURN),
    ]
    assert all(action.hosts == lost for _, action in actions)
    away = [step for step in steps if 10 * SECOND_US < step.due_us < 40 * SECOND_US]
    names = {one.scope.id for one in _resources(away)}
    assert names >= {fleet.host(i) for i in lost}


def test_a_fleet_restart_resets_every_node_once() -> None:
    """One action, for all hosts."""
    actions = [step.action for step in FleetRestart(rate=5).steps(_small(10)) if step.action]
    assert [(action.deed, list(action.hosts)) for action in actions] == [
        (Deed.RESET, list(range(10)))
    ]


def test_a_rebalance_moves_its_share_each_host_once() -> None:
    """A quarter of the hosts, in batches."""
    fleet = _small(100)
    actions = [step.action for step in Rebalance(batch=10).steps(fleet) if step.action]
    moved = [host for action in actions for host in action.hosts]
    assert [len(action.hosts) for action in actions] == [10, 10, 5]
    assert len(set(moved)) == len(moved) == 25
    assert {action.deed for action in actions} == {Deed.MOVE}


def test_public_resources_live_through_create_change_and_delete() -> None:
    """Every resource ends deleted after three rounds, and all kinds have their share."""
    steps = list(Publics(count=30, rate=90, seconds=1).steps(_small(5)))
    by_key: dict[ResourceKey, list[Op]] = {}
    for resource in _resources(steps):
        by_key.setdefault(resource.key, []).append(resource.op)
    assert set(map(tuple, by_key.values())) == {(Op.UPSERT, Op.UPSERT, Op.DELETE)}
    assert Counter(key.kind for key in by_key) == {"elb": 10, "nat_gateway": 10, "eip": 10}


def test_all_scenarios_have_names() -> None:
    """The table holds the eight scenarios by the names that they call themselves."""
    assert set(SCENARIOS) == {
        "first-fill",
        "churn",
        "group-change",
        "neighbor-storm",
        "az-loss",
        "fleet-restart",
        "rebalance",
        "publics",
    }
