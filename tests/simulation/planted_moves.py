"""Planted bugs of moves and of the janitor (§8, §9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from southbound.janitor.judging import Repair, Why
from southbound.partitioning import handover, steps
from southbound.partitioning.handover import Move
from southbound.partitioning.move import Part
from southbound.partitioning.placement import Address, Placement
from southbound.producer.core import Parcel, Route
from southbound.rebalance import copying
from southbound.resources import Op
from southbound.wire.envelope import decode
from tests.simulation import mover, seeder
from tests.simulation.bug import Bug, bug
from tests.simulation.janitor import RULES, Janitor
from tests.simulation.loop import Steps
from tests.simulation.mover import Mover
from tests.simulation.publisher import Publisher
from tests.simulation.rehomer import Rehomer
from tests.simulation.seeder import Seeder
from tests.simulation.world import World


def _mended(self: Mover, move: Move, action: Any) -> Steps[Any]:
    yield 0
    return steps.Mended()


def _unmended(self: Seeder, scope: Any, target: Any, replica: Any) -> Steps[None]:
    yield 0


def _own_start(part: Part, decided: Placement) -> Part:
    assert part.new is not None
    own = msgspec.structs.replace(decided, start=part.new.start)
    return _LEFT_FOR(part, own)


def _unsent_by_address(self: Publisher, parcel: Parcel, route: Route) -> list[Address]:
    known = {address for sent in parcel.sent for address in sent.addresses}
    return [address for address in route.addresses if address not in known]


def _never_young(open_: Any, now_us: int) -> bool:
    return False


def _sealed_first(self: Mover, move: Move, action: Any) -> Steps[Any]:
    sealed = steps.Seal(move.old, move.new, handover._entered(move), ())
    yield from _SEAL(self, move, sealed)
    return (yield from _DELTA(self, move, action))


def _upserts(*arguments: Any) -> Iterator[tuple[bytes, bytes]]:
    for key, value in copying.copies(*arguments):
        if decode(value).op is Op.UPSERT:
            yield key, value


def _no_marker(self: Mover, move: Move, action: Any) -> Steps[Any]:
    return (yield from _MARK(self, move, steps.Mark(action.address, ())))


def _noted_before_telling(
    self: Seeder, scope: Any, row: Any, replica: Any, home: Any, target: Any
) -> Steps[bool]:
    """Read the home up to an end from before the fences were told."""
    yield from self._catch_up_home(home, row.home)
    noted = home.position
    yield self._world.pause_us()
    with_end = home.catch_up

    def up_to_the_noted(to: int | None = None) -> Steps[None]:
        yield from with_end(noted)

    home.catch_up = up_to_the_noted
    return (yield from _COMPLETE(self, scope, row, replica, home, target))


def _hasty(self: World, name: str) -> Janitor:
    return Janitor(self, name, RULES._replace(retention_us=0))


def _unanswered(self: Janitor, repairs: list[Repair]) -> Steps[list[Repair]]:
    return (yield from _PERMITTED(self, [one for one in repairs if one.why is not Why.ANSWER]))


def _not_looked_for(self: Mover, move: Move, action: Any) -> Steps[Any]:
    yield 0
    return steps.Released()


def _told_to_the_home(move: Move) -> Iterator[steps.Announcement]:
    fences = {part.fence for part in move.parts}
    return (one for one in _ANNOUNCEMENTS(move) if one.cluster in fences)


def _told_to_nobody(self: Rehomer, scope: Any, row: Any, clusters: list[str]) -> Steps[None]:
    yield 0


_ANNOUNCEMENTS = handover._announcements
_LEFT_FOR = handover._left_for
_SEAL, _DELTA, _MARK = Mover.seal, Mover.delta, Mover.mark
_COMPLETE = Seeder._complete
_PERMITTED = Janitor.permitted

PLANTED: Mapping[str, Bug] = {
    "no mending": bug(
        "§8 where a key's last record is not its highest, the highest is appended again",
        "unswept",
        (Mover, "mend", _mended),
        stress=("network slow", "network slow"),
    ),
    "seeders do not mend": bug(
        "§8 a replica is seeded by the same steps", "unswept", (Seeder, "_mend", _unmended)
    ),
    "an own start instead of the decided one": bug(
        "§8 the move's record holds S0, and the journal decides it",
        "moves",
        (handover, "_left_for", _own_start),
        stress=("move's record falls back",) * 3,
    ),
    "a slot entered again counts as sent to": bug(
        "§8 a placement's stream begins at S0: what lies before is of an earlier stay",
        "returns",
        (Publisher, "unsent", _unsent_by_address),
    ),
    "young sets are copied": bug(
        "§8 the mover leaves out a young set that is incomplete",
        "moves",
        (copying, "_is_young", _never_young),
    ),
    "sealed before the copies": bug(
        "§8 mend, and only then seal", "moves", (Mover, "delta", _sealed_first)
    ),
    "deletes are not copied": bug(
        "§8 copy the highest revisions, deletes too",
        "moves",
        (mover, "copies", _upserts),
        (seeder, "copies", _upserts),
    ),
    "no marker": bug("§8 mark the old slot", "moves", (Mover, "mark", _no_marker)),
    "a home's end is noted before telling": bug(
        "§8 of a replica, M is the home's end after the fences were told",
        "mixed",
        (Seeder, "_complete", _noted_before_telling),
    ),
    "a replica goes without a last look": bug(
        "§6 a replica in each cluster where a port lives; it goes with the last (decision 0024)",
        "replicas",
        (Mover, "release", _not_looked_for),
    ),
    "a drop is told to the home alone": bug(
        "§6 a dropped replica's own cluster is told (decision 0024)",
        "replicas",
        (handover, "_announcements", _told_to_the_home),
    ),
    "presence is remembered without the row": bug(
        "§6 a port is accepted with its VPC there (decision 0024)",
        "replicas",
        (Publisher, "has_vpcs", lambda _self, _parcel: True),
    ),
    "another home is told to nobody": bug(
        "§8 moving a home is a handover: every other cluster is told (decision 0032)",
        "replicas",
        (Rehomer, "tell_all", _told_to_nobody),
    ),
    "tombstones at once": bug(
        "§9 null tombstones after the retention of deletes", "days", (World, "make_janitor", _hasty)
    ),
    "late nulls unanswered": bug(
        "§9 a null that landed behind a newer record is answered by appending that again",
        "recreations",
        (Janitor, "permitted", _unanswered),
    ),
}
