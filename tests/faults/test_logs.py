"""Logs that are not what was read before: topics made anew under their names, and cut logs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from southbound.edge.kafka import end_offsets, new_consumer
from southbound.errors import EdgeError, OutcomeUnknown, SouthboundError
from southbound.local.fleet import LocalFleet
from southbound.local.ports import LOOPBACK
from southbound.partitioning.placement import Address, address_of
from southbound.partitioning.plan import Goal
from southbound.partitioning.topology import DIRECTORY_TOPIC, MOVES_TOPIC, REBALANCE_TOPIC
from southbound.producer import Publisher
from southbound.resources import Changeset, Resource, ResourceKey, host_scope, vpc_scope
from tests.faults.proxy import Proxy
from tests.faults.record import Cell
from tests.faults.stage import Child, Host, Stage, accepted_in, stage_on
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import eventually
from tests.live.shards_kit import Running, Shards, small_topology
from tests.live.topic_kit import Topic

_KIND = "router"
_KEPT = "nothing is taken down; who publishes again reaches every node"


@pytest.fixture
def stage(fleet: LocalFleet) -> Iterator[Stage]:
    """Publishers of a test's own, and topics that no other test has read."""
    with stage_on(fleet, small_topology(fleet)) as made:
        yield made


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Servers on which no other test has left moves, or slots, half-way."""
    return module_fleet_factory(2, 1)


@pytest.fixture
def moving(own: LocalFleet) -> Iterator[Stage]:
    """A stage on them."""
    with stage_on(own, small_topology(own)) as made:
        yield made


def slot_of(shards: Shards, host: str) -> Address:
    """Return where a host's records are."""
    return address_of("host", host, shards.place(host), shards.topology)


class Pen(NamedTuple):
    """Publishes routers of hosts, one a changeset, and waits until each is accepted."""

    publisher: Publisher

    def write(self, host: str, names: list[str], revision: int) -> dict[ResourceKey, int]:
        """Publish them at a revision; return what a node must have then."""
        scope = host_scope(host)
        made = [Resource(scope, _KIND, name, revision, {"n": revision}) for name in names]
        receipts = [
            self.publisher.publish(Changeset(f"{host}-{one.id}-{revision}", (one,))) for one in made
        ]
        for receipt in receipts:
            receipt.accepted.result(30)
        return {one.key: revision for one in made}

    def join(self, host: str, vpc: str) -> dict[ResourceKey, int]:
        """Publish a port of a host in a VPC, and the VPC; return what the node must have then."""
        made = (
            Resource(vpc_scope(vpc), "vpc", vpc, 1, {}),
            Resource(host_scope(host), "port", f"of-{host}", 1, {"vpc_id": vpc}),
        )
        self.publisher.publish(Changeset(f"{host}-{vpc}", made)).accepted.result(30)
        return {one.key: 1 for one in made}


def names(count: int, first: int = 0) -> list[str]:
    """Return names of routers."""
    return [f"r{number}" for number in range(first, first + count)]


def has(running: Running, wanted: dict[ResourceKey, int]) -> None:
    """Wait until a node in this process has these revisions, and was asked for nothing wrong."""

    def lacking() -> dict[ResourceKey, int]:
        state = running.node.state
        return {key: n for key, n in wanted.items() if state.get(key, 0) < n}

    eventually(
        lambda: not lacking(), within_s=40, saying=lambda: (lacking(), running.agent.status())
    )
    assert running.node.faults == []


# Data topics made anew.


