"""How fast the directory places and finds hosts, beside bare redis-py with the same rows.

The rule: everything runs on the same servers, in one process and one after the other. The baseline
does what a directory without decisions would do: it writes finished rows into the same buckets,
pipelined, and reads them back; it reserves nothing, counts nothing and journals nothing.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis

from southbound.bench.result import BenchResult, Row
from southbound.directory import Directory
from southbound.directory.index import Basis, Candidate, Change, Index, Passage, Refusal, Wish
from southbound.directory.keys import HOST, PREFIX, bucket_of, text_of
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError
from southbound.partitioning.allocation import FIRST_PROBES, share_out, slot_indexes
from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import Pool, Topology
from southbound.settings import DirectorySettings

Progress = Callable[[str], None]

_SHARE = 10
_MB = 1e6
_AZ = "bench"
_DATABASES = {"alone": 14, "bare": 15}


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryBench:
    """What is measured: `hosts` in pools of `topics` x `partitions`, about ten hosts a slot.

    `singles`: how many look-ups one at a time. `batch`: rows in one call, the directory's and the
    baseline's.
    """

    hosts: int = 1_000_000
    singles: int = 20_000
    topics: int = 200
    partitions: int = 50
    batch: int = 2_000


class Timed(NamedTuple):
    """How long something took here, and how much of it this process computed."""

    seconds: float
    cpu_s: float


def run_directory(
    directory: Directory,
    redis_url: str,
    bench: DirectoryBench | None = None,
    *,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure on the fleet of an open directory, which must be the benchmark's own.

    Pools of the benchmark's size are added to its topology (their topics are not made, since nothing
    is sent), and its journals are filled with hosts that are nowhere. Redis' databases 14 and 15 are
    emptied. Raises `EdgeError`.
    """
    chosen = bench or DirectoryBench()
    say = progress or (lambda _line: None)
    pools = _pools(directory.topology, chosen)
    _add_pools(directory, pools)
    hosts = _hosts(directory.topology, chosen.hosts)
    server: Any = redis.Redis.from_url(redis_url)
    rows, placed = _directory_rows(directory, redis_url, hosts, chosen, say)
    say("placing in Redis alone")
    rows.append(_placed_in_redis(redis_url, pools, list(hosts), chosen))
    say("the same rows by bare redis-py")
    baseline = _bare_rows(redis_url, placed, chosen)
    settings = _settings(directory, chosen, server)
    server.close()
    return BenchResult("directory", tuple(rows), tuple(baseline), _ratios(rows, baseline), settings)


def _pools(topology: Topology, bench: DirectoryBench) -> list[Pool]:
    slots = bench.topics * bench.partitions
    count = max(len(topology.clusters), math.ceil(bench.hosts / (_SHARE * slots)))
    return [
        Pool(
            id=f"bench{number}",
            cluster=topology.clusters[number % len(topology.clusters)].id,
            cls="host",
            topics=bench.topics,
            partitions=bench.partitions,
            max_per_slot=2 * _SHARE,
        )
        for number in range(count)
    ]


def _add_pools(directory: Directory, pools: Sequence[Pool]) -> None:
    topology = directory.topology
    others = tuple(pool for pool in topology.pools if pool.cls == "vpc")
    directory.put_topology(msgspec.structs.replace(topology, pools=(*others, *pools)))


def _hosts(topology: Topology, count: int) -> dict[str, str]:
    azs = [topology.cluster(pool.cluster).az for pool in topology.pools_in("host")]
    return {f"host-{number:07d}": azs[number % len(azs)] for number in range(count)}


# The directory.


def _directory_rows(
    directory: Directory,
    redis_url: str,
    hosts: Mapping[str, str],
    bench: DirectoryBench,
    say: Progress,
) -> tuple[list[Row], dict[str, Placement]]:
    server: Any = redis.Redis.from_url(redis_url)
    before = _used(server)
    say(f"registering {len(hosts)} hosts")
    placed, took = _timed(lambda: directory.register_hosts(hosts))
    memory = _used(server) - before
    server.close()
    counts = [count for pool in directory.occupancy().values() for count in pool]
    rows = [
        _rate("register, journaled", len(hosts), took),
        Row("register, journaled: all of them", took.seconds, "s"),
        Row("register, journaled: this process' CPU", took.cpu_s / len(hosts) * 1e6, "us/host"),
        Row("fullest slot", max(counts), "hosts"),
        Row("Redis memory", memory / _MB, "MB"),
    ]
    settings = DirectorySettings(redis_url=redis_url, client_id="bench", batch=bench.batch)
    ids = list(hosts)
    say("looking up")
    with Directory(settings, directory.topology) as fresh:
        gc.collect()
        resident = _resident()
        rows.append(_rate("look up, batched, from Redis", len(ids), _batched(fresh, ids, bench)))
        rows.append(Row("cache, per host", (_resident() - resident) / len(ids), "bytes"))
        rows.append(_rate("look up, batched, from memory", len(ids), _batched(fresh, ids, bench)))
        rows.append(
            _rate("look up, single, from memory", bench.singles, _single(fresh, ids, bench))
        )
    with Directory(settings, directory.topology) as fresh:
        rows.append(_rate("look up, single, from Redis", bench.singles, _single(fresh, ids, bench)))
    say("comparing Redis with the journals")
    differences, took = _timed(directory.verify)
    if differences:
        raise EdgeError(
            f"the directory differs from its journals: {differences[0]}", retryable=False
        )
    rows.append(Row("verify", took.seconds, "s"))
    say("rebuilding Redis from the journals")
    _, took = _timed(directory.rebuild)
    rows.append(Row("rebuild", took.seconds, "s"))
    return rows, placed


