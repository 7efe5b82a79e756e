"""Janitors on a real Kafka and Redis: what compaction must not lose, and what it may."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are its public names
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from typer.testing import CliRunner

from southbound.cli.main import app
from southbound.directory import Directory
from southbound.directory.keys import PREFIX
from southbound.directory.moves import MovesTail
from southbound.directory.rollcall import RollCall
from southbound.edge.append import Appender
from southbound.edge.redis import RedisLink
from southbound.edge.slots import Outgoing, SlotWriter
from southbound.edge.tail import EndAsker, RangeReader
from southbound.errors import EdgeError
from southbound.janitor.judging import Why
from southbound.janitor.ledgers import Ledgers
from southbound.janitor.service import Janitor
from southbound.janitor.tally import MENDED_JOURNAL, MENDED_MOVES, PRUNED_MOVES
from southbound.local.fleet import LocalFleet
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.parts import AgentParts
from southbound.nca.service import Agent
from southbound.partitioning.placement import Address, Placement, address_of
from southbound.partitioning.plan import Goal
from southbound.partitioning.topology import (
    DIRECTORY_TOPIC,
    MOVES_TOPIC,
    PublicKind,
    Topology,
    public_topic_name,
)
from southbound.producer import Publisher
from southbound.resources import (
    PUBLIC_SCOPE,
    Changeset,
    Op,
    Resource,
    ResourceKey,
    Scope,
    host_scope,
    vpc_scope,
)
from southbound.settings import JanitorSettings, PublisherSettings
from southbound.wire.control import (
    JournalEntry,
    Marker,
    MoveEntry,
    Seal,
    decode_journal,
    decode_move,
    encode_control,
)
from southbound.wire.envelope import EMPTY_SPEC, FLAG_COPIED, Envelope, decode, encode
from southbound.wire.keys import encode_key, handover_key, scope_prefix, scope_text, seal_key
from tests.live.directory_kit import DirectoryKit, eventually, kit_on, own_pools
from tests.live.shards_kit import Shards

Unique = Callable[[str], str]
Records = list[tuple[bytes, bytes | None]]

_ENOUGH_S = 60.0
_DATABASE = 9
_DAY_S = 86_400.0


class World:
    """Pools of this file's own, a hand that writes into them, and janitors."""

    def __init__(self, kit: DirectoryKit, unique: Unique) -> None:
        self.kit = kit
        self.unique = unique
        self.directory: Directory = kit.directory()

    @property
    def topology(self) -> Topology:
        """The topology of this file."""
        return self.kit.topology

    def janitor(self, state_dir: Path | None = None, **changes: Any) -> Janitor:
        """Return a janitor of this file's pools that does not wait for hours."""
        wanted: dict[str, Any] = {
            "pools": tuple(
                [pool.id for pool in self.topology.pools]
                + [f"public/{public.kind}" for public in self.topology.public]
            ),
            "cleanup_after_s": 0.0,
            "due_every_s": 0.0,
            **changes,
        }
        return Janitor(
            JanitorSettings(**wanted),
            self.kit.settings(client_id="janitor"),
            state_dir,
            self.topology,
        )

    def swept(self, **changes: Any) -> Janitor:
        """Return a janitor that has gone through everything once."""
        janitor = self.janitor(**changes)
        janitor.run_once()
        return janitor

    def host(self) -> Scope:
        """Return a new, registered host of c1."""
        host = self.unique("host")
        self.directory.register_hosts({host: "az-a"})
        return host_scope(host)

    def vpc(self) -> Scope:
        """Return a new VPC with its home in c1."""
        vpc = self.unique("vpc")
        self.directory.ensure_vpcs({vpc: "c1"})
        return vpc_scope(vpc)

    def address(self, scope: Scope, placement: Placement | None = None) -> Address:
        """Return where a scope's stream is, a VPC's in its home."""
        if placement is None and scope.cls == "host":
            placement = self.directory.hosts([scope.id])[scope.id]
        elif placement is None:
            placement = self.directory.vpcs([scope.id])[scope.id].home
        return address_of(scope.cls.value, scope.id, placement, self.topology)

    def write(self, address: Address, *records: tuple[bytes, bytes | None]) -> None:
        """Append records to a slot."""
        appender = self._appender(address)
        appender.append(list(records))
        appender.close()

    def _appender(self, address: Address) -> Appender:
        cluster = self.topology.cluster(address.cluster)
        return Appender(
            cluster, address.topic, "hand", timeout_s=_ENOUGH_S, partition=address.partition
        )

    def end(self, address: Address) -> int:
        """Return where a slot ends."""
        cluster = self.topology.cluster(address.cluster)
        asker = EndAsker(cluster, address.topic, "look", partition=address.partition)
        end = asker.end(_ENOUGH_S)
        asker.close()
        return end

    def records(self, address: Address, start: int = 0) -> Records:
        """Return what is in a slot, from an offset on."""
        cluster = self.topology.cluster(address.cluster)
        reader = RangeReader(cluster, address.topic, "look", partition=address.partition)
        found = reader.read(start, self.end(address), _ENOUGH_S)
        reader.close()
        return [
            (bytes(m.key() or b""), None if m.value() is None else bytes(m.value() or b""))
            for m in found
        ]

    def revisions(self, scope: Scope, id: str, address: Address) -> list[int | None]:
        """Return the revisions of a resource in a slot; None for a null."""
        wanted = named(scope, id)
        return [
            None if value is None else decode(value).revision
            for key, value in self.records(address)
            if key == wanted
        ]


