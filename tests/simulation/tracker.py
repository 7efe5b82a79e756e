"""The tracker service: its process, its machine's disk, and what it is told and asked.

The rule: what is committed, recalled, answered and forgotten is `southbound.tracker`'s own: its store,
board, service and questions are the real ones, over a database in memory. What is here brings them
records and questions step by step, kills the process on either side of a commit, and lets the disk refuse.
The time by which things are too old is that of the records' stamps, carried on by a clock that never jumps.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from southbound.edge.bookmarks import Bookmark, Place
from southbound.edge.log_time import LogTime
from southbound.errors import EdgeError, SouthboundError
from southbound.partitioning.placement import Address, parse_vpc_placement
from southbound.resources import Scope, vpc_scope
from southbound.settings import TrackerSettings
from southbound.tracker.board import Announcement, Part, part_text
from southbound.tracker.questions import Questions
from southbound.tracker.service import TrackerService, _Following
from southbound.tracker.store import BESIDE, MIGRATIONS, Reader, Store, Writing
from tests.simulation.directory import Directory
from tests.simulation.fence import Message
from tests.simulation.fleet import CLUSTERS, TOPOLOGY, cluster_of, interest_of, status_of
from tests.simulation.log import Stored
from tests.simulation.loop import HOUR, MS, S, Steps, Task, Wait

if TYPE_CHECKING:
    from tests.simulation.world import World

TRACKER = "tracker"
SETTINGS = TrackerSettings()
_SWEEP_US = 6 * HOUR
_REACH_US = 10 * S
_BATCH_MAX = 6


class Crash(Exception):
    """The tracker's process ended on one side of a commit."""


class Stamps(LogTime):
    """The time of the logs: the latest stamp, carried on by the simulated clock."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._ahead_us = 0

    def note(self, message: Any) -> None:
        """Take the stamp of a record."""
        at_us = message.timestamp()[1] * MS
        if not self._told_us or at_us > self.now_us():
            self._told_us, self._ahead_us = at_us, self._world.loop.now_us - at_us

    def now_us(self) -> int:
        """Return the time, as the latest stamp tells it."""
        return self._world.loop.now_us - self._ahead_us


class Shelf(Store):
    """A store whose file is in memory and outlives the process."""

    def __init__(self, machine: Tracker) -> None:
        super().__init__(Path("/none"))
        self._machine = machine

    def open(self) -> None:
        """Take up the file, or make it."""
        self._connection = self._machine.database
        if not self._connection.execute("PRAGMA user_version").fetchone()[0]:
            self._connection.executescript(";".join(MIGRATIONS))
            self._connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            self._connection.execute(BESIDE)

    def reader(self) -> Reader:
        """Return what reads from the same file."""
        return _Borrowed(self._machine.database)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Writing]:
        """Write as a whole or not at all; the process may end on either side of the commit."""
        machine = self._machine
        with super().transaction() as writing:
            yield writing
            if machine.refuses_until_us > machine.world.loop.now_us:
                raise sqlite3.OperationalError("disk full")
            machine.reach()
        machine.reach()


class _Borrowed(Reader):
    """A reader of a connection that is somebody else's."""

    def close(self) -> None:
        """Leave it open."""


