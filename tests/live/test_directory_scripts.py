import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from southbound.directory.index import (
    Basis,
    Candidate,
    Change,
    Index,
    Passage,
    Position,
    Refusal,
    Wish,
    parse_reservations,
)
from southbound.directory.keys import PREFIX, public_field, public_pool, text_of
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError
from southbound.local.ports import free_ports
from southbound.local.redis import RedisServer, find_redis
from southbound.partitioning.allocation import Occupancy, fewest, slot_index, slot_indexes
from southbound.partitioning.topology import Pool
from southbound.settings import DirectorySettings
from tests.live.directory_kit import eventually

BASIS = Basis("az-a", "KAFKA", 0, ("az-a",), 0)
POOLS = [
    Pool(id="small", cluster="c", cls="host", topics=2, partitions=2, max_per_slot=3),
    Pool(id="big", cluster="c", cls="host", topics=3, partitions=4, max_per_slot=5),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis-compatible server for this file alone."""
    server = RedisServer(
        name="redis", directory=tmp_path_factory.mktemp("redis"), port=free_ports(1)[0]
    )
    server.directory.mkdir(exist_ok=True)
    server.start(find_redis(os.environ))
    try:
        server.wait_ready()
        yield server
    finally:
        server.daemon.stop(10)


@pytest.fixture
def raw(server: RedisServer) -> Iterator[Any]:
    """A plain client of the server, which is up and empty."""
    if server.daemon.pid() is None:
        server.start(find_redis(os.environ))
        server.wait_ready()
    client = redis.Redis.from_url(server.url, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def link(server: RedisServer, raw: Any) -> Iterator[RedisLink]:
    """A link to the server."""
    link = RedisLink(server.url, timeout_s=2, client_name="test")
    yield link
    link.close()


@pytest.fixture
def index(link: RedisLink) -> Index:
    """An index that knows the journal of AZ az-a, which is empty."""
    index = Index(link, DirectorySettings(batch=50, changes_max=1_000))
    assert index.apply(Passage("az-a", "KAFKA", 0, 0, True, 0), []) == []
    return index


def wish(host: str, pools: list[Pool], epoch: int = 1) -> Wish:
    """A host's wish for a slot in one of the pools."""
    candidates = [
        Candidate(pool.id, pool.max_per_slot, slot_indexes("host", host, pool)) for pool in pools
    ]
    return Wish(text_of("h", host), epoch, candidates)


def reserved(index: Index, wishes: list[Wish], basis: Basis = BASIS) -> list[str]:
    """The answers to wishes that are not refused."""
    answers = index.reserve(basis, wishes, 1_700_000_000)
    assert not isinstance(answers, Refusal)
    return answers


# Reserving.


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 200), max_size=90), st.permutations(POOLS))
def test_redis_chooses_as_the_reference_does(
    index: Index, raw: Any, numbers: list[int], pools: list[Pool]
) -> None:
    """Pool, probe and counts are those of the pure allocation, host by host."""
    raw.flushall()
    index.apply(Passage("az-a", "KAFKA", 0, 0, True, 0), [])
    occupancy = Occupancy(POOLS)
    hosts = [f"host-{number}" for number in dict.fromkeys(numbers)]
    expected = [occupancy.allocate("host", host, pools) for host in hosts]
    answers = reserved(index, [wish(host, pools) for host in hosts])
    assert answers == [
        "!" if choice is None else f"+{choice.pool}:{choice.probe}" for choice in expected
    ]
    for pool in POOLS:
        assert index.occupied(pool.id, pool.slots) == list(occupancy.counts[pool.id])
    totals = index.status().totals
    assert {pool.id: totals.get(pool.id, 0) for pool in POOLS} == occupancy.totals


def test_a_reservation_is_found_again(index: Index) -> None:
    """Asking twice counts once, also for who would have chosen another pool."""
    first = reserved(index, [wish("n", POOLS[:1])])
    assert reserved(index, [wish("n", POOLS[:1])]) == first
    assert reserved(index, [wish("n", POOLS[1:])]) == first
    assert sum(index.status().totals.values()) == 1
    ((text, parts),) = index.reservations()
    (one,) = parse_reservations(parts)
    assert (text, one.epoch, one.pool, one.at_s) == (text_of("h", "n"), 1, "small", 1_700_000_000)
    assert index.rows([text]).rows == [""]