def _batched(directory: Directory, ids: Sequence[str], bench: DirectoryBench) -> Timed:
    def look() -> None:
        for piece in _pieces(ids, bench.batch):
            assert len(directory.hosts(piece)) == len(piece)

    return _timed(look)[1]


def _single(directory: Directory, ids: Sequence[str], bench: DirectoryBench) -> Timed:
    # Every so many, so that neighbours in a bucket do not help each other.
    chosen = [ids[number * 7919 % len(ids)] for number in range(bench.singles)]

    def look() -> None:
        for id in chosen:
            assert directory.hosts((id,))

    return _timed(look)[1]


def _placed_in_redis(
    redis_url: str, pools: Sequence[Pool], ids: Sequence[str], bench: DirectoryBench
) -> Row:
    """Reserve and write every host by the same scripts, with no journal between."""
    link = RedisLink(_database(redis_url, "alone"), timeout_s=30, client_name="bench")
    link.call("FLUSHDB", "SYNC")
    index = Index(link, DirectorySettings(batch=bench.batch))
    index.apply(Passage(_AZ, _AZ, 0, 0, True, 0), [])

    def place() -> None:
        totals: dict[str, int] = {}
        for piece in _pieces(ids, bench.batch):
            shares = share_out(pools, totals, len(piece))
            _place(index, piece, shares)
            for pool in shares:
                totals[pool.id] = totals.get(pool.id, 0) + 1

    _, took = _timed(place)
    link.call("FLUSHDB", "SYNC")
    link.close()
    return _rate("place, in Redis alone", len(ids), took)


def _place(index: Index, hosts: Sequence[str], pools: Sequence[Pool]) -> None:
    wishes = [
        Wish(
            text_of(HOST, host),
            1,
            [Candidate(pool.id, pool.max_per_slot, slot_indexes("host", host, pool, FIRST_PROBES))],
        )
        for host, pool in zip(hosts, pools, strict=True)
    ]
    answers = index.reserve(Basis(_AZ, _AZ, 0, (_AZ,), 0), wishes, 0)
    assert not isinstance(answers, Refusal)
    changes = []
    for wish, answer in zip(wishes, answers, strict=True):
        slot = wish.candidates[0].slots[int(answer.rpartition(":")[2])]
        counts = (wish.candidates[0].pool, slot, 1)
        changes.append(Change(wish.text, "", f"{answer[1:]}:1:0", 1, counts))
    assert index.apply(Passage(_AZ, _AZ, 0, 0, True, 0), changes) == []


# The baseline.


def _bare_rows(redis_url: str, placed: Mapping[str, Placement], bench: DirectoryBench) -> list[Row]:
    server: Any = redis.Redis.from_url(_database(redis_url, "bare"))
    server.flushdb(asynchronous=False)
    rows = [
        (PREFIX + bucket_of(text_of(HOST, host)), host, placement.row())
        for host, placement in placed.items()
    ]
    before = _used(server)

    def write() -> None:
        for piece in _pieces(rows, bench.batch):
            pipe = server.pipeline(transaction=False)
            for name, host, row in piece:
                pipe.hset(name, host, row)
            pipe.execute()

    def read() -> None:
        for piece in _pieces(rows, bench.batch):
            pipe = server.pipeline(transaction=False)
            for name, host, _ in piece:
                pipe.hget(name, host)
            assert all(pipe.execute())

    def read_one() -> None:
        for number in range(bench.singles):
            name, host, _ = rows[number * 7919 % len(rows)]
            assert server.hget(name, host)

    _, wrote = _timed(write)
    memory = _used(server) - before
    found = [
        _rate("HSET, pipelined", len(rows), wrote),
        Row("Redis memory of bare rows", memory / _MB, "MB"),
        _rate("HGET, pipelined", len(rows), _timed(read)[1]),
        _rate("HGET, single", bench.singles, _timed(read_one)[1]),
    ]
    server.flushdb(asynchronous=False)
    server.close()
    return found


_PAIRS = (
    ("register, journaled", "HSET, pipelined"),
    ("place, in Redis alone", "HSET, pipelined"),
    ("look up, batched, from Redis", "HGET, pipelined"),
    ("look up, single, from Redis", "HGET, single"),
    ("Redis memory", "Redis memory of bare rows"),
)


def _ratios(rows: Sequence[Row], baseline: Sequence[Row]) -> tuple[Row, ...]:
    values = {row.metric: row.value for row in (*rows, *baseline)}
    return tuple(Row(f"{ours} / {bare}", values[ours] / values[bare], "x") for ours, bare in _PAIRS)


def _settings(directory: Directory, bench: DirectoryBench, server: Any) -> dict[str, str]:
    topology = directory.topology
    return {
        "hosts": str(bench.hosts),
        "slots": str(sum(pool.slots for pool in topology.pools_in("host"))),
        "clusters": str(len(topology.clusters)),
        "zones, registered side by side": str(len(topology.azs)),
        "rows a call": str(bench.batch),
        "entries a turn with the journal": str(DirectorySettings().round),
        "Redis appendonly": str(server.config_get("appendonly").get("appendonly")),
    }


def _database(redis_url: str, use: str) -> str:
    """Return the address of another database of the same server."""
    server, _, number = redis_url.rpartition("/")
    return f"{server if number.isdigit() else redis_url.rstrip('/')}/{_DATABASES[use]}"


def _rate(metric: str, count: int, took: Timed) -> Row:
    return Row(metric, count / took.seconds, "hosts/s")


def _timed(work: Callable[[], Any]) -> tuple[Any, Timed]:
    cpu, start = time.process_time(), time.perf_counter()
    result = work()
    return result, Timed(time.perf_counter() - start, time.process_time() - cpu)


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _used(server: Any) -> int:
    return int(server.info("memory")["used_memory"])


def _resident() -> int:
    """Return this process' resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
