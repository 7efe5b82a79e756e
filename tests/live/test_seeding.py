"""Replicas seeded on a real Kafka and Redis: exact, complete after every crash, and sealed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from southbound.directory.directory import Directory
from southbound.directory.moves import MovesLog, MovesTail
from southbound.edge.append import Appender
from southbound.edge.tail import EndAsker, RangeReader
from southbound.errors import Closed, EdgeError, PlanError, StaleMap
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    address_of,
    parse_vpc_placement,
)
from southbound.partitioning.topology import MOVES_TOPIC, Cluster
from southbound.rebalance.announcing import Announcer
from southbound.rebalance.seeding import Seeder
from southbound.rebalance.stream import Stream
from southbound.resources import Op, ResourceKey, Scope, vpc_scope
from southbound.wire.control import MoveEntry, Seal, decode_move, encode_control
from southbound.wire.envelope import FLAG_COPIED, Envelope, decode, encode, encode_spec
from southbound.wire.keys import decode_key, encode_key, scope_prefix, scope_text, seal_key
from tests.live.directory_kit import DirectoryKit, kit_of, prepared_topology

Unique = Callable[[str], str]

_ENOUGH_S = 60.0
_DATABASE = 13


class Crash(Exception):
    """A seeder's process ends here."""


class World:
    """A directory over pools of its own, and a hand that writes into and reads from slots."""

    def __init__(self, directory: Directory, unique: Unique) -> None:
        self.directory = directory
        self.unique = unique
        self.seeders: list[Seeder] = []

    def seeder(self) -> Seeder:
        """Return a seeder as another process would have it."""
        made = Seeder(self.directory, client_id="seeder", timeout_s=_ENOUGH_S)
        self.seeders.append(made)
        return made

    def homed(self, cluster: str = "c1") -> str:
        """Return a new VPC with its home in a cluster."""
        vpc = self.unique("vpc")
        self.directory.ensure_vpcs({vpc: cluster})
        return vpc

    def row(self, vpc: str) -> VpcPlacement:
        """Return where a VPC lives."""
        return self.directory.vpcs([vpc])[vpc]

    def replica(self, vpc: str, cluster: str) -> Placement:
        """Return a VPC's replica in a cluster."""
        found = self.row(vpc).in_cluster(cluster, self.directory.topology)
        assert found is not None
        return found

    def write(self, vpc: str, at: Placement, *records: tuple[bytes, bytes]) -> None:
        """Append records to a replica's slot."""
        self.write_to(address_of("vpc", vpc, at, self.directory.topology), *records)

    def write_to(self, address: Address, *records: tuple[bytes, bytes]) -> None:
        """Append records to a slot."""
        cluster = self.directory.topology.cluster(address.cluster)
        appender = Appender(
            cluster, address.topic, "hand", timeout_s=_ENOUGH_S, partition=address.partition
        )
        appender.append(list(records))
        appender.close()

    def records(self, vpc: str, at: Placement) -> list[tuple[bytes, bytes]]:
        """Return everything in a replica's slot from its start on, other VPCs' records too."""
        address = address_of("vpc", vpc, at, self.directory.topology)
        cluster = self.directory.topology.cluster(address.cluster)
        asker = EndAsker(cluster, address.topic, "look", partition=address.partition)
        reader = RangeReader(cluster, address.topic, "look", partition=address.partition)
        found = reader.read(at.start, asker.end(_ENOUGH_S), _ENOUGH_S)
        reader.close()
        asker.close()
        return [(bytes(m.key() or b""), bytes(m.value() or b"")) for m in found]

    def state(self, vpc: str, cluster: str) -> dict[str, tuple[int, Op]]:
        """Return what a reader of a replica ends with: the last record of each key, by its id."""
        found = {}
        for key, value in self.records(vpc, self.replica(vpc, cluster)):
            name = decode_key(key)
            if name.scope == vpc_scope(vpc) and not name.kind.startswith("!"):
                envelope = decode(value)
                found[name.id] = (envelope.revision, envelope.op)
        return found

    def seals(self, vpc: str, cluster: str) -> int:
        """Return how many seals of a replica's epoch are in its slot."""
        at = self.replica(vpc, cluster)
        wanted = seal_key(vpc_scope(vpc), at.epoch)
        return [key for key, _ in self.records(vpc, at)].count(wanted)