def test_later_epochs_reserve_by_pool(index: Index) -> None:
    """A move asks for a place in one cluster; two moves of one key have a reservation each."""
    first = reserved(index, [wish("n", POOLS[:1], 2)])
    second = reserved(index, [wish("n", POOLS[1:], 2)])
    assert first[0].startswith("+small")
    assert second[0].startswith("+big")
    assert reserved(index, [wish("n", POOLS[:1], 2), wish("n", POOLS[1:], 2)]) == first + second
    assert index.status().totals == {"small": 1, "big": 1}


def test_an_existing_row_is_the_answer(index: Index) -> None:
    """Unless it has not yet reached the epoch that is asked for."""
    text = text_of("h", "n")
    index.apply(
        Passage("az-a", "KAFKA", 0, 1, True, 0),
        [Change(text, "", "small:1:2:7", 2, ["small", 3, 1])],
    )
    assert reserved(index, [wish("n", POOLS)]) == ["=small:1:2:7"]
    assert reserved(index, [wish("n", POOLS, 2)]) == ["=small:1:2:7"]
    assert reserved(index, [wish("n", POOLS, 3)])[0].startswith("+")


def test_public_resources_go_as_the_reference_does(index: Index) -> None:
    """The emptiest partition by then, the lowest of equals; a repeated call finds the same."""
    pool = public_pool("elb")
    texts = [text_of("p", public_field("elb", f"e{number}")) for number in range(23)]
    ones = index.reserve_publics(BASIS, pool, 4, texts[:10], 0)
    assert ones == [f"+{partition}" for partition in fewest([0] * 4, 10)]
    both = index.reserve_publics(BASIS, pool, 7, texts, 0)
    assert isinstance(both, list)
    assert both[:10] == ones
    assert both[10:] == [f"+{p}" for p in fewest([3, 3, 2, 2, 0, 0, 0], 13)]
    assert sum(index.occupied(pool, 7)) == 23


@pytest.mark.parametrize(
    ("basis", "refusal"),
    [
        (BASIS._replace(offset=1), Refusal("behind", "az-a")),
        (BASIS._replace(kafka_id="OTHER"), Refusal("kafka", "KAFKA")),
        (BASIS._replace(azs=("az-a", "az-b")), Refusal("behind", "az-b")),
        (BASIS._replace(az="az-b"), Refusal("behind", "az-b")),
        (BASIS._replace(topology=3), Refusal("topology", "0")),
    ],
)
def test_nothing_is_reserved_on_another_basis(index: Index, basis: Basis, refusal: Refusal) -> None:
    """Only who knows the journals to their ends can say that a row is absent."""
    assert index.reserve(basis, [wish("n", POOLS)], 0) == refusal
    assert index.reserve_publics(basis, "public/elb", 3, ["p\x1felb\x1fe"], 0) == refusal
    assert index.status().totals == {}


# Applying.


def passage(start: int, end: int, *, whole: bool = True) -> Passage:
    """A part of the journal of az-a."""
    return Passage("az-a", "KAFKA", start, end, whole, 0)


def test_a_change_is_compared_before_it_is_written(index: Index) -> None:
    """What differs is named; the rest is written; the position waits for all."""
    a, b = text_of("h", "a"), text_of("h", "b")
    changes = [Change(a, "", "small:0:1:0", 1, ["small", 0, 1])]
    assert index.apply(passage(0, 1), changes) == []
    version = index.status().standing.version
    changes = [
        Change(a, "small:9:1:0", "small:1:2:0", 2, ["small", 0, -1, "small", 1, 1]),
        Change(b, "", "small:0:1:0", 1, ["small", 2, 1]),
    ]
    assert index.apply(passage(1, 3), changes) == [0]
    assert index.rows([a, b]).rows == ["small:0:1:0", "small:0:1:0"]
    assert index.status().positions == {"az-a": Position("KAFKA", 1, True)}
    assert index.occupied("small", 4) == [1, 0, 1, 0]
    assert index.status().standing.version == version + 1
    assert index.apply(passage(1, 3), [changes[0]._replace(expected="small:0:1:0")]) == []
    assert index.status().positions == {"az-a": Position("KAFKA", 3, True)}
    assert index.occupied("small", 4) == [0, 1, 1, 0]