def test_a_topic_made_anew_while_an_agent_is_off(stage: Stage, cell: Cell) -> None:
    """Its position lies within the new log: what stands before it must be read all the same."""
    cell.is_about(
        "topic",
        "made anew",
        "deleted and made again, and written beyond an agent's position, while it is off",
        holds=_KEPT,
        promises=(1, 2, 4),
    )
    shards, pen, host = stage.shards, Pen(stage.busy[0]), stage.host_id()
    old = pen.write(host, names(6), 1)
    running = shards.agent(host)
    has(running, old)
    _has_told_ids(running, slot_of(shards, host))
    node = shards.stop(host)
    Topic(shards.topology, "c1", slot_of(shards, host).topic).make_anew()
    new = pen.write(host, [*names(8, 100), *names(1)], 2)
    running = shards.agent(host, node)
    has(running, {**old, **new})
    # The epoch of the leader tells it, or the topic's id: whichever is asked for first.
    resyncs = dict(running.agent.counters.resyncs)
    assert resyncs
    assert resyncs.keys() <= {"position_lost", "topic_changed"}
    # What the new log has not spoken of stays, over a restart too, until it does.
    node = shards.stop(host)
    running = shards.agent(host, node)
    has(running, {**old, **new})
    has(running, {**old, **new, **pen.write(host, names(6), 3)})
    shards.stop(host)
    cell.count(operations=len(old) + len(new) + 6, faults=1)


def _has_told_ids(running: Running, address: Address) -> None:
    """Wait until an agent has written down which log it reads."""
    core = running.agent._core
    assert core is not None
    eventually(lambda: core._logs.is_known(address.cluster, address.topic))


@pytest.mark.parametrize("size", ["shorter", "longer"])
def test_a_topic_made_anew_under_an_agent(stage: Stage, cell: Cell, size: str) -> None:
    """It hears of it without a restart: by an offset out of range, or because it asks."""
    cell.is_about(
        "topic",
        "made anew",
        f"deleted and made again under an agent, and {size} than what was read of the one before",
        holds=_KEPT,
        promises=(1, 2, 4),
    )
    pen, host = Pen(stage.busy[0]), stage.host()
    topic = Topic(stage.shards.topology, "c1", slot_of(stage.shards, host.id).topic)
    with host.agent() as child:
        old = pen.write(host.id, names(6), 1)
        stage.has(host, old)
        # It asks which log it reads within its first two seconds, and every five after that.
        _has_stored_ids(host, topic.name)
        if size == "longer":
            child.signal(signal.SIGSTOP)
        topic.make_anew()
        new = pen.write(host.id, names(2 if size == "shorter" else 8, 100), 2)
        began_s = time.monotonic()
        child.signal(signal.SIGCONT)
        stage.has(host, {**old, **new}, within_s=40)
        cell.seen["noticed_s"] = round(time.monotonic() - began_s, 2)
        again = pen.write(host.id, names(6), 3)
        stage.has(host, {**new, **again})
        assert child.is_running
    assert host.faults() == []
    assert set(host.tree()) == {*old, *new}
    cell.count(operations=len(old) + len(new) + len(again), faults=1)


def _has_stored_ids(host: Host, topic: str) -> None:
    """Wait until an agent in another process has written down which log it reads."""
    store = host.folder / "state"
    eventually(lambda: any(topic.encode() in file.read_bytes() for file in store.glob("agent.db*")))


def test_a_topic_that_is_missing_for_long(stage: Stage, cell: Cell) -> None:
    """Deleted, and made again only after the clients have said that it is not there any more."""
    cell.is_about(
        "topic",
        "missing",
        "deleted under an agent, made again 40 s later, and longer than before",
        holds=_KEPT,
        promises=(1, 2, 4),
    )
    shards, pen, host = stage.shards, Pen(stage.busy[0]), stage.host_id()
    running = shards.agent(host)
    old = pen.write(host, names(6), 1)
    has(running, old)
    _has_told_ids(running, slot_of(shards, host))
    topic = Topic(shards.topology, "c1", slot_of(shards, host).topic)
    topic.delete()
    time.sleep(40)
    assert running.node.state == old
    topic.make()
    new = pen.write(host, names(8, 100), 2)
    has(running, {**old, **new})
    has(running, pen.write(host, names(6), 3))
    shards.stop(host)
    cell.count(operations=len(old) + len(new) + 6, faults=1)


