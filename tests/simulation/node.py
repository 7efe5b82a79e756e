"""A compute node: its agent's core, its disk, its dataplane, its clock; and the agent's deaths.

The rule: effects are performed in the order that `southbound.nca.effects` states, and the agent may
die between any two of them; what is on the disk and in the dataplane outlives it. Everything that the
dataplane and the senders are told goes past the invariants.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from southbound.errors import EdgeError
from southbound.nca import effects as ef
from southbound.nca import events as ev
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.core import AgentCore
from southbound.nca.counters import Counters
from southbound.nca.plan import Change
from southbound.partitioning.placement import (
    Address,
    VpcPlacement,
    parse_placement,
    parse_vpc_placement,
)
from southbound.resources import host_scope, vpc_scope
from southbound.settings import AgentSettings
from southbound.wire.reports import (
    Presence,
    Report,
    encode_presence,
    encode_report,
    interest_key,
)
from tests.simulation.directory import Directory
from tests.simulation.disk import Disk
from tests.simulation.fleet import CLUSTERS, TOPOLOGY, interest_of, status_of
from tests.simulation.log import Partition
from tests.simulation.loop import HOUR, MS, START_US, S, Steps, Task, Wait
from tests.simulation.network import Item

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTINGS = AgentSettings(marker_wait_s=20.0)
_PROBE_US = 12 * HOUR
_RETRY_US = 2 * S


class Died(Exception):
    """The agent's process ended between two effects."""


class Outgoing(NamedTuple):
    """A message of the agent's, with the number under which its core knows it."""

    seq: int
    address: Address
    item: Item


