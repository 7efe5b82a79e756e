"""Real servers for tests: two Kafka clusters in two zones, and a Redis-compatible server.

The rule: they are started once for all tests of a run, in a folder that the next run finds, so that
a run which was killed outright leaves nothing behind for longer than until then.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from southbound.local.broker import BrokerSettings
from southbound.local.daemon import Daemon
from southbound.local.fleet import LocalFleet, LocalSettings
from southbound.local.launch import start_mark
from southbound.partitioning.topology import Cluster

FleetFactory = Callable[..., LocalFleet]

_HERE = Path(__file__).parent
_RUNS = Path(tempfile.gettempdir()) / f"southbound-tests-{os.getuid()}"

SETTINGS = LocalSettings(
    region="test",
    broker=BrokerSettings(
        heap_mib=512,
        quick_start=True,
        overrides={
            # A killed broker is back in seconds, not after a production node's patience.
            "broker.session.timeout.ms": "5000",
            "broker.heartbeat.interval.ms": "1000",
            # A test that forces compaction sees it at once.
            "log.cleaner.backoff.ms": "200",
            "log.segment.delete.delay.ms": "1000",
            # Time moves slowly in a test: retention is looked at often.
            "log.retention.check.interval.ms": "1000",
        },
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder: it needs real servers."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.live)


def _end_fleets(run: Path) -> None:
    for record in run.glob("*/fleet.json"):
        LocalFleet(record.parent, SETTINGS).down(wipe=True)
    for pid in run.glob("redis-*/*/pid"):
        Daemon(pid.parent.name, pid.parent).kill()
    shutil.rmtree(run, ignore_errors=True)


def _sweep() -> None:
    """End the servers of runs whose own process has ended."""
    for run in _RUNS.glob("*"):
        number, _, mark = run.name.partition("-")
        if (start_mark(int(number)) or "").rpartition(":")[2] != mark:
            _end_fleets(run)


@pytest.fixture(scope="session")
def run_dir() -> Iterator[Path]:
    """Return the folder that holds the fleets of this run."""
    _sweep()
    mark = (start_mark(os.getpid()) or "").rpartition(":")[2]
    run = _RUNS / f"{os.getpid()}-{mark}"
    run.mkdir(parents=True)
    yield run
    _end_fleets(run)


@pytest.fixture
def redis_folder(run_dir: Path) -> Path:
    """Return a folder for a test's own Redis servers, each in one below it."""
    return Path(tempfile.mkdtemp(dir=run_dir, prefix="redis-"))


@contextmanager
def _factory(run: Path) -> Iterator[FleetFactory]:
    made: list[LocalFleet] = []

    def make(
        clusters: int = 1, azs: int | None = None, settings: LocalSettings = SETTINGS
    ) -> LocalFleet:
        fleet = LocalFleet(Path(tempfile.mkdtemp(dir=run, prefix="fleet-")), settings)
        made.append(fleet)
        fleet.up(clusters, azs)
        return fleet

    try:
        yield make
    finally:
        for fleet in made:
            fleet.down(wipe=True)


@pytest.fixture(scope="session")
def fleet(run_dir: Path) -> Iterator[LocalFleet]:
    """Return the fleet that all tests share: clusters c1 in az-a, c2 in az-b, and Redis.

    Its servers are never stopped by a test, and its data belong to everybody: use names from
    `unique`, and a Redis database or prefix of your own.
    """
    with _factory(run_dir) as make:
        yield make(clusters=2, azs=2)


@pytest.fixture
def fleet_factory(run_dir: Path) -> Iterator[FleetFactory]:
    """Return a function that starts a fleet for this test alone: `make(clusters, azs, settings)`."""
    with _factory(run_dir) as make:
        yield make


@pytest.fixture(scope="module")
def module_fleet_factory(run_dir: Path) -> Iterator[FleetFactory]:
    """Return the same function, with fleets that live as long as the tests of one file."""
    with _factory(run_dir) as make:
        yield make


@pytest.fixture(scope="session")
def clusters(fleet: LocalFleet) -> dict[str, Cluster]:
    """Return the shared fleet's clusters by id, as clients are made from."""
    return {
        entry["id"]: Cluster(
            id=entry["id"],
            az=entry["az"],
            bootstrap=tuple(entry["bootstrap"]),
            kafka_id=entry["kafka_id"],
        )
        for entry in fleet.topology_document()["clusters"]
    }