def test_applying_twice_changes_nothing(index: Index) -> None:
    """A repeated call counts nothing twice, raises no version, and never takes the position back."""
    change = Change(text_of("h", "a"), "", "small:0:1:0", 1, ["small", 0, 1])
    index.apply(passage(0, 5), [change])
    before = index.status()
    assert index.apply(passage(0, 1), [change]) == []
    assert index.status() == before
    assert index.occupied("small", 4) == [1, 0, 0, 0]


def test_a_confirmed_reservation_is_counted_once(index: Index) -> None:
    """Its count passes to the row, wherever the row went; later epochs' reservations stay."""
    text = text_of("h", "n")
    answer = reserved(index, [wish("n", POOLS[:1])])[0]
    slot = slot_index("host", "n", POOLS[0], int(answer[-1]))
    reserved(index, [wish("n", POOLS[1:], 2)])
    elsewhere = (slot + 1) % 4
    change = Change(text, "", "small:5:1:0", 1, ["small", elsewhere, 1])
    assert index.apply(passage(0, 1), [change]) == []
    counts = index.occupied("small", 4)
    assert (counts[slot], counts[elsewhere]) == (0, 1)
    assert index.status().totals == {"small": 1, "big": 1}
    ((_, left),) = index.reservations()
    assert [one.epoch for one in parse_reservations(left)] == [2]


def test_a_position_becomes_whole_and_stays_so(index: Index) -> None:
    """Once a journal was known to its end, reading on in parts does not unsay it."""
    other = passage(0, 2, whole=False)._replace(az="az-b")
    index.apply(other, [])
    assert index.status().positions["az-b"] == Position("KAFKA", 2, False)
    index.apply(other._replace(start=2, end=4, whole=True), [])
    index.apply(other._replace(start=4, end=5), [])
    assert index.status().positions["az-b"] == Position("KAFKA", 5, True)


def test_many_changes_go_in_pieces(index: Index) -> None:
    """Only the last piece moves the position; a difference in an early one keeps it back."""
    changes = [
        Change(text_of("h", f"n{number}"), "", f"small:{number % 16}:1:0", 1, ["small", 0, 1])
        for number in range(170)
    ]
    wrong = [changes[3]._replace(expected="x", row="y")]
    index.apply(passage(0, 0), changes[3:4])
    assert index.apply(passage(0, 170), [*changes[:3], *wrong, *changes[4:]]) == [3]
    assert index.status().positions["az-a"].offset == 0
    assert index.apply(passage(0, 170), changes) == []
    assert index.status().positions["az-a"].offset == 170
    assert index.occupied("small", 4) == [170, 0, 0, 0]
    assert Counter(dict(index.scan("h")).values()).total() == 170


# The map and its changes.


def test_changes_are_announced_and_creations_counted(index: Index) -> None:
    """Who has a row in memory learns its new one; newcomers are only counted."""
    a, b = text_of("h", "a"), text_of("h", "b")
    start = index.last_change()
    index.apply(passage(0, 1), [Change(a, "", "p:0:1:0", 1, []), Change(b, "", "p:0:1:0", 1, [])])
    index.apply(passage(1, 2), [Change(a, "p:0:1:0", "p:1:2:0", 2, [])])
    assert index.store_topology(0, 1, "{}") == 1
    found = [fields for _, fields in index.changes(start, 0.1)]
    assert found == [
        {"v": "1", "n": "2"},
        {"v": "2", "k": a, "r": "p:1:2:0"},
        {"v": "3", "t": "1"},
    ]
    assert index.changes(index.last_change(), 0.05) == []


def test_the_stream_of_changes_is_bounded(link: RedisLink, raw: Any) -> None:
    """Old changes go; whoever missed them sees the gap in the versions."""
    index = Index(link, DirectorySettings(changes_max=200))
    text = text_of("h", "a")
    row = ""
    for epoch in range(1, 1_000):
        following = f"p:0:{epoch}:0"
        index.apply(passage(0, 0), [Change(text, row, following, epoch, [])])
        row = following
    assert raw.xlen(f"{PREFIX}changes") < 500


