"""An agent in a process of its own, for tests of moves that kill it: HOST STATE_DIR REDIS_URL LOG.

Every plan that it applies is appended to LOG as one line: the changes, and the complete scopes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from southbound.nca.plan import Change, Plan
from southbound.nca.service import Agent
from southbound.resources import Scope
from southbound.settings import AgentSettings
from tests.live.log_applier import LogApplier


class Line(msgspec.Struct, frozen=True):
    """One plan, as it stands in the log."""

    changes: tuple[Change, ...]
    complete: tuple[Scope, ...]


def read_plans(log: Path) -> list[Plan]:
    """Return the plans that were applied, in their order."""
    lines = log.read_bytes().splitlines()
    found = [msgspec.json.decode(line, type=Line) for line in lines]
    return [Plan(line.changes, line.complete) for line in found]


def _encode(plan: Plan) -> bytes:
    return msgspec.json.encode(Line(plan.changes, plan.complete))


def main(host: str, state_dir: str, redis_url: str, log: str) -> None:
    """Run until the process is ended."""
    Agent(
        host=host,
        state_dir=Path(state_dir),
        applier=LogApplier(Path(log), _encode),
        redis_url=redis_url,
        settings=AgentSettings(fetch_wait_ms=1_000, interest_grace_s=5.0),
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
