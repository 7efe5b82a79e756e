import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import redis

from southbound.directory import Directory, follower
from southbound.directory.index import Passage
from southbound.directory.journal import Journal
from southbound.directory.keys import PREFIX, TOPOLOGY_TEXT
from southbound.directory.verdict import Held
from southbound.edge.append import Appender
from southbound.errors import (
    CapacityError,
    ConfigError,
    EdgeError,
    PlanError,
    StaleMap,
    UnknownScope,
)
from southbound.local.fleet import LocalFleet
from southbound.local.layout import LayoutSettings, PoolSize
from southbound.partitioning.allocation import slot_index, slot_indexes
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import DIRECTORY_TOPIC, Pool, PublicKind, Topology
from southbound.resources import host_scope, vpc_scope
from southbound.wire.control import JournalEntry, encode_control
from tests.live.conftest import SETTINGS, FleetFactory
from tests.live.directory_kit import (
    JOURNAL_SETTINGS,
    DirectoryKit,
    eventually,
    kit_of,
    prepared_topology,
)

LAYOUT = LayoutSettings(host=PoolSize(topics=4, partitions=8, max_per_slot=1000))
_databases = itertools.count()


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Two clusters in two zones, whose journals only the tests of this file write."""
    return module_fleet_factory(2, 2, replace(SETTINGS, layout=LAYOUT))


@pytest.fixture(scope="module")
def topology(own: LocalFleet) -> Topology:
    """The fleet's topology, its topics made; what is compacted is compacted at once."""
    return prepared_topology(own, JOURNAL_SETTINGS)


@pytest.fixture
def kit(own: LocalFleet, topology: Topology) -> Iterator[DirectoryKit]:
    """An empty Redis over the journals, and directories on it."""
    own.up(2)
    with kit_of(own, topology, next(_databases)) as kit:
        yield kit


Unique = Callable[[str], str]


def some_hosts(unique: Unique, count: int) -> dict[str, str]:
    """New hosts, spread over both zones."""
    return {unique("host"): ("az-a", "az-b")[number % 2] for number in range(count)}


def text(host: str) -> str:
    """The key text of a host."""
    return f"h\x1f{host}"


def write_journal(
    kit: DirectoryKit, cluster: str, *entries: tuple[str, JournalEntry | bytes]
) -> None:
    """Append entries to a journal by hand, past every rule."""
    appender = Appender(kit.topology.cluster(cluster), DIRECTORY_TOPIC, "hand", timeout_s=15)
    appender.append(
        [
            (key.encode(), entry if isinstance(entry, bytes) else encode_control(entry))
            for key, entry in entries
        ]
    )
    appender.close()


def interfere(
    monkeypatch: pytest.MonkeyPatch, directory: Directory, before: Callable[[], None]
) -> None:
    """Do something once, right before this directory's next append to a journal."""
    original = Journal.append
    waiting = [before]
    mine = directory._forward

    def append(
        self: Journal, entries: Iterable[tuple[str, Held]], *, mended: bool = False
    ) -> Sequence[int]:
        if waiting and any(lane.journal is self for lane in mine._lanes.values()):
            waiting.pop()()
        return original(self, entries, mended=mended)

    monkeypatch.setattr(Journal, "append", append)


# Registering and looking up.


def test_registered_hosts_live_in_their_zone_and_keep_their_place(
    kit: DirectoryKit, unique: Unique
) -> None:
    """Registering gives each host a slot of its own AZ; doing it again changes nothing."""
    first, second = kit.directory(), kit.directory()
    azs = some_hosts(unique, 50)
    placed = first.register_hosts(azs)
    assert placed.keys() == azs.keys()
    for host, placement in placed.items():
        assert kit.topology.cluster(kit.topology.pool(placement.pool).cluster).az == azs[host]
        assert (placement.epoch, placement.start) == (1, 0)
    version = first.map_version()
    assert second.register_hosts(azs) == placed
    assert second.hosts(azs) == placed
    assert first.map_version() == version
    assert first.verify() == []


def test_many_hosts_live_in_their_zones(kit: DirectoryKit, unique: Unique) -> None:
    """Zones that are registered side by side do not mix."""
    azs = some_hosts(unique, 200)
    directory = kit.directory(round=30)
    placed = directory.register_hosts(azs)
    assert placed.keys() == azs.keys()
    for host, placement in placed.items():
        assert kit.topology.cluster(kit.topology.pool(placement.pool).cluster).az == azs[host]
    assert directory.verify() == []


