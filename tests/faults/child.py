"""Parts of the product in processes of their own, for tests that kill them at a failpoint.

    python -m tests.faults.child agent HOST FOLDER REDIS
    python -m tests.faults.child publish REDIS FIRST PAUSE_S HOST...
    python -m tests.faults.child move REDIS PLAN
    python -m tests.faults.child back REDIS PLAN
    python -m tests.faults.child register REDIS HOST...
    python -m tests.faults.child janitor SETTINGS
    python -m tests.faults.child sweep SETTINGS

The rule: what such a process has told, it tells in single writes, so that nothing of it is lost or
cut when it dies.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from southbound.directory import Directory
from southbound.janitor.service import Janitor
from southbound.nca.appliers.file import FileApplier
from southbound.nca.plan import Plan
from southbound.nca.service import Agent
from southbound.partitioning.topology import Topology
from southbound.producer import Publisher
from southbound.rebalance.executor import Executor, Progress
from southbound.resources import Changeset, Resource, ResourceKey, host_scope
from southbound.settings import (
    AgentSettings,
    DirectorySettings,
    JanitorSettings,
    PublisherSettings,
    RebalanceSettings,
)
from southbound.wire.keys import encode_key


class Applied(msgspec.Struct):
    """A plan as it was asked for: [key, revision, op], and the scopes that it tells in whole.

    `begins`: no plan, but the beginning of a life of the agent.
    """

    changes: list[tuple[str, int, int]]
    complete: list[str]
    only: list[str] | None = None
    begins: bool = False


class WatchedFiles:
    """The file applier, and a log of every plan it is given, written before it begins."""

    def __init__(self, folder: Path) -> None:
        self._files = FileApplier(folder / "files")
        self._log = folder / "plans"
        self._descriptor = -1

    def open(self) -> None:
        """Open the log and the tree."""
        self._descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._descriptor, msgspec.json.encode(Applied([], [], begins=True)) + b"\n")
        self._files.open()

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Write the plan down, and apply it."""
        told = Applied(
            [
                (encode_key(change.key).decode(), change.revision, int(change.op))
                for change in plan.changes
            ],
            [str(scope) for scope in plan.complete],
            None if plan.only is None else [str(scope) for scope in plan.only],
        )
        os.write(self._descriptor, msgspec.json.encode(told) + b"\n")
        return self._files.apply(plan)

    def close(self) -> None:
        """Close both."""
        self._files.close()
        os.close(self._descriptor)


class JanitorOrder(msgspec.Struct):
    """What a janitor is told, as one file."""

    settings: dict[str, Any]
    redis_url: str
    topology: Topology
    state_dir: str


def agent(host: str, folder: str, redis_url: str) -> None:
    """Run an agent until it is ended."""
    made = Agent(
        host=host,
        state_dir=Path(folder) / "state",
        applier=WatchedFiles(Path(folder)),
        redis_url=redis_url,
        settings=AgentSettings(
            fetch_wait_ms=500,
            poll_s=0.2,
            retry_max_s=1.0,
            inventory_spread_s=0.5,
            alive_every_s=5.0,
        ),
    )
    made.run()


def publish(redis_url: str, first: str, pause_s: str, *hosts: str) -> None:
    """Publish revision after revision of three resources of each host; print what was accepted."""
    with (
        Directory(DirectorySettings(redis_url=redis_url)) as directory,
        Publisher(directory, PublisherSettings(validate_specs=False)) as publisher,
    ):
        for revision in itertools.count(int(first)):
            for host in hosts:
                resources = tuple(
                    Resource(host_scope(host), "router", id, revision, {"n": revision})
                    for id in ("one", "two", f"n{revision % 5}")
                )
                receipt = publisher.publish(Changeset(f"{host}-{revision}", resources))
                receipt.accepted.add_done_callback(partial(_tell, host, revision))
            time.sleep(float(pause_s))


def _tell(host: str, revision: int, done: Future[Any]) -> None:
    if done.exception() is None:
        os.write(sys.stdout.fileno(), f"{host} {revision}\n".encode())


def move(redis_url: str, plan: str) -> None:
    """Carry a plan on to its end."""
    _execute(redis_url, lambda executor: executor.run(plan))


def back(redis_url: str, plan: str) -> None:
    """Take a plan back."""
    _execute(redis_url, lambda executor: executor.roll_back(plan))


def _execute(redis_url: str, work: Callable[[Executor], Progress]) -> None:
    settings = RebalanceSettings(timeout_s=15.0, patience_s=15.0)
    with (
        Directory(DirectorySettings(redis_url=redis_url)) as directory,
        Executor(directory, settings) as executor,
    ):
        done = work(executor)
    assert (done.done, done.failed) == (done.total, {})


def register(redis_url: str, *hosts: str) -> None:
    """Register hosts; print their rows."""
    with Directory(DirectorySettings(redis_url=redis_url)) as directory:
        placed = directory.register_hosts(dict.fromkeys(hosts, "az-a"))
    for host, placement in placed.items():
        os.write(sys.stdout.fileno(), f"{host} {placement.row()}\n".encode())


def janitor(order: str) -> None:
    """Sweep once."""
    _janitor(order).run_once()


def sweep(order: str) -> None:
    """Sweep again and again, until it is ended."""
    _janitor(order).run()


def _janitor(order: str) -> Janitor:
    told = msgspec.json.decode(Path(order).read_bytes(), type=JanitorOrder)
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in told.settings.items()
    }
    return Janitor(
        JanitorSettings(**settings),
        DirectorySettings(redis_url=told.redis_url, client_id="janitor"),
        Path(told.state_dir),
        told.topology,
    )


def _end_with(parent: int) -> None:
    """End when the process that started this one has ended, however that came about."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _verb, *_words = sys.argv[1:]
    _VERBS: dict[str, Callable[..., None]] = {
        "agent": agent,
        "publish": publish,
        "move": move,
        "back": back,
        "register": register,
        "janitor": janitor,
        "sweep": sweep,
    }
    _VERBS[_verb](*_words)