def test_a_topic_made_anew_under_traffic(stage: Stage, cell: Cell) -> None:
    """Publishers have its metadata cached, and their sequences go on; nobody is started again."""
    cell.is_about(
        "topic",
        "made anew",
        "deleted and made again under two publishers and three agents",
        holds="what is accepted in the new topic is applied; no revision falls, nothing is taken down",
        promises=(1, 2),
    )
    shards = stage.shards
    hosts = [stage.host_id() for _ in range(3)]
    for host in hosts:
        shards.agent(host)
    topics = {slot_of(shards, host).topic for host in hosts}
    history = shards.history
    with stage.traffic(*map(host_scope, hosts)):
        eventually(lambda: all(len(shards.agents[host].node.state) == 7 for host in hosts))
        for topic in topics:
            Topic(shards.topology, "c1", topic).make_anew()
        published = len(history.sent_at)
        eventually(lambda: len(history.sent_at) > published + 200, within_s=60)
    cell.count(operations=stage.accepted, faults=len(topics), refused=len(history.failures))
    # While the topic was missing an error is right; afterwards nothing is.
    refused, history.failures = history.failures, []
    assert all("UNKNOWN_TOPIC" in why or "_UNKNOWN_PARTITION" in why for why in refused), refused[
        :3
    ]
    pen = Pen(shards.publisher())
    for host in hosts:
        has(shards.agents[host], pen.write(host, names(3), 1))
        wanted = pen.write(host, names(3), 2)
        has(shards.agents[host], wanted)
        history.accepted.update(wanted)
    shards.check()


# The moves of a cluster made anew, and cut.


_MOVES_KEPT = "what it calls accepted is applied; who begins anew is accepted, and applied"


def test_moves_made_anew_under_a_publisher(stage: Stage, cell: Cell) -> None:
    """It hears of a move through that log alone, and the new one is shorter than what it had read."""
    cell.is_about(
        "moves",
        "made anew",
        "sb.moves deleted and made again under a publisher that hears nothing of Redis",
        holds=_MOVES_KEPT,
        promises=(1, 2, 5),
    )
    shards = stage.shards
    host, *others = [stage.host_id() for _ in range(3)]
    running = shards.agent(host)
    with _deaf(shards) as (proxy, url):
        deaf = Pen(shards.publisher(redis_url=url))
        shards.move(Goal(kind="hosts", what=tuple(others), to="c2"))
        has(running, deaf.write(host, names(3), 1))
        proxy.refuses = True
        proxy.reset()
        Topic(shards.topology, "c1", MOVES_TOPIC).make_anew()
        # Whoever moves begins anew, too: an executor that had read the log refuses to go on.
        shards.move(Goal(kind="hosts", what=(host,), to="c2"), leave_together=1)
        told = 0
        for revision in range(2, 6):
            try:
                has(running, deaf.write(host, names(3), revision))
                told += 1
            except OutcomeUnknown:
                continue
    has(running, Pen(shards.publisher()).write(host, names(3), 6))
    shards.stop(host)
    cell.count(operations=21, faults=1, accepted=float(told))


