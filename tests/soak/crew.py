"""Who is there in a soak: those who live through it and are measured, and those who come and go.

The rule: hosts whose plans are judged change by change do not move, since what is copied comes singly;
those that move are agents of this process, judged as they apply. A second publisher, tracker and
janitor are killed, so that what grows in the first of each can be seen.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from southbound.nca.service import Agent
from southbound.partitioning.plan import Goal
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey, Scope, host_scope
from southbound.settings import AgentSettings
from southbound.tracker.client import TrackerClient
from tests.faults.child import JanitorOrder
from tests.faults.disks import NoDisk, small_disk
from tests.faults.stage import Child, Host, Stage, accepted_in
from tests.live.directory_kit import eventually
from tests.live.shards_kit import Node

LAG_S = 120.0
"""How long compaction waits in a soak: longer than any fault, short enough to be seen."""

_ACCEPTED_S = 90.0
"""Within this a publisher knows what became of a change: a delivery and a look at the fence each take
up to half a minute (`PublisherSettings`), and both come twice where a host moves."""

_DISK_MIB = 16
_ENOUGH_S = 60.0
_SWEEPS: Mapping[str, float] = {
    "sweep_every_s": 8.0,
    "compaction_lag_s": LAG_S,
    "look_every_s": 60.0,
    "due_every_s": 20.0,
    "cleanup_after_s": 30.0,
}


class Crew:
    """Everybody. `measured` are those that live through the run, by what they are."""

    def __init__(self, stage: Stage, topology: Topology, folder: Path) -> None:
        self._stage = stage
        stage.shards.history.enough_s = _ACCEPTED_S
        self._topology = topology
        self._folder = folder
        self._stack = ExitStack()
        self._numbers = itertools.count()
        self.measured: dict[str, Child] = {}
        self.told_published: set[int] = set()
        self.moves = 0
        self._open = ""
        self.steady, self.killed, self.other, self.published = (stage.host() for _ in range(4))
        self._movers = tuple(stage.host_id() for _ in range(2))
        self.small_disk = self._mount(self.other.folder / "state")
        self._client, self._track = stage.tracker(folder / "tracker")
        self._second_client, self._track_second = stage.tracker(folder / "second-tracker")

    @property
    def judged(self) -> tuple[Host, ...]:
        """The hosts whose plans are judged change by change."""
        return (self.steady, self.killed, self.other, self.published)

    @property
    def loaded(self) -> tuple[Scope, ...]:
        """The scopes that traffic goes to."""
        return tuple(map(host_scope, (self.killed.id, self.other.id, *self._movers)))

    def _mount(self, folder: Path) -> Path | None:
        try:
            self._stack.enter_context(small_disk(folder, _DISK_MIB))
        except NoDisk:
            return None
        return folder

    # Coming and going.

    def start(self) -> None:
        """Start all of them."""
        redis_url = self._stage.redis_url
        publish = ("publish", redis_url, "1", "0.05", self.steady.id)
        self.measured = {
            "tracker": self._track(""),
            "agent": self.steady.agent(),
            "publisher": Child(*publish),
            "janitor": Child("sweep", str(self._janitor_order("janitor"))),
        }
        self._second = self._track_second("")
        self._agents = {host.id: host.agent() for host in (self.killed, self.other, self.published)}
        for host in self._movers:
            self._stage.shards.agent(host)
        for client in (self._client, self._second_client):
            eventually(lambda: self._stage.is_answering(client), within_s=_ENOUGH_S)  # noqa: B023  # asked at once

    def close(self) -> None:
        """End all children."""
        for child in (*self.measured.values(), self._second, *self._agents.values()):
            child.kill()
        self._stack.close()

    def _janitor_order(self, name: str) -> Path:
        order = self._folder / f"{name}.order"
        settings = {**_SWEEPS, "client_id": name}
        told = JanitorOrder(
            settings, self._stage.redis_url, self._topology, str(self._folder / name)
        )
        order.write_bytes(msgspec.json.encode(told))
        return order

    def restart_agent(self, armed: str) -> Child:
        """Kill the agent that is there to be killed, and start it again, armed so."""
        self._agents[self.killed.id].kill()
        child = self._agents[self.killed.id] = self.killed.agent(armed)
        return child

    def restart_tracker(self, away_s: float) -> None:
        """Kill the second tracker, and start it again."""
        self._second.kill()
        time.sleep(away_s)
        self._second = self._track_second("")
        eventually(lambda: self._stage.is_answering(self._second_client), within_s=_ENOUGH_S)

    def flush(self) -> None:
        """Let Redis forget everything."""
        self._stage.shards.kit.redis.flushall()

    @contextmanager
    def sweeping(self) -> Iterator[Child]:
        """Have a second janitor sweep once while the block runs."""
        with Child("janitor", str(self._janitor_order("second-janitor"))) as child:
            yield child

    # Moving.

    def begin_move(self) -> str:
        """Decide that hosts move to the other cluster; return the plan's id."""
        shards = self._stage.shards
        if self._open:
            self.end_move(self._open)
        to = "c2" if shards.cluster_of(self._movers[0]) == "c1" else "c1"
        plan = shards.plan(Goal(kind="hosts", what=self._movers, to=to))
        self._open = shards.mover.begin(plan)
        return self._open

    def end_move(self, plan: str) -> None:
        """Carry a plan on to its end."""
        done = self._stage.shards.mover.run(plan)
        assert (done.done, done.failed) == (done.total, {}), done
        self._open = ""
        self.moves += done.total

    def move(self) -> None:
        """Move hosts to the other cluster."""
        self.end_move(self.begin_move())

    # Judging.

    def check(self, choose: Callable[[tuple[str, ...]], str]) -> None:
        """Compare everything with what was accepted; `choose` says which host is read anew.

        Raises `AssertionError`.
        """
        stage = self._stage
        failures, stage.shards.history.failures = stage.shards.history.failures, []
        assert not failures, failures[:3]
        stage.shards.check()
        for host in (self.killed, self.other):
            stage.check(host)
        self._check_published()
        self._check_tracked()
        self._check_log(choose((self.killed.id, self.other.id, *self._movers)))

    def _check_published(self) -> None:
        """What publishing processes were told of is on the nodes: of the steady one, and of the killed."""
        for host, told in (
            (self.steady, accepted_in(self.measured["publisher"].said)[self.steady.id]),
            (self.published, self.told_published),
        ):
            if told:
                keys = [ResourceKey(host_scope(host.id), "router", id) for id in ("one", "two")]
                self._stage.has(host, dict.fromkeys(keys, max(told)), within_s=_ENOUGH_S)

    def _check_tracked(self) -> None:
        """Both trackers know what stands on a host, or newer."""
        host = self.other.id
        wanted = {
            key.id: n for key, n in self._stage.shards.history.wanted({host_scope(host)}).items()
        }
        for client in (self._client, self._second_client):
            eventually(
                lambda: _tracked(client, host, wanted) == [],  # noqa: B023  # asked at once
                within_s=_ENOUGH_S,
                saying=lambda: f"a tracker: {_tracked(client, host, wanted)}",  # noqa: B023
            )

    def _check_log(self, host: str) -> None:
        """Whoever reads the log from its start, as it is compacted, has all that was accepted."""
        node, folder = Node(host), self._folder / f"anew-{next(self._numbers)}"
        agent = Agent(
            host=host,
            state_dir=folder,
            applier=node,
            redis_url=self._stage.redis_url,
            settings=AgentSettings(fetch_wait_ms=500, inventory_spread_s=3_600.0),
        )
        agent.start()
        try:
            self._stage.shards.check_node(host, lambda: node)
        except AssertionError as error:
            raise AssertionError(f"read anew: {error}") from error
        finally:
            agent.stop()
            shutil.rmtree(folder)

    @property
    def operations(self) -> int:
        """How many changes of resources were accepted."""
        told = len(accepted_in(self.measured["publisher"].said)[self.steady.id])
        return self._stage.accepted + 3 * (told + len(self.told_published))

    def tracker_folder(self) -> Path:
        """Return where the measured tracker keeps its store."""
        return self._folder / "tracker"

    def janitor_folder(self) -> Path:
        """Return where the measured janitor keeps its books."""
        return self._folder / "janitor"


def _tracked(client: TrackerClient, host: str, wanted: Mapping[str, int]) -> list[str]:
    """Return what of a host a tracker knows too little of."""
    found = client.host(host)
    known = {} if found is None else {one.id: one.revision for one in found.resources}
    return [
        f"{id}: {known.get(id)}, not {revision}"
        for id, revision in wanted.items()
        if known.get(id, 0) < revision
    ]
