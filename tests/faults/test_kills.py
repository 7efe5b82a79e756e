"""Every failpoint of the agent, the publisher, the executor and the directory: killed at, restarted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import pytest

from southbound.errors import EdgeError
from southbound.failpoints import POINTS, STEPS
from southbound.partitioning.plan import Goal
from southbound.resources import Changeset, Resource, ResourceKey, Scope, host_scope, vpc_scope
from southbound.tracker.client import TrackerClient
from tests.faults.record import Cell
from tests.faults.stage import Child, Host, Stage, accepted_in
from tests.live.directory_kit import eventually

SUBSET = frozenset(
    {
        "agent.store.after",
        "agent.snapshot.before",
        "agent.assign.before",
        "applier.link.before",
        "publisher.produce.after",
        "publisher.ack.after",
        "executor.announcemoves.after",
        "executor.delta.before",
        "directory.append.after",
        "tracker.store.after",
    }
)
"""What runs with all other tests."""


def points(*prefixes: str) -> list[object]:
    """Return the failpoints of some parts, as parameters."""
    return [
        pytest.param(name, marks=[pytest.mark.subset] if name in SUBSET else [])
        for name in POINTS
        if name.startswith(prefixes)
    ]


def when(name: str) -> int:
    """Return at which passing an agent is killed, so that it has something to lose."""
    if ".assign." in name:
        return 2
    return 1 if ".snapshot." in name else 3


@pytest.mark.parametrize("name", points("agent.", "applier."))
def test_an_agent(stage: Stage, cell: Cell, name: str) -> None:
    """It is killed at work, killed again while it takes that up, and then left alone."""
    cell.is_about(
        "agent",
        "kill",
        f"SIGKILL at {name}, twice",
        holds="the node ends with all that was accepted, nothing fell, no changeset stands half",
        promises=(1, 2, 4),
    )
    host = stage.host()
    moves = ".assign." in name
    with stage.traffic(host_scope(host.id)):
        with host.agent(f"{name}=kill@{when(name)}") as child:
            if moves:
                eventually(lambda: bool(host.tree()))
                stage.shards.move(Goal(kind="hosts", what=(host.id,), to="c2"))
            child.dies_at(name)
        assert moves or host.is_whole()
        with host.agent(f"{name}=kill") as child:
            child.dies_at(name)
        assert moves or host.is_whole()
        with host.agent():
            stage.has(host, {ResourceKey(host_scope(host.id), "gateway", "one"): 30})
    with host.agent():
        cell.count(operations=stage.check(host))
        assert moves or host.is_whole()
    cell.died_at(name, name)


@pytest.mark.parametrize("name", points("publisher."))
def test_a_publisher(stage: Stage, cell: Cell, name: str) -> None:
    """It is killed with changes under way; its successor publishes what it was not told of again."""
    cell.is_about(
        "publisher",
        "kill",
        f"SIGKILL at {name}",
        holds="what a receipt called accepted is applied; the same revisions again are safe",
        promises=(1, 2, 3),
    )
    host = stage.host()
    with host.agent():
        with Child(
            "publish", stage.redis_url, "1", "0.004", host.id, armed=f"{name}=kill@40"
        ) as child:
            child.dies_at(name)
        told = accepted_in(child.said)[host.id]
        assert told or name != "publisher.receipt.before"
        keys = [ResourceKey(host_scope(host.id), "router", id) for id in ("one", "two")]
        stage.has(host, dict.fromkeys(keys, max(told, default=0)))
        assert host.is_whole()
        # The control plane cannot know more than it was told.
        first = max(told, default=0) + 1
        with Child("publish", stage.redis_url, str(first), "0.004", host.id) as child:
            eventually(lambda: len(child.said) > 30, saying=lambda: child.cried[-5:])
        told |= accepted_in(child.said)[host.id]
        stage.has(host, dict.fromkeys(keys, max(told)))
        assert host.is_whole()
        assert host.faults() == []
    cell.count(operations=3 * len(told))
    cell.died_at(name)


MOVES = tuple(f"executor.{step}." for step in STEPS if step not in {"add", "home"})


@pytest.mark.parametrize("name", points(*MOVES))
def test_an_executor(stage: Stage, cell: Cell, name: str) -> None:
    """It is killed in the midst of a move under traffic; another one carries on."""
    cell.is_about(
        "executor",
        "kill",
        f"SIGKILL at {name}",
        holds="whoever carries on ends the move; nothing accepted is lost, nothing falls",
        promises=(1, 2, 5),
    )
    hosts = [stage.host() for _ in range(2)]
    ids = tuple(host.id for host in hosts)
    shards = stage.shards
    with hosts[0].agent(), hosts[1].agent(), stage.traffic(*map(host_scope, ids)):
        with shards.executor() as executor:
            plan = executor.begin(shards.plan(Goal(kind="hosts", what=ids, to="c2")))
        with Child("move", stage.redis_url, plan, armed=f"{name}=kill") as child:
            child.dies_at(name)
        done = shards.mover.run(plan)
        assert (done.done, done.failed) == (done.total, {})
        assert {shards.cluster_of(id) for id in ids} == {"c2"}
    with hosts[0].agent(), hosts[1].agent():
        for host in hosts:
            cell.count(operations=_check_moved(stage, host))
    cell.died_at(name)


@pytest.mark.parametrize("name", points("executor.home.", "executor.add."))
def test_an_executor_of_a_vpc(stage: Stage, cell: Cell, name: str) -> None:
    """It is killed while a VPC gets another home, or gets back the replica that was taken away."""
    cell.is_about(
        "executor",
        "kill",
        f"SIGKILL at {name}",
        holds="whoever carries on ends it; the VPC's follower lacks nothing, nothing falls",
        promises=(1, 2, 5),
    )
    shards, host = stage.shards, stage.host()
    vpc = shards.unique("vpc")
    shards.directory.ensure_vpcs({vpc: "c1"})
    with host.agent():
        shards.join(stage.busy[0], host.id, vpc)
        with stage.traffic(vpc_scope(vpc)):
            verb, plan = _plan_of_a_vpc(stage, vpc, name)
            with Child(verb, stage.redis_url, plan, armed=f"{name}=kill") as child:
                child.dies_at(name)
            done = {"move": shards.mover.run, "back": shards.mover.roll_back}[verb](plan)
            assert (done.done, done.failed) == (done.total, {})
        row, topology = shards.vpc(vpc), shards.directory.topology
        assert row.in_cluster("c2" if verb == "move" else "c3", topology) is not None
        cell.count(operations=_check_moved(stage, host))
    cell.died_at(name)


def _plan_of_a_vpc(stage: Stage, vpc: str, name: str) -> tuple[str, str]:
    """Begin what the failpoint lies in: return what to do with which plan."""
    shards = stage.shards
    with shards.executor() as executor:
        if name.startswith("executor.home"):
            return "move", executor.begin(shards.plan(Goal(kind="vpcs", what=(vpc,), to="c2")))
        executor._seeder.ensure(vpc, "c3")
        drained = shards.plan(Goal(kind="drain-cluster", what=("c3",)))
        mine = tuple(move for move in drained.moves if move.id == vpc)
        plan = executor.begin(msgspec.structs.replace(drained, moves=mine))
        assert executor.run(plan).failed == {}
        assert shards.vpc(vpc).in_cluster("c3", shards.directory.topology) is None
        return "back", plan


def _check_moved(stage: Stage, host: Host) -> int:
    """Judge a host, and what it follows; return how many accepted revisions that was about."""
    history = stage.shards.history
    assert not history.failures, history.failures[:3]
    scopes = stage.shards.scopes_of(host.id)
    wanted = history.wanted(scopes)
    stage.has(host, wanted)
    assert host.faults() == []
    assert {key.scope for key in host.tree()} <= scopes
    return sum(wanted.values())


@pytest.mark.parametrize("name", points("directory."))
def test_a_registrar(stage: Stage, cell: Cell, name: str) -> None:
    """It is killed between Redis and the journal; who comes next gives each host one place."""
    cell.is_about(
        "directory",
        "kill",
        f"SIGKILL at {name}",
        holds="each host has one place, journal and Redis agree, and counts follow the rows",
        promises=(1,),
    )
    shards = stage.shards
    hosts = [shards.unique("host") for _ in range(20)]
    with Child("register", stage.redis_url, *hosts, armed=f"{name}=kill") as child:
        child.dies_at(name)
    with Child("register", stage.redis_url, *hosts) as child:
        child.ends_well()
    rows = dict(line.split() for line in child.said)
    assert set(rows) == set(hosts)
    placed = shards.directory.register_hosts(dict.fromkeys(hosts, "az-a"))
    assert {host: place.row() for host, place in placed.items()} == rows
    assert shards.directory.verify() == []
    cell.count(operations=len(hosts))
    cell.died_at(name)


@pytest.mark.parametrize("name", points("tracker."))
def test_a_tracker(stage: Stage, cell: Cell, name: str, tmp_path: Path) -> None:
    """It is killed while reports and questions come; the next one knows what the node has."""
    cell.is_about(
        "tracker",
        "kill",
        f"SIGKILL at {name}",
        holds="after the restart every announced changeset is told as it is on the node",
        promises=(3,),
    )
    host = stage.host()
    scope = host_scope(host.id)
    client, tracker = stage.tracker(tmp_path)
    sent: list[Changeset] = []
    with host.agent():
        with tracker(f"{name}=kill@20") as child:
            while child.is_running:
                sent.append(_announced(stage, client, scope, len(sent) + 1))
            child.dies_at(name)
        with tracker(""):
            eventually(lambda: stage.is_answering(client))
            sent.append(_announced(stage, client, scope, len(sent) + 1))
            for changeset in sent[-5:]:
                told = client.changeset(changeset.id, timeout_s=60.0)
                # The last word on one that could not be announced is a report's alone.
                assert told is not None
                assert told.settled or told.standing == "heard", told
            assert client.changeset(sent[-1].id).complete  # type: ignore[union-attr]
            found = client.host(host.id)
    assert found is not None
    assert {(one.kind, one.id): (one.state, one.revision) for one in found.resources} == {
        ("router", "r"): ("applied", len(sent))
    }
    cell.count(operations=len(sent))
    cell.died_at(name)


def _announced(stage: Stage, client: TrackerClient, scope: Scope, revision: int) -> Changeset:
    """Announce and publish a change, whatever becomes of the tracker meanwhile."""
    id = stage.shards.unique("told")
    made = Changeset(id, (Resource(scope, "router", "r", revision, {"n": revision}),))
    with contextlib.suppress(EdgeError):
        client.announce([made])
    stage.busy[0].publish(made).accepted.result(60)
    with contextlib.suppress(EdgeError):
        client.settle([id], {})
    return made
