"""What cells are played on: a fleet with agents, publishers and movers in processes of their own.

The rule: who judges knows what was accepted and nothing of how it was carried. A node's tree must
end with the highest accepted revision of everything; on the way no revision that a node is asked to
apply may fall, nothing foreign may come, and what stands must not be taken down.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from southbound.errors import EdgeError
from southbound.failpoints import VARIABLE
from southbound.local.fleet import LocalFleet
from southbound.local.ports import free_ports
from southbound.nca.appliers.file import read_tree
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey, Scope, host_scope
from southbound.tracker.client import TrackerClient
from tests.faults.judging import Judge
from tests.faults.record import Cell
from tests.live.directory_kit import DirectoryKit, eventually, kit_of
from tests.live.shards_kit import Shards

ROOT = Path(__file__).resolve().parents[2]
_ENOUGH_S = 60.0
HOLDS = "whatever was accepted is applied; no revision falls, nothing is taken down"
"""The invariant of a fault under traffic."""


class Child:
    """A process of `tests.faults.child`, or another command; its words are read as they come."""

    def __init__(self, *words: str, armed: str = "", command: Sequence[str] = ()) -> None:
        program = [*command] or [sys.executable, "-m", "tests.faults.child"]
        self._process = subprocess.Popen(
            [*program, *words],
            cwd=ROOT,
            env={**os.environ, VARIABLE: armed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.cried: list[str] = []
        self._readers = [
            threading.Thread(target=_read, args=(stream, lines), daemon=True)
            for stream, lines in (
                (self._process.stdout, self.said),
                (self._process.stderr, self.cried),
            )
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it, if it has not ended; its words are complete then."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for its end; return how it ended."""
        code = self._process.wait(_ENOUGH_S)
        for reader, stream in zip(
            self._readers, (self._process.stdout, self._process.stderr), strict=True
        ):
            reader.join(_ENOUGH_S)
            assert stream is not None
            stream.close()
        return code

    def dies_at(self, name: str) -> None:
        """Wait until it has died at a failpoint, and there only."""
        code = self.wait()
        cried = "".join(self.cried)
        assert code == -signal.SIGKILL, (code, cried[-2000:])
        assert f"failpoint {name}\n" in cried, cried[-2000:]

    def ends_well(self) -> None:
        """Wait until it has ended in order."""
        assert self.wait() == 0, "".join(self.cried)[-2000:]


def _read(stream: Iterable[str], lines: list[str]) -> None:
    # Not `list(stream)`: whoever looks meanwhile sees what has come.
    lines.extend(line for line in stream)


class Host:
    """One host whose agent is a process of its own, which dies and is started again."""

    def __init__(self, stage: Stage, id: str) -> None:
        self.id = id
        self.folder = stage.path / id
        self.folder.mkdir()
        self.judge = Judge(id, self.folder / "plans")
        self._stage = stage

    def agent(self, armed: str = "", limits: str = "") -> Child:
        """Start its agent; `limits` are options of the shell's `ulimit`."""
        words = ("agent", self.id, str(self.folder), self._stage.redis_url)
        if not limits:
            return Child(*words, armed=armed)
        shell = ("sh", "-c", f'ulimit {limits} && exec "$@"', "sh", sys.executable)
        return Child(*words, armed=armed, command=(*shell, "-m", "tests.faults.child"))

    def tree(self) -> dict[ResourceKey, int]:
        """Return the revisions that a reader of its tree finds now."""
        files = self.folder / "files"
        if not files.is_dir():
            return {}
        return {key: revision for key, (revision, _) in read_tree(files).items()}

    def is_whole(self) -> bool:
        """Tell whether no changeset stands half: of two resources that change together, one alone."""
        mine: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for key, revision in self.tree().items():
            mine[key.kind][key.id] = revision
        return all(one.get("one") == one.get("two") for one in mine.values() if "one" in one)

    def faults(self) -> list[str]:
        """Return what it was asked for, over all lives of its agent, and should not have been."""
        return self.judge.wrong()


