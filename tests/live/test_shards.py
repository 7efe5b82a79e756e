"""Moves under traffic on a real Kafka and Redis: nothing lost, nothing backwards, nothing foreign."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from southbound.cli.main import app
from southbound.directory import Directory
from southbound.edge.admin import apply_topics
from southbound.errors import StaleMap
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import address_of
from southbound.partitioning.plan import Goal, Plan
from southbound.partitioning.topology import Pool, Topology
from southbound.producer import Publisher
from southbound.rebalance.ledger import _keys
from southbound.rebalance.recovery import Leftovers, Recovery
from southbound.resources import Changeset, Op, Resource, ResourceKey, host_scope, vpc_scope
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import DirectoryKit, eventually, kit_of
from tests.live.shard_agent_child import read_plans
from tests.live.shards_kit import Node, Shards, small_topology

Unique = Callable[[str], str]


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Two clusters in one zone."""
    return module_fleet_factory(2, 1)


@pytest.fixture(scope="module")
def topology(own: LocalFleet) -> Topology:
    """Small pools, two of each class in a cluster."""
    return small_topology(own)


@pytest.fixture(scope="module")
def kit(own: LocalFleet, topology: Topology) -> Iterator[DirectoryKit]:
    """The fleet's Redis, with the topology in the directory."""
    with kit_of(own, topology, 0) as made:
        made.directory().put_topology(topology)
        yield made


@pytest.fixture
def shards(
    kit: DirectoryKit, topology: Topology, unique: Unique, tmp_path: Path
) -> Iterator[Shards]:
    """A test's own hosts, agents, publishers and executors."""
    made = Shards(kit, topology, unique, tmp_path)
    yield made
    made.close()


class Crash(Exception):
    """An executor's process ends here."""


def crashing(at: str) -> Callable[[str], None]:
    """Return a failpoint that ends an executor at one of its steps."""

    def failpoint(name: str) -> None:
        if name == at:
            raise Crash(at)

    return failpoint


def test_hosts_move_under_traffic(shards: Shards) -> None:
    """Between clusters, between slots of one cluster, and back, while two publish to them."""
    hosts = shards.hosts(4, "c1")
    for host in hosts:
        shards.agent(host)
    with shards.traffic([host_scope(host) for host in hosts]):
        for to in ("c2", "c2-i", "c2-h", "c1"):
            shards.move(Goal(kind="hosts", what=tuple(hosts), to=to))
            assert all(shards.place(host).pool.startswith(to) for host in hosts)
    shards.check()


_STEPS = (
    "store",
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
)


def test_whoever_carries_on_after_a_crash_ends_it_well(shards: Shards) -> None:
    """An executor dies between any two of its steps; another one finishes the move."""
    hosts = shards.hosts(2, "c1")
    for host in hosts:
        shards.agent(host)
    with shards.traffic([host_scope(host) for host in hosts]):
        for number, step in enumerate(("store:before", *(f"{one}:after" for one in _STEPS))):
            to = ("c2", "c1")[number % 2]
            plan = shards.plan(Goal(kind="hosts", what=tuple(hosts), to=to))
            with (
                shards.executor(failpoint=crashing(step)) as first,
                pytest.raises(Crash),
            ):
                first.run(first.begin(plan))
            done = shards.mover.run(plan.id)
            assert (done.done, done.failed) == (2, {})
            assert {shards.cluster_of(host) for host in hosts} == {to}
    shards.check()


class Sleep:
    """A failpoint at which an executor sleeps, once, while another one carries the plan on."""

    def __init__(self, shards: Shards, at: str, plan: str) -> None:
        self.shards = shards
        self.at = at
        self.plan = plan
        self.is_over = False

    def __call__(self, name: str) -> None:
        """Take a step."""
        if name == self.at and not self.is_over:
            self.is_over = True
            with self.shards.executor() as other:
                assert other.run(self.plan).failed == {}


