import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import msgspec
import pytest

from southbound.directory.moves import MovesLog, MovesTail
from southbound.edge.append import Appender
from southbound.edge.tail import EndAsker, RangeReader
from southbound.errors import Closed, EdgeError, WireError
from southbound.local.fleet import LocalFleet
from southbound.partitioning.topology import DIRECTORY_TOPIC, MOVES_TOPIC, Cluster
from southbound.resources import host_scope, vpc_scope
from southbound.wire.control import MoveEntry
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import eventually, prepared_topology

Unique = Callable[[str], str]


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """A cluster that the tests of this file stop and start."""
    return module_fleet_factory(1)


@pytest.fixture(scope="module")
def cluster(own: LocalFleet) -> Cluster:
    """The cluster as clients are made from it, its topics made."""
    return prepared_topology(own).clusters[0]


@pytest.fixture
def log(own: LocalFleet, cluster: Cluster) -> Iterator[MovesLog]:
    """The cluster's log of moves; the cluster is up."""
    own.up(1)
    log = MovesLog(cluster)
    yield log
    log.close()


@pytest.fixture
def tail(log: MovesLog, cluster: Cluster) -> Iterator[MovesTail]:
    """A tail that follows it."""
    tail = MovesTail(cluster, client_id="test")
    tail.start()
    yield tail
    tail.close()


def test_who_looks_sees_what_was_written_before(
    log: MovesLog, tail: MovesTail, unique: Unique
) -> None:
    """After the acknowledgement of an entry, one look is enough to see it."""
    for number in range(20):
        scope = (host_scope, vpc_scope)[number % 2](unique("scope"))
        assert tail.entry(scope) is None
        log.append(scope, 2, "p:1:2:30")
        tail.look(10)
        entry = tail.entry(scope)
        assert entry is not None
        assert (entry.epoch, entry.row) == (2, "p:1:2:30")


def test_the_highest_epoch_is_told(log: MovesLog, tail: MovesTail, unique: Unique) -> None:
    """A late repetition of an older entry changes nothing."""
    scope = host_scope(unique("host"))
    log.append(scope, 3, "p:1:3:0")
    log.append(scope, 2, "p:0:2:0")
    tail.look(10)
    found = tail.entry(scope)
    assert found is not None
    assert found.epoch == 3


def test_a_tail_begins_with_what_is_there(log: MovesLog, cluster: Cluster, unique: Unique) -> None:
    """A fresh tail's first look waits until everything written so far has been read."""
    scopes = [host_scope(unique("host")) for _ in range(30)]
    for scope in scopes:
        log.append(scope, 5, "p:1:5:0")
    tail = MovesTail(cluster, client_id="test")
    tail.start()
    tail.look(20)
    assert all(tail.entry(scope) is not None for scope in scopes)
    tail.close()


def test_many_who_look_at_once_ask_seldom(log: MovesLog, tail: MovesTail, unique: Unique) -> None:
    """Looks of many threads share questions, and each still sees what it wrote."""
    tail.look(10)
    asked = 0
    ends = tail._tail._ends
    asker = ends._ask

    def counted(timeout_s: float) -> int:
        nonlocal asked
        asked += 1
        if asked % 2:
            # The first question of a round is open until all others have come.
            eventually(lambda: ends.waiting == 7)
        return asker(timeout_s)

    ends._ask = counted
    looks, start = 10, threading.Barrier(8)

    def look(_: int) -> None:
        for _ in range(looks):
            start.wait()
            scope = host_scope(unique("host"))
            log.append(scope, 2, "p:0:2:0")
            tail.look(60)
            assert tail.entry(scope) is not None

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(look, range(8)))
    assert asked == 2 * looks


def test_an_entry_that_cannot_be_read_blocks_its_key_only(
    log: MovesLog, tail: MovesTail, cluster: Cluster, unique: Unique
) -> None:
    """Of an entry in unknown words nobody may say that there is none; a tombstone ends it."""
    bad, good = host_scope(unique("host")), host_scope(unique("host"))
    hand = Appender(cluster, MOVES_TOPIC, "hand", timeout_s=15)
    key = f"h\x1f{bad.id}".encode()
    hand.append([(key, b"\xfewhat?"), (b"\xff", b"\xfe")])
    log.append(good, 2, "p:0:2:0")
    log.append(bad, 1, "p:0:1:0")
    tail.look(10)
    assert tail.entry(good) is not None
    with pytest.raises(WireError, match="cannot be read"):
        tail.entry(bad)
    hand.append([(key, None)])
    tail.look(10)
    assert tail.entry(bad) is None
    hand.close()


