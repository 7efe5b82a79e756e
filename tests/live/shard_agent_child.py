"""An agent in a process of its own, for tests of moves that kill it: HOST STATE_DIR REDIS_URL LOG.

Every plan that it applies is appended to LOG as one line: the changes, and the complete scopes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from southbound.nca.plan import Change, Plan
from southbound.nca.service import Agent
from southbound.resources import ResourceKey, Scope
from southbound.settings import AgentSettings


class Line(msgspec.Struct, frozen=True):
    """One plan, as it stands in the log."""

    changes: tuple[Change, ...]
    complete: tuple[Scope, ...]


def read_plans(log: Path) -> list[Plan]:
    """Return the plans that were applied, in their order."""
    lines = log.read_bytes().splitlines()
    found = [msgspec.json.decode(line, type=Line) for line in lines]
    return [Plan(line.changes, line.complete) for line in found]


class LogApplier:
    """Writes each plan down, in one system call."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = -1

    def open(self) -> None:
        """Open the log."""
        self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Append the plan."""
        line = msgspec.json.encode(Line(plan.changes, plan.complete))
        os.write(self._descriptor, line + b"\n")
        return {}

    def close(self) -> None:
        """Close the log."""
        os.close(self._descriptor)


def main(host: str, state_dir: str, redis_url: str, log: str) -> None:
    """Run until the process is ended."""
    Agent(
        host=host,
        state_dir=Path(state_dir),
        applier=LogApplier(Path(log)),
        redis_url=redis_url,
        settings=AgentSettings(fetch_wait_ms=1_000, interest_grace_s=5.0),
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
