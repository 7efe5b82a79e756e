"""One soak: load and moves without a pause, a fault in each round, and a check after each.

The rule: which fault comes when is decided by the seed alone. Three processes of the product (an
agent, a publisher, a tracker) live through the whole run and are measured; others come and go.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import psutil

from southbound.errors import SouthboundError
from southbound.local.fleet import LocalFleet
from southbound.partitioning.plan import Goal
from southbound.resources import ResourceKey, host_scope
from tests.faults.stage import Child, Stage, accepted_in
from tests.live.directory_kit import eventually
from tests.soak.slopes import Growth, Slope

_MIB = 1 << 20
BOUNDS: Mapping[str, float] = {"MiB": 6.0, "files": 6.0, "disk-MiB": 48.0}
"""Growth per minute that is still noise or the log before its first merge (docs/reliability.md)."""


class SoakRecord(msgspec.Struct, kw_only=True):
    """What a run was and what it saw."""

    kind: str = "soak"
    at: str = ""
    commit: str = ""
    seed: int = 0
    minutes: float = 0.0
    rounds: int = 0
    operations: int = 0
    moves: int = 0
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    slopes: list[Slope] = msgspec.field(default_factory=list)
    anomalies: list[str] = msgspec.field(default_factory=list)


class Soak:
    """One run on a fleet."""

    def __init__(self, stage: Stage, fleet: LocalFleet, folder: Path, seed: int) -> None:
        self.record = SoakRecord(seed=seed)
        self._stage = stage
        self._fleet = fleet
        self._folder = folder
        self._random = random.Random(seed)
        self._growth = Growth()
        self._began_s = time.monotonic()
        self._short_lived = [stage.host() for _ in range(2)]
        self._movers = [stage.host_id() for _ in range(2)]
        self._agents: list[Child] = []
        self._steady = stage.host()
        self._faults: dict[str, Callable[[], None]] = {
            "broker killed": lambda: self._bounce("c1", fleet.kill),
            "other broker killed": lambda: self._bounce("c2", fleet.kill),
            "broker stopped for 3 s": lambda: self._pause("c1"),
            "broker restarted": lambda: self._bounce("c2", fleet.stop),
            "redis killed": lambda: self._bounce("redis", fleet.kill),
            "redis flushed": self._flush,
            "redis stopped for 3 s": lambda: self._pause("redis"),
            "agent killed": self._kill_agents,
            "hosts moved": self._move,
        }

    def run(self, minutes: float) -> SoakRecord:
        """Run rounds until the time is over; return the record, in which slopes are judged."""
        client, tracker = self._stage.tracker(self._folder / "tracker")
        for host in self._movers:
            self._stage.shards.agent(host)
        with (
            tracker("") as watching,
            self._steady.agent() as agent,
            Child("publish", self._stage.redis_url, "1", "0.05", self._steady.id) as publisher,
        ):
            eventually(lambda: self._stage.is_answering(client), within_s=60)
            self._began_s = time.monotonic()
            measured = {"agent": agent, "publisher": publisher, "tracker": watching}
            while time.monotonic() < self._began_s + minutes * 60:
                self._round(measured)
                self._check_steady(publisher)
            found = client.host(self._steady.id)
            if found is None:
                self.record.anomalies.append("the tracker knows nothing of a host that reports")
        self.record.minutes = round((time.monotonic() - self._began_s) / 60, 2)
        self.record.slopes = self._growth.slopes(BOUNDS)
        self._judge_slopes()
        return self.record

    def _judge_slopes(self) -> None:
        for one in self.record.slopes:
            if not one.is_within:
                words = f"{one.name} grows by {one.per_minute} a minute, more than {one.bound}"
                self.record.anomalies.append(words)

    def _round(self, measured: Mapping[str, Child]) -> None:
        names = sorted(self._faults)
        done = self.record.faults
        # In rotation: what came least often is next, and among those the seed chooses.
        least = min(done.get(name, 0) for name in names)
        name = self._random.choice([name for name in names if done.get(name, 0) == least])
        done[name] = least + 1
        self._say(f"round {self.record.rounds + 1}: {name}")
        hosts = [*(host.id for host in self._short_lived), *self._movers]
        self._agents = [host.agent() for host in self._short_lived]
        try:
            with self._stage.traffic(*map(host_scope, hosts)):
                time.sleep(1.0)
                self._faults[name]()
                time.sleep(1.0)
                self._sample(measured)
            self._check()
        except (AssertionError, SouthboundError) as error:
            self.record.anomalies.append(f"round {self.record.rounds + 1}, {name}: {error}"[:500])
        finally:
            for child in self._agents:
                child.kill()
        self.record.rounds += 1
        self._sample(measured)

    def _check(self) -> None:
        shards = self._stage.shards
        shards.check()
        for host in self._short_lived:
            self._stage.check(host)
        self.record.operations = self._stage.accepted

    def _check_steady(self, publisher: Child) -> None:
        """What the publisher was told of must be on the node of the agent that lives all along."""
        told = accepted_in(publisher.said)[self._steady.id]
        if told:
            key = ResourceKey(host_scope(self._steady.id), "router", "one")
            try:
                self._stage.has(self._steady, {key: max(told)}, within_s=60)
            except AssertionError as error:
                self.record.anomalies.append(str(error)[:500])
        self.record.operations = self._stage.accepted + 3 * len(told)

    # Faults.

    def _bounce(self, name: str, end: Callable[[str], None]) -> None:
        end(name)
        time.sleep(self._random.uniform(0.0, 2.0))
        self._fleet.start(name)

    def _pause(self, name: str) -> None:
        self._fleet.pause(name)
        time.sleep(3.0)
        self._fleet.resume(name)

    def _flush(self) -> None:
        self._stage.shards.kit.redis.flushall()

    def _kill_agents(self) -> None:
        """Kill an agent again and again, whatever it is about."""
        number = self._random.randrange(len(self._short_lived))
        for _ in range(4):
            self._agents[number].kill()
            self._agents[number] = self._short_lived[number].agent()
            time.sleep(self._random.uniform(0.2, 1.0))

    def _move(self) -> None:
        shards = self._stage.shards
        to = "c2" if shards.cluster_of(self._movers[0]) == "c1" else "c1"
        shards.move(Goal(kind="hosts", what=tuple(self._movers), to=to))
        self.record.moves += len(self._movers)

    # Measuring.

    def _sample(self, measured: Mapping[str, Child]) -> None:
        values: dict[str, float] = {}
        for name, child in measured.items():
            if not child.is_running:
                self.record.anomalies.append(f"the {name} has ended: {''.join(child.cried)[-300:]}")
                continue
            process = psutil.Process(child.pid)
            values[f"{name} MiB"] = process.memory_info().rss / _MIB
            values[f"{name} files"] = process.num_fds()
        values["agent's store disk-MiB"] = _bytes(self._steady.folder / "state") / _MIB
        values["agent's tree disk-MiB"] = _bytes(self._steady.folder / "files") / _MIB
        values["tracker's store disk-MiB"] = _bytes(self._folder / "tracker") / _MIB
        self._growth.take(time.monotonic() - self._began_s, values)

    def _say(self, words: str) -> None:
        minutes = (time.monotonic() - self._began_s) / 60
        sys.stderr.write(f"{minutes:6.1f} min  {words}\n")


def _bytes(folder: Path) -> int:
    """Return the size of what is below a folder, which others change meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{place}/{name}").st_size
    return total