def record(
    vpc: str,
    id: str,
    revision: int,
    op: Op = Op.UPSERT,
    changeset: str = "set",
    index: int = 0,
    count: int = 1,
) -> tuple[bytes, bytes]:
    """Return a neighbour's record, sent now."""
    key = encode_key(ResourceKey(vpc_scope(vpc), "neighbor", id))
    spec = encode_spec({"n": revision} if op is Op.UPSERT else {})
    now_us = time.time_ns() // 1000
    return key, encode(Envelope(revision, op, 1, changeset, index, count, now_us, 0, spec))


@pytest.fixture(scope="module")
def kit(fleet: LocalFleet) -> Iterator[DirectoryKit]:
    """A Redis database of this file's own, over the shared fleet's journals."""
    with kit_of(fleet, prepared_topology(fleet), _DATABASE) as made:
        yield made


@pytest.fixture(scope="module")
def directory(kit: DirectoryKit) -> Directory:
    """One open directory for the tests of this file."""
    return kit.directory()


@pytest.fixture
def world(directory: Directory, unique: Unique) -> Iterator[World]:
    """A hand on the directory's slots; its seeders are closed with the test."""
    made = World(directory, unique)
    yield made
    for seeder in made.seeders:
        seeder.close()


def test_a_replica_has_exactly_the_homes_state(world: World) -> None:
    """Highest revisions, deletes too, arrive as copies; records of other VPCs do not."""
    vpc, other = world.homed(), world.unique("vpc")
    world.write(
        vpc,
        world.replica(vpc, "c1"),
        record(vpc, "a", 1),
        record(vpc, "a", 3),
        record(vpc, "a", 2),
        record(vpc, "b", 1),
        record(vpc, "b", 2, Op.DELETE),
        record(other, "foreign", 9),
    )
    row = world.seeder().ensure(vpc, "c2")
    assert world.row(vpc) == row
    assert row.epoch == 2
    assert world.state(vpc, "c2") == {"a": (3, Op.UPSERT), "b": (2, Op.DELETE)}
    copied = world.records(vpc, world.replica(vpc, "c2"))
    assert all(key.startswith(scope_prefix(vpc_scope(vpc))) for key, _ in copied)
    envelopes = [decode(value) for key, value in copied if b"!" not in key]
    assert {(envelope.epoch, envelope.flags) for envelope in envelopes} == {(2, FLAG_COPIED)}
    assert world.seals(vpc, "c2") == 1


def test_an_unmentioned_vpc_gets_its_home(world: World) -> None:
    """There is nothing to copy for a VPC that nobody has mentioned: its home is made there."""
    vpc = world.unique("vpc")
    row = world.seeder().ensure(vpc, "c2")
    assert (row.epoch, len(row.replicas)) == (1, 1)
    assert row.in_cluster("c2", world.directory.topology) == row.home


def test_the_home_needs_nothing(world: World) -> None:
    """A home that never moved is complete as it is."""
    vpc = world.homed()
    assert world.seeder().ensure(vpc, "c1") == world.row(vpc)
    assert world.seals(vpc, "c1") == 0


def test_an_empty_vpc_is_sealed_too(world: World) -> None:
    """A replica of a VPC without resources has its seal."""
    vpc = world.homed()
    world.seeder().ensure(vpc, "c2")
    assert world.state(vpc, "c2") == {}
    assert world.seals(vpc, "c2") == 1


def test_ensuring_again_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen sealed is known, and no broker is asked; another process finds the seal."""
    vpc = world.homed()
    world.write(vpc, world.replica(vpc, "c1"), record(vpc, "a", 1))
    seeder = world.seeder()
    row = seeder.ensure(vpc, "c2")
    before = world.records(vpc, world.replica(vpc, "c2"))
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "__init__", _unwanted)
        assert seeder.ensure(vpc, "c2") == row
    assert world.seeder().ensure(vpc, "c2") == row
    assert world.records(vpc, world.replica(vpc, "c2")) == before


def _unwanted(*_args: object) -> None:
    raise AssertionError("a slot is looked at")


def test_fences_are_told(world: World) -> None:
    """The home cluster's moves hold the whole row."""
    vpc = world.homed()
    row = world.seeder().ensure(vpc, "c2")
    entry = moves_entry(world, vpc)
    assert (entry.epoch, entry.row) == (2, row.row())