def test_a_tail_survives_its_broker(
    own: LocalFleet, log: MovesLog, tail: MovesTail, unique: Unique
) -> None:
    """While the broker is down a look fails and may be retried; afterwards all is as before."""
    before = host_scope(unique("host"))
    log.append(before, 2, "p:0:2:0")
    tail.look(10)
    own.kill("c1")
    with pytest.raises(EdgeError) as caught:
        tail.look(1.0)
    assert caught.value.retryable
    own.start("c1")
    after = host_scope(unique("host"))
    eventually(lambda: _appends(log, after), within_s=40)
    eventually(lambda: _looks(tail), within_s=40)
    assert isinstance(tail.entry(before), MoveEntry)
    assert isinstance(tail.entry(after), MoveEntry)


def _appends(log: MovesLog, scope: object) -> bool:
    try:
        log.append(scope, 2, "p:0:2:0")  # type: ignore[arg-type]
    except EdgeError:
        return False
    return True


def _looks(tail: MovesTail) -> bool:
    try:
        tail.look(5)
    except EdgeError:
        return False
    return True


def test_another_kafka_cluster_is_never_accepted(log: MovesLog, cluster: Cluster) -> None:
    """The brokers say another id than the topology: an error that stays, for every look."""
    other = msgspec.structs.replace(cluster, kafka_id="somebody-else")
    tail = MovesTail(other, client_id="test")
    tail.start()
    for _ in range(2):
        with pytest.raises(EdgeError, match="another Kafka cluster") as caught:
            tail.look(10)
        assert not caught.value.retryable
    tail.close()


def test_a_log_that_became_shorter_is_never_accepted(tail: MovesTail, log: MovesLog) -> None:
    """What was read is not there any more: an error that stays."""
    tail.look(10)
    tail._tail._position += 1_000
    for _ in range(2):
        with pytest.raises(EdgeError, match="has lost what was read") as caught:
            tail.look(10)
        assert not caught.value.retryable


def test_reading_past_the_end_is_never_silent(log: MovesLog, cluster: Cluster) -> None:
    """A reader that is told to begin behind the end of a log says so, and begins nowhere else."""
    reader = RangeReader(cluster, DIRECTORY_TOPIC, "test")
    with pytest.raises(EdgeError, match="has lost what was read") as caught:
        reader.read(1_000, 1_001, 10)
    assert not caught.value.retryable
    reader.close()


def test_parts_of_a_log_are_read_exactly(log: MovesLog, cluster: Cluster, unique: Unique) -> None:
    """Neighbouring parts give each record once, in any order of asking."""
    offsets = [log.append(host_scope(unique("host")), 2, f"p:0:2:{n}") for n in range(60)]
    first, last = offsets[0], offsets[-1]
    reader = RangeReader(cluster, MOVES_TOPIC, "test")
    for cuts in ([first, last + 1], [first, first + 7, first + 40, last + 1], [first, first, last]):
        found = [
            message.offset()
            for start, end in pairwise(cuts)
            for message in reader.read(start, end, 10)
        ]
        assert found == list(range(cuts[0], cuts[-1]))
    assert reader.read(first + 3, first + 5, 10)[0].offset() == first + 3
    reader.close()


def test_whoever_waits_is_told_that_it_closed(log: MovesLog, tail: MovesTail) -> None:
    """A closed tail answers no look, and closing it again is no harm."""
    tail.look(10)
    tail.close()
    with pytest.raises(Closed):
        tail.look(1)
    tail.close()


def test_a_cluster_that_is_away_is_asked_in_vain(unique: Unique) -> None:
    """Nobody listens there: retryable errors in the time that was given."""
    away = Cluster(id="away", az="a", bootstrap=("127.0.0.1:1",))
    asker = EndAsker(away, MOVES_TOPIC, "test")
    with pytest.raises(EdgeError, match="cluster away") as caught:
        asker.end(0.5)
    assert caught.value.retryable
    asker.close()
    log = MovesLog(away, timeout_s=0.5)
    with pytest.raises(EdgeError) as unknown:
        log.append(host_scope(unique("host")), 2, "p:0:2:0")
    assert unknown.value.retryable
    log.close()