def named(scope: Scope, id: str, kind: str = "router") -> bytes:
    """Return a resource's key."""
    return encode_key(ResourceKey(scope, kind, id))


def value(revision: int, op: Op = Op.UPSERT, *, copied_at: int = 0, age_s: float = 0.0) -> bytes:
    """Return a record's value; `copied_at`: the epoch of a copy."""
    sent_us = int((time.time() - age_s) * 1e6)
    flags = FLAG_COPIED if copied_at else 0
    return encode(Envelope(revision, op, copied_at or 1, "", 0, 1, sent_us, flags, EMPTY_SPEC))


@pytest.fixture(scope="module")
def kit(fleet: LocalFleet) -> Iterator[DirectoryKit]:
    """A Redis database and pools of this file's own."""
    public = (PublicKind(kind=f"elb{uuid.uuid4().hex[:8]}", cluster="c1", partitions=1),)
    topology = own_pools(fleet, ("host", "other", "vpc"), 3)
    with kit_on(fleet, msgspec.structs.replace(topology, public=public), _DATABASE) as made:
        yield made


@pytest.fixture
def world(kit: DirectoryKit, unique: Unique) -> World:
    """A hand on the slots, and a directory of this test's own."""
    return World(kit, unique)


# Inversions.


def test_what_was_published_in_inverse_order_outlives_compaction(
    world: World, tmp_path: Path
) -> None:
    """Two control planes write 6, then 5: compaction would keep 5, and a fresh node would get it."""
    host, vpc = world.host(), world.vpc()
    first, second = publisher(world), publisher(world)
    for sender, revision in ((first, 6), (second, 5)):
        network = Resource(vpc, "vpc", vpc.id, revision, {"name": f"r{revision}"})
        port = Resource(host, "port", "p", revision, {"vpc_id": vpc.id, "mtu": revision})
        for number, one in enumerate((network, port)):
            changeset = Changeset(world.unique(f"set-{number}"), (one,))
            sender.publish(changeset).accepted.result(_ENOUGH_S)
    first.close()
    second.close()
    janitor = world.swept()
    assert janitor.tally.repairs[Why.INVERSION] == 2
    compact(world, [(world.address(host), host), (world.address(vpc), vpc)])
    applier = MemoryApplier()
    parts = AgentParts.make(lambda: Directory(world.kit.settings(visitor=True), world.topology))
    agent = Agent.sharing(parts, host=host.id, state_dir=tmp_path, applier=applier)
    agent.start()
    try:
        wanted = {("vpc", vpc.id): 6, ("port", "p"): 6}
        eventually(
            lambda: (
                {(key.kind, key.id): one[0] for key, one in applier.resources.items()} == wanted
            ),
            saying=lambda: applier.resources,
        )
    finally:
        agent.stop()
        parts.close()