def moves_entry(world: World, vpc: str) -> MoveEntry:
    """Return what `sb.moves` of c1 says of a VPC."""
    tail = MovesTail(world.directory.topology.cluster("c1"), client_id="look")
    tail.start()
    tail.look(_ENOUGH_S)
    entry = tail.entry(vpc_scope(vpc))
    tail.close()
    assert entry is not None
    return entry


_STEPS: list[tuple[type, str, int]] = [
    (Directory, "reserve_slot", 0),
    (Stream, "begin_at_end", 0),
    (Stream, "append", 0),  # the pre-copy
    (Directory, "propose_vpc", 0),
    (Announcer, "announce", 0),
    (MovesLog, "append_all", 0),
    (Stream, "append", 1),  # what the home gained
    (Stream, "append", 2),  # mending
    (Stream, "append", 3),  # the seal
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "step", "nth"), _STEPS)
def test_a_crash_at_any_step_is_completed(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, nth: int, when: str
) -> None:
    """Another seeder completes what one left that ended before or after a step."""
    vpc = world.homed()
    home = world.replica(vpc, "c1")
    world.write(vpc, home, record(vpc, "a", 2), record(vpc, "b", 1))
    with monkeypatch.context() as patch:
        crash(patch, owner, step, nth, when)
        with pytest.raises(Crash):
            world.seeder().ensure(vpc, "c2")
    # Publishers go on meanwhile; what they write to the home alone must be carried too.
    world.write(vpc, home, record(vpc, "a", 3), record(vpc, "c", 1))
    # (After the seal a publisher would have written there too: nothing is left to carry.)
    was_sealed = world.row(vpc).epoch == 2 and world.seals(vpc, "c2") > 0
    row = world.seeder().ensure(vpc, "c2")
    assert row.epoch == 2
    assert world.seals(vpc, "c2") == 1
    assert moves_entry(world, vpc).row == row.row()
    wanted = {"a": (3, Op.UPSERT), "b": (1, Op.UPSERT), "c": (1, Op.UPSERT)}
    if was_sealed:
        wanted = {"a": (2, Op.UPSERT), "b": (1, Op.UPSERT)}
    assert world.state(vpc, "c2") == wanted


def crash(patch: pytest.MonkeyPatch, owner: type, step: str, nth: int, when: str) -> None:
    """Let the n-th call of a method end the process, before or after it has its effect."""
    real = getattr(owner, step)
    calls = iter(range(1_000))

    def dying(*args: Any, **named: Any) -> Any:
        if next(calls) != nth:
            return real(*args, **named)
        if when == "after":
            real(*args, **named)
        raise Crash

    patch.setattr(owner, step, dying)


