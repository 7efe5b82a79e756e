"""The simulation by hand and in the tests: many seeds, or one with its trace, or the planted bugs.

The rule: what is printed for a failure is the command that shows it again. Sets of names are walked
through in an order that Python draws anew in each process, so a run happens in a process in which that
is fixed (`PYTHONHASHSEED=0`).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.simulation.bug import Bug
from tests.simulation.bugs import BUGS, keep
from tests.simulation.loop import START_US
from tests.simulation.record import Anomaly, Record
from tests.simulation.run import Run, run
from tests.simulation.shrink import Shrinker
from tests.simulation.workload import Schedule, draw

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "1900"))
"""How many schedules the tests go through; the hunt for planted bugs adds some two hundred."""
BUG_SEEDS = 150
"""Within how many schedules a planted bug must be found."""

_COMMAND = "python -m tests.simulation"


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; return 0 when every promise held and every planted bug was found."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *arguments])
    wanted = _parser().parse_args(arguments)
    if wanted.seed is not None:
        return _one(wanted)
    record = Record(first_seed=wanted.first, seeds=wanted.seeds)
    began = time.process_time()
    if wanted.everything or not (wanted.bugs or wanted.bug):
        _sweep(wanted.first, wanted.seeds, record)
    if wanted.everything or wanted.bugs or wanted.bug:
        _hunt([wanted.bug] if wanted.bug else list(BUGS), record, keeps=wanted.keep)
    record.seconds = round(time.process_time() - began, 1)
    if wanted.record is not None:
        record.write(wanted.record)
    _say(f"{record.schedules} schedules, {record.steps} steps, {record.seconds} s of CPU")
    return 1 if record.anomalies or record.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_COMMAND, description=__doc__)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="say what happens, step by step")
    parser.add_argument("--shrink", action="store_true", help="cut a failing schedule down")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many")
    parser.add_argument("--bug", choices=list(BUGS), help="plant this bug")
    parser.add_argument("--bugs", action="store_true", help="hunt every planted bug")
    parser.add_argument("--keep", action="store_true", help="write down which seeds find them")
    parser.add_argument("--everything", action="store_true", help="the schedules, then the bugs")
    parser.add_argument("--record", type=Path, help="write what was run as JSON")
    return parser


def _sweep(first: int, seeds: int, record: Record) -> None:
    """Run schedules in which nothing is planted."""
    for seed in range(first, first + seeds):
        schedule = draw(seed)
        found = run(schedule)
        _note(record, schedule, found)
        if found.promise:
            record.anomalies.append(Anomaly(seed, found.promise, found.what))
            _say(f"seed {seed}: {found.what}\n  {_COMMAND} --seed {seed} --trace")


def _hunt(names: Sequence[str], record: Record, *, keeps: bool = False) -> None:
    """Look for planted bugs, each until a schedule finds it; `keeps`: write the seeds down."""
    for name in names:
        bug = BUGS[name]
        found = _find(bug, record)
        if found is None:
            record.missed.append(name)
            _say(f"{name}: not found in {BUG_SEEDS} schedules")
        else:
            record.caught[name] = found[0]
            if keeps:
                keep(record.caught)
            _say(f"{name}: seed {found[0]}: {found[1]}")


def _find(bug: Bug, record: Record) -> tuple[int, str] | None:
    for seed in bug.seeds(BUG_SEEDS):
        schedule = draw(seed, bug.stress)
        with bug.planted():
            found = run(schedule)
        _note(record, schedule, found)
        if found.promise:
            # Without the bug the same schedule keeps every promise.
            innocent = run(schedule)
            if innocent.promise:
                record.anomalies.append(Anomaly(seed, innocent.promise, innocent.what))
                _say(f"seed {seed} with {bug.stress}: {innocent.what}")
            return seed, found.what
    return None


def _note(record: Record, schedule: Schedule, found: Run) -> None:
    record.note(schedule)
    record.note_events(found.world.counts)
    record.steps += found.world.loop.steps
    record.simulated_s += (found.world.loop.now_us - START_US) / 1e6


def _one(wanted: argparse.Namespace) -> int:
    """Run one seed, with a planted bug or without; show it, and cut it down, if that is wanted."""
    bug = BUGS[wanted.bug] if wanted.bug else Bug("", "", ())
    schedule = draw(wanted.seed, bug.stress)
    with bug.planted():
        found = run(schedule, traced=wanted.trace)
        if found.promise and wanted.shrink:
            shrinker = Shrinker(lambda one: run(one).promise, found.promise)
            schedule = shrinker.shrink(schedule)
            found = run(schedule, traced=True)
            _say(f"cut down in {shrinker.runs} runs")
    for line in found.world.trace or ():
        _say(line)
    _say(f"seed {wanted.seed}: {found.what or 'every promise was kept'}")
    return 1 if found.promise else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