def publisher(world: World) -> Publisher:
    """Return one more publisher, as another control plane has it."""
    made = Publisher(world.kit.directory(), PublisherSettings(validate_specs=False))
    made.start()
    return made


def compact(world: World, slots: Sequence[tuple[Address, Scope]]) -> None:
    """Let the broker thin slots until one record of each key is left of the scopes in them."""
    quick = {
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": "500",
        "segment.ms": "500",
        "min.cleanable.dirty.ratio": "0.01",
    }
    configure(world, [address for address, _ in slots], quick)

    def is_thin() -> bool:
        for address, _ in slots:
            # A segment is closed by the first record after its time.
            world.write(address, (b"roll", b"x"))
        return all(is_compacted(world, *slot) for slot in slots)

    eventually(is_thin)
    day, hour = "86400000", "3600000"
    slow = {"segment.ms": day, "min.compaction.lag.ms": hour, "max.compaction.lag.ms": day}
    configure(world, [address for address, _ in slots], slow)


def is_compacted(world: World, address: Address, scope: Scope) -> bool:
    """Tell whether each key of a scope is in a slot just once."""
    keys = [key for key, _ in world.records(address) if key.startswith(scope_prefix(scope))]
    return len(keys) == len(set(keys))


def configure(world: World, addresses: Sequence[Address], settings: dict[str, str]) -> None:
    """Change settings of slots' topics."""
    bootstrap = ",".join(world.topology.cluster("c1").bootstrap)
    entries = [
        ConfigEntry(name, one, incremental_operation=AlterConfigOpType.SET)
        for name, one in settings.items()
    ]
    topics = {address.topic for address in addresses}
    resources = [
        ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries) for topic in topics
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for answer in admin.incremental_alter_configs(resources).values():
        answer.result(_ENOUGH_S)


def test_a_running_janitor_notices_what_comes_and_remembers_where_it_was(
    world: World, tmp_path: Path
) -> None:
    """It reads what is new, and a slot as a whole only in doubt; a restart begins nothing anew."""
    host = world.host()
    address = world.address(host)
    world.write(address, *((named(host, f"k{number}"), value(6)) for number in range(300)))
    janitor = world.janitor(tmp_path, sweep_every_s=0.05)
    with running(janitor):
        eventually(lambda: janitor.status().ready, saying=janitor.status)
        world.write(address, (named(host, "k7"), value(5)), (named(host, "new"), value(1)))
        eventually(lambda: janitor.tally.repairs[Why.INVERSION] >= 1)
        eventually(lambda: world.revisions(host, "k7", address) == [6, 5, 6])
    assert janitor.status().live is False
    world.write(address, (named(host, "k8"), value(7)))
    again = world.janitor(tmp_path, sweep_every_s=0.05)
    with running(again):
        eventually(lambda: again.tally.sweeps >= 2)
        eventually(lambda: again.tally.slots_glanced >= 1)
        world.write(address, (named(host, "k8"), value(6)))
        eventually(lambda: world.revisions(host, "k8", address) == [6, 7, 6, 7])
    assert again.tally.slots_looked <= 1, "only the slot that raised a doubt"


class running:  # noqa: N801  # reads as a phrase
    """Runs a janitor on a thread for as long as the block lasts."""

    def __init__(self, janitor: Janitor) -> None:
        self._janitor = janitor
        self._thread = threading.Thread(target=janitor.run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._janitor.stop()
        self._thread.join(_ENOUGH_S)
        assert not self._thread.is_alive()


def test_two_janitors_at_once_leave_what_one_leaves(world: World) -> None:
    """In slots of hosts, VPCs and a public kind; a third finds nothing left to do."""
    public = Address("c1", public_topic_name(world.topology.public[0].kind), 0)
    places = [(PUBLIC_SCOPE, public)]
    places += [(scope, world.address(scope)) for scope in [world.host() for _ in range(4)]]
    places += [(scope, world.address(scope)) for scope in [world.vpc() for _ in range(4)]]
    older = value(5, age_s=8 * _DAY_S)
    for scope, address in places:
        inverse = ((named(scope, id), one) for id in "abc" for one in (value(6), older))
        world.write(address, *inverse)
    janitors = [world.janitor(client_id=f"janitor-{number}") for number in range(2)]
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(janitor.run_once) for janitor in janitors]:
            done.result(120)
    assert sum(janitor.tally.repairs[Why.INVERSION] for janitor in janitors) >= 3 * len(places)
    third = world.swept()
    assert not third.tally.repairs
    assert third.status().reasons == ()
    for scope, address in places:
        for id in ("a", "b", "c"):
            found = world.revisions(scope, id, address)
            assert found[-1] == 6
            assert len(found) <= 4


