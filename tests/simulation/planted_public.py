"""Planted bugs of public resources and their workers (§10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from southbound.nca.worker_core import Work, WorkerCore
from tests.simulation.bug import Bug, bug
from tests.simulation.directory import Directory, Redis
from tests.simulation.fleet import PUBLIC_PARTITIONS, public_slot
from tests.simulation.group import Group
from tests.simulation.loop import Steps
from tests.simulation.topic import Topic
from tests.simulation.worker import Worker


def _wait_for_nobody(self: Group, asked: Any) -> Steps[None]:
    yield 0


def _kept(self: WorkerCore, partitions: Any, *, lost: bool = False) -> Work:
    _REVOKED(self, partitions, lost=lost)
    return Work()


def _from_the_end(self: Worker, number: int) -> int:
    where = public_slot(number)
    return self.world.clusters[where.cluster].at(where).high


def _always_the_first(self: Redis, text: str, partitions: int) -> int:
    row = self.memory.rows.get(text)
    return 0 if row is None else int(row.row)


def _never_noticed(self: Group, partitions: int) -> None:
    self.partitions = PUBLIC_PARTITIONS


def _known_for_ever(self: Directory) -> Steps[None]:
    yield 0


def _by_an_old_topology(self: Redis, text: str, partitions: int) -> int:
    """Reserve by the topology of whoever asks, old as it may be."""
    memory, self.memory = self.memory, self.memory._replace(partitions=partitions)
    found = _RESERVE(self, text, partitions)
    self.memory = self.memory._replace(partitions=memory.partitions)
    return found


def _named_first(self: Topic, who: str, partitions: int) -> Steps[None]:
    yield from self.name(who, partitions)
    yield self._world.network.delay_us() * 50
    yield from _MAKE(self, who, partitions)


_MAKE = Topic.make
_RESERVE = Redis.reserve_public
_REVOKED = WorkerCore.revoked

PLANTED: Mapping[str, Bug] = {
    "assigned before it is given back": bug(
        "§10 on revocation a worker releases before another takes it",
        "public",
        (Group, "await_answers", _wait_for_nobody),
        stress=("worker killed", "worker frozen", "worker killed", "worker frozen"),
    ),
    "given back and kept": bug(
        "§10 on revocation it releases what it held",
        "public",
        (WorkerCore, "revoked", _kept),
        stress=("worker killed",),
    ),
    "nothing is replayed": bug(
        "§10 on assignment a worker replays the partition to the watermark",
        "public",
        (Worker, "begin", _from_the_end),
        stress=("worker killed", "worker killed"),
    ),
    "one partition gets everything": bug(
        "§10 partitions are given so that counts differ by at most one",
        "public",
        (Redis, "reserve_public", _always_the_first),
    ),
    "new partitions are nobody's": bug(
        "§10 workers take partitions that are added",
        "public",
        (Group, "notice", _never_noticed),
    ),
    "placed by an old topology": bug(
        "§10 partitions grow: who comes is placed by the newest topology",
        "public",
        (Directory, "match_topology", _known_for_ever),
        (Redis, "reserve_public", _by_an_old_topology),
    ),
    "named before they are made": bug(
        "§10 partitions are made before the topology names them",
        "public",
        (Topic, "make", _named_first),
        stress=("network slow",),
    ),
}
