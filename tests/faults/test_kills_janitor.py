"""Every failpoint of the janitor: killed between looking, appending and remembering."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from southbound.failpoints import POINTS
from southbound.janitor.tally import MENDED_JOURNAL, MENDED_MOVES, PRUNED_MOVES
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import DIRECTORY_TOPIC, MOVES_TOPIC
from southbound.resources import Op, Scope
from southbound.wire.control import JournalEntry, MoveEntry, decode_journal, encode_control
from southbound.wire.keys import scope_text
from tests.faults.child import JanitorOrder
from tests.faults.record import Cell
from tests.faults.stage import Child
from tests.live.directory_kit import DirectoryKit, kit_on, own_pools
from tests.live.test_janitor import World, named, value

_DAY_S = 86_400.0
_NAMES = [name for name in POINTS if name.startswith("janitor.")]


@pytest.fixture(scope="module")
def kit(fleet: LocalFleet) -> Iterator[DirectoryKit]:
    """A Redis, and pools of this file's own."""
    with kit_on(fleet, own_pools(fleet, ("host", "vpc"), 2), 0) as made:
        yield made


@pytest.fixture
def world(kit: DirectoryKit, unique: Callable[[str], str]) -> World:
    """A hand on the slots, and a directory of this test's own."""
    return World(kit, unique)


class Disorder:
    """Everything that a janitor mends, planted for a new host of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.host, self.quiet = world.host(), world.host()
        self.address = world.address(self.host)
        placed = world.directory.hosts([self.host.id])[self.host.id]
        self.row = placed.row()
        self.loser = msgspec.structs.replace(placed, probe=7).row()
        world.write(
            self.address,
            (named(self.host, "turned"), value(6)),
            (named(self.host, "turned"), value(5)),
            (named(self.host, "gone"), value(3, Op.DELETE)),
            (named(self.host, "stays"), value(1)),
        )
        now_us = time.time_ns() // 1000
        # So old that whoever has it in memory has none; and Redis and the journal agree.
        old_us = now_us - int(400 * _DAY_S * 1e6)
        self._write(DIRECTORY_TOPIC, (self.host, JournalEntry(1, self.loser, "hand", 0)))
        quiet = world.directory.hosts([self.quiet.id])[self.quiet.id].row()
        higher = msgspec.structs.replace(placed, epoch=3).row()
        self._write(
            MOVES_TOPIC,
            (self.host, MoveEntry(3, higher, now_us)),
            (self.host, MoveEntry(2, self.loser, now_us)),
            (self.quiet, MoveEntry(1, quiet, old_us)),
        )

    def _write(self, topic: str, *entries: tuple[Scope, JournalEntry | MoveEntry]) -> None:
        records = [(scope_text(scope).encode(), encode_control(entry)) for scope, entry in entries]
        self.world.write(Address("c1", topic, 0), *records)

    def is_mended(self) -> list[str]:
        """Return what is still wrong."""
        world, host = self.world, self.host
        wrong = []
        found = world.revisions(host, "turned", self.address)
        if found[-1] != 6:
            wrong.append(f"the last revision is not the highest: {found}")
        if world.revisions(host, "gone", self.address)[-1] is not None:
            wrong.append("an old delete stands without its null")
        if world.revisions(host, "stays", self.address) != [1]:
            wrong.append("what was in order was touched")
        entry = dict(world.records(Address("c1", DIRECTORY_TOPIC, 0)))[scope_text(host).encode()]
        if entry is None or decode_journal(entry).row != self.row:
            wrong.append("the journal's last entry is a loser's")
        moves = dict(world.records(Address("c1", MOVES_TOPIC, 0)))
        if moves[scope_text(host).encode()] is None:
            wrong.append("a young entry of `sb.moves` is gone")
        if moves[scope_text(self.quiet).encode()] is not None:
            wrong.append("an old entry of `sb.moves` is not pruned")
        return wrong


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.subset] if name == "janitor.slots.after" else [])
        for name in _NAMES
    ],
)
def test_a_janitor(world: World, cell: Cell, name: str, tmp_path: Path) -> None:
    """It is killed at work, twice; the next one leaves nothing undone and nothing done twice."""
    cell.is_about(
        "janitor",
        "kill",
        f"SIGKILL at {name}, twice",
        holds="the next sweep mends all; compaction keeps the highest revision and the winner",
        promises=(1, 2),
    )
    disorder = Disorder(world)
    order = tmp_path / "order"
    settings = {
        "pools": tuple(pool.id for pool in world.topology.pools),
        "cleanup_after_s": 0.0,
        "due_every_s": 0.0,
        "delete_retention_s": 0.01,
    }
    told = JanitorOrder(settings, world.kit.redis_url, world.topology, str(tmp_path / "state"))
    order.write_bytes(msgspec.json.encode(told))
    times = 0
    for _ in range(2):
        with Child("janitor", str(order), armed=f"{name}=kill") as child:
            if child.wait() != 0:
                child.dies_at(name)
                times += 1
    # After an append that succeeded, the second one may find nothing left to append.
    assert times == 2 or (times == 1 and ".after" in name)
    with Child("janitor", str(order)) as child:
        child.ends_well()
    assert disorder.is_mended() == []
    again = world.swept(delete_retention_s=0.01)
    assert not again.tally.repairs
    assert not {MENDED_JOURNAL, MENDED_MOVES, PRUNED_MOVES} & set(again.tally.entries)
    cell.count(operations=6)
    cell.died_at(*[name] * times)