def test_two_executors_fence_each_other(shards: Shards) -> None:
    """One sleeps in the midst of a move, another finishes it; the first one stops, and harms not."""
    (host,) = shards.hosts(1, "c1")
    shards.agent(host)
    with shards.traffic([host_scope(host)]):
        for number, step in enumerate(("Precopy", "AnnounceMoves", "Delta")):
            to = ("c2", "c1")[number % 2]
            plan = shards.plan(Goal(kind="hosts", what=(host,), to=to))
            asleep = Sleep(shards, f"{step}:before", plan.id)
            with (
                shards.executor(failpoint=asleep) as sleeper,
                pytest.raises(StaleMap, match="taken over"),
            ):
                sleeper.run(sleeper.begin(plan))
            assert shards.cluster_of(host) == to
    shards.check()


def test_agents_that_were_off_find_everything(shards: Shards) -> None:
    """Off during a move, off while it went away and back, and new ones without any state."""
    off, away, new = shards.hosts(3, "c1")
    nodes = {}
    for host in (off, away):
        shards.agent(host)
    with shards.traffic([host_scope(host) for host in (off, away, new)]):
        for host in (off, away):
            eventually(lambda host=host: bool(shards.agents[host].node.state))  # type: ignore[misc]
            nodes[host] = shards.stop(host)
        plan = shards.plan(Goal(kind="hosts", what=(off, away, new), to="c2"))

        def starting(name: str) -> None:
            if name == "Mark:after" and new not in shards.agents:
                shards.agent(new)

        with shards.executor(failpoint=starting) as executor:
            executor.run(executor.begin(plan))
        shards.move(Goal(kind="hosts", what=(away,), to="c1"))
        for host, node in nodes.items():
            shards.agent(host, node)
    shards.check()
    shards.stop(away)
    shards.agent(away, fresh=True)
    shards.check()