def test_moves_made_anew_while_a_publisher_sleeps(stage: Stage, cell: Cell) -> None:
    """When it wakes, the new log is longer than what it had read of the one before."""
    cell.is_about(
        "moves",
        "made anew",
        "sb.moves deleted, made again and outgrown while a publisher is stopped; it hears nothing of Redis",
        holds=_MOVES_KEPT,
        promises=(1, 2, 5),
    )
    shards = stage.shards
    host, *others = [stage.host_id() for _ in range(5)]
    running = shards.agent(host)
    shards.move(Goal(kind="hosts", what=tuple(others[:1]), to="c2"))
    with _deaf(shards) as (proxy, url), Child("publish", url, "1", "0.02", host) as child:
        eventually(lambda: len(child.said) > 20, saying=lambda: child.cried[-5:])
        child.signal(signal.SIGSTOP)
        proxy.refuses = True
        proxy.reset()
        read = _size(shards, Address("c1", MOVES_TOPIC, 0))
        Topic(shards.topology, "c1", MOVES_TOPIC).make_anew()
        fresh = Pen(shards.publisher())
        shards.move(Goal(kind="hosts", what=(host,), to="c2"), leave_together=1)
        while _size(shards, Address("c1", MOVES_TOPIC, 0)) <= read:
            shards.move(Goal(kind="hosts", what=(stage.host_id(),), to="c2"), leave_together=1)
        before = len(child.said)
        child.signal(signal.SIGCONT)
        time.sleep(5)
        assert child.is_running
        child.kill()
        told = accepted_in(child.said)[host]
        cell.count(operations=3 * len(told), faults=1, accepted=float(len(child.said) - before))
    scope = host_scope(host)
    has(running, {ResourceKey(scope, _KIND, name): max(told) for name in ("one", "two")})
    has(running, fresh.write(host, ["one", "two"], max(told) + 100_000))
    shards.stop(host)


@contextmanager
def _deaf(shards: Shards) -> Iterator[tuple[Proxy, str]]:
    """Have a way to Redis that can be cut, and its URL."""
    leads_to, database = shards.kit.redis_url.rpartition(":")[2].split("/")
    with Proxy(int(leads_to)) as proxy:
        yield proxy, f"redis://{LOOPBACK}:{proxy.port}/{database}"


def _size(shards: Shards, address: Address) -> int:
    """Return where a partition ends."""
    client = new_consumer(shards.topology.cluster(address.cluster), "size")
    try:
        return end_offsets(client, address.topic, address.partition)[1]
    finally:
        client.close()


def test_moves_cut_under_publishers(stage: Stage, cell: Cell) -> None:
    """Every entry is deleted while traffic goes to hosts that have moved, and to one that does."""
    cell.is_about(
        "moves",
        "cut",
        "every record of sb.moves deleted under two publishers",
        holds="whatever was accepted is applied; no revision falls, nothing is taken down",
        promises=(1, 2, 5),
    )
    shards = stage.shards
    hosts = [stage.host_id() for _ in range(3)]
    for host in hosts:
        shards.agent(host)
    with stage.traffic(*map(host_scope, hosts)):
        shards.move(Goal(kind="hosts", what=(hosts[0],), to="c2"))
        Topic(shards.topology, "c1", MOVES_TOPIC).cut(0)
        shards.move(Goal(kind="hosts", what=(hosts[1],), to="c2"))
        published = len(shards.history.sent_at)
        eventually(lambda: len(shards.history.sent_at) > published + 100)
    shards.check()
    pen = Pen(shards.publisher())
    for host in hosts:
        has(shards.agents[host], pen.write(host, names(3), 1))
        shards.stop(host)
    cell.count(operations=stage.accepted, faults=1)


# Cut slots.


@pytest.mark.parametrize("state", [pytest.param("runs", marks=pytest.mark.subset), "is off"])
def test_a_slot_cut_under_an_agent(stage: Stage, cell: Cell, state: str) -> None:
    """Records before an offset are deleted; what they told of stays on the node."""
    cell.is_about(
        "slot",
        "cut",
        f"records deleted from the beginning of a slot while its agent {state}",
        holds=_KEPT,
        promises=(1, 2, 4),
    )
    # Of a cluster from which no other test moves anything: nobody copies from a slot that was cut.
    shards, pen, host = stage.shards, Pen(stage.busy[0]), stage.host_id("c3")
    address = slot_of(shards, host)
    topic = Topic(shards.topology, "c3", address.topic)
    begin = _size(shards, address)
    running = shards.agent(host)
    old = pen.write(host, names(6), 1)
    has(running, old)
    if state == "is off":
        node = shards.stop(host)
        pen.write(host, names(4), 2)
        topic.cut(address.partition, begin + 8)
        # Two of the four are gone before they were read, and so is the first word of all six.
        old.update(pen.write(host, names(1, 7), 2))
        running = shards.agent(host, node)
        eventually(lambda: running.agent.counters.resyncs == {"position_lost": 1})
        assert running.agent.counters.snapshots_refused <= 1
    else:
        topic.cut(address.partition)
    has(running, {**old, **pen.write(host, names(2), 3)})
    # One that is away for long, and one that has lost its state, take nothing down either.
    node = shards.stop(host)
    running = shards.agent(host, node)
    has(running, {**old, **pen.write(host, names(2, 20), 1)})
    shards.stop(host)
    running = shards.agent(host, node, fresh=True)
    has(running, {**old, **pen.write(host, names(6), 4)})
    shards.stop(host)
    cell.count(operations=20, faults=1)


