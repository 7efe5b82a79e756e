"""What live tests of the directory are made of: a fleet's topology, directories, and interference.

The rule: each test has a Redis database of its own, which begins empty, so its first directory rolls
it forward from whatever the tests before have written to the journals.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import redis

from southbound.directory import Directory
from southbound.directory.keys import PREFIX, bucket_of, parts_of
from southbound.directory.topologies import Stored, encode_stored
from southbound.documents.topology import topology_of
from southbound.edge.admin import apply_topics
from southbound.edge.topics import TopicSettings
from southbound.local.fleet import LocalFleet
from southbound.partitioning.topology import Pool, Topology
from southbound.settings import DirectorySettings

JOURNAL_SETTINGS = TopicSettings(
    compaction_lag_ms=0,
    overrides={"min.cleanable.dirty.ratio": "0.001", "segment.ms": "500"},
)
_DATABASES = 16


def eventually(
    what: Callable[[], bool], *, within_s: float = 60.0, saying: Callable[[], object] = str
) -> None:
    """Wait until `what` holds; fail with what `saying` says when it does not in time."""
    end_s = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end_s, f"not within {within_s} s: {saying()}"
        time.sleep(0.01)


class DirectoryKit:
    """One test's directories on a fleet whose topics exist, and hands on what lies below them.

    `redis_url`: another Redis than the fleet's own.
    """

    def __init__(
        self, fleet: LocalFleet, topology: Topology, database: int, redis_url: str | None = None
    ) -> None:
        self.fleet = fleet
        self.topology = topology
        url = redis_url or fleet.redis_url
        self.redis_url = url.rpartition("/")[0] + f"/{database % _DATABASES}"
        self.redis = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self._made: list[Directory] = []

    def settings(self, **changes: Any) -> DirectorySettings:
        """Return settings with short waits."""
        settings: dict[str, Any] = {
            "redis_url": self.redis_url,
            "follow_wait_s": 0.1,
            # What answers at all answers within this, however slow the machine is.
            "redis_timeout_s": 10.0,
            "journal_timeout_s": 10.0,
            "unreachable_s": 0.2,
            **changes,
        }
        return DirectorySettings(**settings)

    def directory(self, **changes: Any) -> Directory:
        """Return one more open directory; it is closed with the test."""
        directory = Directory(self.settings(**changes), self.topology)
        self._made.append(directory)
        directory.open()
        return directory

    def row(self, text: str) -> str | None:
        """Return a row as Redis has it."""
        found = self.redis.hget(PREFIX + bucket_of(text), parts_of(text)[1])
        assert found is None or isinstance(found, str)
        return found

    def plant_row(self, text: str, row: str | None) -> None:
        """Write a row past the directory, or delete it."""
        field = parts_of(text)[1]
        if row is None:
            self.redis.hdel(PREFIX + bucket_of(text), field)
        else:
            self.redis.hset(PREFIX + bucket_of(text), field, row)

    def plant_count(self, pool: str, slot: int, count: int) -> None:
        """Write how many a slot holds, past the directory."""
        self.redis.bitfield(f"{PREFIX}occupied:{pool}").set("u32", f"#{slot}", count).execute()

    def rows(self) -> dict[str, dict[str, str]]:
        """Return every bucket of rows that there is."""
        found: dict[str, dict[str, str]] = {}
        for letter in "hvp":
            for name in self.redis.scan_iter(match=f"{PREFIX}{letter}:*", count=10_000):
                bucket: Any = self.redis.hgetall(name)
                found[name] = bucket
        return found

    def close(self) -> None:
        """Close everything, and leave the database empty."""
        for directory in self._made:
            directory.close()
        self.redis.flushdb()
        self.redis.close()


def prepared_topology(fleet: LocalFleet, settings: TopicSettings | None = None) -> Topology:
    """Return a fleet's topology, its topics made."""
    topology = topology_of(fleet.topology_document())
    apply_topics(topology, settings)
    return topology


@contextmanager
def kit_of(
    fleet: LocalFleet, topology: Topology, database: int, redis_url: str | None = None
) -> Iterator[DirectoryKit]:
    """Give a test its kit."""
    kit = DirectoryKit(fleet, topology, database, redis_url)
    kit.redis.flushdb()
    try:
        yield kit
    finally:
        kit.close()


def own_pools(fleet: LocalFleet, names: Sequence[str], partitions: int) -> Topology:
    """Return a fleet's topology with one new pool for each name in each cluster; "vpc" holds VPCs.

    Their topics are not made yet.
    """
    mark = uuid.uuid4().hex[:8]
    base = topology_of(fleet.topology_document())
    pools = tuple(
        Pool(
            id=f"own-{mark}-{cluster.id}-{name}",
            cluster=cluster.id,
            cls="vpc" if name == "vpc" else "host",
            topics=1,
            partitions=partitions,
            max_per_slot=1_000,
        )
        for cluster in base.clusters
        for name in names
    )
    return msgspec.structs.replace(base, pools=pools, public=(), version=1)


@contextmanager
def kit_on(fleet: LocalFleet, topology: Topology, database: int) -> Iterator[DirectoryKit]:
    """Make a topology's topics and put it into Redis alone: all tests share the journals."""
    apply_topics(topology)
    with kit_of(fleet, topology, database) as made:
        made.directory()._index.store_topology(0, 1, encode_stored(Stored(topology)))
        yield made
