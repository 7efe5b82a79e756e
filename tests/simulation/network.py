"""The network between processes and servers: delay, loss, partition, duplicates.

The rule: a question takes time there and time back, and either way may be lost: then the server has
done what was asked, or not, and whoever asked learns only that no answer came. Producers are
idempotent and wait for all replicas; what was given up may still land later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from southbound.errors import EdgeError, OutcomeUnknown
from southbound.partitioning.placement import Address
from tests.simulation.log import Cluster, Lost, Partition
from tests.simulation.loop import MS, Loop, S, Steps

_T = TypeVar("_T")

REDIS = "redis"
TIMEOUT_US = 3 * S
DELIVERY_US = 30 * S

Item = tuple[bytes, bytes | None]


class Silence(EdgeError):
    """No answer came: nobody knows whether what was asked was done."""

    def __init__(self, who: str, where: str) -> None:
        super().__init__(f"{who} hears nothing of {where}", retryable=True)


class Network:
    """Who reaches whom. `slowness` stretches every delay."""

    def __init__(self, loop: Loop, chance: random.Random, clusters: dict[str, Cluster]) -> None:
        self._loop = loop
        self._chance = chance
        self._clusters = clusters
        self.down: set[str] = set()
        self.cut: set[tuple[str, str]] = set()
        self.slowness = 1.0
        self.duplicates = 0.0
        self._numbers = 0

    def delay_us(self) -> int:
        """Return how long a way takes: mostly a millisecond, sometimes very much longer."""
        draw = self._chance.random()
        scale = 1 if draw < 0.8 else 20 if draw < 0.97 else 800
        return int(self._chance.uniform(0.2, 2.0) * scale * MS * self.slowness)

    def reaches(self, who: str, where: str) -> bool:
        """Tell whether a way is open."""
        return where not in self.down and (who, where) not in self.cut

    def call(self, who: str, where: str, act: Callable[[], _T]) -> Steps[_T]:
        """Ask a server. Raises `Silence`."""
        yield self.delay_us()
        if not self.reaches(who, where):
            yield TIMEOUT_US
            raise Silence(who, where)
        answer = act()
        if self._chance.random() < self.duplicates:
            act()
        yield self.delay_us()
        if not self.reaches(who, where):
            yield TIMEOUT_US
            raise Silence(who, where)
        return answer

    def end(self, who: str, address: Address) -> Steps[int]:
        """Ask where a partition ends. Raises `Silence`."""
        partition = self._clusters[address.cluster].at(address)
        return (yield from self.call(who, address.cluster, lambda: partition.high))

    def produce(self, who: str, address: Address, items: Sequence[Item]) -> Steps[list[int]]:
        """Append records in order; return their offsets once all replicas have them.

        Raises `OutcomeUnknown` when that is not known in time; they may still land then.
        """
        first = self._numbers
        self._numbers += len(items)
        offsets = []
        deadline_us = self._loop.now_us + DELIVERY_US
        for at, item in enumerate(items):
            number = (who, first + at)
            try:
                offset = yield from self._deliver(who, address, item, number, deadline_us)
            except OutcomeUnknown:
                if self._chance.random() < 0.4:
                    late = self._late(address, items[at:], (who, first + at))
                    self._loop.spawn(f"late {who}", late, int(self._chance.uniform(0, 60) * S))
                raise
            offsets.append(offset)
        return offsets

    def _deliver(
        self, who: str, address: Address, item: Item, number: tuple[str, int], deadline_us: int
    ) -> Steps[int]:
        cluster = address.cluster
        partition = self._clusters[cluster].at(address)
        key, value = item
        while True:
            try:
                offset = yield from self.call(
                    who, cluster, lambda: partition.append(key, value, self._loop.now_us, number)
                )
                # Between the leader's taking it and the followers' the leader may change.
                yield from self.call(who, cluster, lambda: partition.commit(number))
                return offset
            except (Silence, Lost):
                if self._loop.now_us >= deadline_us:
                    raise OutcomeUnknown(f"{who} to {address}: no answer in time") from None
                yield 100 * MS

    def _late(self, address: Address, items: Sequence[Item], first: tuple[str, int]) -> Steps[None]:
        """Let what was given up land all the same."""
        partition: Partition = self._clusters[address.cluster].at(address)
        if address.cluster in self.down:
            return
        who, number = first
        for at, (key, value) in enumerate(items):
            partition.append(key, value, self._loop.now_us, (who, number + at))
            partition.commit((who, number + at))
            yield self.delay_us()