class _Service(TrackerService):
    """The service without threads: who must apply what is found out by whoever drives it."""

    def __init__(self, machine: Tracker) -> None:
        super().__init__(lambda: TOPOLOGY, Path("/none"), SETTINGS)
        self.store = Shelf(machine)
        self.log_time = Stamps(machine.world)
        self._machine = machine
        self._began_us = machine.world.loop.now_us

    def follow(self) -> None:
        """Begin as `start` does, but for the threads."""
        self.store.open()
        self._restore()
        self._followings = {
            cluster: _Following(self, TOPOLOGY.cluster(cluster)) for cluster in CLUSTERS
        }

    def following(self, cluster: str) -> _Following:
        """Return what takes a cluster's records."""
        return self._followings[cluster]

    def unasked(self) -> list[str]:
        """Return the changesets of which it is to be found out who must apply them."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._wondering.get_nowait() or "")
        return found

    def unexpected(self, id: str) -> list[Scope]:
        """Return the VPCs of a changeset of which it is not known who must apply them."""
        followed = self._board.get(id)
        return [] if followed is None else self._board.unexpected(followed)

    def expect(self, id: str) -> None:
        """Take it that who follows its VPCs has been read."""
        self._find_followers(id)

    def _reach(self, scopes: Sequence[Scope]) -> None:
        """Whoever drives it has seen to that."""

    @property
    def _is_new(self) -> bool:
        since_us = self._machine.world.loop.now_us - self._began_us
        return since_us < self.settings.forgets_after_s * S


class _Ends:
    """What a consumer would say of where a partition begins and ends."""

    def __init__(self, high: int) -> None:
        self._high = high

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, self._high


class Reported(Message):
    """A record of a topic of reports or of interest."""

    def __init__(self, topic: str, stored: Stored) -> None:
        super().__init__(stored)
        self._topic = topic

    def topic(self) -> str:
        """Return the topic."""
        return self._topic


class Tracker:
    """One tracker's machine. `deaths`: at which commit to come its process ends; below 0: at none."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._file: sqlite3.Connection | None = None
        self.service: _Service | None = None
        self.deaths = -1
        self.refuses_until_us = 0
        self.lives = 0
        self._directory = Directory(world, TRACKER)
        self._tasks: list[Task] = []
        self._positions: dict[Address, int] = {}
        self._readers: dict[str, Task] = {}
        self._wonders: Task | None = None

    @property
    def database(self) -> sqlite3.Connection:
        """What is on the disk."""
        if self._file is None:
            self._file = sqlite3.connect(":memory:", isolation_level=None)
        return self._file

    # Life and death.

    def start(self) -> None:
        """Begin, from what the disk holds."""
        self.lives += 1
        self.world.note(TRACKER, "starts")
        self.world.network.down.discard(TRACKER)
        self._directory = Directory(self.world, TRACKER)
        self._positions = {}
        self.service = _Service(self)
        try:
            self.service.follow()
        except (Crash, EdgeError):
            self._end(S)
            return
        for cluster in CLUSTERS:
            self._readers[cluster] = self._spawn(f"reads {cluster}", self._read(cluster))
        self._wonders = self._spawn("wonders", self._wonder())
        self._spawn("sweeps", self._sweep())

    def die(self, away_us: int) -> None:
        """End where it is; another process begins after a time."""
        if self.service is not None:
            self._end(away_us)

    def _end(self, away_us: int) -> None:
        self.world.note(TRACKER, "dies")
        self.service, self.deaths = None, -1
        self.world.network.down.add(TRACKER)
        tasks, self._tasks = self._tasks, []

        def steps() -> Steps[None]:
            yield 0
            for task in tasks:
                self.world.loop.kill(task)
            yield away_us
            if self.service is None:
                self.start()

        self.world.loop.spawn(f"{TRACKER}'s next life", steps())

    def reach(self) -> None:
        """Die here, if it is the moment. Raises `Crash`."""
        if self.deaths >= 0:
            self.deaths -= 1
            if self.deaths < 0:
                raise Crash

    def _spawn(self, what: str, steps: Steps[None]) -> Task:
        task = self.world.loop.spawn(f"{TRACKER} {what}", self._guarded(steps))
        self._tasks.append(task)
        return task

    def _guarded(self, steps: Steps[None]) -> Steps[None]:
        try:
            yield from steps
        except Crash:
            self._end(int(self.world.chance.uniform(0.1, 5) * S))

    # Reading.

    def _read(self, cluster: str) -> Steps[None]:
        """Read a cluster's reports and interest; what the disk refuses is read again."""
        world, service = self.world, self.service
        assert service is not None
        places = (status_of(cluster), interest_of(cluster))
        for where in places:
            partition = world.clusters[cluster].at(where)
            partition.watchers[TRACKER] = lambda: world.loop.wake(self._readers[cluster], 2 * MS)
        while True:
            try:
                yield from self._begin(cluster, places)
                while True:
                    if not (yield from self._batch(cluster, places)):
                        yield Wait()
            except EdgeError as error:
                world.note(TRACKER, str(error))
                yield S

    def _begin(self, cluster: str, places: Sequence[Address]) -> Steps[None]:
        """Find out where to go on."""
        service = self.service
        assert service is not None
        for where in places:
            high = yield from self.world.network.end(TRACKER, where)
            kafka_id = self.world.clusters[cluster].kafka_id
            ends: Any = _Ends(high)
            place = (where.topic, where.partition)
            self._positions[where] = service.following(cluster).begin(ends, place, kafka_id).next

    def _batch(self, cluster: str, places: Sequence[Address]) -> Steps[bool]:
        """Take some of what there is; tell whether there was anything."""
        world, service = self.world, self.service
        assert service is not None
        yield world.network.delay_us()
        if not world.network.reaches(TRACKER, cluster):
            yield S
            return True
        messages: list[Any] = []
        reached: dict[Place, int] = {}
        for where in world.chance.sample(places, len(places)):
            partition, start = world.clusters[cluster].at(where), self._positions[where]
            end = min(start + world.chance.randint(1, _BATCH_MAX), partition.high)
            if end > start:
                messages += [Reported(where.topic, one) for one in partition.read(start, end)]
                reached[where.topic, where.partition] = end
        if not reached:
            return False
        marks = {place: Bookmark(end) for place, end in reached.items()}
        service.following(cluster).take(messages, marks)
        for (topic, number), end in reached.items():
            self._positions[Address(cluster, topic, number)] = end
        return True

    def _wonder(self) -> Steps[None]:
        """Find out who must apply VPCs' changes, once what stands in the interest topics is read."""
        service = self.service
        assert service is not None
        while True:
            for id in service.unasked():
                try:
                    for scope in service.unexpected(id):
                        yield from self._reach_followers(scope)
                    service.expect(id)
                except SouthboundError as error:
                    self.world.note(TRACKER, f"who follows what {id} is about: {error}")
                    service._wondering.put(id)
            yield Wait(None if service._wondering.empty() else 2 * S)

    def _reach_followers(self, scope: Scope) -> Steps[None]:
        ends = {}
        for cluster in (yield from self._homes(scope.id)):
            where = interest_of(cluster)
            ends[where] = yield from self.world.network.end(TRACKER, where)
        deadline_us = self.world.loop.now_us + _REACH_US
        while any(self._positions.get(where, 0) < end for where, end in ends.items()):
            if self.world.loop.now_us > deadline_us:
                raise EdgeError("what stands was not read in time", retryable=True)
            yield 500 * MS

    def _homes(self, vpc: str) -> Steps[Sequence[str]]:
        """Return the clusters of a VPC's replicas; all, where that cannot be found out."""
        try:
            held = yield from self._directory.find(vpc_scope(vpc))
        except EdgeError:
            return CLUSTERS
        if held is None:
            return CLUSTERS
        return [cluster_of(one) for one in parse_vpc_placement(held.row).replicas]

    def _sweep(self) -> Steps[None]:
        yield int(self.world.chance.uniform(0, 60) * S)
        while True:
            assert self.service is not None
            with contextlib.suppress(EdgeError):
                self.service.forget()
            yield _SWEEP_US

    # What it is told and asked, through the network.

    def announce(self, id: str, parts: Mapping[Scope, Mapping[bytes, int]], sent_us: int) -> None:
        """Have a changeset followed."""
        made = tuple(Part(part_text(scope), dict(one)) for scope, one in parts.items())
        self._answer(lambda service: service.announce([Announcement(id, made, sent_us)]))

    def accept(self, id: str) -> None:
        """Tell that a changeset is accepted."""
        self._answer(lambda service: service.accepted([id]))
        if self._wonders is not None:
            self.world.loop.wake(self._wonders)

    def _answer(self, act: Any) -> None:
        if self.service is None:
            raise EdgeError("the tracker is away", retryable=True)
        try:
            act(self.service)
        except Crash:
            self._end(int(self.world.chance.uniform(0.1, 5) * S))
            raise EdgeError("the tracker is away", retryable=True) from None

    def questions(self) -> Questions | None:
        """Return what answers questions; None while it is away."""
        return None if self.service is None else Questions(self.service)

    def is_behind(self) -> bool:
        """Tell whether it has something to read."""
        return self.service is None or any(
            self._positions.get(where, -1) < self.world.clusters[where.cluster].at(where).high
            for cluster in CLUSTERS
            for where in (status_of(cluster), interest_of(cluster))
        )
