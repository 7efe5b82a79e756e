"""Well-formed inputs of every kind, which fuzzers begin from: golden records, documents, answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

from southbound.directory.topologies import Stored, encode_stored
from southbound.partitioning.move import Kind, Move, Part, encode_record
from southbound.partitioning.placement import Address, Placement
from southbound.partitioning.plan import Goal, Plan, PlannedMove, encode_plan
from tests.nca.world import TOPOLOGY

_ROOT = Path(__file__).parents[2]
_GOLDEN = _ROOT / "tests" / "wire" / "golden" / "records.json"
_DOCUMENTS = _ROOT / "tests" / "documents" / "data"
_SHARED = _ROOT.parent / "shared" / "data"
_SHARED_BYTES_MAX = 16_384


@cache
def golden(*kinds: str) -> tuple[bytes, ...]:
    """Return the golden bytes of these kinds: key, envelope, marker, move, journal, report, ..."""
    found = json.loads(_GOLDEN.read_text())
    return tuple(bytes.fromhex(one["hex"]) for one in found if one["kind"] in kinds)


def golden_kinds() -> set[str]:
    """Return the kinds that there are."""
    return {one["kind"] for one in json.loads(_GOLDEN.read_text())}


@cache
def documents() -> tuple[bytes, ...]:
    """Return documents: our own, those of the Networking API, goal states; shared ones where present."""
    own = [*_DOCUMENTS.rglob("*.json"), *(_ROOT / "examples").glob("*.yaml")]
    shared = [*_SHARED.rglob("*.json")] if _SHARED.is_dir() else []
    small = (file for file in sorted(shared) if file.stat().st_size <= _SHARED_BYTES_MAX)
    return tuple(file.read_bytes() for file in (*sorted(own), *small))


@cache
def neutron() -> tuple[bytes, ...]:
    """Return responses of the Networking API: written ones, real ones where they are present."""
    return _json_of(_DOCUMENTS / "neutron", _SHARED / "neutron")


@cache
def goalstates() -> tuple[bytes, ...]:
    """Return goal states: one as Alcor writes it, one with the names and numbers of its messages."""
    return ((_DOCUMENTS / "goalstate.json").read_bytes(), _NUMBERED)


_NUMBERED = b"""{
 "format_version": 101,
 "vpc_states": {"v1": {"operation_type": 1, "configuration": {"revision_number": 3, "id": "v1"}}},
 "security_group_states": {"g1": {"operation_type": 0, "configuration": {"revision_number": 1,
  "security_group_rules": [{"operation_type": 3, "id": "r1", "direction": 1, "protocol": 2}]}}},
 "router_states": {"x": {"configuration": {"subnet_routing_tables": [{"subnet_id": "s",
  "routing_rules": [{"destination": "10.0.0.0/8", "next_hop_ip": "10.0.0.1"}]}]}}},
 "host_resources": {"h1": {"resources": [{"type": 6, "id": "x"}, {"type": 3, "id": "p"}]}}
}"""


def _json_of(*folders: Path) -> tuple[bytes, ...]:
    files = sorted(file for folder in folders for file in folder.rglob("*.json"))
    return tuple(file.read_bytes() for file in files if file.stat().st_size <= _SHARED_BYTES_MAX)


def topologies() -> Iterable[bytes]:
    """Return topologies as people write them."""
    return [(_ROOT / "examples" / "topology.yaml").read_bytes()]


def stored_topology() -> bytes:
    """Return a topology as the directory keeps it."""
    return encode_stored(Stored(TOPOLOGY)).encode()


_OLD, _NEW = Placement("host-a", 0), Placement("host-b", 1)
MOVE = Move(
    plan="plan",
    id="plan/0",
    kind=Kind.MOVE,
    old=Address("c1", "sb.host-a.000", 0),
    new=Address("c1", "sb.host-b.000", 0),
    parts=(Part(cls="host", id="h1", epoch=1, old=_OLD, new=_NEW, fence="c1"),),
)
PLAN = Plan(
    goal=Goal(kind="hosts", what=("h1",), to="c1"),
    map_version=1,
    topology_version=1,
    moves=(
        PlannedMove(
            cls="host", id="h1", action="move", old=_OLD.row(), cluster="c1", pool="host-b", probe=1
        ),
    ),
)


def ledger_records() -> Iterable[bytes]:
    """Return records of `sb.rebalance`, each as key, line end, value."""
    batches = [{"number": 0, "moves": msgspec.to_builtins(PLAN.moves)}]
    header = {"id": "p", "goal": {"kind": "even"}, "map_version": 1, "moves": 1, "chunks": 1}
    return [
        b"move\x1fp\x1f0\n" + encode_record(MOVE),
        b"batches\x1fp\x1f0\n" + msgspec.json.encode(batches),
        b"plan\x1fp\n" + msgspec.json.encode({**header, "begun_us": 1}),
        b"note\x1fp\x1f0\n" + msgspec.json.encode({"plan": "p", "number": 0, "state": "done"}),
    ]


def plan_file() -> bytes:
    """Return a plan as the command line writes it."""
    return encode_plan(PLAN)
