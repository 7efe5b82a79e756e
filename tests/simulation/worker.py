"""A worker of public resources: its core, its node, its membership; and its deaths.

The rule: what is to be done is decided by `southbound.nca.worker_core`; what performs it is the order of
`southbound.nca.worker`: a node is cleared before its worker joins, and what is given back is released first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from southbound.errors import EdgeError
from southbound.nca import events as ev
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.plan import Plan
from southbound.nca.worker_core import Work, WorkerCore
from southbound.resources import PUBLIC_SCOPE
from southbound.settings import WorkerSettings
from southbound.wire.reports import Report, ReportEntry, encode_report
from tests.simulation.fleet import PUBLIC_KIND, public_slot, status_of
from tests.simulation.loop import MS, START_US, S, Steps, Task, Wait

if TYPE_CHECKING:
    from tests.simulation.world import World

_PUBLIC_CLUSTER = public_slot(0).cluster


class Worker:
    """One worker's process on a node. `applier` is the node's, and outlives it."""

    def __init__(self, world: World, name: str, applier: MemoryApplier) -> None:
        self.world = world
        self.name = name
        self.applier = applier
        self.core = WorkerCore(PUBLIC_KIND, WorkerSettings())
        self.is_alive = True
        self.member_id = 0.0
        self._asked: deque[tuple[int, tuple[int, ...] | None]] = deque()
        self._next: dict[int, int] = {}
        self._outbox: deque[tuple[ReportEntry, ...]] = deque()
        self._me = world.loop.spawn(f"{name} works", self._live())
        self._sender = world.loop.spawn(f"{name} tells", self._tell())

    @property
    def now(self) -> ev.Now:
        """Both of its clocks."""
        now_us = self.world.loop.now_us
        return ev.Now((now_us - START_US) / 1e6 + 1_000, now_us)

    def die(self) -> None:
        """End where it is; its node keeps what it has."""
        self.is_alive = False
        for task in (self._me, self._sender):
            self.world.loop.kill(task)
        self.world.group.miss(self)

    def ask_back(self, number: int) -> None:
        """Be asked to give everything back."""
        self._asked.append((number, None))
        self._wake(self._me)

    def assign(self, number: int, share: tuple[int, ...]) -> None:
        """Be given partitions."""
        self._asked.append((number, share))
        self._wake(self._me)

    def _wake(self, task: Task) -> None:
        self.world.loop.wake(task, MS)

    def is_behind(self) -> bool:
        """Tell whether it has something to do, as far as it is a member."""
        return not self.world.group.is_member(self) or bool(self._asked or self.core.replaying)

    # Its thread.

    def _live(self) -> Steps[None]:
        self.applier.apply(Plan((), (PUBLIC_SCOPE,)))
        yield self.world.network.delay_us()
        self.world.group.join(self)
        while True:
            if self._asked:
                yield from self._follow_group(*self._asked.popleft())
            elif self.core.partitions and not self.world.group.is_member(self):
                yield from self._perform(self.core.revoked(self.core.partitions, lost=True))
                self.world.group.join(self)
            elif not (yield from self._mark()) and not (yield from self._read()):
                yield Wait(None if self.world.group.is_member(self) else S)

    def _follow_group(self, number: int, share: tuple[int, ...] | None) -> Steps[None]:
        group = self.world.group
        if not group.is_member(self):
            yield from self._perform(self.core.revoked(self.core.partitions, lost=True))
            self._asked.clear()
            group.join(self)
        elif share is None:
            yield from self._perform(self.core.revoked(self.core.partitions))
            yield self.world.network.delay_us()
            group.answer(self, number)
        else:
            yield self.world.network.delay_us()
            self.core.assigned(share)
            self._next = {one: self.begin(one) for one in share}
            for one in share:
                where = public_slot(one)
                partition = self.world.clusters[where.cluster].at(where)
                partition.watchers[self.name] = lambda: self._wake(self._me)

    def begin(self, number: int) -> int:
        """Return from where a partition is read: all of it is replayed."""
        return 0

    def _mark(self) -> Steps[bool]:
        """Ask where new partitions end."""
        ends: dict[int, int] = {}
        for one in self.core.unmarked:
            try:
                ends[one] = yield from self.world.network.end(self.name, public_slot(one))
            except EdgeError:
                yield S
        yield from self._perform(self.core.marked(ends, self.now))
        return bool(ends)

    def _read(self) -> Steps[bool]:
        for one in self.core.partitions:
            where = public_slot(one)
            partition = self.world.clusters[where.cluster].at(where)
            start = self._next.get(one, 0)
            if start >= partition.high:
                continue
            if not self.world.network.reaches(self.name, where.cluster):
                yield S
                return True
            end = min(start + self.world.chance.randint(1, 20), partition.high)
            records = [
                ev.Record(where, stored.offset, stored.key, stored.value)
                for stored in partition.read(start, end)
            ]
            self._next[one] = end
            yield from self._perform(self.core.batch(records, {one: end}, self.now))
            return True
        return False

    def _perform(self, work: Work) -> Steps[None]:
        self._owe(work.told)
        if work.plan.changes:
            failed = self.applier.apply(work.plan)
            self.world.invariants.served(self, work.plan)
            self._owe(self.core.settle(work.plan, failed, self.now))
        yield self.world.network.delay_us() // 10

    def _owe(self, entries: tuple[ReportEntry, ...]) -> None:
        if entries:
            self._outbox.append(entries)
            self.world.loop.wake(self._sender)

    def _tell(self) -> Steps[None]:
        while True:
            if not self._outbox:
                yield Wait()
                continue
            report = encode_report(Report(self.name, self.now.us, self._outbox[0]))
            where = status_of(_PUBLIC_CLUSTER)
            try:
                yield from self.world.network.produce(
                    self.name, where, [(self.name.encode(), report)]
                )
            except EdgeError:
                yield S
                continue
            self._outbox.popleft()
