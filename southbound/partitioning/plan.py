"""A plan: which streams are to go where, and how the map looks before and after. Pure.

The rule: a plan is a document that a person reads before it is carried out. It names the map that it
was made from and, for each stream, the placement that it was decided about: whoever applies it
refuses a map in which one of these is another. The same snapshot and the same goal give the same
plan, byte for byte, and so the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import mmh3
import msgspec

from southbound.doubles import check_doubles
from southbound.errors import Fault, PlanError, WireError
from southbound.partitioning.placement import (
    Address,
    Placement,
    VpcPlacement,
    address_of,
    parse_placement,
)
from southbound.partitioning.topology import Topology

FORMAT = 1

Action = Literal["move", "add", "home", "drop"]
_ORDER: Mapping[str, int] = {"move": 0, "add": 1, "home": 2, "drop": 3}


class PlannedMove(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stream's part of a plan.

    `action`: `move`: the stream goes from `old` to `pool` and `probe`; `add`: a VPC gets a replica
    in `cluster`; `home`: the replica in `cluster`, which is made where there is none, becomes the
    VPC's home; `drop`: the VPC loses the replica `old`. `old` is a placement's row: the stream's, or
    for `add` and `home` the home's.
    """

    cls: Literal["host", "vpc"]
    id: str
    action: Action
    old: str
    cluster: str
    pool: str = ""
    probe: int = 0

    @property
    def old_placement(self) -> Placement:
        """The placement that the plan was decided about."""
        return parse_placement(self.old)

    @property
    def new_placement(self) -> Placement:
        """Pool and probe of the slot that a stream goes to; epoch and start are not known yet."""
        assert self.action == "move"
        return Placement(self.pool, self.probe)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How the slots of a pool are filled: the sum, the mean, and quantiles over the slots."""

    held: float
    mean: float
    p50: float
    p99: float
    max: float


class PoolChange(msgspec.Struct, frozen=True, kw_only=True):
    """One pool before and after a plan. `traffic_*`: over its slots, where traffic was measured."""

    cluster: str
    pool: str
    cls: str
    slots: int
    before: Load
    after: Load
    traffic_before: Load | None = None
    traffic_after: Load | None = None


class Goal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a plan is for, in the words of the command line.

    `kind`: `drain-cluster`, `drain-pool`, `drain-slot`, `fill`, `even`, `hosts`, `vpcs`, `pin`,
    `replicas` or `back`. `what`: cluster, pool, slot (`pool/topic/partition`), ids, or the plan that is undone.
    """

    kind: str
    what: tuple[str, ...] = ()
    to: str = ""
    by: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The document. `map_version` and `topology_version` name the map that it was made from."""

    goal: Goal
    map_version: int
    topology_version: int
    moves: tuple[PlannedMove, ...]
    pools: tuple[PoolChange, ...] = ()
    format: int = FORMAT

    @property
    def id(self) -> str:
        """Return the name under which its progress is kept: 12 hexadecimal digits of its content."""
        return f"{mmh3.hash128(msgspec.json.encode(self), signed=False):032x}"[:12]


class _Format(msgspec.Struct):
    format: int


def encode_plan(plan: Plan) -> bytes:
    """Return the plan's file: JSON, laid out for reading."""
    return msgspec.json.format(msgspec.json.encode(plan)) + b"\n"


def decode_plan(data: bytes) -> Plan:
    """Read what `encode_plan` wrote. Raises `WireError` when it is not a plan of this format.

    So does one in which a key stands twice in an object, since people edit plans.
    """
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found != FORMAT:
            raise WireError(f"a plan of format {found}; this software reads format {FORMAT}")
        plan = msgspec.json.decode(data, type=Plan)
        check_doubles(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not a plan: {error}") from error
    return plan


def in_order(moves: Iterable[PlannedMove], topology: Topology) -> tuple[PlannedMove, ...]:
    """Return moves as they are carried out: hosts first, then VPCs; those of two slots together.

    A host that comes into a cluster makes its VPCs present there; only then is it known where their
    homes may go, and who is left to read a replica that goes.
    """
    return tuple(sorted(moves, key=lambda move: _rank(move, topology)))


def _rank(move: PlannedMove, topology: Topology) -> tuple[object, ...]:
    old = _named(old_address(move, topology))
    new = _named(new_address(move, topology))
    return (_ORDER[move.action], move.cls, old, new, move.id)


def old_address(move: PlannedMove, topology: Topology) -> Address:
    """Return the slot that a stream leaves; for `add` and `home` the home's."""
    return address_of(move.cls, move.id, move.old_placement, topology)


def new_address(move: PlannedMove, topology: Topology) -> Address | None:
    """Return the slot that a stream enters; None where none is planned."""
    if move.action != "move":
        return None
    return address_of(move.cls, move.id, move.new_placement, topology)


def _named(address: Address | None) -> tuple[str, str, int]:
    return ("", "", 0) if address is None else (address.cluster, address.topic, address.partition)


def batches(
    moves: Sequence[PlannedMove], topology: Topology, parts_max: int
) -> Iterator[tuple[PlannedMove, ...]]:
    """Yield runs of moves of one pair of slots, at most `parts_max` in each; others stand alone."""
    run: list[PlannedMove] = []
    pair: tuple[object, ...] = ()
    for move in moves:
        slots = (old_address(move, topology), new_address(move, topology), move.action)
        if run and (slots != pair or len(run) >= parts_max or move.action in {"add", "home"}):
            yield tuple(run)
            run = []
        run.append(move)
        pair = slots
    if run:
        yield tuple(run)


def drift(
    plan: Plan, hosts: Mapping[str, Placement], vpcs: Mapping[str, VpcPlacement]
) -> list[Fault]:
    """Return what the map says otherwise of the plan's streams than when the plan was made."""
    faults = []
    for move in plan.moves:
        now = _standing(move, hosts, vpcs)
        if now != move.old:
            place = f"{move.cls} {move.id}"
            faults.append(Fault(place, now, f"was {move.old} when the plan was made"))
    return faults


def _standing(
    move: PlannedMove, hosts: Mapping[str, Placement], vpcs: Mapping[str, VpcPlacement]
) -> str:
    """Return the row of the stream that a move is about, as it is now."""
    if move.cls == "host":
        host = hosts.get(move.id)
        return "" if host is None else host.row()
    vpc = vpcs.get(move.id)
    if vpc is None:
        return ""
    rows = [replica.row() for replica in vpc.replicas]
    return move.old if move.old in rows else vpc.home.row()


def check_topology(plan: Plan, topology: Topology) -> None:
    """Raise `PlanError` when a plan names pools or clusters that the topology does not have."""
    for move in plan.moves:
        topology.cluster(move.cluster)
        if move.action == "move" and topology.pool(move.pool).cluster != move.cluster:
            raise PlanError(f"pool {move.pool!r} is not in cluster {move.cluster!r}")