def test_a_topology_is_stored_by_compare_and_set(index: Index) -> None:
    """Who compared with another version gets the one that is there."""
    assert index.topology_document() is None
    assert index.store_topology(0, 1, "first") == 1
    assert index.store_topology(0, 1, "second") == 1
    assert index.topology_document() == (1, "first")
    assert index.store_topology(1, 5, "third") == 5
    assert index.rows([]).standing.topology == 0
    assert index.status().standing.topology == 5


def test_a_wipe_forgets_all_but_the_topology(index: Index, raw: Any) -> None:
    """It begins another memory, whose version does not fall, and tells those who follow."""
    index.store_topology(0, 1, "doc")
    index.apply(
        passage(0, 1)._replace(topology=1),
        [Change(text_of("h", "a"), "", "p:0:1:0", 1, ["p", 0, 1])],
    )
    reserved(index, [wish("n", POOLS)], BASIS._replace(topology=1, offset=1))
    before = index.status().standing
    index.wipe(["p", "lost"])
    after = index.status()
    assert after.standing.born != before.born
    assert after.standing.version > before.version
    assert (after.positions, after.totals) == ({}, {})
    assert index.topology_document() == (1, "doc")
    assert set(raw.scan_iter()) == {f"{PREFIX}{name}" for name in ("map", "topology", "changes")}


def test_a_flushed_map_is_another_one(index: Index, raw: Any) -> None:
    """Its version begins anew, under another name."""
    index.apply(passage(0, 1), [Change(text_of("h", "a"), "", "p:0:1:0", 1, [])])
    before = index.status().standing
    raw.flushall()
    assert index.status().standing == ("", 0, 0)
    other = Index(index._link, DirectorySettings())
    other.apply(passage(0, 1), [Change(text_of("h", "a"), "", "p:0:1:0", 1, [])])
    after = index.status().standing
    assert (after.version, before.version) == (1, 1)
    assert after.born != before.born


# The link.


def test_scripts_survive_a_server_that_forgot_them(index: Index, raw: Any) -> None:
    """A server that was restarted or flushed of scripts gets them again."""
    raw.script_flush()
    assert index.rows([text_of("h", "a")]).rows == [""]
    assert index.status().positions["az-a"].offset == 0


def test_a_new_server_process_is_noticed(server: RedisServer, link: RedisLink, raw: Any) -> None:
    """Another process behind the same address raises the generation; a further connection does not."""
    link.call("PING")
    before = link.generation
    link.call("XREAD", "BLOCK", 10, "STREAMS", f"{PREFIX}changes", "0-0", timeout_s=0.01)
    assert link.generation == before
    server.daemon.stop(10)
    with pytest.raises(EdgeError) as caught:
        link.call("PING")
    assert caught.value.retryable
    server.start(find_redis(os.environ))
    server.wait_ready()
    eventually(lambda: link.call("PING") in {b"PONG", True})
    assert link.generation > before


def test_a_killed_connection_is_noticed_and_mended(link: RedisLink, raw: Any) -> None:
    """One call is repeated on a new connection, and the caller can see that it is new."""
    link.call("PING")
    before = link.generation
    raw.client_kill_filter(_type="normal", skipme=True)
    assert link.call("ECHO", "x") == b"x"
    assert link.generation == before + 1


def test_answers_in_other_words_are_errors(link: RedisLink, raw: Any) -> None:
    """What Redis refuses is an error with its words, and no reason to try again."""
    raw.set("text", "x")
    with pytest.raises(EdgeError, match="WRONGTYPE") as caught:
        link.call("HGET", "text", "x")
    assert not caught.value.retryable


def test_every_script_is_in_the_package() -> None:
    """Each file is a script that is called by its name, or what they all begin with."""
    folder = Path(__file__).parents[2] / "southbound" / "directory" / "scripts"
    names = {path.stem for path in folder.glob("*.lua")}
    assert names == {
        "apply",
        "dump",
        "prelude",
        "release",
        "reserve",
        "reserve_move",
        "reserve_public",
        "rows",
        "status",
        "topology",
        "wipe",
    }
