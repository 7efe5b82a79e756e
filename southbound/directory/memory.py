"""Whether Redis is still the memory that it was.

The rule: on a new connection, or when the map is another or older than the one seen before, Redis is
first rolled forward from every journal, and then what had been resolved is forgotten. A journal that
does not answer leaves a doubt: rows that are found still serve, since a fence turns whoever uses an
old one, but nobody is told that something is unknown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from southbound.directory.forward import Forward
from southbound.directory.index import Index, Standing, Status
from southbound.directory.topologies import CurrentTopology
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError
from southbound.settings import DirectorySettings

log = logging.getLogger(__name__)

_CLAIM_S = 30


class _Doubt(NamedTuple):
    """A journal that did not answer: when, and what it said."""

    at: float
    error: EdgeError


class Memory:
    """Watches one Redis for one process. Thread-safe; `forget` is called after each roll forward."""

    def __init__(
        self,
        link: RedisLink,
        index: Index,
        forward: Forward,
        current: CurrentTopology,
        settings: DirectorySettings,
    ) -> None:
        self._link = link
        self._index = index
        self._forward = forward
        self._current = current
        self._settings = settings
        self._forget: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._dirty = True
        self._generation = 0
        self._born = ""
        self._version = 0
        self._doubts: dict[str, _Doubt] = {}
        self._followed_from = "0-0"
        self._refreshes = 0

    def on_forget(self, forget: Callable[[], None]) -> None:
        """Say what forgets everything that was resolved."""
        self._forget = forget

    @property
    def version(self) -> int:
        """The highest map version seen in this memory."""
        return self._version

    @property
    def beginning(self) -> tuple[int, str]:
        """How often it was rolled forward, and the stream id from which changes matter since."""
        return self._refreshes, self._followed_from

    def mistrust(self) -> None:
        """Roll forward and forget at the next `settle`, whatever it looks like."""
        self._dirty = True

    def settle(self) -> None:
        """Roll Redis forward and forget what was resolved, if Redis may be another memory by now.

        Raises `EdgeError` when Redis does not answer.
        """
        if not self._dirty and self._link.generation == self._generation:
            return
        with self._lock:
            if self._dirty or self._link.generation != self._generation:
                self._refresh()

    def _refresh(self) -> None:
        while True:
            # The first call connects; what is then told is of that connection.
            standing = self._index.status().standing
            generation = self._link.generation
            self._learn_topology(standing)
            if not self._settings.visitor:
                self._roll_forward()
            self._followed_from = self._index.last_change()
            status = self._index.status()
            if not self._settings.visitor and not self._knows_journals(status):
                # It has forgotten again what it was just told.
                continue
            self._born, self._version = status.standing.born, status.standing.version
            self._generation, self._dirty = generation, False
            self._forget()
            self._refreshes += 1
            if self._link.generation == generation:
                return

    def _roll_forward(self) -> None:
        for az in self._current.topology.azs if self._current.known else ():
            self._try(az.id)

    def _knows_journals(self, status: Status) -> bool:
        """Tell whether Redis knows every journal that could be read."""
        azs = self._current.topology.azs if self._current.known else ()
        return all(
            az.id in self._doubts or (az.id in status.positions and status.positions[az.id].whole)
            for az in azs
        )

    def _try(self, az: str) -> bool:
        """Bring Redis up to an AZ's journal; tell whether it knew less of it before."""
        before = self._index.status().positions.get(az)
        try:
            basis, _ = self._forward.to_end(az)
        except EdgeError as error:
            log.warning("the journal of AZ %s could not be read: %s", az, error)
            self._doubts[az] = _Doubt(time.monotonic(), error)
            return False
        self._doubts.pop(az, None)
        return before is None or before.offset < basis.offset

    def _learn_topology(self, standing: Standing) -> None:
        if not self._current.known or standing.topology > self._current.topology.version:
            self._forward.load_topology()

    def still(self, standing: Standing, since: int) -> bool:
        """Tell whether an answer is of the memory that `settle` found; else it settles anew.

        `since` is the `version` noted before the question was sent.
        """
        if self._link.generation != self._generation:
            return False
        begun = not self._born and standing.version >= since
        if (standing.born != self._born and not begun) or standing.version < since:
            self.mistrust()
            return False
        self._born = standing.born
        self._version = max(self._version, standing.version)
        self._learn_topology(standing)
        return True

    def check_absence(self, what: str) -> bool:
        """Tell whether what Redis does not hold is absent; False: look again, Redis knows more now.

        Raises `EdgeError` when that cannot be found out.
        """
        if self._settings.visitor:
            return self._check_whole(what)
        now = time.monotonic()
        let_alone = {
            az
            for az, doubt in self._doubts.items()
            if now - doubt.at <= self._settings.unreachable_s
        }
        # Who was cut off with a former primary may have registered something since: the journals say.
        asked = [az.id for az in self._current.topology.azs if az.id not in let_alone]
        learned = [self._try(az) for az in asked]
        for az, doubt in list(self._doubts.items()):
            raise EdgeError(
                f"whether {what} exists cannot be told: the journal of AZ {az} could not be read "
                f"({doubt.error})",
                retryable=doubt.error.retryable,
            )
        return not any(learned)

    def _check_whole(self, what: str) -> bool:
        """Bring a Redis that has lost its memory up to date, if no other visitor does so."""
        status = self._index.status()
        if status.standing.born != self._born:
            # Another memory than the one that was asked: it says nothing about that answer.
            self.mistrust()
            return False
        positions = status.positions
        lacking = [
            az.id
            for az in self._current.topology.azs
            if az.id not in positions or not positions[az.id].whole
        ]
        for az in lacking:
            if not self._index.claim(f"roll:{az}", _CLAIM_S):
                raise EdgeError(
                    f"whether {what} exists cannot be told yet: Redis is being brought up to the "
                    f"journal of AZ {az}",
                    retryable=True,
                )
            self._forward.to_end(az)
        return not lacking