def test_a_sweep_leaves_a_sign_of_life(world: World) -> None:
    """For whoever asks if a janitor is at work; a dry run is none."""
    for name in world.kit.redis.keys(f"{PREFIX}at_work:*"):
        world.kit.redis.delete(name)
    with closing(RedisLink(world.kit.redis_url, timeout_s=5.0, client_name="look")) as link:
        world.swept(dry_run=True)
        assert RollCall(link).signs() == []
        world.swept()
        (sign,) = RollCall(link).signs()
    assert (sign.service, sign.troubles) == ("janitor", ())
    # Two clusters, three pools of three slots each, and one partition of public resources.
    assert sign.saying.startswith("swept 19 slots (")


# Tombstones.


def test_a_tombstone_behind_a_re_creation_is_mended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The null lands behind what somebody created meanwhile, which is then appended again."""
    host = world.host()
    address, key = world.address(host), named(host, "a")
    world.write(address, (key, value(5, Op.DELETE)), (named(host, "kept"), value(1)))
    real = SlotWriter.append
    overtaken: list[bool] = []

    def append(writer: SlotWriter, records: Sequence[Outgoing]) -> None:
        if not overtaken and any(record.key == key for record in records):
            overtaken.append(True)
            world.write(address, (key, value(6)))
        real(writer, records)

    monkeypatch.setattr(SlotWriter, "append", append)
    janitor = world.janitor(delete_retention_s=0.01)
    time.sleep(0.05)  # the delete gets older than the retention
    janitor.run_once()
    assert world.revisions(host, "a", address) == [5, 6, None, 6]
    assert world.revisions(host, "kept", address) == [1]
    notes = [(note.why, note.key) for note in janitor.notes() if host.id in note.key]
    assert notes == [
        (Why.TOMBSTONE, f"h:{host.id}:router:a"),
        (Why.ANSWER, f"h:{host.id}:router:a"),
    ]


def test_while_a_journal_is_away_nothing_is_erased_and_nothing_passed_by(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inversions are repaired all the same, and of hosts it did not know as soon as it does."""
    known, other = world.host(), world.host()
    address = world.address(known)
    while world.address(other) == address:
        other = world.host()
    janitor = world.janitor(delete_retention_s=0.01)
    janitor._books.open()
    janitor._directory.open()
    janitor._sweep_once(thorough=False)
    monkeypatch.setattr(Ledgers, "sync", lambda *_: [EdgeError("away", retryable=True)])
    new = next(
        host for host in (world.host() for _ in range(100)) if world.address(host) == address
    )
    world.write(
        address,
        *((named(host, "a"), value(revision)) for host in (known, new) for revision in (6, 5)),
    )
    world.write(world.address(other), (named(other, "gone"), value(1, Op.DELETE)))
    time.sleep(0.05)  # the delete gets older than the retention
    janitor._sweep_once(thorough=False)
    assert world.revisions(known, "a", address) == [6, 5, 6]
    assert world.revisions(new, "a", address) == [6, 5]
    assert world.revisions(other, "gone", world.address(other)) == [1]
    assert janitor.status().reasons[0] == "away"
    monkeypatch.undo()
    janitor._sweep_once(thorough=False)
    janitor._close()
    assert world.revisions(new, "a", address) == [6, 5, 6]
    assert world.revisions(other, "gone", world.address(other)) == [1, None]


# Moved scopes.


