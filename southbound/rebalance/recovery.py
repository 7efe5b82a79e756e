"""Finding what moves have left behind, when the ledger that told of them is cut, made anew or lost.

The rule: nothing that anybody carries on is called left behind. So rows and reservations are read
first, then which streams the ledger's plans have, and the slots last: a plan that ends meanwhile has
sealed by then what its rows say, and one that begins meanwhile is in the ledger before it reserves.
What is found all the same while somebody is at it (an executor whose ledger was cut under it, a
publisher that adds a replica) may be done twice: that is how executors take over from each other.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeVar

from southbound.directory.directory import Directory
from southbound.directory.index import STALE_S
from southbound.directory.index import Reservation as Kept
from southbound.errors import EdgeError
from southbound.partitioning.placement import Address, Placement, VpcPlacement, address_of
from southbound.partitioning.plan import PlannedMove
from southbound.partitioning.topology import Topology
from southbound.pieces import in_pieces
from southbound.rebalance.leftovers import (
    Abandoned,
    Doubt,
    Drop,
    Finding,
    Stay,
    drops,
    of_host,
    of_vpc,
)
from southbound.rebalance.slots import Slots, Written
from southbound.resources import Scope, ScopeClass, host_scope, vpc_scope
from southbound.wire.control import Seal, encode_control
from southbound.wire.keys import HANDOVER, SEAL, SEPARATOR, scope_prefix, seal_key

_AT_ONCE = 200
_DIGITS_MAX = 18
_Row = TypeVar("_Row")


class Leftovers(NamedTuple):
    """What was found. `map_version`: of the map that it was found in.

    `abandoned`: moves to bring to their ends. `stays`: hosts whose slots lack a seal alone. `doubts`:
    what cannot be brought to an end from here. `kept`: reservations that nobody carries on.
    """

    map_version: int
    abandoned: tuple[Abandoned, ...]
    stays: tuple[Stay, ...]
    doubts: tuple[Doubt, ...]
    kept: Mapping[Scope, Sequence[Kept]]

    @property
    def moves(self) -> tuple[PlannedMove, ...]:
        """The moves, as a plan names them."""
        return tuple(one.planned for one in self.abandoned)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing."""
        return not (self.abandoned or self.stays or self.doubts or self.kept)


class Controls(NamedTuple):
    """The epochs of the seals and markers that one scope has in one slot; `is_whole`: nothing of what
    stands behind the stream's start was cut.
    """

    seals: AbstractSet[int]
    markers: AbstractSet[int]
    is_whole: bool


_Where = tuple[Scope, Placement]


