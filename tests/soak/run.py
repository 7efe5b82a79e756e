"""One soak: load and moves without a pause, a fault in each round, and a check after each.

The rule: which fault comes when is decided by the seed alone, those that came least often first. What
nodes are asked to do is judged all the time, everything that was accepted after each round. Four
processes of the product (an agent, a publisher, a tracker, a janitor) live through the run and are
measured; others come and go.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec
import psutil

from southbound.errors import SouthboundError
from southbound.partitioning.topology import Topology
from tests.faults.stage import Stage
from tests.soak.crew import Crew
from tests.soak.faults import Faults
from tests.soak.links import LinkedFleet
from tests.soak.slopes import Bound, Growth, Slope

_MIB = 1 << 20
BOUNDS: Mapping[str, Bound] = {
    "MiB": Bound(per_minute=0.25, in_all=4.0),
    # A Kafka client opens further connections to a broker that came back, three files each; then it
    # has them all.
    "files": Bound(per_minute=0.1, in_all=12.0),
    "disk-MiB": Bound(per_minute=1.0, in_all=12.0),
    # A log of SQLite's grows until it is merged: the tracker's at 128 MiB.
    "log-MiB": Bound(per_minute=1.0, in_all=132.0),
}
_LOG = "-wal"
_LOOK_S = 0.5
_SAMPLE_S = 5.0
_BESIDE = 3
"""In one round of so many, hosts move while something goes wrong."""

_WORDS_MAX = 500


class Taken(msgspec.Struct):
    """How often a fault came, and what its rounds took: the fault itself, and the check after it."""

    times: int = 0
    fault_s: float = 0.0
    check_s: float = 0.0


class SoakRecord(msgspec.Struct, kw_only=True):
    """What a run was and what it saw. `took`: by fault."""

    kind: str = "soak"
    at: str = ""
    commit: str = ""
    seed: int = 0
    minutes: float = 0.0
    rounds: int = 0
    operations: int = 0
    moves: int = 0
    looks: int = 0
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    took: dict[str, Taken] = msgspec.field(default_factory=dict)
    slopes: list[Slope] = msgspec.field(default_factory=list)
    anomalies: list[str] = msgspec.field(default_factory=list)


class Watchman:
    """Looks at judged nodes all the time, and measures processes now and then, in a thread."""

    def __init__(self, crew: Crew, record: SoakRecord, began_s: float) -> None:
        self._crew = crew
        self._record = record
        self._began_s = began_s
        self._seen: set[str] = set()
        self.growth = Growth()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def note(self, words: str) -> None:
        """Note that something is wrong, once."""
        if words not in self._seen:
            self._seen.add(words)
            minutes = (time.monotonic() - self._began_s) / 60
            self._record.anomalies.append(f"{minutes:.1f} min: {words}"[:_WORDS_MAX])
            sys.stderr.write(f"WRONG: {self._record.anomalies[-1]}\n")

    def _run(self) -> None:
        sample_at_s = 0.0
        while not self._ending.wait(_LOOK_S):
            self._look()
            now_s = time.monotonic()
            if now_s >= sample_at_s:
                sample_at_s = now_s + _SAMPLE_S
                self._sample(now_s)

    def _look(self) -> None:
        for host in self._crew.judged:
            if not host.is_whole():
                self.note(f"{host.id}: a changeset stands half")
            for words in (*host.faults(), *host.judge.repeated()):
                self.note(f"{host.id}: {words}")
        self._record.looks += 1

    def _sample(self, now_s: float) -> None:
        values: dict[str, float] = {}
        for name, child in self._crew.measured.items():
            if not child.is_running:
                self.note(f"the {name} has ended: {''.join(child.cried)[-300:]}")
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(child.pid)
                values[f"{name} MiB"] = process.memory_info().rss / _MIB
                values[f"{name} files"] = process.num_fds()
        steady = self._crew.steady.folder
        for name, folder in (
            ("agent's store", steady / "state"),
            ("agent's tree", steady / "files"),
            ("tracker's store", self._crew.tracker_folder()),
            ("janitor's books", self._crew.janitor_folder()),
        ):
            logs, rest = _bytes(folder)
            values[f"{name} disk-MiB"] = rest / _MIB
            values[f"{name} log-MiB"] = logs / _MIB
        self.growth.take(now_s - self._began_s, values)


class Soak:
    """One run on a fleet."""

    def __init__(
        self, stage: Stage, fleet: LinkedFleet, topology: Topology, folder: Path, seed: int
    ) -> None:
        self.record = SoakRecord(seed=seed)
        self._stage = stage
        self._random = random.Random(seed)
        self._crew = Crew(stage, topology, folder)
        self._faults = Faults(stage, fleet, self._crew, self._random)
        self._took: defaultdict[str, Taken] = defaultdict(Taken)
        self._began_s = time.monotonic()

    def run(self, minutes: float) -> SoakRecord:
        """Run rounds until the time is over; return the record, in which slopes are judged."""
        crew, record = self._crew, self.record
        try:
            crew.start()
            self._began_s = time.monotonic()
            with Watchman(crew, record, self._began_s) as watchman:
                while time.monotonic() < self._began_s + minutes * 60:
                    self._round(watchman)
            record.operations, record.moves = crew.operations, crew.moves
        finally:
            crew.close()
        record.minutes = round((time.monotonic() - self._began_s) / 60, 2)
        record.slopes = watchman.growth.slopes(BOUNDS)
        record.took = dict(self._took)
        self._judge_slopes()
        return record

    def _judge_slopes(self) -> None:
        for one in self.record.slopes:
            if not one.is_within:
                words = f"{one.name} grows by {one.per_minute} a minute, more than {one.bound}"
                self.record.anomalies.append(words)

    def _round(self, watchman: Watchman) -> None:
        record = self.record
        record.rounds += 1
        name = self._next()
        began_s = time.monotonic()
        broken_at_s = began_s
        try:
            with self._stage.traffic(*self._crew.loaded), self._moving_beside(name):
                time.sleep(0.5)
                self._faults.all[name]()
                broken_at_s = time.monotonic()
                time.sleep(0.5)
            self._crew.check(self._random.choice)
        except (AssertionError, SouthboundError) as error:
            watchman.note(f"round {record.rounds}, {name}: {error!s}")
        ended_s = time.monotonic()
        took = self._took[name]
        took.times += 1
        took.fault_s = round(took.fault_s + broken_at_s - began_s, 1)
        took.check_s = round(took.check_s + ended_s - broken_at_s, 1)
        sys.stderr.write(
            f"{(ended_s - self._began_s) / 60:6.1f} min  {name}: {broken_at_s - began_s:.1f} s, "
            f"then {ended_s - broken_at_s:.1f} s; {len(record.anomalies)} wrong\n"
        )

    def _next(self) -> str:
        """In rotation: what came least often is next, and among those the seed chooses."""
        done = self.record.faults
        names = sorted(self._faults.all)
        least = min(done.get(name, 0) for name in names)
        name = self._random.choice([name for name in names if done.get(name, 0) == least])
        done[name] = least + 1
        return name

    @contextlib.contextmanager
    def _moving_beside(self, name: str) -> Iterator[None]:
        """In some rounds hosts move meanwhile; what the fault has stopped is carried on after it."""
        if name in {"hosts moved", "executor killed"} or self.record.rounds % _BESIDE:
            yield
            return
        plan = self._crew.begin_move()
        mover = threading.Thread(target=self._try_to_move, args=(plan,), daemon=True)
        mover.start()
        try:
            yield
        finally:
            mover.join()
            self._crew.end_move(plan)

    def _try_to_move(self, plan: str) -> None:
        # What goes wrong meanwhile may end it: whoever carries on must do so to the end.
        with contextlib.suppress(SouthboundError), self._stage.shards.executor() as executor:
            executor.run(plan)


def _bytes(folder: Path) -> tuple[int, int]:
    """Return the sizes of logs, and of all else, below a folder that others change meanwhile."""
    logs = rest = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size = os.lstat(f"{place}/{name}").st_size
                logs += size if name.endswith(_LOG) else 0
                rest += 0 if name.endswith(_LOG) else size
    return logs, rest
