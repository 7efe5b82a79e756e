"""The fault matrix: which of its cells run, and what becomes of them.

The rule: every test here is a cell. Without `--faults` only those marked `subset` run; with it all
do. A cell that broke is recorded as broken.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from southbound.local.fleet import LocalFleet
from southbound.local.launch import start_mark
from tests.faults.record import KEY, Cell, Record, commit, now
from tests.faults.servers import end_servers
from tests.faults.stage import Stage, stage_on
from tests.live.conftest import (
    _RUNS,
    FleetFactory,
    _end_fleets,
    fleet_factory,
    module_fleet_factory,
)
from tests.live.shards_kit import small_topology

__all__ = ["fleet_factory", "module_fleet_factory"]

_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Gather the cells in the process that sees every report."""
    file = config.getoption("--faults-record", default=None)
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(file)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark this folder's tests; leave out what was not asked for."""
    whole = config.getoption("--faults")
    left_out = []
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)
            if "run_dir" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.live)
            if not whole and item.get_closest_marker("subset") is None:
                left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session")
def run_dir() -> Iterator[Path]:
    """Return the folder of this run's servers, which the next run clears if this one cannot."""
    for old in _RUNS.glob("0*"):
        number, _, mark = old.name.partition("-")
        if (start_mark(int(number)) or "").rpartition(":")[2] != mark:
            _end_all(old)
    mark = (start_mark(os.getpid()) or "").rpartition(":")[2]
    # Written with a nought, it is another folder than that of the live tests of the same process.
    run = _RUNS / f"0{os.getpid()}-{mark}"
    run.mkdir(parents=True)
    yield run
    _end_all(run)


def _end_all(run: Path) -> None:
    end_servers(run)
    _end_fleets(run)


@pytest.fixture
def server_dir(run_dir: Path) -> Path:
    """Return a folder for servers that a test starts itself (`tests.faults.servers`)."""
    return Path(tempfile.mkdtemp(dir=run_dir, prefix="servers-"))


@pytest.fixture(scope="module")
def fleet(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Two clusters in one zone."""
    return module_fleet_factory(2, 1)


@pytest.fixture(scope="module")
def stage(fleet: LocalFleet) -> Iterator[Stage]:
    """A fleet with small pools, and two publishers."""
    with stage_on(fleet, small_topology(fleet)) as made:
        yield made


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Iterator[Cell]:
    """Return this test's cell, to be filled in."""
    made = Cell(name=request.node.nodeid.rpartition("/")[2])
    began_s = time.monotonic()
    yield made
    assert made.fault, "a cell says what it injects"
    made.seconds = round(time.monotonic() - began_s, 2)
    request.node.user_properties.append((KEY, msgspec.to_builtins(made)))


class Recorder:
    """Writes the cells of a run into a file, in the place of what earlier runs said of them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = now()
        self._cells: list[Cell] = []
        self._broken: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a cell once its test is over."""
        if report.failed:
            self._broken.add(report.nodeid)
        if report.when != "teardown":
            return
        for key, found in report.user_properties:
            if key == KEY:
                cell = msgspec.convert(found, Cell)
                cell.verdict = "broken" if report.nodeid in self._broken else "held"
                cell.at, cell.commit = self._at, commit()
                self._cells.append(cell)

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        record = Record.read(self._file)
        record.add(self._cells)
        record.write(self._file)
