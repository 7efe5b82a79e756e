"""What the agents of one process may share: the directory's client, the way back, the counters.

The rule: an agent alone makes its own; a process of many makes these once and hands them to each, so
that a host's agent costs a consumer and a file, and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Semaphore

import msgspec

from southbound.nca.counters import Counters
from southbound.nca.lookups import Locator, Lookups
from southbound.nca.reporter import Reporter
from southbound.settings import AgentSettings, DirectorySettings

_TURNS = 200


class AgentParts(msgspec.Struct, frozen=True):
    """What the agents of one process may share. `turns`: as in `streams.Streams`."""

    lookups: Lookups
    reporter: Reporter
    counters: Counters
    turns: Semaphore

    @classmethod
    def make(
        cls,
        locator: Callable[[], Locator],
        *,
        client_id: str = "agents",
        settings: AgentSettings | None = None,
    ) -> AgentParts:
        """Make parts around a directory's client, which `locator` makes when it is first needed."""
        linger_ms = (settings or AgentSettings()).report_linger_ms
        return cls(
            Lookups(locator),
            Reporter(client_id, linger_ms=linger_ms),
            Counters(),
            Semaphore(_TURNS),
        )

    def close(self) -> None:
        """End what is shared, after the agents have stopped; each has flushed what it sent."""
        self.lookups.close()


def directory_client(settings: DirectorySettings) -> Locator:
    """Make a client of the directory; it does no IO until it is opened."""
    # What an agent that knows its place may never need comes when the directory is first asked.
    from southbound.directory import Directory

    return Directory(settings)