class KilledAgent:
    """A failpoint: the agent's process is killed behind one step, and comes back behind another."""

    def __init__(self, shards: Shards, host: str, log: Path) -> None:
        self.words = (host, str(shards.path / "killed"), shards.kit.redis_url, str(log))
        self.host = host
        self.log = log
        self.kill_at = self.back_at = ""
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; again with the state that it was killed with."""
        command = (sys.executable, "-m", "tests.live.shard_agent_child", *self.words)
        self.child = subprocess.Popen(command)

    def kill(self) -> None:
        """End the process at once."""
        assert self.child is not None
        self.child.kill()
        self.child.wait()
        self.child = None

    def __call__(self, name: str) -> None:
        """Take a step."""
        if name == self.kill_at and self.child is not None:
            self.kill()
        if name == self.back_at and self.child is None:
            self.start()

    def node(self) -> Node:
        """Judge everything that it has applied so far, in all its lives."""
        node = Node(self.host)
        node.open()
        for plan in read_plans(self.log) if self.log.exists() else ():
            node.apply(plan)
        return node


def test_an_agent_is_killed_in_the_midst_of_moves(shards: Shards, tmp_path: Path) -> None:
    """Before, at and behind its marker; it comes back while the move goes on, and when it is over."""
    (host,) = shards.hosts(1, "c1")
    killed = KilledAgent(shards, host, tmp_path / "log")
    killed.start()
    lives = (("Precopy:after", "Mark:after"), ("Mark:after", "Mark:after"), ("Mark:after", "never"))
    try:
        with shards.traffic([host_scope(host)]):
            for number, (killed.kill_at, killed.back_at) in enumerate(lives):
                before = killed.node().state
                eventually(lambda before=before: killed.node().state != before)  # type: ignore[misc]
                to = ("c2", "c1")[number % 2]
                shards.move(Goal(kind="hosts", what=(host,), to=to), failpoint=killed)
            assert killed.child is None
            killed.start()
        shards.check_node(host, killed.node)
    finally:
        if killed.child is not None:
            killed.kill()


def test_a_redis_that_forgets_changes_nothing(shards: Shards) -> None:
    """It loses everything before and after each step that speaks to it, and in between."""
    (host,) = shards.hosts(1, "c1")
    shards.agent(host)
    with shards.traffic([host_scope(host)]):
        for number, step in enumerate(("Reserve", "AppendJournal", "AnnounceMoves", "Flip")):
            to = ("c2", "c1")[number % 2]

            def flushing(name: str, at: str = step) -> None:
                if name.startswith(at):
                    shards.kit.redis.flushdb()

            shards.move(Goal(kind="hosts", what=(host,), to=to), failpoint=flushing)
            assert shards.cluster_of(host) == to
    shards.check()
    assert shards.directory.verify() == []


def test_a_publisher_that_slept_across_the_move_is_turned(shards: Shards) -> None:
    """Its process is stopped with changes on their way, and continued when all is over."""
    (host,) = shards.hosts(1, "c1")
    shards.agent(host)
    command = (sys.executable, "-m", "tests.live.publisher_child", shards.kit.redis_url, host)
    accepted: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        reader = threading.Thread(
            target=lambda out: accepted.extend(map(int, out)), args=(child.stdout,)
        )
        reader.start()
        try:
            for to in ("c2", "c1"):
                since = len(accepted)
                eventually(lambda since=since: len(accepted) > since + 20)  # type: ignore[misc]
                child.send_signal(signal.SIGSTOP)
                shards.move(Goal(kind="hosts", what=(host,), to=to))
                child.send_signal(signal.SIGCONT)
            since = len(accepted)
            eventually(lambda: len(accepted) > since + 20)
        finally:
            child.kill()
            reader.join()
    node = shards.agents[host].node
    key = ResourceKey(host_scope(host), "router", "child")
    eventually(lambda: node.state.get(key, 0) >= max(accepted))
    shards.check()


def test_vpcs_move_with_their_followers(shards: Shards) -> None:
    """A home goes to another slot and to another cluster; a host comes to where the VPC is not."""
    first, second = (*shards.hosts(1, "c1"), *shards.hosts(1, "c2"))
    for host in (first, second):
        shards.agent(host)
    vpc = shards.unique("vpc")
    shards.directory.ensure_vpcs({vpc: "c1"})
    publisher = shards.publisher()
    for host in (first, second):
        shards.join(publisher, host, vpc)
    scopes = [vpc_scope(vpc), host_scope(first), host_scope(second)]
    with shards.traffic(scopes):
        other = {"c1-v": "c1-w", "c1-w": "c1-v"}[shards.vpc(vpc).home.pool]
        shards.move(Goal(kind="vpcs", what=(vpc,), to=other))
        assert shards.vpc(vpc).home.pool == other
        shards.move(Goal(kind="vpcs", what=(vpc,), to="c2"))
        assert shards.vpc(vpc).home.pool.startswith("c2")
        # The host comes to where the VPC is not yet.
        shards.move(Goal(kind="hosts", what=(first,), to="c3"))
        assert len(shards.vpc(vpc).replicas) == 3
        shards.move(Goal(kind="hosts", what=(first,), to="c1"))
    shards.check()


def test_a_hot_vpc_gets_slots_of_its_own(kit: DirectoryKit, shards: Shards, tmp_path: Path) -> None:
    """Pinned under traffic from the command line: nobody else is where its replicas are then."""
    first, second = (*shards.hosts(1, "c1"), *shards.hosts(1, "c2"))
    for host in (first, second):
        shards.agent(host)
    hot = shards.unique("vpc")
    shards.directory.ensure_vpcs({hot: "c1"})
    publisher = shards.publisher()
    for host in (first, second):
        shards.join(publisher, host, hot)
    # Eight slots in a cluster: some of these share one with it.
    for cluster in ("c1", "c2"):
        shards.directory.ensure_vpcs({shards.unique("vpc"): cluster for _ in range(32)})
    assert min(shared_by(shards, hot).values()) > 1
    # A pool of small slots, for those that are to be alone.
    stored = shards.directory.topology
    lonely = tuple(
        Pool(
            id=shards.unique(f"{cluster}-x"),
            cluster=cluster,
            cls="vpc",
            topics=1,
            partitions=4,
            max_per_slot=1,
        )
        for cluster in ("c1", "c2")
    )
    grown = msgspec.structs.replace(stored, pools=(*stored.pools, *lonely))
    apply_topics(grown)
    shards.directory.put_topology(grown)
    file = tmp_path / "pin.json"
    with shards.traffic([vpc_scope(hot), host_scope(first), host_scope(second)]):
        shown = run(kit, "plan", "--pin-vpc", hot, "--out", str(file))
        assert shown.exit_code == 0, shown.output
        done = answer(run(kit, "apply", str(file), "--yes", "--output", "json"))
        assert done["state"] == "done"
    assert {replica.pool for replica in shards.vpc(hot).replicas} == {one.id for one in lonely}
    assert set(shared_by(shards, hot).values()) == {1}
    again = answer(run(kit, "plan", "--pin-vpc", hot, "--output", "json"))
    assert again["moves"] == []
    # The other tests of this file know nothing of these pools.
    for pool in lonely:
        shards.move(Goal(kind="drain-pool", what=(pool.id,)))
    shards.directory.put_topology(stored)
    shards.check()


def shared_by(shards: Shards, vpc: str) -> dict[str, int]:
    """Return how many VPCs are in the slot of each replica of a VPC, by pool."""
    topology = shards.directory.topology
    everybody = Counter(
        address_of("vpc", id, replica, topology)
        for id, row in shards.directory.vpcs_scan()
        for replica in row.replicas
        if topology.find_pool(replica.pool) is not None
    )
    return {
        replica.pool: everybody[address_of("vpc", vpc, replica, topology)]
        for replica in shards.vpc(vpc).replicas
    }


class Launch:
    """A failpoint: in the midst of dropping a replica a port of its VPC is published after all."""

    def __init__(self, shards: Shards, publisher: Publisher, at: str, host: str, vpc: str) -> None:
        self.shards = shards
        self.publisher = publisher
        self.at = at
        self.host = host
        self.vpc = vpc

    def __call__(self, name: str) -> None:
        """Take a step."""
        if name == self.at:
            port = Resource(host_scope(self.host), "port", "late", 1, {"vpc_id": self.vpc})
            late = Changeset(self.shards.unique("late"), (port,))
            self.shards.history.settle([(late, self.publisher.publish(late))])
            self.shards.vpcs_of[self.host].add(self.vpc)


@pytest.mark.parametrize("at", ["never", "AppendJournal:before", "Mark:after", "Release:after"])
def test_a_replica_goes_with_the_last_port(shards: Shards, at: str) -> None:
    """It is dropped under traffic; a port that comes at that very moment has its VPC all the same."""
    (home,), (away, late) = shards.hosts(1, "c1"), shards.hosts(2, "c2")
    vpc = shards.unique("vpc")
    shards.directory.ensure_vpcs({vpc: "c1"})
    publisher = shards.publisher()
    for host in (home, away):
        shards.agent(host)
        shards.join(publisher, host, vpc)
    # (The applier would call its going a fault.)
    shards.stop(away)
    port = ResourceKey(host_scope(away), "port", f"port-{vpc}")
    gone = Changeset(shards.unique("gone"), (Resource(*port, 2, op=Op.DELETE),))
    with shards.traffic([vpc_scope(vpc), host_scope(home)]):
        shards.agent(late)
        assert shards.unused() == {}
        shards.history.settle([(gone, publisher.publish(gone))])
        assert shards.unused(grace_s=60.0) == {}
        plan = shards.unused_plan()
        assert [(move.action, move.id) for move in plan.moves] == [("drop", vpc)]
        launch = Launch(shards, publisher, at, late, vpc)
        with shards.executor(failpoint=launch) as executor:
            assert executor.run(executor.begin(plan)).failed == {}
    topology = shards.directory.topology
    clusters = [topology.pool(one.pool).cluster for one in shards.vpc(vpc).replicas]
    assert clusters == (["c1"] if at == "never" else ["c1", "c2"])
    shards.check()
    if at == "never":
        # The first port to come makes it present again.
        launch("never")
        shards.check()
    assert shards.unused() == {}


def test_what_was_moved_is_moved_back(shards: Shards) -> None:
    """A plan is stopped half-way and taken back: the moved hosts return, the others never left."""
    hosts = shards.hosts(6, "c1")
    for host in hosts[:2]:
        shards.agent(host)
    before = {host: shards.place(host) for host in hosts}
    plan = shards.plan(Goal(kind="hosts", what=tuple(hosts), to="c2"))
    with shards.traffic([host_scope(host) for host in hosts]):
        with shards.executor(hosts_per_round=2, failpoint=crashing("Delta:after")) as executor:
            id = executor.begin(plan)
            with pytest.raises(Crash):
                executor.run(id)
        with shards.executor(hosts_per_round=2) as executor:
            executor.stop()
            assert executor.run(id).done < 6
        with shards.executor() as executor:
            done = executor.roll_back(id)
            assert done.failed == {}
            assert executor.roll_back(id).done == done.done
    now = {host: shards.place(host) for host in hosts}
    assert {h: (p.pool, p.probe) for h, p in now.items()} == {
        h: (p.pool, p.probe) for h, p in before.items()
    }
    assert {place.epoch - before[host].epoch for host, place in now.items()} == {0, 2}
    shards.check()


def cut_short(shards: Shards, plan: Plan, at: str, *, back: bool = False) -> None:
    """Begin a plan, let its executor die, and take everything out of the ledger that told of it."""
    with shards.executor(failpoint=crashing(at)) as executor:
        id = executor.begin(plan)
        with pytest.raises(Crash):
            executor.run(id)
    if back:
        with shards.executor(failpoint=crashing("Seal:before")) as executor, pytest.raises(Crash):
            executor.roll_back(id)
    with shards.executor() as executor:
        state = executor.plan(id)
        assert executor._ledger is not None
        executor._ledger._appender.append([(key, None) for key in _keys(state)])


def recovered(shards: Shards, *ids: str) -> Leftovers:
    """Bring to an end what is left behind of hosts and VPCs; return what that was."""
    with shards.executor() as executor:
        found = executor.leftovers()
        mine = Leftovers(
            found.map_version,
            tuple(one for one in found.abandoned if one.planned.id in ids),
            tuple(one for one in found.stays if one.scope.id in ids),
            tuple(one for one in found.doubts if one.scope.id in ids),
            {scope: kept for scope, kept in found.kept.items() if scope.id in ids},
        )
        plan = executor.begin_recovery(mine)
        if plan:
            assert executor.run(plan).failed == {}
        again = executor.leftovers()
        assert {move.id for move in again.moves}.isdisjoint(ids)
        assert {one.scope.id for one in again.stays}.isdisjoint(ids)
        assert {scope.id for scope in again.kept}.isdisjoint(ids)
    return mine


def test_vpcs_that_left_without_a_plan_are_brought_to_an_end(shards: Shards) -> None:
    """A replica that moves, a home that is given away, a replica that goes: the ledger forgets each."""
    first, second = (*shards.hosts(1, "c1"), *shards.hosts(1, "c2"))
    vpc = shards.unique("vpc")
    shards.directory.ensure_vpcs({vpc: "c1"})
    publisher = shards.publisher()
    for host in (first, second):
        shards.agent(host)
        shards.join(publisher, host, vpc)
    with shards.traffic([vpc_scope(vpc), host_scope(first)]):
        other = {"c1-v": "c1-w", "c1-w": "c1-v"}[shards.vpc(vpc).home.pool]
        cut_short(shards, shards.plan(Goal(kind="vpcs", what=(vpc,), to=other)), "Mark:before")
        assert [move.action for move in recovered(shards, vpc).moves] == ["move"]
        assert recovered(shards, vpc).moves == ()
        shards.move(Goal(kind="vpcs", what=(vpc,), to="c2"))
        shards.move(Goal(kind="vpcs", what=(vpc,), to="c1"))
        port = ResourceKey(host_scope(second), "port", f"port-{vpc}")
        gone = Changeset(shards.unique("gone"), (Resource(*port, 2, op=Op.DELETE),))
        shards.stop(second)
        shards.history.settle([(gone, publisher.publish(gone))])
        cut_short(shards, shards.unused_plan(), "Mark:before")
        assert [move.action for move in recovered(shards, vpc).moves] == ["drop"]
    shards.vpcs_of[second].clear()
    shards.check()
    assert shards.vpc(vpc).home.pool == other
    assert len(shards.vpc(vpc).replicas) == 1


class Rival:
    """A failpoint at which an executor sleeps while its plan is lost, and its move ended by others."""

    def __init__(self, shards: Shards, at: str, host: str) -> None:
        self.shards = shards
        self.at = at
        self.host = host
        self.found: Leftovers | None = None

    def __call__(self, name: str) -> None:
        """Take a step."""
        if name == self.at and self.found is None:
            with self.shards.executor() as other:
                for state in other.plans():
                    if any(move.id == self.host for batch in state.rest() for move in batch.moves):
                        assert other._ledger is not None
                        other._ledger._appender.append([(key, None) for key in _keys(state)])
            self.found = recovered(self.shards, self.host)


@pytest.mark.parametrize("at", ["AnnounceMoves:before", "Delta:after"])
def test_whoever_outlives_his_plan_does_no_harm(shards: Shards, at: str) -> None:
    """His ledger is lost under him, his move is ended by another, and he goes on; he is told then."""
    (host,) = shards.hosts(1, "c1")
    shards.agent(host)
    with shards.traffic([host_scope(host)]):
        rival = Rival(shards, at, host)
        with (
            shards.executor(failpoint=rival) as sleeper,
            pytest.raises(StaleMap, match="shards recover"),
        ):
            sleeper.run(sleeper.begin(host_plan(shards, host)))
        assert rival.found is not None
        assert [move.id for move in rival.found.moves] == [host]
        shards.move(Goal(kind="hosts", what=(host,), to="c1"))
    shards.check()


def test_a_host_that_stays_without_a_plan_is_sealed(shards: Shards) -> None:
    """Its plan was taken back, and forgotten before the seal was there; it can be moved after that."""
    (host,) = shards.hosts(1, "c1")
    shards.agent(host)
    with shards.traffic([host_scope(host)]):
        cut_short(shards, host_plan(shards, host), "Precopy:after", back=True)
        found = recovered(shards, host)
        assert ([stay.scope.id for stay in found.stays], found.moves) == ([host], ())
        shards.move(Goal(kind="hosts", what=(host,), to="c2"))
    shards.check()


def host_plan(shards: Shards, host: str) -> Plan:
    """Return the plan that moves a host from the first cluster to the second."""
    return shards.plan(Goal(kind="hosts", what=(host,), to="c2"))


def test_what_a_lost_plan_has_reserved_is_given_up(kit: DirectoryKit, shards: Shards) -> None:
    """From the command line; slow plans that the ledger knows keep what they have, and go on."""
    lost, slow, left = shards.hosts(3, "c1")
    cut_short(shards, host_plan(shards, lost), "Reserve:after")
    plans = []
    for host, at in ((slow, "Reserve:after"), (left, "AppendJournal:after")):
        with shards.executor(failpoint=crashing(at)) as executor:
            plans.append(executor.begin(host_plan(shards, host)))
            with pytest.raises(Crash):
                executor.run(plans[-1])
    shown = run(kit, "recover", "--dry-run", "--output", "json")
    assert {one["id"]: one["what"] for one in answer(shown)}.get(lost) == "reservation"
    assert slow not in shown.stdout
    assert left not in shown.stdout
    assert run(kit, "recover").exit_code == 2
    before = sum(map(sum, shards.directory.occupancy().values()))
    done = run(kit, "recover", "--yes")
    assert (done.exit_code, "reservations given up" in done.stderr) == (0, True), done.output
    assert sum(map(sum, shards.directory.occupancy().values())) < before
    reserved = shards.directory.reservations()
    assert (host_scope(lost) in reserved, host_scope(slow) in reserved) == (False, True)
    again = run(kit, "recover", "--yes")
    assert "nothing was left behind" in again.stderr
    shards.move(Goal(kind="hosts", what=(lost,), to="c2"))
    assert [shards.mover.run(plan).failed for plan in plans] == [{}, {}]
    assert [one for one in shards.directory.verify() if one.kind != "mend"] == []


def test_where_a_host_was_that_no_journal_tells_is_not_guessed(shards: Shards) -> None:
    """Nothing is marked then, and it is named with the reason."""
    (host,) = shards.hosts(1, "c1")
    cut_short(shards, host_plan(shards, host), "AppendJournal:after")
    scope = host_scope(host)
    with shards.executor() as executor:
        recovery = Recovery(shards.directory, executor._slots)
        found = recovery.find(set)
        assert [one.id for one in found.moves if one.id == host] == [host]
        shards.directory.chronicle = lambda scopes: {one: {} for one in scopes}  # type: ignore[method-assign]
        blind = recovery.find(set)
    assert host not in {one.id for one in blind.moves}
    assert "does not tell" in next(one.why for one in blind.doubts if one.scope == scope)
    del shards.directory.chronicle
    recovered(shards, host)


def test_a_cluster_is_drained_and_removed(shards: Shards) -> None:
    """Hosts, homes and replicas leave it, come back, and leave again; then nobody needs it."""
    hosts = shards.hosts(3, "c3")
    (other,) = shards.hosts(1, "c1")
    for host in (*hosts, other):
        shards.agent(host)
    shared, alone = shards.unique("vpc"), shards.unique("vpc")
    publisher = shards.publisher()
    for host in (*hosts, other):
        shards.join(publisher, host, shared)
    shards.join(publisher, hosts[0], alone)
    scopes = [vpc_scope(shared), vpc_scope(alone), *map(host_scope, hosts)]
    with shards.traffic(scopes):
        done = shards.move(Goal(kind="drain-cluster", what=("c3",)))
        assert {shards.cluster_of(host) for host in hosts} & {"c3"} == set()
        assert shards.mover.roll_back(done.plan).failed == {}
        assert {shards.cluster_of(host) for host in hosts} == {"c3"}
        assert shards.vpc(shared).in_cluster("c3", shards.topology) is not None
        shards.move(Goal(kind="drain-cluster", what=("c3",)))
        stored = shards.directory.topology
        without = msgspec.structs.replace(
            stored,
            clusters=tuple(one for one in stored.clusters if one.id != "c3"),
            pools=tuple(pool for pool in stored.pools if pool.cluster != "c3"),
        )
        shards.directory.put_topology(without)
    shards.check()
    # The other tests of this file want it back, as another cluster would come: with other pools.
    pools = tuple(
        msgspec.structs.replace(pool, id=shards.unique(pool.id))
        for pool in shards.topology.pools
        if pool.cluster == "c3"
    )
    grown = msgspec.structs.replace(
        without, clusters=stored.clusters, pools=(*without.pools, *pools)
    )
    apply_topics(grown)
    shards.directory.put_topology(grown)


def test_a_drifted_map_is_refused(shards: Shards) -> None:
    """A plan of streams that have moved since is not begun; one whose streams stand is."""
    hosts = shards.hosts(3, "c1")
    plan = shards.plan(Goal(kind="hosts", what=tuple(hosts[:2]), to="c2"))
    shards.move(Goal(kind="hosts", what=tuple(hosts[2:]), to="c2"))
    with shards.executor() as executor:
        executor.check(plan)
        shards.move(Goal(kind="hosts", what=(hosts[0],), to="c1-i"))
        shards.move(Goal(kind="hosts", what=(hosts[0],), to="c1-h"))
        with pytest.raises(StaleMap, match=hosts[0]):
            executor.begin(plan)


# From the command line.


def run(kit: DirectoryKit, *words: str) -> Result:
    """Run a command against the kit's Redis."""
    return CliRunner().invoke(app, ["--redis", kit.redis_url, "shards", *words])


