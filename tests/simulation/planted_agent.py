"""Planted bugs of agents (§5, §7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from southbound.nca import core, desired
from southbound.nca.changesets import Holding
from southbound.nca.desired import Desired
from southbound.nca.events import Now
from southbound.nca.parking import Parking
from southbound.nca.plan import Change, ordered
from southbound.nca.positions import Positions
from southbound.nca.positions import Stream as AgentStream
from southbound.nca.reading import Reading
from southbound.nca.retries import Retries
from southbound.nca.snapshot import Reason, Snapshot
from southbound.partitioning.placement import Address
from southbound.resources import ResourceKey
from southbound.wire.keys import decode_key
from tests.simulation.bug import Bug, bug


class _AnyPrefix(dict[bytes, AgentStream]):
    """Takes a record whose prefix nobody has for the first stream's."""

    def get(self, prefix: bytes, default: Any = None) -> Any:
        if prefix in self or not prefix.startswith(b"h"):
            return super().get(prefix, default)
        return next((one for key, one in self.items() if key.startswith(b"h")), default)


def _everybodys(self: Positions, address: Address) -> Mapping[bytes, AgentStream]:
    return _AnyPrefix(_AT(self, address))


def _first_comes_first(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(reversed(ordered(changes)))


def _young_too(self: Reading, stream: AgentStream, incoming: Any, *more: Any) -> None:
    if stream.snapshot is not None and stream.gathering:
        stream.snapshot.see(incoming.key)
        self._accept(stream, incoming)
        return
    _RESOURCE(self, stream, incoming, *more)


def _null_ends(self: Reading, stream: AgentStream, wire_key: bytes) -> None:
    key = decode_key(wire_key)
    if stream.snapshot is not None and stream.gathering:
        stream.snapshot._found.pop(key, None)
        stream.snapshot._seen.discard(key)
    elif self._desired.get(key) is not None:
        self._desired.remove([key])


def _is_anything(self: Desired, key: ResourceKey) -> bool:
    return True


def _to_a_bare_offset(self: AgentStream, offset: int, _leader_epoch: int = -1) -> None:
    """Remember a position without the leader's epoch."""
    self.next = offset


_AT = Positions.at
_RESOURCE = Reading._resource


def _since_the_future(self: core.AgentCore, now: Now) -> None:
    """Take progress that was noted in the future for progress of a moment ago."""
    last_us, self._progress_us = self._progress_us, now.us
    limit_us = self._settings.retention_of_deletes_s / 2 * 1e6
    if last_us and now.us - last_us > limit_us:
        for stream in list(self._positions):
            if stream.snapshot is None:
                self._reading.resync(stream, Reason.ABSENCE)


PLANTED: Mapping[str, Bug] = {
    "a neighbour's records are taken": bug(
        "§5 an agent drops a neighbour's record by its key's prefix",
        "mixed",
        (Positions, "at", _everybodys),
    ),
    "a snapshot is applied piece by piece": bug(
        "§7 a snapshot is applied as one",
        "mixed",
        (AgentStream, "gathering", property(lambda _: False)),
        stress=("agent's disk wiped",) * 3,
    ),
    "a snapshot is complete without its seal": bug(
        "§7 in a slot entered by handover a snapshot is complete once its seal was read",
        "moves",
        (Snapshot, "complete", property(lambda self: self.at_end)),
        stress=(*("mover dies at a step",) * 2, *("agent's disk wiped",) * 2),
    ),
    "young sets of a snapshot are taken": bug(
        "§7 in a snapshot, sets younger than the hold stay held",
        "moves",
        (Reading, "_resource", _young_too),
        stress=("agent's disk wiped",) * 3 + ("publisher killed", "network slow"),
    ),
    "what nobody completes is held for ever": bug(
        "§7 a set that nobody completes in time is released",
        "mixed",
        (Holding, "overdue", lambda _self, _now_s: []),
        (Holding, "deadline_s", lambda _self: None),
        stress=("publisher killed",) * 4,
    ),
    "nothing waits for what it refers to": bug(
        "§7 a resource whose references are missing is parked",
        "mixed",
        (Desired, "_is_there", _is_anything),
    ),
    "what waits is not woken": bug(
        "§7 a parked resource is applied when its references come",
        "mixed",
        (Parking, "waiting_for", lambda _self, _key: ()),
    ),
    "applied against its rank": bug(
        "§7 apply in rank order, delete in reverse",
        "mixed",
        (desired, "ordered", _first_comes_first),
        (core, "ordered", _first_comes_first),
    ),
    "a failure is not tried again": bug(
        "§7 applier failure: retried with backoff",
        "mixed",
        (Retries, "due", lambda _self, _now_s: []),
        (Retries, "deadline_s", lambda _self: None),
        stress=("applier refuses",) * 3,
    ),
    "a null ends what stands": bug(
        "§9 a null that landed behind a newer record ends nothing",
        "recreations",
        (Reading, "_null", _null_ends),
    ),
    "a clock that was ahead hides an absence": bug(
        "§7 progress that was noted in the future tells nothing",
        "days",
        (core.AgentCore, "_progress", _since_the_future),
        stress=("clock ahead at leaving",),
    ),
    "a cut log passes for the one that was read": bug(
        "§7 a position is known by the epoch of the leader that took what is before it",
        "disaster",
        (AgentStream, "go_to", _to_a_bare_offset),
        stress=("node away", "node away", "agent slow"),
    ),
}
