"""An agent in a process of its own, for tests that kill it.

    python -m tests.live.agent_child HOST STATE_DIR DIRECTORY_FILE LOG

Every plan that it applies is appended to LOG as one line: [[key, revision, op, spec], ...].
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from southbound.nca.parts import AgentParts
from southbound.nca.plan import Plan
from southbound.nca.service import Agent
from southbound.wire.keys import encode_key
from tests.live.agent_kit import saved_locator
from tests.live.log_applier import LogApplier


def _encode(plan: Plan) -> bytes:
    changes = [
        (encode_key(change.key).decode(), change.revision, int(change.op), change.spec)
        for change in plan.changes
    ]
    return msgspec.json.encode(changes)


def main(host: str, state_dir: str, directory: str, log: str) -> None:
    """Run until SIGTERM."""
    parts = AgentParts.make(lambda: saved_locator(Path(directory)))
    agent = Agent.sharing(
        parts, host=host, state_dir=Path(state_dir), applier=LogApplier(Path(log), _encode)
    )
    agent.run()
    parts.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
