"""An agent's store that is cut at every page, and whose bits flip.

Either what is loaded is a state that was committed, or the file is set aside and the agent reads a
snapshot. A state that never was would be believed: a revision that is too high refuses every later
change, a position that is too high passes changes by.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from southbound.nca.state import (
    Due,
    Entry,
    OwedPresence,
    OwedReport,
    State,
    Status,
    StreamState,
    Transaction,
)
from southbound.nca.store import FILE, BrokenStore, Store
from southbound.partitioning.placement import Placement
from southbound.resources import Op, ResourceKey, Scope, host_scope, vpc_scope
from tests.faults.record import Cell
from tests.nca.world import TOPOLOGY

pytestmark = pytest.mark.subset

_PAGE = 4096
_SEED = 20_240
_HOST = host_scope("h")
_HOLDS = "a state that was committed, or a snapshot; never another state, never a crash loop"


def transactions() -> Iterator[Transaction]:
    """Yield what an agent writes down in some minutes of its life."""
    yield Transaction(topology=TOPOLOGY, kafka_ids={"c1": "abc"}, progress_us=10**15)
    for step in range(1, 31):
        entries: dict[ResourceKey, Entry | None] = {
            _key(number): Entry(
                step, Op.UPSERT, bytes([number % 256]) * 60, f"set-{step}", Status.SETTLED, ""
            )
            for number in range(step, 260, 7)
        }
        streams: dict[Scope, StreamState | None] = {
            _HOST: StreamState(Placement("pool", 1, 2, 30), 47 + step, swept=True),
            vpc_scope(f"v{step}"): StreamState(Placement("q", 0), step, swept=False),
        }
        due = Due(f"set-{step}", b"h\x1fh\x1fport\x1fp", step, None)
        yield Transaction(
            entries=entries,
            streams=streams,
            owed={step: OwedReport((due,)), 100 + step: OwedPresence("c1", "v", present=True)},
            settled=[step - 4],
        )


def _key(number: int) -> ResourceKey:
    return ResourceKey(_HOST, "port", f"port-{number}")


def image(folder: Path, *, is_open: bool) -> list[State]:
    """Leave a store's files in a folder, as after its end or in its midst; return what it was."""
    work = folder.with_name(folder.name + "-work")
    states = [State()]
    store = Store(work, "h")
    store.open()
    for transaction in transactions():
        store.commit(transaction)
        copied = folder.with_name("copy")
        shutil.copytree(work, copied)
        states.append(loaded(copied)[0])
        shutil.rmtree(copied)
    if not is_open:
        store.close()
    folder.mkdir()
    for name in (FILE, f"{FILE}-wal"):
        if (work / name).exists():
            shutil.copy(work / name, folder / name)
    if is_open:
        store.close()
    return states


def loaded(folder: Path) -> tuple[State, bool]:
    """Open a store as an agent does; return its state, and whether it was set aside."""
    store = Store(folder, "h")
    try:
        return store.open(), False
    except BrokenStore:
        store.move_aside()
        return store.open(), True
    finally:
        store.close()


class Damage:
    """Copies of an image, each damaged once, and what came of them."""

    def __init__(self, folder: Path, *, is_open: bool) -> None:
        self.states = image(folder, is_open=is_open)
        self.files = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.used = self.aside = 0
        self._folder = folder.with_name("damaged")

    def judge(self, name: str, damaged: bytes, what: str) -> None:
        """Put a damaged file in its place and open the store, twice."""
        self._folder.mkdir()
        for other, data in self.files.items():
            (self._folder / other).write_bytes(damaged if other == name else data)
        try:
            state, is_aside = loaded(self._folder)
            assert is_aside or state in self.states, f"{what}: a state that never was"
            assert not is_aside or state == State()
            again, aside_again = loaded(self._folder)
            assert (again, aside_again) == (state, False), f"{what}: set aside again"
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        finally:
            shutil.rmtree(self._folder)
        self.aside += is_aside
        self.used += not is_aside


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "in-use"])
def test_cut_at_every_page(
    tmp_path: Path, cell: Cell, is_open: bool, request: pytest.FixtureRequest
) -> None:
    """And, in the whole matrix, in the midst of every page: the file, or the log beside it."""
    cell.is_about(
        "agent's store",
        "truncate",
        f"cut at every page, and in the whole matrix within ({'in use' if is_open else 'closed'})",
        holds=_HOLDS,
        promises=(2, 4),
    )
    damage = Damage(tmp_path / "image", is_open=is_open)
    step = _PAGE // 2 if request.config.getoption("--faults") else _PAGE
    for name, data in damage.files.items():
        for at in range(0, len(data), step):
            damage.judge(name, data[:at], f"{name} cut at {at}")
    cell.count(operations=damage.used + damage.aside, faults=damage.used + damage.aside)
    cell.count(used=damage.used, set_aside=damage.aside)
    # In use, nearly everything is still in the log, whose end is cut at the last whole transaction.
    assert damage.aside or is_open


@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "in-use"])
def test_flipped_bits(
    tmp_path: Path, cell: Cell, is_open: bool, request: pytest.FixtureRequest
) -> None:
    """One bit, anywhere."""
    whole = request.config.getoption("--faults")
    times = 2_000 if whole else 150
    chosen = random.Random(_SEED + whole + 2 * is_open)
    cell.is_about(
        "agent's store",
        "bits",
        f"one bit flipped, {times} times ({'in use' if is_open else 'closed'})",
        holds=_HOLDS,
        promises=(2, 4),
    )
    damage = Damage(tmp_path / "image", is_open=is_open)
    for _ in range(times):
        name = chosen.choice(sorted(damage.files))
        data = bytearray(damage.files[name])
        # Headers decide most: every second flip hits the beginning of a page.
        at = chosen.randrange(len(data))
        if chosen.random() < 0.5:
            at = at // _PAGE * _PAGE + chosen.randrange(min(128, len(data) - at // _PAGE * _PAGE))
        bit = chosen.randrange(8)
        data[at] ^= 1 << bit
        damage.judge(name, bytes(data), f"{name}, bit {bit} of byte {at}")
    cell.count(operations=times, faults=times, used=damage.used, set_aside=damage.aside)
    assert damage.aside or is_open
    assert damage.used
