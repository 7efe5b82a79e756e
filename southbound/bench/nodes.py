"""Real agents, many in one process, with an applier that notes when each change was applied.

The rule: an agent here is the agent of a node, with its consumers, its SQLite file and its reports;
only the directory's client, the producer of reports and the counters are shared, and the applier
keeps what it is given in memory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from southbound.directory import Directory
from southbound.errors import EdgeError
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.parts import AgentParts
from southbound.nca.plan import Plan
from southbound.nca.service import Agent
from southbound.resources import PORT, ResourceKey
from southbound.settings import DirectorySettings

_LOOK_S = 0.01


class NotingApplier:
    """Keeps changes in memory, and in `applied` when each changeset was applied.

    `applied`: (changeset, microseconds since 1970), in order. `ports`: how many ports it holds,
    counted here so that whoever watches hundreds of nodes takes nothing from them.
    """

    def __init__(self) -> None:
        self.applied: list[tuple[str, int]] = []
        self.ports = 0
        self._memory = MemoryApplier(plans_max=1)

    def open(self) -> None:
        """Open the memory."""
        self._memory.open()

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Apply, then note it."""
        failed = self._memory.apply(plan)
        now_us = time.time_ns() // 1000
        self.applied += [(change.changeset, now_us) for change in plan.changes]
        self.ports = sum(key.kind == PORT for key in self._memory.resources)
        return failed

    def close(self) -> None:
        """Close the memory."""
        self._memory.close()


class Nodes:
    """The agents of one process: a hand of a `Crew`. Their state is in folders under `folder`."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._folder = folder
        settings = DirectorySettings(redis_url=redis_url, client_id="bench-agents", visitor=True)
        self._parts = AgentParts.make(lambda: Directory(settings), client_id="bench-agents")
        self._agents: dict[str, Agent] = {}
        self._appliers: dict[str, NotingApplier] = {}

    def start(
        self, hosts: Sequence[str], ports: int, timeout_s: float
    ) -> list[tuple[float, float]]:
        """Start the agents of these hosts; wait until each is ready and has all its ports.

        Return for each the seconds until then since this call, and of this process' CPU in all.
        Raises `EdgeError` when the time is over first.
        """
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for host in hosts:
            applier = self._appliers[host] = NotingApplier()
            agent = self._agents[host] = Agent.sharing(
                self._parts, host=host, state_dir=self._folder / host, applier=applier
            )
            agent.start()
        waiting = set(hosts)
        took: list[tuple[float, float]] = []
        while waiting:
            now_s = time.perf_counter() - began_s
            if now_s > timeout_s:
                raise EdgeError(
                    f"not ready in {timeout_s:g} s: {self._why(waiting)}", retryable=True
                )
            done = {host for host in waiting if self._is_done(host, ports)}
            took += [(now_s, time.process_time() - began_cpu_s)] * len(done)
            waiting -= done
            time.sleep(_LOOK_S)
        return took

    def applied(self) -> list[tuple[str, int]]:
        """Return every changeset that was applied and when, for each agent in order."""
        return [note for applier in self._appliers.values() for note in applier.applied]

    def cpu_s(self) -> float:
        """Return the CPU that this process has taken."""
        return time.process_time()

    def close(self) -> None:
        """Stop the agents."""
        for agent in self._agents.values():
            agent.request_stop()
        for agent in self._agents.values():
            agent.stop()
        self._parts.close()

    def _is_done(self, host: str, ports: int) -> bool:
        return self._appliers[host].ports >= ports and self._agents[host].status().ready

    def _why(self, hosts: set[str]) -> str:
        host = min(hosts)
        reasons = ", ".join(self._agents[host].status().reasons) or "no reason known"
        return f"{len(hosts)} agents, {host} with {self._appliers[host].ports} ports: {reasons}"