def move(world: World, host: Scope, pool: str, probe: int) -> Placement:
    """Move a host by hand to another slot; the copies and everything else are there afterwards."""
    old = world.directory.hosts([host.id])[host.id]
    target = Placement(pool, probe, old.epoch + 1, 0)
    at = world.address(host, target)
    new = msgspec.structs.replace(target, start=world.end(at))
    assert world.directory.decide_rows({host: new.row()}) == {host: new.row()}
    marker = encode_control(Marker(new.epoch, new.row(), new.start))
    world.write(world.address(host, old), (handover_key(host, new.epoch), marker))
    last = {
        key: one
        for key, one in world.records(world.address(host, old), old.start)
        if key.startswith(scope_prefix(host)) and b"!" not in key and one is not None
    }
    copies = [
        (key, value(decode(one).revision, decode(one).op, copied_at=new.epoch))
        for key, one in last.items()
    ]
    world.write(at, *copies, (seal_key(host, new.epoch), encode_control(Seal(new.epoch))))
    return new


def test_a_moved_hosts_records_go_its_marker_stays_and_it_can_return(world: World) -> None:
    """Not before everything is sealed where it went; and never again what it has since."""
    host = world.host()
    old = world.directory.hosts([host.id])[host.id]
    there = world.address(host)
    stays = next(one for one in (world.host() for _ in range(100)) if world.address(one) == there)
    world.write(there, (named(stays, "n"), value(1)))
    world.write(
        there, (named(host, "a"), value(1)), (named(host, "a"), value(2)),
        (named(host, "b"), value(1, Op.DELETE)),
    )  # fmt: skip
    pool = next(pool.id for pool in world.topology.pools if pool.id.endswith("c2-host"))
    new = move(world, host, pool, 0)
    janitor = world.swept()
    assert janitor.tally.repairs[Why.CLEAN] >= 2
    last = dict(world.records(there))
    assert (last[named(host, "a")], last[named(host, "b")]) == (None, None)
    assert last[handover_key(host, 2)] is not None
    assert last[named(stays, "n")] is not None
    assert dict(world.records(world.address(host)))[named(host, "a")] is not None
    back = move(world, host, old.pool, old.probe)
    assert (world.address(host), back.epoch, new.epoch) == (there, 3, 2)
    world.write(there, (named(host, "c"), value(1)))
    world.swept()
    found = {key: one for key, one in world.records(there, back.start) if b"!" not in key}
    kept = {key for key, one in found.items() if one is not None}
    assert {named(host, id) for id in "abc"} <= kept


def test_what_is_not_sealed_elsewhere_stays(world: World) -> None:
    """Whoever takes the move up again has no other source; a dry run writes nothing at all."""
    host = world.host()
    old = world.directory.hosts([host.id])[host.id]
    there = world.address(host)
    pool = next(pool.id for pool in world.topology.pools if pool.id.endswith("c2-host"))
    world.write(there, (named(host, "a"), value(1)))
    new = Placement(pool, 0, old.epoch + 1, 0)
    world.directory.decide_rows({host: new.row()})
    marker = encode_control(Marker(new.epoch, new.row(), new.start))
    world.write(there, (handover_key(host, new.epoch), marker))
    world.swept()
    assert world.revisions(host, "a", there) == [1]
    at = world.address(host)
    world.write(at, (seal_key(host, new.epoch), encode_control(Seal(new.epoch))))
    dry = world.swept(dry_run=True)
    assert f"h:{host.id}:router:a" in {n.key for n in dry.notes() if n.why is Why.CLEAN}
    assert world.revisions(host, "a", there) == [1]
    world.swept()
    assert world.revisions(host, "a", there) == [1, None]


def test_janitors_at_work_disturb_no_move(world: World, tmp_path: Path) -> None:
    """Hosts go and come back under traffic while two janitors look at everything all the time; what
    was accepted is on the nodes, and is what compaction will keep.
    """
    shards = Shards(world.kit, world.topology, world.unique, tmp_path)
    try:
        hosts = shards.hosts(2, "c1")
        for host in hosts:
            shards.agent(host)
        janitors = [world.janitor(sweep_every_s=0.2, look_every_s=0.0) for _ in range(2)]
        here, other = (
            f"{world.topology.pools[0].id.rpartition('-')[0]}-{n}" for n in ("host", "other")
        )
        with running(janitors[0]), running(janitors[1]):
            with shards.traffic([host_scope(host) for host in hosts]):
                for to in (other, here):
                    plan = [host for host in hosts if shards.place(host).pool != to]
                    if plan:
                        shards.move(Goal(kind="hosts", what=tuple(plan), to=to))
            shards.check()
            eventually(lambda: sum(one.tally.repairs[Why.CLEAN] for one in janitors) > 0)
        world.swept()
        assert not world.swept().tally.repairs
        slots = [
            (address_of("host", host, shards.place(host), world.topology), host_scope(host))
            for host in hosts
        ]
        # The last record of each key is what any compaction keeps.
        for (address, scope), host in zip(slots, hosts, strict=True):
            left = dict(world.records(address, shards.place(host).start))
            for key, revision in shards.history.wanted({scope}).items():
                found = left[encode_key(key)]
                assert found is not None, key
                assert decode(found).revision >= revision
    finally:
        shards.close()


