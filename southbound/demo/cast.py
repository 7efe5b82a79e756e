"""Who takes part: agents with real consumers, one of them a process of its own, and two workers.

The rule: every node programs a folder of its own, and what a node holds is read back from there.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from southbound.demo.expected import State
from southbound.directory import Directory
from southbound.errors import EdgeError
from southbound.nca.appliers.file import FileApplier
from southbound.nca.appliers.tree import read_tree
from southbound.nca.parts import AgentParts
from southbound.nca.plan import Plan
from southbound.nca.service import Agent
from southbound.nca.worker import Worker
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey
from southbound.settings import DirectorySettings, WorkerSettings

_READY_S = 60.0
_LOOK_S = 0.02


class Watched:
    """A node's file applier that notes when each changeset was last applied there."""

    def __init__(self, root: Path) -> None:
        self._files = FileApplier(root)
        self._lock = threading.Lock()
        self._at: dict[str, float] = {}
        self.last = ""
        self.changes = 0

    def open(self) -> None:
        """Open the file applier."""
        self._files.open()

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Apply, then note it."""
        failed = self._files.apply(plan)
        now_s = time.time()
        with self._lock:
            for change in plan.changes:
                self._at[change.changeset] = now_s
                self.last = f"{change.key.kind} {change.key.id} r{change.revision}"
            self.changes += len(plan.changes)
        return failed

    def close(self) -> None:
        """Close the file applier."""
        self._files.close()

    def applied_at(self) -> dict[str, float]:
        """Return when each changeset was last applied, in seconds since 1970."""
        with self._lock:
            return dict(self._at)


class Node:
    """One compute node: its folder, and its agent in this process or, as `process`, on its own."""

    def __init__(self, host: str, az: str, folder: Path) -> None:
        self.host = host
        self.az = az
        self.state_dir = folder / "state"
        self.files = folder / "files"
        self.applier = Watched(self.files)
        self.agent: Agent | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start_here(self, parts: AgentParts) -> None:
        """Start the agent as one of many in this process."""
        self.agent = Agent.sharing(
            parts, host=self.host, state_dir=self.state_dir, applier=self.applier
        )
        self.agent.start()

    def start_alone(self, redis_url: str, log_file: Path) -> None:
        """Start the agent as a process."""
        with log_file.open("ab") as log:
            self.process = subprocess.Popen(  # our own interpreter and module
                [
                    *(sys.executable, "-m", "southbound.nca", "agent", "--host", self.host),
                    *("--redis", redis_url, "--state-dir", str(self.state_dir)),
                    *("--files", str(self.files)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> int:
        """End the process as a crash would; return its id."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return self.process.pid

    def stop(self) -> None:
        """End the agent; its files stay."""
        if self.agent is not None:
            self.agent.stop(10.0)
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def state(self) -> State:
        """Return what stands in the node's files."""
        return read_tree(self.files) if self.files.is_dir() else {}


class Cast:
    """Everybody, started together and stopped together."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._parts = AgentParts.make(
            lambda: Directory(DirectorySettings(redis_url=redis_url, visitor=True)),
            client_id="demo-agents",
        )
        self.nodes: dict[str, Node] = {}
        self.workers: list[Worker] = []
        self._worker_files: list[Path] = []

    def add_nodes(self, azs: Mapping[str, str], *, alone: str = "") -> None:
        """Start an agent for each host; that of `alone` as a process."""
        for host, az in azs.items():
            node = Node(host, az, self._folder / "nodes" / host)
            node.state_dir.mkdir(parents=True, exist_ok=True)
            self.nodes[host] = node
            if host == alone:
                self.start_alone(node)
            else:
                node.start_here(self._parts)

    def start_alone(self, node: Node) -> None:
        """Start, or start again, the agent that is a process."""
        node.start_alone(self._redis_url, self._folder / f"{node.host}.log")

    def add_workers(self, kind: str, count: int, topology: Topology) -> None:
        """Start workers of one kind of public resource."""
        for number in range(count):
            files = self._folder / "workers" / f"{kind}-{number}"
            worker = Worker(
                kind=kind,
                worker_id=f"{kind}-worker-{number}",
                applier=FileApplier(files),
                topology=topology,
                redis_url=self._redis_url,
                settings=WorkerSettings(session_timeout_ms=6_000),
            )
            worker.start()
            self.workers.append(worker)
            self._worker_files.append(files)

    def wait_ready(self) -> None:
        """Wait until every agent has read its streams and every worker is a member."""
        deadline = time.monotonic() + _READY_S
        asleep: list[str] = []
        while time.monotonic() < deadline:
            asleep = [one.host for one in self.nodes.values() if not _is_ready(one)]
            asleep += [one.worker_id for one in self.workers if not one.status().ready]
            if not asleep:
                return
            time.sleep(_LOOK_S)
        raise EdgeError(f"not ready within {_READY_S:g} s: {', '.join(asleep)}", retryable=True)

    def worker_states(self) -> Sequence[State]:
        """Return what each worker holds."""
        return [read_tree(files) if files.is_dir() else {} for files in self._worker_files]

    def close(self) -> None:
        """Stop everybody."""
        for node in self.nodes.values():
            if node.agent is not None:
                node.agent.request_stop()
        for worker in self.workers:
            worker.request_stop()
        for node in self.nodes.values():
            node.stop()
        for worker in self.workers:
            worker.stop(10.0)
        self._parts.close()


def _is_ready(node: Node) -> bool:
    return node.agent is None or node.agent.status().ready