@pytest.mark.subset
def test_slots_that_have_lost_their_tails(fleet_factory: FleetFactory, cell: Cell) -> None:
    """The only copies were not on the disk yet when the power went; then the logs grow again.

    Nothing but the epoch of its leader tells such a log from the one that was read.
    """
    cell.is_about(
        "slot",
        "tail lost",
        "the latter half of slots lost with a broker's power, and written again beyond where readers stood",
        holds=_KEPT,
        promises=(1, 2, 4),
    )
    fleet = fleet_factory(2, 1)
    with stage_on(fleet, small_topology(fleet)) as stage:
        shards = stage.shards
        pen = Pen(shards.publisher())
        hosts = [stage.host_id("c2") for _ in range(2)]
        nodes, wanted = {}, {}
        for host in hosts:
            running = shards.agent(host)
            # It reads two partitions: the client library knows their leaders before it is assigned them.
            wanted[host] = pen.write(host, names(20), 1) | pen.join(host, "vpc-of-both")
            has(running, wanted[host])
        nodes = {hosts[1]: shards.stop(hosts[1])}
        fleet.kill("c2")
        for slot in {slot_of(shards, host) for host in hosts}:
            _lose_tail(fleet, slot)
        fleet.start("c2")
        for host in hosts:
            # Half of them come to lie below the position of whoever had read the lost ones.
            wanted[host].update(pen.write(host, names(20, 100), 1))
        for host in hosts:
            running = shards.agents.get(host) or shards.agent(host, nodes[host])
            has(running, wanted[host])
            assert running.agent.counters.resyncs == {"position_lost": 1}
            # Who then looks again finds nothing wrong.
            running = shards.agent(host, shards.stop(host))
            has(running, wanted[host])
            assert running.agent.counters.resyncs == {}
        cell.count(operations=sum(map(len, wanted.values())), faults=1)