class Node:
    """One host. `name` tells two of one host apart. `effects_left`: after how many effects its agent dies; None: it lives."""

    core: AgentCore

    def __init__(self, world: World, host: str, name: str = "") -> None:
        self.world = world
        self.host = host
        self.name = name or host
        self.counters = Counters()
        self.disk = Disk()
        self.directory = Directory(world, host, visitor=True)
        self.applier = MemoryApplier(self._refusal)
        self.applier.open()
        self.skew_us = 0
        self.monotonic_us = 0
        self.effects_left: int | None = None
        self.refuses_until_us = 0
        self.batch_max = 1_000
        self.slow_us = 0
        self.lives = 0
        self.is_up = False
        self.is_dying = False
        self._tasks: list[Task] = []
        self._me: Task | None = None
        self._inbox: deque[ev.Event] = deque()
        self._outbox: deque[Outgoing] = deque()
        self._sender: Task | None = None
        self._reading: dict[Address, int] = {}
        self._leader_epochs: dict[Address, int] = {}
        self._wants_assign = False
        self._assign_at_us = 0
        self._asked: set[str] | None = None

    @property
    def now(self) -> ev.Now:
        """Both of its clocks: the one that never jumps, and the one that may."""
        true_us = self.world.loop.now_us
        return ev.Now((true_us - START_US) / 1e6 + 1_000, true_us + self.skew_us)

    # Life and death.

    def start(self) -> None:
        """Start the agent from its disk."""
        assert not self.is_up
        self.lives += 1
        self.is_up = True
        self._inbox.clear()
        self._outbox.clear()
        self._reading.clear()
        self._wants_assign, self._asked = False, None
        self.core = self.world.make_core(self)
        self.world.note(self.host, "starts")
        self._me = self._spawn("works", self._live())
        self._sender = self._spawn("tells", self._tell())
        self._spawn("probes", self._probe())
        for cluster in self.world.clusters.values():
            for partition in cluster.partitions.values():
                partition.watchers.pop(self.host, None)

    def die(self) -> None:
        """End the agent where it is."""
        if self.is_up:
            self.is_up = False
            self.effects_left = None
            self.world.note(self.host, "dies")
            for task in self._tasks:
                self.world.loop.kill(task)
            self._tasks = []
            self.world.invariants.died(self)

    def wake(self) -> None:
        """Let the agent look around."""
        if self._me is not None and self.is_up:
            self.world.loop.wake(self._me, self.slow_us)

    def _spawn(self, what: str, steps: Steps[None]) -> Task:
        task = self.world.loop.spawn(f"{self.host} {what}", steps)
        self._tasks.append(task)
        return task

    def _refusal(self, change: Change) -> str | None:
        return "refused" if self.world.loop.now_us < self.refuses_until_us else None

    # The agent's thread.

    def _live(self) -> Steps[None]:
        try:
            yield from self.feed(ev.Started(self.now))
            while True:
                yield from self._turn()
        except Died:
            self.is_dying = True
            self.world.loop.spawn(f"{self.host} is dead", self._bury())

    def _bury(self) -> Steps[None]:
        yield 0
        self.die()
        yield int(self.world.chance.uniform(0.01, 3) * S)
        if not self.is_up:
            self.start()

    def _turn(self) -> Steps[None]:
        """Do one thing: take an answer, assign, read, or tick; sleep when there is nothing."""
        if self._inbox:
            yield from self.feed(self._stamped(self._inbox.popleft()))
            return
        if self._wants_assign and self.world.loop.now_us >= self._assign_at_us:
            yield from self._assign()
            return
        if (yield from self._read()):
            return
        deadline_s = self.core.deadline()
        wait_us = None
        if deadline_s is not None:
            wait_us = int((deadline_s - self.now.s) * 1e6) + 1
            if wait_us <= 1:
                yield from self.feed(ev.Tick(self.now))
                yield MS
                return
        if self._wants_assign:
            again_us = max(self._assign_at_us - self.world.loop.now_us, 0)
            wait_us = again_us if wait_us is None else min(wait_us, again_us)
        yield Wait(wait_us)

    def _stamped(self, event: ev.Event) -> ev.Event:
        import msgspec

        return msgspec.structs.replace(event, now=self.now)

    def _read(self) -> Steps[bool]:
        """Read from some of the partitions that have something; tell whether any had."""
        world = self.world
        ready: list[Address] = []
        for where, position in self._reading.items():
            if not world.network.reaches(self.host, where.cluster):
                continue
            partition = world.clusters[where.cluster].at(where)
            if position > min(partition.high, self._known_to(where, partition)):
                del self._reading[where]
                yield from self.feed(ev.PositionLost(self.now, where))
                return True
            if position < partition.high:
                ready.append(where)
        if not ready:
            return False
        if len(ready) > 1:
            ready = world.chance.sample(ready, world.chance.randint(1, len(ready)))
        records: list[ev.Record] = []
        reached: dict[Address, int] = {}
        for where in ready:
            partition = world.clusters[where.cluster].at(where)
            start = self._reading[where]
            end = min(start + world.chance.randint(1, self.batch_max), partition.high)
            records += (found := self._records(where, partition, start, end))
            self._reading[where] = reached[where] = end
            self._leader_epochs.pop(where, None)
            if found and found[-1].offset == end - 1:
                self._leader_epochs[where] = found[-1].leader_epoch
        yield from self.feed(ev.Batch(self.now, tuple(records), reached))
        if self.slow_us:
            yield self.slow_us
        return True

    def _known_to(self, where: Address, partition: Partition) -> int:
        """Return up to where the log is the one that was read, as far as leaders' epochs tell."""
        leader_epoch = self._leader_epochs.get(where)
        return partition.high if leader_epoch is None else partition.end_of(leader_epoch)

    def _records(
        self, where: Address, partition: Partition, start: int, end: int
    ) -> list[ev.Record]:
        return [
            ev.Record(where, one.offset, one.key, one.value, partition.leader_epoch(one.offset))
            for one in partition.read(start, end)
        ]

    # Effects.

    def feed(self, event: ev.Event) -> Steps[None]:
        """Feed the core, and perform what it asks for."""
        for effect in self.core.step(event):
            if self.effects_left is not None:
                self.effects_left -= 1
                if self.effects_left < 0:
                    raise Died
            yield from self._perform(effect)

    def _perform(self, effect: ef.Effect) -> Steps[None]:
        match effect:
            case ef.Persist():
                self.disk.commit(effect.transaction)
            case ef.Apply():
                yield from self._apply(effect)
            case ef.Send():
                self.world.invariants.told(self, effect)
                report = Report(self.host, self.now.us, effect.entries, effect.inventory)
                item: Item = (self.host.encode(), encode_report(report))
                self._post(Outgoing(effect.seq, status_of(effect.cluster), item))
            case ef.Announce():
                value = encode_presence(Presence(effect.since_us)) if effect.present else None
                item = (interest_key(effect.vpc, self.host), value)
                self._post(Outgoing(effect.seq, interest_of(effect.cluster), item))
            case ef.Assign():
                self._wants_assign, self._assign_at_us = True, 0
            case ef.Resolve():
                self._resolve(effect.vpcs)

    def _apply(self, effect: ef.Apply) -> Steps[None]:
        before = dict(self.applier.resources)
        failures = self.applier.apply(effect.plan)
        self.world.invariants.applied(self, effect.plan, failures, before)
        yield self.slow_us or self.world.network.delay_us() // 10
        yield from self.feed(ev.Applied(self.now, failures))

    # What goes out.

    def _post(self, outgoing: Outgoing) -> None:
        self._outbox.append(outgoing)
        if self._sender is not None:
            self.world.loop.wake(self._sender)

    def _tell(self) -> Steps[None]:
        while True:
            if not self._outbox:
                yield Wait()
                continue
            one = self._outbox.popleft()
            try:
                yield from self.world.network.produce(self.host, one.address, [one.item])
            except EdgeError:
                self._answer(ev.Settled(self.now, (), (one.seq,)))
            else:
                self._answer(ev.Settled(self.now, (one.seq,)))

    def _answer(self, event: ev.Event) -> None:
        self._inbox.append(event)
        self.wake()

    # What is asked.

    def _assign(self) -> Steps[None]:
        self._wants_assign = False
        assignment = self.core.assignment()
        marks: dict[Address, ev.Mark] = {}
        for where in sorted(assignment.marks, key=str):
            try:
                high = yield from self.world.network.end(self.host, where)
            except EdgeError:
                self._wants_assign = True
                self._assign_at_us = self.world.loop.now_us + _RETRY_US
            else:
                marks[where] = ev.Mark(0, high)
        if marks:
            yield from self.feed(ev.Marked(self.now, marks))
        self._watch(self.core.assignment())

    def _watch(self, assignment: ef.Assignment) -> None:
        for where in self._reading:
            self.world.clusters[where.cluster].at(where).watchers.pop(self.host, None)
        self._reading = dict(assignment.positions)
        self._leader_epochs = dict(assignment.leader_epochs)
        for where in self._reading:
            self.world.clusters[where.cluster].at(where).watchers[self.host] = self.wake

    def _resolve(self, vpcs: tuple[str, ...]) -> None:
        if self._asked is not None:
            self._asked.update(vpcs)
            return
        self._asked = set(vpcs)
        self._spawn("asks", self._look_up())

    def _look_up(self) -> Steps[None]:
        """Ask the directory until it answers; what is asked meanwhile is asked with it."""
        while True:
            yield self.world.network.delay_us()
            vpcs = sorted(self._asked or ())
            try:
                host = yield from self.directory.find(host_scope(self.host))
                rows: dict[str, VpcPlacement | None] = {}
                for vpc in vpcs:
                    held = yield from self.directory.find(vpc_scope(vpc))
                    rows[vpc] = None if held is None else parse_vpc_placement(held.row)
            except EdgeError:
                yield _RETRY_US
                continue
            if host is None or (self._asked or set()) - set(vpcs):
                yield S
                continue
            break
        self._asked = None
        self._answer(ev.Located(self.now, TOPOLOGY, parse_placement(host.row), rows))

    def _probe(self) -> Steps[None]:
        """Make sure now and then that the host's cluster is there, and still the same one."""
        yield 50 * MS
        while True:
            cluster = self.core.cluster
            if cluster is None:
                yield S
                continue
            found = self.world.clusters[cluster]
            try:
                kafka_id = yield from self.world.network.call(
                    self.host,
                    cluster,
                    lambda: found.kafka_id,  # noqa: B023  # asked at once
                )
            except EdgeError:
                yield 5 * S
                continue
            self._answer(ev.ClusterSeen(self.now, cluster, kafka_id))
            yield Wait(_PROBE_US)

    def reconnect(self) -> None:
        """Its connections broke: it asks at once who is there."""
        if self.is_up:
            self._spawn("probes again", self._probe_once())

    def _probe_once(self) -> Steps[None]:
        cluster = self.core.cluster
        if cluster in CLUSTERS:
            found = self.world.clusters[cluster]
            try:
                kafka_id = yield from self.world.network.call(
                    self.host, cluster, lambda: found.kafka_id
                )
            except EdgeError:
                return
            self._answer(ev.ClusterSeen(self.now, cluster, kafka_id))
