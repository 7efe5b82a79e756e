"""Agents by the hundred in one process, told what to do by a test.

    python -m tests.faults.crowd REDIS FOLDER

The rule: each is the product's own agent, with consumers and a state of its own; they share what
agents of one process may share, and tell how often each of them would have asked the directory had
it been alone. Their nodes are in memory, and judge everything that they are asked to apply.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil

from southbound.directory import Directory
from southbound.nca.lookups import Locator
from southbound.nca.parts import AgentParts
from southbound.nca.service import Agent
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey, host_scope
from southbound.settings import AgentSettings, DirectorySettings
from tests.faults.orderly import Orderly, asked
from tests.live.shards_kit import Node

_STACK_BYTES = 256 << 10
_ENDS_AT_ONCE = 64
_STARTING_MAX = 20
_START_S = 240.0
_LOOK_S = 0.05
_SWITCH_S = 0.1
"""Every thread that waits for the interpreter wakes once in this time, to ask for it."""

SETTINGS = AgentSettings(
    # Hundreds of threads that share an interpreter look up less often for what seldom comes.
    poll_s=20.0,
    # On a machine that all of them share an answer may take its time.
    mark_timeout_s=30.0,
    # Everybody starts at the same time: who has told everything does it once.
    inventory_spread_s=60.0,
)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the agents of a process stand. `lacking`: who has not all that is wanted (a few of them by
    name). `faults`: what nodes were asked and should not have been. `asked_s`: when each question of
    an agent went to the directory, in monotonic seconds. `cpu_s`: since the process began.
    """

    agents: int
    ready: int
    lacking: int
    names: list[str]
    faults: list[str]
    asked_s: list[float]
    threads: int
    files: int
    rss: int
    cpu_s: float


class Counted:
    """A directory that notes each agent's question to it."""

    def __init__(self, inner: Locator, asked_s: list[float]) -> None:
        self._inner = inner
        self._asked_s = asked_s

    @property
    def topology(self) -> Topology:
        """The topology as it is now."""
        return self._inner.topology

    def open(self) -> None:
        """Connect."""
        self._inner.open()

    def close(self) -> None:
        """Let go of connections."""
        self._inner.close()

    def hosts(self, ids: Iterable[str]) -> Mapping[str, Placement]:
        """Return the placements of known hosts."""
        wanted = list(ids)
        self._asked_s += [time.monotonic()] * len(wanted)
        return self._inner.hosts(wanted)

    def vpcs(self, ids: Iterable[str]) -> Mapping[str, VpcPlacement]:
        """Return the placements of known VPCs."""
        return self._inner.vpcs(ids)

    def register_hosts(self, azs: Mapping[str, str]) -> Mapping[str, Placement]:
        """Register hosts by AZ."""
        return self._inner.register_hosts(azs)


class Members:
    """The agents of this process."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._folder = folder
        self._asked_s: list[float] = []
        settings = DirectorySettings(redis_url=redis_url, visitor=True)
        self._parts = AgentParts.make(
            lambda: Counted(Directory(settings), self._asked_s), client_id=folder.name
        )
        self._agents: dict[str, Agent] = {}
        self._nodes: dict[str, Node] = {}
        self._wanted: dict[ResourceKey, int] = {}

    def start(self, hosts: Sequence[str]) -> None:
        """Start the agents of hosts, a few at a time; see `standing` for how far they are."""
        end_s = time.monotonic() + _START_S
        for number, host in enumerate(hosts):
            while number - self._ready() >= _STARTING_MAX and time.monotonic() < end_s:
                time.sleep(_LOOK_S)
            node = self._nodes[host] = Node(host)
            agent = self._agents[host] = Agent.sharing(
                self._parts,
                host=host,
                state_dir=self._folder / host,
                applier=node,
                settings=SETTINGS,
            )
            agent.start()

    def _ready(self) -> int:
        return sum(agent.status().ready for agent in self._agents.values())

    def want(self, kind: str, id: str, revisions: Mapping[str, int]) -> None:
        """Say which revision of a resource each host must have."""
        for host, revision in revisions.items():
            self._wanted[ResourceKey(host_scope(host), kind, id)] = revision

    def standing(self) -> Standing:
        """Look at all of them."""
        process = psutil.Process()
        lacking = sorted(
            {
                key.scope.id
                for key, revision in self._wanted.items()
                if self._nodes[key.scope.id].state.get(key, 0) < revision
            }
        )
        return Standing(
            agents=len(self._agents),
            ready=self._ready(),
            lacking=len(lacking),
            names=lacking[:3],
            faults=[fault for node in self._nodes.values() for fault in node.faults][:10],
            asked_s=list(self._asked_s),
            threads=process.num_threads(),
            files=process.num_fds(),
            rss=process.memory_info().rss,
            cpu_s=time.process_time(),
        )

    def close(self) -> None:
        """Stop them."""
        for agent in self._agents.values():
            agent.request_stop()
        with ThreadPoolExecutor(_ENDS_AT_ONCE) as threads:
            list(threads.map(lambda agent: agent.stop(), self._agents.values()))
        self._parts.close()

    def serve(self) -> None:
        """Obey until the orders end."""
        for line in sys.stdin.buffer:
            verb, *words = msgspec.json.decode(line, type=list[str])
            match verb:
                case "start":
                    self.start(words)
                case "want":
                    kind, id, revisions = words
                    self.want(kind, id, msgspec.json.decode(revisions, type=dict[str, int]))
                case "stand":
                    pass
                case _:
                    raise AssertionError(verb)
            sys.stdout.buffer.write(msgspec.json.encode(self.standing()) + b"\n")
            sys.stdout.buffer.flush()


class Crowd:
    """A handle of agents in several processes, `each` in one."""

    def __init__(self, redis_url: str, folder: Path, hosts: Sequence[str], each: int) -> None:
        self._hosts = [hosts[at : at + each] for at in range(0, len(hosts), each)]
        self._members = []
        for number in range(len(self._hosts)):
            words = ("tests.faults.crowd", redis_url, str(folder / f"crowd-{number}"))
            self._members.append(Orderly(*words))

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [one.pid for one in self._members]

    def start(self) -> None:
        """Start every agent."""
        for one, hosts in zip(self._members, self._hosts, strict=True):
            one.tell("start", *hosts)
        for one in self._members:
            one.hear(Standing)

    def want(self, kind: str, id: str, revisions: Mapping[str, int]) -> None:
        """Say which revision of a resource each host must have."""
        for one, hosts in zip(self._members, self._hosts, strict=True):
            part = {host: revisions[host] for host in hosts if host in revisions}
            one.tell("want", kind, id, msgspec.json.encode(part).decode())
        for one in self._members:
            one.hear(Standing)

    def standing(self) -> list[Standing]:
        """Look at all of them."""
        return asked(self._members, Standing, "stand")

    def close(self) -> None:
        """End them all by force: thousands of goodbyes would take a minute, and nobody waits for them."""
        for one in self._members:
            one.kill()
            one.end()


if __name__ == "__main__":
    threading.stack_size(_STACK_BYTES)
    sys.setswitchinterval(_SWITCH_S)
    # The gate, which takes the time of each try, and the broker come before those who try, however
    # many these are: a mere nicety would weigh thread by thread.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # That a cluster is away is what is tested: thousands need not say so.
    logging.disable(logging.WARNING)
    _members = Members(sys.argv[1], Path(sys.argv[2]))
    try:
        _members.serve()
    finally:
        _members.close()
