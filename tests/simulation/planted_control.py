"""Planted bugs of the control plane: the directory, publishers, their logs (§4, §5, §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from southbound.directory import moves, verdict
from southbound.directory.verdict import Verdict
from southbound.janitor import entries
from southbound.producer import tracker_core
from southbound.producer.core import Parcel, Route, judge
from southbound.resources import Op
from southbound.wire.reports import Outcome, ReportEntry
from tests.simulation import directory, janitor, publisher, world
from tests.simulation.bug import Bug, bug
from tests.simulation.directory import Change, Directory, Redis
from tests.simulation.fleet import CLUSTERS, TOPOLOGY
from tests.simulation.janitor import Janitor
from tests.simulation.log import Lost
from tests.simulation.loop import MS, Steps
from tests.simulation.network import Item, Network
from tests.simulation.publisher import Publisher, items_of


def _judge_unmended(*arguments: Any) -> Verdict:
    return verdict.judge(*arguments)._replace(mend={})


def _look_elsewhere(self: Publisher, parcel: Parcel) -> Steps[Route | None]:
    assert parcel.route is not None
    wrong = next(one for one in CLUSTERS if one != parcel.route.fence)
    yield from self.fences[wrong].look()
    return judge(parcel, self.fences[wrong].tail.entry(parcel.scope), TOPOLOGY)


def _look_once(self: Publisher, parcel: Parcel) -> Steps[Route | None]:
    if len(parcel.sent) > 1:
        return None
    return (yield from _VERDICT(self, parcel))


def _nulls_for_deletes(parcel: Parcel, route: Route) -> list[Item]:
    pairs = zip(items_of(parcel, route), parcel.records, strict=True)
    return [(key, None if one.op is Op.DELETE else value) for (key, value), one in pairs]


def _leader_alone(
    self: Network, who: str, address: Any, item: Item, number: Any, deadline_us: int
) -> Steps[int]:
    """Count what the leader has as acknowledged; the followers get it a little later."""
    partition = self._clusters[address.cluster].at(address)
    key, value = item

    def follow() -> Steps[None]:
        yield 0
        try:
            partition.commit(number)
        except Lost:
            return

    offset = yield from self.call(
        who, address.cluster, lambda: partition.append(key, value, self._loop.now_us, number)
    )
    self._loop.spawn("followers", follow(), int(self._chance.uniform(1, 200) * MS))
    return offset


def _nothing_is_brought(self: Publisher, parcel: Parcel) -> Steps[None]:
    yield 0


def _uncompared(
    self: Redis, az: str, start: int, end: int, changes: Sequence[Change]
) -> list[str] | None:
    rows = {**self.memory.rows, **{one.text: one.new for one in changes}}
    self.change(self.memory._replace(rows=rows, positions={**self.memory.positions, az: end}))
    return []


def _counted_twice(self: Directory, before: Any, after: Any) -> list[Change]:
    return [
        one._replace(counts=tuple(pair for pair in one.counts if pair[1] > 0))
        for one in _CHANGES(self, before, after)
    ]


def _never_given_back(self: Redis, *arguments: Any) -> list[str] | None:
    reserved = self.memory.reserved
    found = _ROLL(self, *arguments)
    self.memory = self.memory._replace(reserved={**reserved, **self.memory.reserved})
    return found


def _exactly_this(self: Any, host: str, entry: ReportEntry) -> str | None:
    """Listen to nothing but the very revision's being applied, failing or waiting."""
    if entry.outcome is Outcome.SUPERSEDED or entry.revision > self.revisions[entry.key]:
        return None
    return _HEAR(self, host, entry)


_VERDICT = Publisher.verdict
_HEAR = tracker_core._Part.hear
_CHANGES = Directory._changes
_ROLL = Redis.roll

PLANTED: Mapping[str, Bug] = {
    "a loser leaves its entry last": bug(
        "§4 a loser appends the winner again, since compaction keeps the last",
        "mixed",
        (directory, "judge", _judge_unmended),
        (janitor, "judge", _judge_unmended),
    ),
    "the fence of another cluster": bug(
        "§4 the same cluster's `sb.moves` is looked at; §6 of a VPC the home's",
        "moves",
        (Publisher, "verdict", _look_elsewhere),
    ),
    "turned, and not looked again": bug(
        "§4 it sends again to where the entry points, and looks there",
        "returns",
        (Publisher, "verdict", _look_once),
    ),
    "entries of moves are pruned at once": bug(
        "§4 an entry is pruned once it is older than any cached placement",
        "moves",
        (Janitor, "PRUNE_US", -1),
        (moves, "NULL_BELIEVED_US", 0),
        (entries, "NULL_BELIEVED_US", 0),
        stress=("process frozen", "process frozen", "process frozen"),
    ),
    "Redis is rolled without comparing": bug(
        "§4 every mutation is one script: compare row and epoch, write",
        "mixed",
        (Redis, "roll", _uncompared),
    ),
    "a move counts in both its slots": bug(
        "§4 Redis holds slot occupancies", "moves", (Directory, "_changes", _counted_twice)
    ),
    "reservations are never given back": bug(
        "§8 the occupancy of what was reserved ends with the epoch",
        "mixed",
        (Redis, "roll", _never_given_back),
    ),
    "compaction without a lag": bug(
        "§5 `min.compaction.lag.ms` is at least one hour",
        "mixed",
        (world, "LAG_US", 0),
        stress=("compaction",) * 4,
    ),
    "a delete is sent as a null": bug(
        "§5 deletes are records with a revision",
        "mixed",
        (publisher, "items_of", _nulls_for_deletes),
    ),
    "acknowledged by the leader alone": bug(
        "§6 idempotent producers, `acks=all`",
        "mixed",
        (Network, "_deliver", _leader_alone),
        stress=("leader changes",) * 4,
    ),
    "a port's VPC is not brought": bug(
        "§6 a VPC has a replica in each cluster where one of its ports lives",
        "mixed",
        (Publisher, "_make_present", _nothing_is_brought),
    ),
    "superseded is not told": bug(
        "§7 reports tell applied, failed, pending, superseded; §9 the tracker resolves `applied`",
        "mixed",
        (tracker_core._Part, "hear", _exactly_this),
    ),
}
