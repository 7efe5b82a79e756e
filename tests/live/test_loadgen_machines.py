"""A scenario on workers of two machines, which only Redis and Kafka connect; and what if one dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadgen.campaign import CampaignSettings, run_campaign
from loadgen.coordination import Board
from southbound.directory import Directory
from southbound.documents.topology import load_topology
from southbound.edge.admin import apply_topics
from southbound.errors import ConfigError, EdgeError, SouthboundError
from southbound.local.fleet import LocalFleet
from southbound.settings import DirectorySettings
from tests.live.directory_kit import eventually
from tests.live.machines_kit import Machine, machines, may_have_namespaces

FleetFactory = Callable[..., LocalFleet]
_HOSTS = 60


@pytest.fixture(scope="module")
def stage(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Return a fleet of these tests' own: one cluster, its topics made, its topology put."""
    fleet = module_fleet_factory(clusters=1)
    topology = load_topology(fleet.topology_file)
    apply_topics(topology)
    settings = DirectorySettings(redis_url=fleet.redis_url, follow_wait_s=0.1)
    with Directory(settings, topology) as directory:
        directory.put_topology(topology)
    return fleet


@pytest.fixture
def two(stage: LocalFleet, tmp_path: Path) -> Iterator[list[Machine]]:
    """Return two machines, each with a worker that has joined."""
    ports = [server.port for server in stage.status()]
    with machines(2, ports, tmp_path) as made:
        kind = "network namespaces" if may_have_namespaces() else "folders and ports"
        sys.stdout.write(f"machines are {kind}\n")
        for machine in made:
            words = ("--redis", stage.redis_url, "loadgen", "worker")
            machine.start("-m", "southbound.cli", *words)
        board = Board(stage.redis_url, "default")
        eventually(
            lambda: len(board.present()) == 2,
            saying=lambda: [machine.output() for machine in made],
        )
        board.close()
        yield made


def _settings(scenario: str, seconds: float | None = None) -> CampaignSettings:
    return CampaignSettings(
        scenario=scenario, workers=2, hosts=_HOSTS, vms=2, seconds=seconds, gather_timeout_s=60
    )


def test_workers_of_two_machines_share_a_scenario(
    stage: LocalFleet, two: list[Machine], record_property: Callable[[str, object], None]
) -> None:
    """Both publish and read their halves, and every node has what the whole scenario leaves it."""
    record_property("namespaces", may_have_namespaces())
    said: list[str] = []
    result = run_campaign(stage.redis_url, _settings("churn", 2.0), progress=said.append)
    values = {row.metric: row.value for row in result.rows}
    assert values["nodes verified"] == _HOSTS
    assert values["changesets published"] > 2 * _HOSTS
    assert values["host's change, due to applied, p99"] > 0
    assert values["host records read per record needed, mean"] >= 1
    assert result.settings["workers"].count(",") == 1


def test_a_machine_that_dies_ends_the_run_with_its_name(
    stage: LocalFleet, two: list[Machine]
) -> None:
    """A worker that is killed in the midst of a run is named soon, and the other one is set free."""
    found: list[SouthboundError] = []
    said: list[str] = []

    def run() -> None:
        try:
            run_campaign(stage.redis_url, _settings("churn", 60.0), progress=said.append)
        except SouthboundError as error:
            found.append(error)

    running = threading.Thread(target=run)
    running.start()
    eventually(lambda: "enacting churn" in said, saying=lambda: said)
    board = Board(stage.redis_url, "default")
    victim = next(one.card for one in board.present() if one.beat.run)
    os.kill(_child_of(victim.pid), signal.SIGKILL)
    running.join(60)
    assert not running.is_alive(), "a dead worker ends the run"
    assert isinstance(found[0], EdgeError)
    assert victim.worker in str(found[0])
    assert "signal 9" in str(found[0])
    # Those who live serve the next run.
    eventually(lambda: all(not one.beat.run for one in board.present()))
    board.close()


def test_what_workers_cannot_enact_is_said_before_anybody_works(stage: LocalFleet) -> None:
    """A scenario that acts on nodes, one that is none, and seconds for one that ends by itself."""
    for scenario, seconds, words in (
        ("az-loss", None, "must be one of churn"),
        ("no-such", None, "must be one of churn"),
        ("group-change", 5.0, "ends by itself"),
    ):
        with pytest.raises(ConfigError, match=words):
            run_campaign(stage.redis_url, _settings(scenario, seconds), progress=print)


def _child_of(pid: int) -> int:
    """Return the process of a worker's hand; Python's own helper processes are not meant."""
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return next(
        child for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
    )
