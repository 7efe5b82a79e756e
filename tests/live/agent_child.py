"""An agent in a process of its own, for tests that kill it.

    python -m tests.live.agent_child HOST STATE_DIR DIRECTORY_FILE LOG

Every plan that it applies is appended to LOG as one line: [[key, revision, op, spec], ...].
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from southbound.nca.parts import AgentParts
from southbound.nca.plan import Plan
from southbound.nca.service import Agent
from southbound.resources import ResourceKey
from southbound.wire.keys import encode_key
from tests.live.agent_kit import saved_locator


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
        changes = [
            (encode_key(change.key).decode(), change.revision, int(change.op), change.spec)
            for change in plan.changes
        ]
        os.write(self._descriptor, msgspec.json.encode(changes) + b"\n")
        return {}

    def close(self) -> None:
        """Close the log."""
        os.close(self._descriptor)


def main(host: str, state_dir: str, directory: str, log: str) -> None:
    """Run until SIGTERM."""
    parts = AgentParts.make(lambda: saved_locator(Path(directory)))
    agent = Agent.sharing(
        parts, host=host, state_dir=Path(state_dir), applier=LogApplier(Path(log))
    )
    agent.run()
    parts.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
