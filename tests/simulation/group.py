"""The consumer group of the workers: who holds which partition of the public kind's topic.

The rule: everybody gives back what he holds before anything is assigned anew; who does not answer within the
session's time is a member no longer, and learns of it when he next asks. Shares differ by at most one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.fleet import PUBLIC_PARTITIONS
from tests.simulation.loop import MS, S, Steps, Wait

if TYPE_CHECKING:
    from tests.simulation.worker import Worker
    from tests.simulation.world import World

_SESSION_US = 10 * S
_ASK_US = 100 * MS


class Group:
    """One group. `shares`: what each member was given last; `partitions`: of how many it knows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.partitions = PUBLIC_PARTITIONS
        self.members: dict[str, Worker] = {}
        self.shares: dict[str, tuple[int, ...]] = {}
        self._round = 0
        self._answered: set[str] = set()
        self._is_due = False
        self._me = world.loop.spawn("group coordinates", self._coordinate())

    def join(self, worker: Worker) -> None:
        """Let a worker be a member; everything is shared out anew."""
        worker.member_id = self._world.chance.random()
        self.members[worker.name] = worker
        self._share_out()

    def notice(self, partitions: int) -> None:
        """Learn that the topic has grown; everything is shared out anew."""
        if partitions > self.partitions:
            self.partitions = partitions
            self._share_out()

    def leave(self, worker: Worker) -> None:
        """Let a worker be none, who has given everything back."""
        if self.members.get(worker.name) is worker:
            del self.members[worker.name]
            self.shares.pop(worker.name, None)
            self._share_out()

    def answer(self, worker: Worker, number: int) -> None:
        """Take note that a worker has given everything back."""
        if number == self._round and self.members.get(worker.name) is worker:
            self._answered.add(worker.name)

    def is_member(self, worker: Worker) -> bool:
        """Tell whether a worker is one still."""
        return self.members.get(worker.name) is worker

    def miss(self, worker: Worker) -> None:
        """Take note that a worker's process is gone; the group learns of it by its silence."""
        self._share_out()

    def _share_out(self) -> None:
        self._is_due = True
        self._world.loop.wake(self._me)

    def _coordinate(self) -> Steps[None]:
        while True:
            if not self._is_due:
                yield Wait()
                continue
            self._is_due = False
            self._round += 1
            self._answered = set()
            asked = dict(self.members)
            for worker in asked.values():
                worker.ask_back(self._round)
            yield from self.await_answers(asked)
            if self._is_due:
                continue
            names = sorted(self.members, key=lambda name: self.members[name].member_id)
            self.shares = {
                name: tuple(range(at, self.partitions, len(names))) for at, name in enumerate(names)
            }
            for name, share in self.shares.items():
                self.members[name].assign(self._round, share)

    def await_answers(self, asked: dict[str, Worker]) -> Steps[None]:
        """Wait until all have given back; whoever does not in time is a member no longer."""
        deadline_us = self._world.loop.now_us + _SESSION_US
        while not asked.keys() <= self._answered:
            if self._world.loop.now_us >= deadline_us:
                for name in asked.keys() - self._answered:
                    if self.members.get(name) is asked[name]:
                        del self.members[name]
                        self.shares.pop(name, None)
                return
            yield _ASK_US
