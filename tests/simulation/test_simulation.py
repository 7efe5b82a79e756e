"""The whole system in memory: no schedule breaks a promise, and every planted bug does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.command import SEEDS, _sweep
from tests.simulation.flavours import flavour_of
from tests.simulation.record import Record
from tests.simulation.run import run
from tests.simulation.shrink import Shrinker, _cuts
from tests.simulation.workload import draw

_ROOT = Path(__file__).parents[2]
_README = Path(__file__).with_name("README.md")


def _simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process in which the order of sets is fixed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def hunt(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Hunt every planted bug, once; return what was caught and missed."""
    file = tmp_path_factory.mktemp("simulation") / "record.json"
    ended = _simulate("--bugs", "--record", str(file))
    assert file.exists(), ended.stdout + ended.stderr
    return msgspec.json.decode(file.read_bytes(), type=Record)


@pytest.mark.timeout(600)
def test_every_promise_is_kept(tmp_path: Path) -> None:
    """Whatever fails, moves and is away: on a failure its seed is printed, and how to see it again."""
    file = tmp_path / "record.json"
    ended = _simulate("--record", str(file))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    record = msgspec.json.decode(file.read_bytes(), type=Record)
    assert (record.schedules, record.anomalies) == (SEEDS, [])
    assert sum(record.faults.values()) > SEEDS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", list(BUGS))
def test_every_planted_bug_is_found(hunt: Record, bug: str) -> None:
    """A rule that is not kept breaks a promise within a bounded number of schedules."""
    assert bug in hunt.caught, f"{bug} breaks nothing"


@pytest.mark.timeout(600)
def test_schedules_that_find_bugs_are_kept_without_them(hunt: Record) -> None:
    """It is the planted bug that is found, and nothing else."""
    assert hunt.anomalies == []


def test_a_seed_gives_the_same_run_again() -> None:
    """To the last step, whatever ran before."""
    first, again = (run(draw(7), traced=True).world for _ in range(2))
    assert first.trace
    assert (first.trace, first.loop.steps) == (again.trace, again.loop.steps)


def test_a_failing_schedule_is_cut_down() -> None:
    """What does not matter for the broken promise goes, and the promise stays broken."""
    with BUGS["a lower revision is applied"].planted():
        schedule, found = next(
            (one, what)
            for one, what in ((one, run(one).promise) for one in map(draw, range(40)))
            if what == "revisions never go backwards"
        )
        shrinker = Shrinker(lambda one: run(one).promise, found)
        smaller = shrinker.shrink(schedule)
        assert run(smaller).promise == found
    assert len(smaller.operations) < len(schedule.operations)
    assert len(smaller.faults) + len(smaller.moves) <= len(schedule.faults) + len(schedule.moves)


def test_every_planted_bug_stands_in_the_list_of_rules() -> None:
    """With its seed, so that it can be seen again."""
    text = _README.read_text()
    missing = [
        name
        for name, one in BUGS.items()
        if f"| {name} (`{one.flavour}`, {one.known}) |" not in text
    ]
    assert missing == []


def test_the_tests_that_the_list_of_rules_names_are_there() -> None:
    """What is not simulated is answered for by a test that exists."""
    named = re.findall(r"(tests/[a-z_/]+\.py)(?:::(test_[a-z_0-9]+))?", _README.read_text())
    assert len(named) > 20
    for path, function in named:
        text = (_ROOT / path).read_text()
        assert not function or f"def {function}(" in text, f"{path}::{function}"


def test_a_failure_prints_its_seed_and_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the log of a failed run can show it again at once."""
    with BUGS["a lower revision is applied"].planted():
        _sweep(BUGS["a lower revision is applied"].known, 1, record := Record())
    seed = record.anomalies[0].seed
    assert f"python -m tests.simulation --seed {seed} --trace" in capsys.readouterr().out


@pytest.mark.parametrize("flavour", ["public", "replicas", "unswept", "tracked", "crowd"])
def test_what_only_some_flavours_have_is_cut_down_too(flavour: str) -> None:
    """Workers, replicas that go, homes that change, janitors that are away: a cut is a schedule that runs."""
    schedule = next(one for one in map(draw, range(100)) if flavour_of(one.seed) == flavour)
    cuts = list(_cuts(schedule))
    assert len(cuts) > len(schedule.operations)
    for one in (cuts[0], cuts[-1]):
        assert not run(one).promise