def answer(result: Result) -> Any:
    """Return the JSON document that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_plan_to_rollback(kit: DirectoryKit, unique: Unique, tmp_path: Path) -> None:
    """A plan is shown, written, applied, looked at and taken back; mistakes have exit codes."""
    directory = kit.directory()
    hosts = [unique("host") for _ in range(40)]
    placed = directory.register_hosts(dict.fromkeys(hosts, "az-a"))
    hosts = [host for host in hosts if placed[host].pool != "c1-i"][:6]
    before = {host: placed[host].pool for host in hosts}
    file = tmp_path / "plan.json"
    words = [word for host in hosts for word in ("--host", host)]
    shown = run(kit, "plan", *words, "--to", "c1-i", "--out", str(file))
    assert shown.exit_code == 0, shown.output
    assert "c1-i" in shown.stdout
    dry = run(kit, "apply", str(file), "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "nothing was changed" in dry.stderr
    unasked = run(kit, "apply", str(file))
    assert unasked.exit_code == 2
    assert "--yes" in unasked.stderr
    done = answer(run(kit, "apply", str(file), "--yes", "--output", "json"))
    assert (done["done"], done["of"], done["state"]) == (6, 6, "done")
    assert pools(directory, hosts) == dict.fromkeys(hosts, "c1-i")
    again = run(kit, "apply", str(file), "--yes")
    assert again.exit_code == 6
    assert "begun already" in again.stderr
    standings = {one["plan"]: one for one in answer(run(kit, "status", "--output", "json"))}
    assert standings[done["plan"]]["state"] == "done"
    assert run(kit, "resume").exit_code == 5
    back = answer(run(kit, "rollback", done["plan"], "--yes", "--output", "json"))
    assert (back["undoes"], back["state"]) == (done["plan"], "done")
    assert pools(directory, hosts) == before


def pools(directory: Directory, hosts: list[str]) -> dict[str, str]:
    """Return the pools in which hosts live, as Redis says."""
    rows = directory.rows([host_scope(host) for host in hosts])
    return {scope.id: row.partition(":")[0] for scope, row in rows.items()}


def test_goals_are_checked(kit: DirectoryKit, tmp_path: Path) -> None:
    """Two goals, none, unknown names and a file that is no plan are the user's mistakes."""
    assert run(kit, "plan").exit_code == 2
    assert run(kit, "plan", "--even", "--fill", "c1-h").exit_code == 2
    assert run(kit, "plan", "--host", "h").exit_code == 2
    assert run(kit, "plan", "--host", "nobody", "--to", "c1").exit_code == 3
    assert run(kit, "plan", "--drain-pool", "nowhere").exit_code == 5
    assert run(kit, "plan", "--drain-slot", "c1-h/9/9").exit_code == 2
    assert run(kit, "apply", str(tmp_path / "none.json")).exit_code == 2
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    assert run(kit, "apply", str(bad)).exit_code == 4
    assert run(kit, "status", "no-such-plan").exit_code == 5


def test_filling_and_evening_out(kit: DirectoryKit, unique: Unique) -> None:
    """A pool that is filled takes, and gives nothing; traffic is measured on the logs."""
    hosts = [unique("host") for _ in range(12)]
    kit.directory().register_hosts(dict.fromkeys(hosts, "az-a"))
    plan = answer(run(kit, "plan", "--fill", "c2-i", "--output", "json"))
    assert {move["pool"] for move in plan["moves"]} <= {"c2-i"}
    replicas = answer(run(kit, "plan", "--replicas", "--replica-grace", "0", "--output", "json"))
    assert replicas["goal"] == {"kind": "replicas"}
    assert {move["action"] for move in replicas["moves"]} <= {"add", "drop"}
    traffic = answer(
        run(kit, "plan", "--even", "--by", "traffic", "--sample", "1", "--output", "json")
    )
    assert traffic["goal"] == {"kind": "even", "by": "traffic"}