# The logs that say who lives where.


def test_the_last_entries_of_the_logs_are_those_that_hold(world: World) -> None:
    """A loser's entry in the journal, a lower epoch in `sb.moves`; old entries go, others stay."""
    cluster = world.topology.cluster("c1")
    host, gone, young = world.host(), world.host(), world.host()
    text = scope_text(host).encode()
    row = world.directory.hosts([host.id])[host.id].row()
    loser = msgspec.structs.replace(world.directory.hosts([host.id])[host.id], probe=7).row()
    journal = Address("c1", DIRECTORY_TOPIC, 0)
    moves = Address("c1", MOVES_TOPIC, 0)
    world.write(journal, (text, encode_control(JournalEntry(1, loser, "hand", 0))))
    now_us = int(time.time() * 1e6)
    old_us = now_us - int(40 * _DAY_S * 1e6)
    higher = msgspec.structs.replace(world.directory.hosts([host.id])[host.id], epoch=3).row()
    world.write(
        moves,
        (text, encode_control(MoveEntry(3, higher, now_us))),
        (text, encode_control(MoveEntry(2, loser, now_us))),
        (scope_text(gone).encode(), encode_control(MoveEntry(1, row, old_us))),
        (scope_text(young).encode(), encode_control(MoveEntry(1, row, now_us))),
        (scope_text(young).encode(), None),
    )
    janitor = world.swept()
    assert janitor.tally.entries[MENDED_JOURNAL] >= 1
    assert janitor.tally.entries[MENDED_MOVES] >= 2
    assert janitor.tally.entries[PRUNED_MOVES] >= 1
    entry = dict(world.records(journal))[text]
    assert entry is not None
    held = decode_journal(entry)
    assert (held.row, held.mended) == (row, True)
    last = dict(world.records(moves))
    assert last[scope_text(gone).encode()] is None
    for scope, epoch in ((host, 3), (young, 1)):
        found = last[scope_text(scope).encode()]
        assert found is not None
        assert decode_move(found).epoch == epoch
    tail = MovesTail(cluster, client_id="fence")
    tail.start()
    tail.look(_ENOUGH_S)
    told = [tail.entry(scope) for scope in (host, gone, young)]
    tail.close()
    assert [one is not None and one.epoch for one in told] == [3, False, 1]
    again = world.swept()
    assert not again.tally.entries


# The command line.


def test_one_sweep_from_the_command_line(world: World) -> None:
    """A dry run names what it would append; the real one does it, and the next finds nothing."""
    host = world.host()
    pool = world.directory.hosts([host.id])[host.id].pool
    address = world.address(host)
    world.write(address, (named(host, "a"), value(2)), (named(host, "a"), value(1)))

    def run(*options: str) -> Any:
        words = ["janitor", "run", "--once", "--pool", pool, "--output", "json"]
        done = CliRunner().invoke(
            app, [*words, *options, "--redis", world.kit.redis_url, "--log-level", "error"]
        )
        assert done.exit_code == 0, done.output
        return msgspec.json.decode(done.stdout)

    dry = run("--dry-run")
    assert f"h:{host.id}:router:a" in {record[-1] for record in dry["records"]}
    assert world.revisions(host, "a", address) == [2, 1]
    assert run()["done"]["inversion"] == dry["done"]["inversion"] >= 1
    assert world.revisions(host, "a", address) == [2, 1, 2]
    assert run()["done"]["inversion"] == 0