class Stage:
    """A topology with its fleet, two publishers that can be kept busy, and everything accepted."""

    def __init__(self, kit: DirectoryKit, topology: Topology, path: Path) -> None:
        mark = uuid.uuid4().hex[:8]
        numbers = itertools.count()
        self.path = path
        self.redis_url = kit.redis_url
        self.shards = Shards(kit, topology, lambda noun: f"{noun}-{mark}-{next(numbers)}", path)
        self._spare: defaultdict[str, list[str]] = defaultdict(list)
        self.busy = [self.shards.publisher() for _ in range(2)]

    def close(self) -> None:
        """Stop everything."""
        self.shards.close()

    def host(self, cluster: str = "c1") -> Host:
        """Return a new host of a cluster."""
        return Host(self, self.host_id(cluster))

    def host_id(self, cluster: str = "c1") -> str:
        """Return the id of a new host of a cluster."""
        if not self._spare[cluster]:
            self._spare[cluster] = self.shards.hosts(12, cluster)
        return self._spare[cluster].pop()

    def traffic(self, *scopes: Scope) -> AbstractContextManager[None]:
        """Publish into scopes while the block runs."""
        return self.shards.traffic(scopes, self.busy)

    @contextmanager
    def served(self, count: int, cluster: str = "c1") -> Iterator[list[str]]:
        """Give new hosts agents, and traffic while the block runs; it begins once each has something."""
        agents = self.shards.agents
        hosts = [self.host_id(cluster) for _ in range(count)]
        for host in hosts:
            self.shards.agent(host)
        with self.traffic(*map(host_scope, hosts)):
            eventually(lambda: all(agents[host].node.state for host in hosts))
            yield hosts

    def tracker(self, folder: Path) -> tuple[TrackerClient, Callable[[str], Child]]:
        """Return a client of a tracker, and what starts it, armed so."""
        port = free_ports(1)[0]
        words = ("tracker", "run", "--listen", f"127.0.0.1:{port}", "--state-dir", str(folder))
        command = (
            sys.executable, "-m", "southbound.cli", "--redis", self.redis_url, *words,
            # So small that it is full within minutes: what grows after that is no cache.
            "--log-level", "error", "--cache-mib", "8",
        )  # fmt: skip

        def start(armed: str) -> Child:
            return Child(command=command, armed=armed)

        return TrackerClient(f"http://127.0.0.1:{port}"), start

    def is_answering(self, client: TrackerClient) -> bool:
        """Tell whether a tracker answers."""
        try:
            client.changesets(limit=1)
        except EdgeError:
            return False
        return True

    @property
    def accepted(self) -> int:
        """How many revisions were accepted in all."""
        return sum(self.shards.history.accepted.values())

    def has(self, host: Host, wanted: Mapping[ResourceKey, int], within_s: float = 60.0) -> None:
        """Wait until a host has at least these revisions."""

        def lacking() -> dict[ResourceKey, tuple[int, int]]:
            tree = host.tree()
            return {
                key: (tree.get(key, 0), revision)
                for key, revision in wanted.items()
                if tree.get(key, 0) < revision
            }

        eventually(
            lambda: not lacking(), within_s=within_s, saying=lambda: f"{host.id}: {lacking()}"
        )

    def check(self, host: Host) -> int:
        """Judge a host whose agent runs; return how many accepted revisions that was about."""
        history = self.shards.history
        assert not history.failures, history.failures[:3]
        wanted = history.wanted({host_scope(host.id)})
        assert wanted, "nothing was published"
        self.has(host, wanted)
        assert host.faults() == []
        assert {key.scope for key in host.tree()} == {host_scope(host.id)}
        return sum(wanted.values())

    def play(self, cell: Cell, cluster: str, fault: Callable[[], None]) -> None:
        """Let a fault happen under traffic to hosts of a cluster, and judge what their nodes have."""
        shards = self.shards
        with self.served(3, cluster):
            began_s = time.monotonic()
            fault()
            lasted_s = time.monotonic() - began_s
            published = len(shards.history.sent_at)
            eventually(lambda: len(shards.history.sent_at) > published + 30)
        # A client may wait half a minute for a connection that a frozen broker's host has dropped.
        shards.check(within_s=_ENOUGH_S)
        right_s = time.monotonic() - began_s - lasted_s
        assert self.accepted > 60
        cell.count(operations=self.accepted, faults=1, fault_s=round(lasted_s, 2))
        cell.count(right_after_s=round(right_s, 2))


def accepted_in(lines: Sequence[str]) -> dict[str, set[int]]:
    """Return the revisions of each host that a publishing child was told to be accepted."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for line in lines:
        if match := re.fullmatch(r"(\S+) (\d+)\n", line):
            found[match[1]].add(int(match[2]))
    return found


@contextmanager
def stage_on(
    fleet: LocalFleet | None, topology: Topology, redis_url: str | None = None
) -> Iterator[Stage]:
    """Set a stage on a fleet with a topology of its own; close it at the end.

    `redis_url`: another Redis than the fleet's own; without a fleet the topology's servers do.
    """
    with (
        kit_of(cast(LocalFleet, fleet), topology, 0, redis_url) as kit,
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
    ):
        kit.directory().put_topology(topology)
        made = Stage(kit, topology, Path(folder))
        try:
            yield made
        finally:
            made.close()
