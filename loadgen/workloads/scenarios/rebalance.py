"""Rebalance under load: some hosts are moved to other slots, batch by batch, while changes go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import ClassVar

from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import SECOND_US, Action, Deed, Step
from loadgen.workloads.traffic import port_updates, stride


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalance:
    """A `share` of the hosts is moved, `batch` of them each `every_s`, from `begin_s` on.

    Meanwhile, and until `tail_s` after the last batch, `rate` ports a second change.
    """

    name: ClassVar[str] = "rebalance"
    share: float = 0.25
    batch: int = 500
    every_s: float = 2.0
    begin_s: float = 5.0
    tail_s: float = 5.0
    rate: float = 200.0
    revision: int = 2

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield the moves among the changes."""
        moves = list(self._moves(fleet))
        seconds = self.begin_s + max(0, len(moves) - 1) * self.every_s + self.tail_s
        changes = port_updates(fleet, self.rate, seconds, self.revision)
        return merge(changes, moves, key=lambda step: step.due_us)

    def _moves(self, fleet: Fleet) -> Iterator[Step]:
        count = min(fleet.hosts, max(1, round(self.share * fleet.hosts)))
        step = stride(fleet.hosts)
        for number, first in enumerate(range(0, count, self.batch)):
            hosts = [at * step % fleet.hosts for at in range(first, min(count, first + self.batch))]
            due_us = round((self.begin_s + number * self.every_s) * SECOND_US)
            yield Step(due_us, action=Action(Deed.MOVE, tuple(hosts)))