def test_counts_follow_the_rows(kit: DirectoryKit, unique: Unique) -> None:
    """Every slot counts exactly the hosts that live in it."""
    directory = kit.directory()
    placed = directory.register_hosts(some_hosts(unique, 300))
    there = dict(directory.hosts_scan())
    assert placed.items() <= there.items()
    wanted: Counter[tuple[str, int]] = Counter()
    for host, placement in there.items():
        pool = kit.topology.pool(placement.pool)
        wanted[pool.id, slot_index("host", host, pool, placement.probe)] += 1
    found = {
        (pool, slot): count
        for pool, counts in directory.occupancy().items()
        for slot, count in enumerate(counts)
        if count and pool.endswith("-host")
    }
    assert found == wanted


def test_progress_ends_with_all_hosts(kit: DirectoryKit, unique: Unique) -> None:
    """Bulk registration tells how far it is, round by round."""
    told: list[tuple[int, int]] = []
    directory = kit.directory(round=40, batch=15)
    azs = some_hosts(unique, 200)
    directory.register_hosts(azs, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (200, 200)
    assert len(told) >= 4
    assert directory.verify() == []


def test_unknown_hosts_are_missing_from_the_answer(kit: DirectoryKit, unique: Unique) -> None:
    """A host that nobody registered is not guessed."""
    directory = kit.directory()
    known = unique("host")
    directory.register_hosts({known: "az-a"})
    assert directory.hosts([known, unique("host")]).keys() == {known}


def test_bad_hosts_are_named_with_their_faults(kit: DirectoryKit) -> None:
    """A bad id and an AZ that is not there are refused, both at once, before anything is done."""
    directory = kit.directory()
    version = directory.map_version()
    with pytest.raises(ConfigError) as caught:
        directory.register_hosts({"good": "az-x", "bad\n": "az-a"})
    assert {fault.value for fault in caught.value.faults} == {"az-x", "bad\n"}
    assert directory.map_version() == version


def test_a_directory_without_a_topology_says_so(kit: DirectoryKit) -> None:
    """An empty Redis and no topology given: nothing to go on with."""
    directory = Directory(kit.settings())
    with pytest.raises(ConfigError, match="holds no topology"):
        directory.open()
    directory.close()


def test_a_visitor_leaves_no_connection(kit: DirectoryKit, unique: Unique) -> None:
    """A visitor registers and looks up like others, and is gone after each call."""
    kit.directory()
    host = unique("host")
    visitor = kit.directory(visitor=True, client_id=unique("visitor"))
    placed = visitor.register_hosts({host: "az-b"})
    assert visitor.hosts([host]) == placed
    assert visitor.hosts([unique("host")]) == {}
    names = {client["name"] for client in kit.redis.client_list()}
    assert not any(name.startswith("visitor") for name in names)
    assert any(name.startswith("directory") for name in names)


def test_a_visitor_brings_a_blank_redis_up_to_date(kit: DirectoryKit, unique: Unique) -> None:
    """Redis has lost everything and only agents ask: one of them reads the journals, others wait."""
    host = unique("host")
    placed = kit.directory().register_hosts({host: "az-b"})
    kit.redis.flushdb()
    visitor = kit.directory(visitor=True)
    assert visitor.hosts([host, unique("host")]) == placed
    kit.redis.flushdb()
    kit.redis.set(f"{PREFIX}claimed:roll:az-a", "another", ex=60)
    with pytest.raises(EdgeError, match="cannot be told yet") as caught:
        visitor.hosts([host])
    assert caught.value.retryable


# Racing.


def test_two_registrars_racing_the_same_hosts_agree(kit: DirectoryKit, unique: Unique) -> None:
    """Both get the same placement for each host, and each host is counted once."""
    azs = some_hosts(unique, 400)
    racers = [kit.directory(batch=50, round=100) for _ in range(3)]
    start = threading.Barrier(len(racers))

    def run(racer: Directory) -> Mapping[str, Placement]:
        start.wait()
        return racer.register_hosts(azs)

    with ThreadPoolExecutor(len(racers)) as threads:
        answers = list(threads.map(run, racers))
    assert answers[0] == answers[1] == answers[2]
    assert racers[0].verify() == []


def with_a_choice(unique: Unique, pool: Pool) -> str:
    """Return the id of a host whose first two probes mean two slots of a pool."""
    ids = (unique("host") for _ in range(100))
    return next(id for id in ids if len(set(slot_indexes("host", id, pool, 2))) == 2)


def test_racing_registrars_agree_when_redis_forgets_the_first(
    kit: DirectoryKit, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis forgets a reservation, another registrar decides otherwise: the journal's first wins."""
    slow, quick = kit.directory(), kit.directory()
    host = with_a_choice(unique, kit.topology.pool("c1-host"))
    others: dict[str, Placement] = {}

    def meanwhile() -> None:
        reserved = kit.redis.hget(f"{PREFIX}reserved", text(host))
        assert isinstance(reserved, str)
        _, pool, _, slot, _ = reserved.split(":")
        kit.redis.flushdb()
        quick.rebuild()
        # So that the quick one chooses otherwise than the slow one did.
        kit.plant_count(pool, int(slot), 500)
        others.update(quick.register_hosts({host: "az-a"}))
        assert others[host].probe != int(reserved.split(":")[2])

    interfere(monkeypatch, slow, meanwhile)
    assert slow.register_hosts({host: "az-a"}) == others
    assert slow.hosts([host]) == others
    quick.rebuild()
    assert quick.hosts([host]) == others
    assert quick.verify() == []


def test_the_loser_mends_the_journal(
    kit: DirectoryKit, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a race the last entry of the key is the winner's, mended, as compaction will keep it."""
    slow = kit.directory()
    host = unique("host")
    winner = JournalEntry(1, "c1-host:7:1:0", "somebody", 1)
    interfere(monkeypatch, slow, lambda: write_journal(kit, "c1", (text(host), winner)))
    placed = slow.register_hosts({host: "az-a"})[host]
    assert placed.row() == winner.row
    with slow._forward.lane("az-a") as journal:
        written, _ = journal.read(0, journal.end().offset)
    last = [one.entry for one in written if one.text == text(host)][-1]
    assert (last.row, last.mended) == (winner.row, True)
    assert slow.verify() == []


def test_who_rolls_forward_mends_what_nobody_mended(kit: DirectoryKit, unique: Unique) -> None:
    """Two entries of one epoch, both writers gone: the next reader makes the first one last."""
    host = unique("host")
    first = JournalEntry(1, "c1-host:0:1:0", "gone", 1)
    second = JournalEntry(1, "c1-host:1:1:0", "gone too", 2)
    write_journal(kit, "c1", (text(host), first), (text(host), second))
    directory = kit.directory()
    assert directory.hosts([host])[host].row() == first.row
    with directory._forward.lane("az-a") as journal:
        written, _ = journal.read(0, journal.end().offset)
    last = [one.entry for one in written if one.text == text(host)][-1]
    assert (last.row, last.mended) == (first.row, True)


def test_a_late_entry_of_a_lower_epoch_changes_nothing(kit: DirectoryKit, unique: Unique) -> None:
    """Rolling forward never goes back, and puts the higher epoch last again."""
    host = unique("host")
    moved = JournalEntry(2, "c1-host:1:2:40", "mover", 1)
    late = JournalEntry(1, "c1-host:0:1:0", "registrar", 2)
    write_journal(kit, "c1", (text(host), moved), (text(host), late))
    directory = kit.directory()
    assert directory.hosts([host])[host] == Placement("c1-host", 1, 2, 40)
    assert directory.verify() == []


# Crashes.


def test_a_crash_before_the_append_leaves_no_row(
    kit: DirectoryKit, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was only reserved is unknown to readers; the next registrar takes the reservation over."""
    victim = kit.directory()
    host = unique("host")
    before = sum(map(sum, victim.occupancy().values()))

    def crash() -> None:
        raise EdgeError("killed", retryable=False)

    interfere(monkeypatch, victim, crash)
    with pytest.raises(EdgeError, match="killed"):
        victim.register_hosts({host: "az-a"})
    reader = kit.directory()
    assert reader.hosts([host]) == {}
    assert sum(map(sum, reader.occupancy().values())) == before + 1
    reserved = kit.redis.hget(f"{PREFIX}reserved", text(host))
    assert isinstance(reserved, str)
    placed = reader.register_hosts({host: "az-a"})[host]
    assert reserved.split(":")[1:3] == [placed.pool, str(placed.probe)]
    assert sum(map(sum, reader.occupancy().values())) == before + 1
    assert kit.redis.hlen(f"{PREFIX}reserved") == 0
    assert reader.verify() == []


def test_a_crash_after_the_append_leaves_a_host_that_the_next_reader_finds(
    kit: DirectoryKit, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was journaled and never reached Redis is rolled forward by the next who connects."""
    victim = kit.directory()
    host = unique("host")
    with monkeypatch.context() as patch:
        patch.setattr(victim._forward, "through", _killed)
        with pytest.raises(EdgeError, match="killed"):
            victim.register_hosts({host: "az-b"})
    assert kit.row(text(host)) is None
    reader = kit.directory()
    found = reader.hosts([host])
    assert found.keys() == {host}
    assert victim.register_hosts({host: "az-b"}) == found
    assert reader.verify() == []


def _killed(*_args: object, **_options: object) -> dict[str, Held]:
    raise EdgeError("killed", retryable=False)


# Redis forgets, stops, lies.


def test_redis_flushed_under_open_directories(kit: DirectoryKit, unique: Unique) -> None:
    """A flushed Redis is rolled forward by the first look-up; nothing known becomes unknown."""
    directory, other = kit.directory(), kit.directory(cached_max=0)
    azs = some_hosts(unique, 40)
    placed = directory.register_hosts(azs)
    kit.redis.flushdb()
    assert other.hosts(azs) == placed
    assert other.hosts([unique("host")]) == {}
    assert directory.hosts(azs) == placed
    assert other.verify() == []


def test_redis_forgets_its_last_writes(kit: DirectoryKit, unique: Unique) -> None:
    """A failover that loses acknowledged writes: rows and position go back together, and return."""
    directory = kit.directory()
    early = directory.register_hosts(some_hosts(unique, 20))
    copy = {name: kit.redis.dump(name) for name in kit.redis.scan_iter(count=10_000)}
    late = directory.register_hosts(some_hosts(unique, 20))
    # It would bring Redis up to date while the copy is being put back.
    directory.close()
    kit.redis.flushdb()
    raw: Any = kit.redis
    for name, data in copy.items():
        assert isinstance(data, bytes | str)
        raw.execute_command("RESTORE", name, 0, data)
    fresh = kit.directory()
    assert fresh.hosts([*early, *late]) == {**early, **late}
    assert fresh.verify() == []


def test_with_redis_stopped_known_hosts_go_on_and_unknown_ones_are_refused(
    kit: DirectoryKit, unique: Unique
) -> None:
    """A cached placement needs no Redis; another host is an error that says why, not a guess."""
    directory = kit.directory()
    placed = directory.register_hosts(some_hosts(unique, 10))
    kit.fleet.stop("redis")
    try:
        assert directory.hosts(placed) == placed
        with pytest.raises(EdgeError, match="is not known here") as caught:
            directory.hosts([*placed, unique("host")])
        assert caught.value.retryable
        with pytest.raises(EdgeError):
            directory.register_hosts({unique("host"): "az-a"})
    finally:
        kit.fleet.start("redis")
    newcomer = unique("host")
    eventually(lambda: _registers(directory, newcomer))
    assert directory.hosts(placed) == placed
    assert directory.verify() == []


def test_what_is_in_memory_is_not_believed_for_ever(
    kit: DirectoryKit, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis stays away until a fence may have forgotten who has moved: then nothing is known here."""
    directory = kit.directory(believed_s=600.0)
    real = follower._time_s
    placed = directory.register_hosts(some_hosts(unique, 5))
    kit.fleet.stop("redis")
    try:
        assert directory.known_hosts(placed) == placed
        monkeypatch.setattr(follower, "_time_s", lambda: real() + 601.0)
        assert directory.known_hosts(placed) == {}
        with pytest.raises(EdgeError, match="is not known here"):
            directory.hosts(placed)
    finally:
        kit.fleet.start("redis")
    eventually(lambda: _is_found(directory, placed))


def _is_found(directory: Directory, placed: Mapping[str, Placement]) -> bool:
    try:
        return directory.hosts(placed) == placed
    except EdgeError:
        return False


def _registers(directory: Directory, host: str) -> bool:
    try:
        return host in directory.register_hosts({host: "az-a"})
    except EdgeError:
        return False


def test_unknown_is_not_said_while_a_journal_cannot_be_read(
    kit: DirectoryKit, unique: Unique
) -> None:
    """Redis has forgotten all, and the journal that would tell is away: an error, not an absence."""
    directory = kit.directory()
    there, away = unique("host"), unique("host")
    placed = directory.register_hosts({there: "az-a", away: "az-b"})
    kit.fleet.stop("c2")
    try:
        kit.redis.flushdb()
        blank = Directory(kit.settings(cached_max=0, journal_timeout_s=1.5), kit.topology)
        blank.open()
        eventually(lambda: _finds(blank, there, placed[there]))
        with pytest.raises(EdgeError, match="journal of AZ az-b") as caught:
            blank.hosts([away])
        assert caught.value.retryable
        with pytest.raises(EdgeError):
            blank.register_hosts({unique("host"): "az-a"})
    finally:
        kit.fleet.start("c2")
    eventually(lambda: _finds(blank, away, placed[away]), within_s=30)
    blank.close()


def _finds(directory: Directory, host: str, placement: Placement) -> bool:
    try:
        return directory.hosts([host]) == {host: placement}
    except EdgeError:
        return False


def test_what_was_registered_through_another_redis_is_found(
    kit: DirectoryKit, unique: Unique
) -> None:
    """Who is cut off with a former primary registers hosts there; the journal tells of them."""
    directory = kit.directory()
    server, _, database = kit.redis_url.rpartition("/")
    elsewhere = f"{server}/{(int(database) + 8) % 16}"
    host, vpc = unique("host"), unique("vpc")
    isolated = Directory(kit.settings(redis_url=elsewhere), kit.topology)
    with isolated:
        placed = isolated.register_hosts({host: "az-b"})
        homes = isolated.ensure_vpcs({vpc: "c2"})
    assert directory.hosts([host]) == placed
    assert directory.vpcs([vpc]) == homes
    assert directory.hosts([unique("host")]) == {}
    assert directory.verify() == []
    with redis.Redis.from_url(elsewhere) as client:
        client.flushdb()


def test_a_position_of_another_kafka_cluster_is_never_accepted(
    kit: DirectoryKit, unique: Unique
) -> None:
    """Redis knows the journal of another cluster: nothing is registered on top of that."""
    directory = kit.directory()
    kit.redis.hset(f"{PREFIX}journal", "az-a", "another-cluster 5 whole")
    with pytest.raises(EdgeError, match="another Kafka cluster") as caught:
        directory.register_hosts({unique("host"): "az-a"})
    assert not caught.value.retryable


def test_a_truncated_journal_is_never_accepted(kit: DirectoryKit, unique: Unique) -> None:
    """The journal is shorter than what Redis took from it: an error that stays."""
    directory = kit.directory()
    position = kit.redis.hget(f"{PREFIX}journal", "az-a")
    assert isinstance(position, str)
    kafka_id = position.split(" ")[0]
    kit.redis.hset(f"{PREFIX}journal", "az-a", f"{kafka_id} 1000000 whole")
    with pytest.raises(EdgeError, match="truncated") as caught:
        directory.register_hosts({unique("host"): "az-a"})
    assert not caught.value.retryable


def test_scripts_refuse_a_part_that_does_not_follow(kit: DirectoryKit) -> None:
    """A part of the journal behind a gap is not taken over."""
    directory = kit.directory()
    position = directory._index.status().positions["az-a"]
    passage = Passage("az-a", position.kafka_id, position.offset + 1, position.offset + 2, False, 0)
    passage = passage._replace(topology=directory.topology.version)
    assert directory._index.apply(passage, []) == ("behind", "az-a")


# Rebuilding and comparing.


def test_rebuild_brings_back_every_row(kit: DirectoryKit, unique: Unique) -> None:
    """After everything is lost, the journals alone give the same rows, counts and totals."""
    directory = kit.directory()
    directory.register_hosts(some_hosts(unique, 60))
    vpc = unique("vpc")
    home = directory.ensure_vpcs({vpc: "c1"})[vpc]
    replica = directory.reserve_slot(vpc_scope(vpc), "c2", 2)
    directory.propose_vpc(vpc, (*home.replicas, replica), expected_epoch=1)
    directory.place_publics("elb", [unique("elb") for _ in range(20)])
    rows, counts = kit.rows(), directory.occupancy()
    totals = kit.redis.hgetall(f"{PREFIX}totals")
    kit.redis.flushdb()
    told: list[tuple[int, int]] = []
    directory.rebuild(lambda done, total: told.append((done, total)))
    assert kit.rows() == rows
    assert directory.occupancy() == counts
    assert kit.redis.hgetall(f"{PREFIX}totals") == totals
    assert told[-1][0] == told[-1][1]
    assert directory.verify() == []


def test_a_rebuild_that_another_did_meanwhile_tells_its_end_too(
    kit: DirectoryKit, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever shows how far it is shows that it is done."""
    directory = kit.directory()
    directory.register_hosts(some_hosts(unique, 3))
    wipe = directory._index.wipe

    def wiped_and_rolled_forward(slots: list[Any]) -> None:
        wipe(slots)
        for az in kit.topology.azs:
            directory._forward.to_end(az.id)

    monkeypatch.setattr(directory._index, "wipe", wiped_and_rolled_forward)
    told: list[tuple[int, int]] = []
    directory.rebuild(lambda done, total: told.append((done, total)))
    assert len(told) == len(kit.topology.azs)
    assert all(done == total for done, total in told)


def test_verify_finds_what_was_planted(kit: DirectoryKit, unique: Unique) -> None:
    """A changed, a lost and an invented row, wrong counts, an old reservation: each is named."""
    directory = kit.directory()
    changed, lost, invented = (unique("host") for _ in range(3))
    placed = directory.register_hosts({changed: "az-a", lost: "az-a"})
    kit.plant_row(text(changed), "c1-host:7:1:0")
    kit.plant_row(text(lost), None)
    kit.plant_row(text(invented), "c1-host:0:1:0")
    kit.plant_count("c2-host", 3, 900)
    kit.redis.hset(f"{PREFIX}reserved", "h\x1fnobody", "1:c2-host:0:5:1000")
    found = {(one.kind, one.place): (one.redis, one.journal) for one in directory.verify()}
    assert found["row", text(changed)] == ("c1-host:7:1:0", placed[changed].row())
    assert found["row", text(lost)] == ("", placed[lost].row())
    assert found["alone", text(invented)] == ("c1-host:0:1:0", "")
    assert ("count", "c2-host/3") in found
    assert ("total", "c2-host") in found
    assert ("reservation", "h\x1fnobody") in found
    with pytest.raises(EdgeError, match="1 rows stand in Redis alone"):
        directory.rebuild()
    directory.rebuild(losses="drop")
    assert directory.verify() == []
    assert directory.hosts([changed, lost, invented]) == placed


def test_compaction_keeps_the_winner(kit: DirectoryKit, unique: Unique) -> None:
    """A conflict that was mended leaves the winner as the only entry once the log is compacted."""
    host = unique("host")
    first = JournalEntry(1, "c1-host:0:1:0", "gone", 1)
    second = JournalEntry(1, "c1-host:1:1:0", "gone too", 2)
    write_journal(kit, "c1", (text(host), first), (text(host), second))
    directory = kit.directory()

    def entries() -> list[JournalEntry]:
        # Further records roll the segment, without which nothing is compacted.
        write_journal(kit, "c1", (text("filler"), JournalEntry(1, "c1-host:0:1:0", "hand", 1)))
        with directory._forward.lane("az-a") as journal:
            written, _ = journal.read(0, journal.end().offset)
        return [one.entry for one in written if one.text == text(host)]

    eventually(lambda: len(entries()) == 1, within_s=60, saying=entries)
    assert entries()[0].row == first.row
    directory.rebuild()
    assert directory.hosts([host])[host].row() == first.row


# VPCs.


def test_vpcs_get_a_home_where_wanted(kit: DirectoryKit, unique: Unique) -> None:
    """A VPC's home is in the cluster asked for, else in the least loaded; it stays there."""
    directory = kit.directory()
    wanted: dict[str, str | None] = {
        unique("vpc"): ("c1", "c2", None)[number % 3] for number in range(30)
    }
    made = directory.ensure_vpcs(wanted)
    for vpc, cluster in wanted.items():
        home = made[vpc].home
        assert made[vpc] == VpcPlacement(1, (home,))
        if cluster is not None:
            assert kit.topology.pool(home.pool).cluster == cluster
    assert kit.directory().ensure_vpcs(dict.fromkeys(wanted, "c1")) == made
    assert directory.vpcs(wanted) == made
    assert directory.verify() == []


def test_racing_makers_of_a_vpc_agree(kit: DirectoryKit, unique: Unique) -> None:
    """Two ports in two clusters mention a VPC first at the same time: one home."""
    makers = [kit.directory(), kit.directory()]
    vpcs = [unique("vpc") for _ in range(50)]

    def make(number: int) -> Mapping[str, VpcPlacement]:
        return makers[number].ensure_vpcs(dict.fromkeys(vpcs, f"c{number + 1}"))

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(make, range(2))
    assert first == second
    assert makers[0].verify() == []


def test_a_replica_is_added_by_compare_and_set(kit: DirectoryKit, unique: Unique) -> None:
    """Of two who add a replica at the same epoch one succeeds, the other gets the row that is."""
    directory, other = kit.directory(), kit.directory()
    vpc = unique("vpc")
    home = directory.ensure_vpcs({vpc: "c1"})[vpc]
    replica = directory.reserve_slot(vpc_scope(vpc), "c2", 2)
    assert kit.topology.pool(replica.pool).cluster == "c2"
    assert replica.epoch == 2
    assert other.reserve_slot(vpc_scope(vpc), "c2", 2) == replica
    moved_in = msgspec.structs.replace(replica, start=17)
    made = directory.propose_vpc(vpc, (home.home, moved_in), expected_epoch=1)
    assert made == VpcPlacement(2, (home.home, moved_in))
    assert directory.propose_vpc(vpc, (home.home, moved_in), expected_epoch=1) == made
    with pytest.raises(StaleMap) as caught:
        other.propose_vpc(vpc, (home.home,), expected_epoch=1)
    assert caught.value.current == made
    with pytest.raises(StaleMap):
        other.reserve_slot(vpc_scope(vpc), "c2", 2)
    assert kit.redis.hlen(f"{PREFIX}reserved") == 0
    assert directory.verify() == []


def test_racing_proposals_have_one_winner(kit: DirectoryKit, unique: Unique) -> None:
    """However many propose the next row at once, all end up with the same one."""
    proposers = [kit.directory() for _ in range(3)]
    vpc = unique("vpc")
    home = proposers[0].ensure_vpcs({vpc: "c1"})[vpc].home
    start = threading.Barrier(3)

    def propose(number: int) -> object:
        replica = Placement("c2-vpc", number, 2, number)
        start.wait()
        try:
            return proposers[number].propose_vpc(vpc, (home, replica), expected_epoch=1)
        except StaleMap as error:
            return error.current

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(propose, range(3)))
    assert results[0] == results[1] == results[2]
    assert proposers[0].verify() == []


def test_impossible_replicas_are_refused(kit: DirectoryKit, unique: Unique) -> None:
    """Two replicas in one cluster, a host pool, or none at all: a mistake of the caller."""
    directory = kit.directory()
    vpc = unique("vpc")
    directory.ensure_vpcs({vpc: "c1"})
    for replicas in (
        (Placement("c1-vpc", 0), Placement("c1-vpc", 1)),
        (Placement("c1-host", 0),),
        (),
    ):
        with pytest.raises(ConfigError):
            directory.propose_vpc(vpc, replicas, expected_epoch=1)
    with pytest.raises(PlanError):
        directory.ensure_vpcs({unique("vpc"): "c9"})


def test_a_change_reaches_other_caches(kit: DirectoryKit, unique: Unique) -> None:
    """Who has a VPC in memory gets its new row without asking Redis for it."""
    directory, other = kit.directory(), kit.directory()
    vpc = unique("vpc")
    home = directory.ensure_vpcs({vpc: "c1"})[vpc]
    assert other.vpcs([vpc]) == {vpc: home}
    made = directory.propose_vpc(vpc, (home.home, Placement("c2-vpc", 0, 2, 5)), expected_epoch=1)
    eventually(lambda: other._vpcs.split([vpc])[0] == {vpc: made})


def test_an_adopted_row_never_goes_back(kit: DirectoryKit, unique: Unique) -> None:
    """What a fence told is kept; an older row told later is not."""
    directory = kit.directory()
    host = unique("host")
    directory.register_hosts({host: "az-a"})
    directory.adopt(host_scope(host), "c1-host:1:3:9")
    directory.adopt(host_scope(host), "c1-host:0:2:5")
    assert directory.hosts([host]) == {host: Placement("c1-host", 1, 3, 9)}


def test_a_slot_is_reserved_for_known_hosts_only(kit: DirectoryKit, unique: Unique) -> None:
    """A move of a host that nobody registered makes no sense."""
    directory = kit.directory()
    with pytest.raises(UnknownScope):
        directory.reserve_slot(host_scope(unique("host")), "c1", 2)
    host = unique("host")
    directory.register_hosts({host: "az-a"})
    target = directory.reserve_slot(host_scope(host), "c1", 2)
    assert (target.pool, target.epoch) == ("c1-host", 2)
    assert directory.hosts([host])[host].epoch == 1


# Public resources.


def test_public_resources_are_spread_evenly(kit: DirectoryKit, unique: Unique) -> None:
    """Partitions of a kind differ by at most one, also when several place at once."""
    placers = [kit.directory(batch=7), kit.directory(batch=7)]
    ids = [unique("eip") for _ in range(101)]

    def place(number: int) -> Mapping[str, int]:
        return placers[number].place_publics("eip", ids[number * 20 :])

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(place, range(2))
    assert second.items() <= first.items()
    counts = placers[0].public_occupancy("eip")
    assert max(counts) - min(counts) <= 1
    assert placers[1].publics("eip", ids) == first
    assert placers[0].verify() == []


# The topology.


@pytest.fixture
def alone(fleet_factory: FleetFactory) -> Iterator[DirectoryKit]:
    """A fleet whose topology the test changes."""
    fleet = fleet_factory(1)
    with kit_of(fleet, prepared_topology(fleet), 0) as kit:
        yield kit


def test_a_bad_entry_stops_nobody_and_is_named(alone: DirectoryKit, unique: Unique) -> None:
    """Garbage in the journal is passed over, and `verify` tells of it."""
    host = unique("host")
    write_journal(
        alone,
        "c1",
        ("what?", b"garbage"),
        (text(unique("host")), JournalEntry(3, "c1-host:0:1:0", "w", 1)),
        ("x\x1fy", JournalEntry(1, "c1-host:0:1:0", "w", 1)),
        (text(host), JournalEntry(1, "c1-host:0:1:0", "w", 1)),
    )
    directory = alone.directory()
    assert directory.hosts([host]) == {host: Placement("c1-host", 0)}
    bad = [one for one in directory.verify() if one.kind == "entry"]
    assert len(bad) == 3


def test_topologies_follow_each_other(alone: DirectoryKit, unique: Unique) -> None:
    """Pools come and go, sizes stay, names are used once, and everybody learns of it."""
    directory, other = alone.directory(), alone.directory()
    first = alone.topology
    assert directory.put_topology(first) == 1
    assert directory.put_topology(first) == 1
    assert directory.topology.version == 1
    extra = Pool(id="extra", cluster="c1", cls="host", topics=1, partitions=2, max_per_slot=3)
    grown = msgspec.structs.replace(
        first,
        pools=(*first.pools, extra),
        public=tuple(msgspec.structs.replace(one, partitions=12) for one in first.public),
    )
    assert other.put_topology(grown) == 2
    eventually(lambda: directory.topology.version == 2)
    resized = msgspec.structs.replace(extra, partitions=4)
    with pytest.raises(ConfigError, match="partitions"):
        directory.put_topology(msgspec.structs.replace(first, pools=(*first.pools, resized)))
    assert directory.put_topology(first_of(grown, without="extra")) == 3
    with pytest.raises(ConfigError, match="never used again"):
        directory.put_topology(grown)
    directory.register_hosts({unique("host"): "az-a"})
    with pytest.raises(ConfigError, match="while it holds"):
        directory.put_topology(first_of(grown, without=first.pools[0].id))
    # All is lost but the journal: the first document is enough to find the last one.
    alone.redis.flushdb()
    found = alone.directory()
    assert found.topology.version == 3
    assert found._current.stored.retired == ("extra",)
    assert found.verify() == []


def first_of(topology: Topology, *, without: str) -> Topology:
    """The topology less one pool."""
    pools = tuple(pool for pool in topology.pools if pool.id != without)
    return msgspec.structs.replace(topology, pools=pools)


def test_a_full_zone_is_an_error_that_names_it(alone: DirectoryKit, unique: Unique) -> None:
    """Those who find room are placed, up to the last place; then the AZ is named."""
    small = Pool(id="small", cluster="c1", cls="host", topics=1, partitions=2, max_per_slot=3)
    pools = (small, *(pool for pool in alone.topology.pools if pool.cls == "vpc"))
    topology = msgspec.structs.replace(alone.topology, pools=pools)
    directory = Directory(alone.settings(), topology)
    with directory:
        azs = {unique("host"): "az-a" for _ in range(7)}
        with pytest.raises(CapacityError, match="az-a"):
            directory.register_hosts(azs)
        assert len(directory.hosts(azs)) == 6
        assert directory.occupancy()["small"] == [3, 3]
        assert directory.verify() == []


def test_public_partitions_grow(alone: DirectoryKit, unique: Unique) -> None:
    """New partitions are the emptiest, so newcomers fill them first."""
    directory = alone.directory()
    kinds = (PublicKind(kind="elb", cluster="c1", partitions=2),)
    directory.put_topology(msgspec.structs.replace(alone.topology, public=kinds))
    directory.place_publics("elb", [unique("elb") for _ in range(6)])
    kinds = (PublicKind(kind="elb", cluster="c1", partitions=4),)
    directory.put_topology(msgspec.structs.replace(alone.topology, public=kinds))
    placed = directory.place_publics("elb", [unique("elb") for _ in range(4)])
    assert Counter(placed.values()) == {2: 2, 3: 2}
    assert directory.public_occupancy("elb") == [3, 3, 2, 2]


def test_the_topology_is_in_every_journal(alone: DirectoryKit) -> None:
    """Its entry is one like the others, under its own key."""
    directory = alone.directory()
    directory.put_topology(alone.topology)
    with directory._forward.lane("az-a") as journal:
        written, _ = journal.read(0, journal.end().offset)
    assert [one.entry.epoch for one in written if one.text == TOPOLOGY_TEXT] == [1]
