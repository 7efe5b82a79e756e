"""A million hosts at one thousandth: the same code, on kept clusters that are made, reused and interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from loadgen.million import MillionBench, run_million
from loadgen.stage import BROKER, Keeper, StageSettings, StageSize, kept_stage
from southbound.bench.result import BenchResult
from southbound.errors import ConfigError
from southbound.local.broker import BrokerSettings
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import Placement

_ROOT = Path(__file__).parents[2]
_HOSTS = 1_000
_CLUSTERS = 2
_BENCH = MillionBench(
    hosts=_HOSTS, publishers=2, readers=2, vpc_hosts=10, vpc_changes=3, vpc_every_s=0.2, sample=50
)


@pytest.fixture(scope="module")
def folder(run_dir: Path) -> Iterator[Path]:
    """Return the folder of a stage that these tests make and reuse."""
    made = run_dir / "million"
    yield made
    LocalFleet(made / "fleet").down(wipe=True)


def _settings(folder: Path, bench: MillionBench = _BENCH) -> StageSettings:
    return StageSettings(
        folder=folder,
        size=StageSize.for_hosts(_HOSTS, _CLUSTERS),
        fleet=str(bench.shape()),
        broker=BrokerSettings(
            heap_mib=512, quick_start=True, ready_timeout_s=90, overrides=BROKER.overrides
        ),
    )


class First(NamedTuple):
    """What the first run on the folder found, and where it placed two hosts."""

    result: BenchResult
    placed: dict[str, Placement]


@pytest.fixture(scope="module")
def first(folder: Path) -> First:
    """Run once on the folder, which need not be there yet."""
    with kept_stage(_settings(folder), print) as stage:
        result = run_million(stage, Keeper(folder), _BENCH, progress=print)
        return First(result, stage.directory.hosts(["h0000000", "h0000999"]))


@pytest.mark.timeout(400)
def test_every_host_is_told_and_verified_beside_bare_clients(first: First) -> None:
    """All nodes have what they must, and the baseline did as much."""
    result = first.result
    values = {row.metric: row.value for row in (*result.rows, *result.baseline)}
    assert values["nodes verified by digest"] == _HOSTS
    assert values["nodes compared in full"] == 2 * 50
    assert values["bare read, records"] == _HOSTS
    assert 1 <= values["host records read per record needed, mean"] <= 20
    assert 0 < values["all hosts published, accepted"] < values["all hosts published and verified"]
    assert all(row.value > 0 for row in (*result.rows, *result.baseline, *result.ratios))


@pytest.mark.timeout(400)
def test_a_folder_is_reused_though_redis_has_lost_everything(folder: Path, first: First) -> None:
    """Topics are there, places come back from the journals, and revisions go on rising."""
    shutil.rmtree(folder / "fleet" / "servers" / "redis")
    revision = Keeper(folder).take_revisions(1)
    said: list[str] = []
    with kept_stage(_settings(folder), said.append) as stage:
        assert stage.directory.hosts(first.placed) == first.placed
        bench = replace(_BENCH, publishers=1, readers=1)
        result = run_million(stage, Keeper(folder), bench, progress=said.append)
    values = {row.metric: row.value for row in result.rows}
    assert values["nodes verified by digest"] == _HOSTS
    assert "0 topics created" in said
    assert Keeper(folder).take_revisions(1) > revision + 1


@pytest.mark.timeout(300)
def test_a_run_that_is_ended_stops_its_servers_and_leaves_its_folder(folder: Path) -> None:
    """SIGTERM in the midst of a run: exit 130, no process left, and what is there can be reused."""
    words = ("bench", "million", "--hosts", str(_HOSTS), "--clusters", str(_CLUSTERS))
    command = [sys.executable, "-m", "southbound.cli", *words, "--state-dir", str(folder)]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    ) as running:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line.strip())
            if said[-1] == "opening publishers":
                running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 130, said
    assert any("data are kept" in line for line in said), said
    fleet = LocalFleet(folder / "fleet")
    assert [server.pid for server in fleet.status()] == [None] * (_CLUSTERS + 1)
    assert Keeper(folder).claim(_settings(folder).size, _settings(folder).fleet)


def test_another_fleet_does_not_get_the_folder(folder: Path) -> None:
    """Whoever would read another fleet's records is told before any server starts."""
    other = replace(_BENCH, ports=2)
    Keeper(folder).claim(_settings(folder).size, _settings(folder).fleet)
    began_s = time.monotonic()
    with (
        pytest.raises(ConfigError, match="another size or fleet"),
        kept_stage(_settings(folder, other), print),
    ):
        pass
    assert time.monotonic() - began_s < 5


def test_whole_clusters_are_dealt_so_more_processes_are_refused() -> None:
    """Three publishers cannot share two clusters; the fault names the numbers."""
    with pytest.raises(ConfigError, match=r"publishers: must be 1 to 2.*got 3"):
        replace(_BENCH, publishers=3).check(_CLUSTERS)