def test_inversions_are_mended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that landed behind a newer direct write does not stay the last record of its key."""
    vpc = world.homed()
    world.write(vpc, world.replica(vpc, "c1"), record(vpc, "a", 1), record(vpc, "b", 1))
    real = Stream.append
    calls = iter(range(1_000))

    def overtaken(stream: Stream, records: Any) -> int:
        records = list(records)
        if next(calls) == 0:
            # A publisher that knows the row already is quicker than this copy.
            world.write_to(stream.address, record(vpc, "a", 7))
        return real(stream, records)

    monkeypatch.setattr(Stream, "append", overtaken)
    world.seeder().ensure(vpc, "c2")
    assert world.state(vpc, "c2") == {"a": (7, Op.UPSERT), "b": (1, Op.UPSERT)}
    replica = world.replica(vpc, "c2")
    revisions = [decode(v).revision for k, v in world.records(vpc, replica) if k.endswith(b"a")]
    assert revisions == [7, 1, 7]


def test_a_young_incomplete_changeset_is_left_out(world: World) -> None:
    """Half of a changeset is not carried, but what was there before it is."""
    vpc = world.homed()
    world.write(
        vpc,
        world.replica(vpc, "c1"),
        record(vpc, "a", 1),
        record(vpc, "a", 2, changeset="half", index=0, count=2),
        record(vpc, "b", 1, changeset="whole", index=0, count=2),
        record(vpc, "c", 1, changeset="whole", index=1, count=2),
    )
    world.seeder().ensure(vpc, "c2")
    wanted = {"a": (1, Op.UPSERT), "b": (1, Op.UPSERT), "c": (1, Op.UPSERT)}
    assert world.state(vpc, "c2") == wanted


def test_seeders_at_once_agree(world: World, kit: DirectoryKit) -> None:
    """Many seeders with directories of their own end with one replica, complete and sealed."""
    vpc = world.homed()
    records = [record(vpc, f"n{number}", 1 + number % 3) for number in range(200)]
    world.write(vpc, world.replica(vpc, "c1"), *records)
    seeders = [
        Seeder(kit.directory(), client_id=f"seeder-{number}", timeout_s=_ENOUGH_S)
        for number in range(4)
    ]
    ready = threading.Barrier(len(seeders))

    def run(seeder: Seeder) -> VpcPlacement:
        ready.wait()
        return seeder.ensure(vpc, "c2")

    with ThreadPoolExecutor(len(seeders)) as threads:
        rows = set(map(VpcPlacement.row, threads.map(run, seeders)))
    for seeder in seeders:
        seeder.close()
    assert len(rows) == 1
    assert world.row(vpc).epoch == 2
    wanted = {f"n{number}": (1 + number % 3, Op.UPSERT) for number in range(200)}
    assert world.state(vpc, "c2") == wanted
    assert world.seals(vpc, "c2") >= 1


def test_many_are_ensured_at_once(world: World) -> None:
    """Each pair has its own outcome; one that cannot be does not spoil the others."""
    vpcs = [world.homed() for _ in range(6)]
    for vpc in vpcs:
        world.write(vpc, world.replica(vpc, "c1"), record(vpc, "a", 1))
    wanted = [(vpc, "c2") for vpc in vpcs]
    outcomes = world.seeder().ensure_many([*wanted, *wanted, (vpcs[0], "nowhere")])
    assert isinstance(outcomes.pop((vpcs[0], "nowhere")), PlanError)
    assert outcomes == {(vpc, "c2"): world.row(vpc) for vpc in vpcs}
    assert all(world.state(vpc, "c2") == {"a": (1, Op.UPSERT)} for vpc in vpcs)


def test_a_stale_announcement_is_refused_and_the_newer_row_stays_last(world: World) -> None:
    """Who would tell the fences of an older row learns the newer one."""
    vpc = world.homed()
    old = world.row(vpc)
    row = world.seeder().ensure(vpc, "c2")
    announcer = Announcer("late", _ENOUGH_S)
    with pytest.raises(StaleMap) as caught:
        announcer.announce(vpc_scope(vpc), old, world.directory.topology.cluster("c1"))
    announcer.close()
    assert caught.value.current == row
    assert moves_entry(world, vpc).row == row.row()


def test_an_older_row_that_landed_last_is_followed_by_the_newer_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction keeps the last entry, so it must be the one of the highest epoch."""
    vpc = world.homed()
    home = world.row(vpc).home
    older, newer = VpcPlacement(2, (home,)), VpcPlacement(3, (home,))
    cluster = world.directory.topology.cluster("c1")
    real = MovesLog.append_all

    def overtaken(log: MovesLog, rows: Iterable[tuple[Scope, int, str]]) -> list[int]:
        given = list(rows)
        for scope, epoch, _ in given:
            if epoch == 2:
                real(log, [(scope, 3, newer.row())])
        return real(log, given)

    monkeypatch.setattr(MovesLog, "append_all", overtaken)
    announcer = Announcer("overtaken", _ENOUGH_S)
    with pytest.raises(StaleMap) as caught:
        announcer.announce(vpc_scope(vpc), older, cluster)
    announcer.close()
    assert caught.value.current == newer
    entries = [value for key, value in moves_log(cluster) if key == scope_text(vpc_scope(vpc))]
    # The last one twice: until one was acknowledged, nobody knew the brokers' time.
    assert [decode_move(value).epoch for value in entries] == [3, 2, 3, 3]
    assert decode_move(entries[-1]).written_us == pytest.approx(time.time() * 1e6, abs=60e6)


