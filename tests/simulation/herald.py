"""Telling the tracker service what is published, behind a publisher's back.

The rule: the order of `southbound.tracker.herald`: announcements and verdicts in the order in which they came,
each again until an answer has come. What a publisher that dies had not told stays untold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from southbound.errors import EdgeError
from southbound.resources import Scope
from tests.simulation.loop import MINUTE, S, Steps, Wait
from tests.simulation.tracker import TRACKER

if TYPE_CHECKING:
    from tests.simulation.world import World


class Herald:
    """One publisher's. `wake`: lets `tell` look at what there is."""

    def __init__(self, world: World, who: str, wake: Callable[[], None]) -> None:
        self._world = world
        self._who = who
        self._wake = wake
        self._waiting: deque[Callable[[], None]] = deque()

    def published(self, id: str, parts: Mapping[Scope, Mapping[bytes, int]]) -> None:
        """Take a changeset of which nothing has been sent yet."""
        now_us = self._world.loop.now_us
        self._waiting.append(lambda: self._world.tracker.announce(id, parts, now_us))
        self._wake()

    def settled(self, id: str) -> None:
        """Take that a changeset was accepted."""
        self._waiting.append(lambda: self._accepted(id))
        self._wake()

    def _accepted(self, id: str) -> None:
        self._world.tracker.accept(id)
        self._world.asker.follow(id)

    def tell(self) -> Steps[None]:
        """Tell what waits, for ever; a tracker that is away is asked again with growing waits."""
        again_us = S
        while True:
            if not self._waiting:
                yield Wait()
                continue
            try:
                yield from self._world.network.call(self._who, TRACKER, self._waiting[0])
            except EdgeError:
                yield again_us
                again_us = min(2 * again_us, 10 * MINUTE)
            else:
                self._waiting.popleft()
                again_us = S
