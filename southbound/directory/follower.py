"""Following the stream of map changes, so that cached placements seldom are old.

The rule: a change raises the cached row, and anything unclear (a gap, another memory, a fallen
version) forgets them all. It is a courtesy to those who look things up: the fence, not this thread,
keeps an old row from losing a change. But a fence remembers moves for a month only (docs/design.md, §4), so
whoever has heard nothing for long must not believe what it keeps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from southbound.directory.index import Index
from southbound.directory.memory import Memory
from southbound.errors import EdgeError, SouthboundError, WireError

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 2.0
_DIGITS_MAX = 18


class Follower:
    """The thread. `take` gets each change's fields; `idle` is called at least every `wait_s`."""

    def __init__(
        self,
        index: Index,
        memory: Memory,
        take: Callable[[Mapping[str, str]], None],
        idle: Callable[[], None],
        wait_s: float,
    ) -> None:
        self._index = index
        self._memory = memory
        self._take = take
        self._idle = idle
        self._wait_s = wait_s
        self._closing = threading.Event()
        self._refreshes = -1
        self._after = "0-0"
        self._seen = 0
        self._quarantined = 0
        self._heard_s = _time_s()
        self._thread = threading.Thread(target=self._run, name="southbound-map", daemon=True)

    @property
    def quarantined(self) -> int:
        """How many changes could not be read."""
        return self._quarantined

    @property
    def silent_s(self) -> float:
        """For how long nothing has been heard of the map, in seconds; sleep counts."""
        return _time_s() - self._heard_s

    def start(self) -> None:
        """Start following."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; it ends within the time that it waits at the server."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while not self._closing.is_set():
            try:
                self._turn()
                self._heard_s = _time_s()
                backoff_s = _BACKOFF_FIRST_S
            except EdgeError as error:
                log.info("following the map: %s", error)
                self._closing.wait(backoff_s)
                backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)
            except SouthboundError:
                log.exception("following the map")
                self._closing.wait(_BACKOFF_MAX_S)

    def _turn(self) -> None:
        self._memory.settle()
        refreshes, beginning = self._memory.beginning
        if refreshes != self._refreshes:
            self._refreshes, self._after, self._seen = refreshes, beginning, self._memory.version
        since = self._memory.version
        changes = self._index.changes(self._after, self._wait_s)
        for id, fields in changes:
            try:
                self._follow(fields)
            except WireError as error:
                # What it says is not known, so nothing that was read before it is believed.
                self._quarantined += 1
                log.error("change %s of the map: %s", id, error)  # noqa: TRY400  # no bug: no traceback
                self._memory.mistrust()
            self._after = id
        if not changes:
            self._memory.still(self._index.status().standing, since)
        self._idle()

    def _follow(self, fields: Mapping[str, str]) -> None:
        version = _version(fields.get("v", ""))
        if version > self._seen + 1 or "f" in fields:
            # Changes in between were dropped before they were read here, or all was wiped.
            self._memory.mistrust()
        self._seen = max(self._seen, version)
        self._take(fields)


def _time_s() -> float:
    """Return the seconds since the machine began, sleep included where the system tells it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _version(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise WireError(f"not a version of the map: {text[:80]!r}")
    return int(text)
