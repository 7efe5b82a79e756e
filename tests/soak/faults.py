"""What is made to go wrong in a soak, by name. Each fault is over when its call returns.

The rule: how long, which one and at which point is chosen by the run's own seeded randomness, and
every fault is one that production has to bear: nothing is damaged that the product calls safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from southbound.failpoints import POINTS, STEPS
from southbound.nca import service as agent_service
from southbound.nca.events import Now
from tests.faults.disks import full
from tests.faults.proxy import Proxy
from tests.faults.stage import Child, Stage, accepted_in
from tests.soak.crew import Crew
from tests.soak.links import LinkedFleet

_MOVING = tuple(
    f"executor.{step}.{side}"
    for step in STEPS
    if step not in {"add", "home", "release"}
    for side in ("before", "after")
)
_OF_AGENTS = tuple(
    name
    for name in POINTS
    if name.startswith(("agent.", "applier."))
    and ".assign." not in name
    and ".snapshot." not in name
)
_OF_PUBLISHERS = tuple(name for name in POINTS if name.startswith("publisher."))
_JUMPS_S = (3_600.0, -3_600.0, 10 * 365.25 * 86_400.0, -10 * 365.25 * 86_400.0)


class Faults:
    """Every fault, by its name in `all`."""

    def __init__(self, stage: Stage, fleet: LinkedFleet, crew: Crew, random: Random) -> None:
        self._stage = stage
        self._fleet = fleet
        self._crew = crew
        self._random = random
        self.all: dict[str, Callable[[], None]] = {
            "broker killed": lambda: self._bounce("c1", fleet.kill),
            "other broker killed": lambda: self._bounce("c2", fleet.kill),
            "broker restarted": lambda: self._bounce(self._cluster(), fleet.stop),
            "broker stopped for 3 s": lambda: self._pause(self._cluster(), 3.0),
            "broker stopped for 12 s": lambda: self._pause(self._cluster(), 12.0),
            "link cut one way": lambda: self._on_a_link(self._cut, 4.0),
            "link refused": lambda: self._on_a_link(_refuse, 4.0),
            "link slow": lambda: self._on_a_link(_slow_down, 3.0),
            "redis killed": lambda: self._bounce("redis", fleet.kill),
            "redis flushed": crew.flush,
            "redis stopped for 3 s": lambda: self._pause("redis", 3.0),
            "agents killed": self._kill_agents,
            "agent's clock jumps": self._jump,
            "publisher killed": self._kill_publishers,
            "tracker killed": self._kill_tracker,
            "janitor killed": self._kill_janitor,
            "executor killed": self._kill_executor,
            "hosts moved": crew.move,
        }
        if crew.small_disk is not None:
            self.all["agent's disk full"] = lambda: self._fill(crew.small_disk)

    def _cluster(self) -> str:
        return self._random.choice(("c1", "c2"))

    # Servers and links.

    def _bounce(self, name: str, end: Callable[[str], None]) -> None:
        end(name)
        time.sleep(self._random.uniform(0.0, 1.0))
        self._fleet.start(name)

    def _pause(self, name: str, seconds: float) -> None:
        self._fleet.pause(name)
        time.sleep(seconds)
        self._fleet.resume(name)

    def _on_a_link(self, spoil: Callable[[Proxy], None], seconds: float) -> None:
        link = self._fleet.links[self._cluster()]
        try:
            spoil(link)
            time.sleep(seconds)
        finally:
            link.heal()

    def _cut(self, link: Proxy) -> None:
        link.cut = frozenset({self._random.choice(("up", "down"))})

    # Processes.

    def _kill_agents(self) -> None:
        """Kill one again and again: at failpoints, and whatever it is about."""
        for _ in range(2):
            point = self._random.choice(_OF_AGENTS)
            child = self._crew.restart_agent(f"{point}=kill@{self._random.randint(1, 4)}")
            _dies(child, 5.0)
            self._crew.restart_agent("")
            time.sleep(self._random.uniform(0.1, 0.6))

    def _kill_publishers(self) -> None:
        """Kill one at a failpoint; the next goes on behind what it was told of."""
        host = self._crew.published
        for armed in (
            f"{self._random.choice(_OF_PUBLISHERS)}=kill@{self._random.randint(5, 40)}",
            "",
        ):
            first = max(self._crew.told_published, default=0) + 1
            words = ("publish", self._stage.redis_url, str(first), "0.01", host.id)
            with Child(*words, armed=armed) as child:
                if armed:
                    _dies(child, 15.0)
                else:
                    _until(lambda: len(child.said) > 10, 15.0)  # asked at once
            self._crew.told_published |= accepted_in(child.said)[host.id]

    def _kill_tracker(self) -> None:
        self._crew.restart_tracker(self._random.uniform(0.0, 0.5))

    def _kill_janitor(self) -> None:
        """Kill a second one in the midst of a sweep; the next sweep goes through."""
        with self._crew.sweeping() as child:
            time.sleep(self._random.uniform(0.6, 2.5))
        with self._crew.sweeping() as child:
            child.ends_well()

    def _kill_executor(self) -> None:
        """Kill one in the midst of a move; another carries on."""
        plan = self._crew.begin_move()
        point = self._random.choice(_MOVING)
        with Child("move", self._stage.redis_url, plan, armed=f"{point}=kill") as child:
            child.dies_at(point)
        self._crew.end_move(plan)

    # Nodes.

    def _jump(self) -> None:
        """The clock of every agent of this process is wrong for some time."""
        jump_us = int(self._random.choice(_JUMPS_S) * 1e6)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                agent_service,
                "_now",
                lambda: Now(time.monotonic(), time.time_ns() // 1000 + jump_us),
            )
            time.sleep(2.0)

    def _fill(self, folder: Path | None) -> None:
        assert folder is not None
        with full(folder):
            time.sleep(3.0)


def _refuse(link: Proxy) -> None:
    link.refuses = True
    link.reset()


def _slow_down(link: Proxy) -> None:
    link.delay_s = 0.1


def _until(what: Callable[[], bool], within_s: float) -> None:
    end_s = time.monotonic() + within_s
    while not what() and time.monotonic() < end_s:
        time.sleep(0.02)


def _dies(child: Child, within_s: float) -> None:
    """Wait until it dies at its failpoint; kill it where that is not reached in time."""
    _until(lambda: not child.is_running, within_s)
    child.kill()