class Recovery:
    """Looks for leftovers. For one thread; making it does no IO. All calls raise `EdgeError`."""

    def __init__(self, directory: Directory, slots: Slots) -> None:
        self._directory = directory
        self._slots = slots

    def find(self, busy: Callable[[], AbstractSet[Scope]]) -> Leftovers:
        """Return what nobody carries on; `busy` tells which streams plans have that are not finished."""
        version = self._directory.map_version()
        kept = self._directory.reservations()
        hosts = {host_scope(id): row for id, row in self._directory.hosts_scan() if row.epoch > 1}
        vpcs = {vpc_scope(id): row for id, row in self._directory.vpcs_scan() if row.epoch > 1}
        taken = busy()
        findings = self._findings(_without(hosts, taken), _without(vpcs, taken))
        return Leftovers(
            version,
            tuple(one for one in findings if isinstance(one, Abandoned)),
            tuple(one for one in findings if isinstance(one, Stay)),
            tuple(one for one in findings if isinstance(one, Doubt)),
            _dead(kept, taken, int(time.time()) - STALE_S),
        )

    def seal(self, stays: Iterable[Stay]) -> None:
        """Write the seals of hosts that stay. Raises `EdgeError` for one whose slot is not whole itself."""
        topology = self._directory.topology
        wanted = list(stays)
        found = self._controls([(one.scope, one.placement) for one in wanted])
        records = []
        for one in wanted:
            if (
                one.source_epoch > 1
                and one.source_epoch not in found[one.scope, one.placement].seals
            ):
                raise EdgeError(
                    f"{one.scope} is still being moved to where it is: its seal of epoch "
                    f"{one.source_epoch} is not there",
                    retryable=True,
                )
            address = address_of(one.scope.cls.value, one.scope.id, one.placement, topology)
            epoch = one.placement.epoch
            value = encode_control(Seal(epoch))
            records.append(Written(address, seal_key(one.scope, epoch), value))
        self._slots.append(records)

    def _findings(
        self, hosts: Mapping[Scope, Placement], vpcs: Mapping[Scope, VpcPlacement]
    ) -> list[Finding]:
        topology = self._directory.topology
        entered: list[_Where] = list(hosts.items())
        entered += [
            (scope, one) for scope, row in vpcs.items() for one in row.replicas if one.epoch > 1
        ]
        known = [where for where in entered if topology.find_pool(where[1].pool) is not None]
        controls = self._controls(known)
        open_ = [where for where in known if where[1].epoch not in controls[where].seals]
        earlier = self._directory.chronicle({*vpcs, *(scope for scope, _ in open_)})
        findings: list[Finding] = []
        for scope, placement in open_:
            if not controls[scope, placement].is_whole:
                findings.append(
                    Doubt(scope, "records of its slot were cut, or its topic was made anew")
                )
            elif scope.cls is ScopeClass.HOST:
                findings.append(of_host(scope, placement, earlier[scope], topology))
            else:
                findings.append(of_vpc(scope, vpcs[scope], placement, earlier[scope], topology))
        return findings + self._drops(vpcs, earlier, topology)

    def _drops(
        self,
        vpcs: Mapping[Scope, VpcPlacement],
        earlier: Mapping[Scope, Mapping[int, str]],
        topology: Topology,
    ) -> list[Finding]:
        """Return the replicas that went, and whose slots do not lead on."""
        gone: list[Drop] = [
            one
            for scope, row in vpcs.items()
            for one in drops(scope, row, earlier[scope], topology)
        ]
        controls = self._controls([(one.scope, one.gone) for one in gone])
        return [
            one.abandoned
            for one in gone
            if max(controls[one.scope, one.gone].markers, default=0) < one.epoch
        ]

    def _controls(self, wanted: Iterable[_Where]) -> dict[_Where, Controls]:
        """Return which seals and markers scopes have in slots, from their streams' starts."""
        topology = self._directory.topology
        by_slot: defaultdict[Address, list[_Where]] = defaultdict(list)
        for scope, placement in dict.fromkeys(wanted):
            address = address_of(scope.cls.value, scope.id, placement, topology)
            by_slot[address].append((scope, placement))
        found: dict[_Where, Controls] = {}
        for piece in in_pieces(by_slot.items(), _AT_ONCE):
            slots = dict(piece)
            ends, begins = self._slots.ends(slots), self._slots.begins(slots)
            spans = {
                at: (max(begins[at], min(one.start for _, one in those)), ends[at])
                for at, those in slots.items()
            }
            read = self._slots.messages(spans)
            for at, those in slots.items():
                seen = [(m.offset() or 0, m.key()) for m in read[at] if m.value() is not None]
                for where in those:
                    found[where] = _controls_of(*where, seen, (begins[at], ends[at]))
        return found


def _without(rows: Mapping[Scope, _Row], taken: AbstractSet[Scope]) -> dict[Scope, _Row]:
    return {scope: row for scope, row in rows.items() if scope not in taken}


def _dead(
    kept: Mapping[Scope, Sequence[Kept]], taken: AbstractSet[Scope], oldest_s: int
) -> dict[Scope, list[Kept]]:
    """Return the reservations that nobody carries on: of hosts only plans move, so those of no plan; else
    the old ones, since publishers reserve for VPCs and for newcomers.
    """
    found = {}
    for scope, those in kept.items():
        is_host = scope.cls is ScopeClass.HOST
        dead = [one for one in those if one.at_s < oldest_s or (is_host and one.epoch > 1)]
        if dead and scope not in taken:
            found[scope] = dead
    return found


def _controls_of(
    scope: Scope,
    placement: Placement,
    seen: Iterable[tuple[int, object]],
    bounds: tuple[int, int],
) -> Controls:
    prefix = scope_prefix(scope)
    epochs: dict[str, set[int]] = {SEAL: set(), HANDOVER: set()}
    for offset, key in seen:
        if offset < placement.start or not isinstance(key, bytes) or not key.startswith(prefix):
            continue
        kind, _, id = key[len(prefix) :].decode(errors="replace").partition(SEPARATOR)
        if kind in epochs and id.isascii() and id.isdigit() and len(id) <= _DIGITS_MAX:
            epochs[kind].add(int(id))
    low, end = bounds
    return Controls(epochs[SEAL], epochs[HANDOVER], low <= placement.start <= end)