def test_who_announces_first_goes_by_the_brokers_clock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry by a clock that is years behind would be pruned, and its null believed, at once."""
    vpc = world.homed()
    row = VpcPlacement(2, (world.row(vpc).home,))
    real = time.time_ns
    monkeypatch.setattr("southbound.edge.log_time.time.time_ns", lambda: real() - 10**18)
    announcer = Announcer("behind", _ENOUGH_S)
    announcer.announce(vpc_scope(vpc), row, world.directory.topology.cluster("c1"))
    announcer.close()
    entry = moves_entry(world, vpc)
    assert entry.epoch == 2
    assert entry.written_us == pytest.approx(real() / 1e3, abs=60e6)


def moves_log(cluster: Cluster) -> list[tuple[str, bytes]]:
    """Return every entry of a cluster's `sb.moves`, as it stands in the log."""
    asker, reader = (
        EndAsker(cluster, MOVES_TOPIC, "look"),
        RangeReader(cluster, MOVES_TOPIC, "look"),
    )
    found = reader.read(0, asker.end(_ENOUGH_S), _ENOUGH_S)
    reader.close()
    asker.close()
    return [(bytes(m.key() or b"").decode(), bytes(m.value() or b"")) for m in found]


def test_a_closed_seeder_says_so(world: World) -> None:
    """Nothing is begun after the end."""
    seeder = world.seeder()
    seeder.close()
    with pytest.raises(Closed):
        seeder.ensure(world.unique("vpc"), "c1")


def test_a_home_that_is_being_moved_is_waited_for(world: World) -> None:
    """Nothing is seeded from a home which is not sealed yet, and the home itself is not ready."""
    vpc = world.homed()
    old = world.row(vpc).home
    world.write(vpc, old, record(vpc, "a", 1))
    moved = msgspec.structs.replace(old, probe=1 - old.probe, epoch=2, start=0)
    end = len(world.records(vpc, moved))
    moved = msgspec.structs.replace(moved, start=end)
    world.directory.propose_vpc(vpc, (moved,), expected_epoch=1)
    hasty = Seeder(world.directory, client_id="hasty", timeout_s=3.0)
    world.seeders.append(hasty)
    for cluster in ("c1", "c2"):
        with pytest.raises(EdgeError, match="is being moved"):
            hasty.ensure(vpc, cluster)
    assert world.row(vpc).replicas == (moved,)
    world.write(vpc, moved, record(vpc, "a", 1))
    seal = (seal_key(vpc_scope(vpc), 2), encode_control(Seal(2)))
    waiting = world.seeder()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(waiting.ensure, vpc, "c2")
        world.write(vpc, moved, seal)
        row = answer.result(_ENOUGH_S)
    assert row.epoch == 3
    assert world.state(vpc, "c2") == {"a": (1, Op.UPSERT)}
    assert waiting.ensure(vpc, "c1") == row


def test_a_publisher_writing_throughout_loses_nothing(world: World) -> None:
    """What is fenced by the home's moves as a publisher does is in the replica once it is sealed.

    The publisher believes in the row that it knew at first until the fence turns it.
    """
    vpc = world.homed()
    topology = world.directory.topology
    known = world.row(vpc)
    tail = MovesTail(topology.cluster("c1"), client_id="fence")
    tail.start()
    accepted: dict[str, tuple[int, Op]] = {}
    sealed = threading.Event()

    def publish() -> None:
        row, after = known, 5
        for number in range(2_000):
            if sealed.is_set():
                after -= 1
            if after == 0:
                return
            row = deliver(row, f"n{number % 7}", 1 + number)
            accepted[f"n{number % 7}"] = (1 + number, Op.UPSERT)

    def deliver(row: VpcPlacement, id: str, revision: int) -> VpcPlacement:
        done: set[str] = set()
        while True:
            for replica in row.replicas:
                if replica.pool not in done:
                    world.write(vpc, replica, record(vpc, id, revision))
                    done.add(replica.pool)
            tail.look(_ENOUGH_S)
            entry = tail.entry(vpc_scope(vpc))
            if entry is None or entry.epoch <= row.epoch:
                return row
            row = parse_vpc_placement(entry.row)

    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(publish)
        while len(accepted) < 3:
            time.sleep(0.001)
        world.seeder().ensure(vpc, "c2")
        sealed.set()
        publishing.result(_ENOUGH_S)
    tail.close()
    assert world.state(vpc, "c2") == accepted == world.state(vpc, "c1")