def _lose_tail(fleet: LocalFleet, slot: Address) -> None:
    data = fleet.state_dir / "servers" / slot.cluster / "data"
    (segment,) = (data / f"{slot.topic}-{slot.partition}").glob("*.log")
    os.truncate(segment, segment.stat().st_size // 2)


# The journal and the plans, cut.


def test_a_journal_cut_under_everybody(
    fleet_factory: FleetFactory, cell: Cell, tmp_path: Path
) -> None:
    """Redis alone knows the hosts then: nobody may take that for nothing, a rebuild least of all."""
    cell.is_about(
        "journal",
        "cut",
        "every record of sb.directory deleted; then southbound directory verify, and rebuild",
        holds="known hosts go on; a rebuild refuses before it takes anything from Redis, and says why; "
        "one that keeps writes what Redis knows into the journal first",
        promises=(1, 2),
    )
    fleet = fleet_factory(2, 1)
    with stage_on(fleet, small_topology(fleet)) as stage:
        shards = stage.shards
        host = stage.host_id()
        running = shards.agent(host)
        pen = Pen(stage.busy[0])
        has(running, pen.write(host, names(3), 1))
        Topic(shards.topology, "c1", DIRECTORY_TOPIC).cut(0)
        has(running, pen.write(host, names(3), 2))
        rows = shards.kit.rows()
        with pytest.raises(EdgeError, match="begins at offset"):
            shards.directory.rebuild()
        assert shards.kit.rows() == rows
        shards.directory.rebuild(losses="keep")
        assert shards.kit.rows() == rows
        has(running, pen.write(host, names(3), 3))
        shards.stop(host)
        running = shards.agent(host, running.node)
        has(running, Pen(shards.publisher()).write(host, names(3), 4))
    cell.count(operations=12, faults=1, rows=float(sum(map(len, rows.values()))))


def test_plans_cut_under_an_executor(moving: Stage, cell: Cell) -> None:
    """The records of a plan under way are deleted; what it had reserved is given up, and its hosts move."""
    cell.is_about(
        "executor",
        "cut",
        "every record of sb.rebalance deleted between the copies and the decision of a move",
        holds="it is refused; nothing accepted is lost, nothing falls; after shards recover a new plan ends",
        promises=(1, 2, 5),
    )
    shards = moving.shards
    with moving.served(2) as hosts:
        with shards.executor() as executor:
            plan = executor.begin(shards.plan(Goal(kind="hosts", what=tuple(hosts), to="c2")))
        with Child("move", moving.redis_url, plan, armed="executor.precopy.after=kill") as child:
            child.dies_at("executor.precopy.after")
        Topic(shards.topology, "c1", REBALANCE_TOPIC).cut(0)
        with shards.executor() as executor, pytest.raises(SouthboundError):
            executor.run(plan)
        # The slots that it had reserved are nobody's now.
        with shards.executor() as executor:
            found = executor.leftovers()
            assert ({scope.id for scope in found.kept}, found.moves) == (set(hosts), ())
            assert executor.begin_recovery(found) == ""
        shards.move(Goal(kind="hosts", what=tuple(hosts), to="c2"), leave_together=1)
        published = len(shards.history.sent_at)
        eventually(lambda: len(shards.history.sent_at) > published + 50)
    shards.check()
    for host in hosts:
        shards.stop(host)
    cell.count(operations=moving.accepted, faults=1)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("appendjournal", marks=pytest.mark.subset),
        "announcemoves",
        "mark",
        "delta",
    ],
)
def test_plans_cut_behind_the_decision(moving: Stage, cell: Cell, at: str) -> None:
    """Hosts have left, and nothing is left that says who brings their moves to an end."""
    cell.is_about(
        "executor",
        "cut",
        f"every record of sb.rebalance deleted once an executor has died at {at}.after",
        holds="shards recover ends the moves without a restart of an agent; nothing accepted is lost, "
        "nothing falls; the hosts can be moved again",
        promises=(1, 2, 5),
    )
    shards = moving.shards
    with moving.served(2) as hosts:
        with shards.executor() as executor:
            plan = executor.begin(shards.plan(Goal(kind="hosts", what=tuple(hosts), to="c2")))
        with Child("move", moving.redis_url, plan, armed=f"executor.{at}.after=kill") as child:
            child.dies_at(f"executor.{at}.after")
        Topic(shards.topology, "c1", REBALANCE_TOPIC).cut(0)
        with shards.executor() as executor:
            found = executor.leftovers()
            assert ({move.id for move in found.moves}, found.doubts) == (set(hosts), ())
            done = executor.run(executor.begin_recovery(found))
            assert (done.done, done.failed) == (2, {})
            assert executor.leftovers().is_empty
        published = len(shards.history.sent_at)
        eventually(lambda: len(shards.history.sent_at) > published + 50)
    shards.check()
    shards.move(Goal(kind="hosts", what=tuple(hosts), to="c1"), leave_together=1)
    for host in hosts:
        has(shards.agents[host], Pen(moving.busy[0]).write(host, names(1), 1))
        shards.stop(host)
    cell.count(operations=moving.accepted, faults=1)
