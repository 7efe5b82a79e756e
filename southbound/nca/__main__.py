"""An agent or a worker without the command line: `python -m southbound.nca agent|worker ...`.

The rule: a node needs none of the extras; options, exit codes and defaults are those of
`southbound agent run` and `southbound worker run` (docs/operations.md).
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from southbound.errors import SouthboundError
from southbound.nca.process import ProcessSettings, run_agent, run_worker

_STATE = Path("/var/lib/southbound")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the two commands."""
    made = argparse.ArgumentParser(prog="python -m southbound.nca", description=__doc__)
    commands = made.add_subparsers(dest="command_name", required=True)
    agent = commands.add_parser("agent", help="run the agent of one host")
    agent.add_argument("--host", default=socket.gethostname(), help="id of the host")
    agent.add_argument("--az", help="where to register the host, when nobody has")
    worker = commands.add_parser("worker", help="run a worker of public resources")
    worker.add_argument("--kind", required=True, help="kind of public resource")
    worker.add_argument("--id", default=f"{socket.gethostname()}-{os.getpid()}")
    for command in (agent, worker):
        _common(command)
    return made


def _common(command: argparse.ArgumentParser) -> None:
    redis = os.environ.get("SOUTHBOUND_REDIS_URL", "redis://127.0.0.1:6379/0")
    command.add_argument("--redis", default=redis, help="address of the directory's Redis")
    command.add_argument("--state-dir", type=Path, default=_STATE, help="folder of its state")
    command.add_argument("--files", type=Path, help="root of the file applier (STATE_DIR/files)")
    command.add_argument("--command", default="", help="program that applies plans instead")
    command.add_argument("--command-timeout", type=float, default=30.0, metavar="SECONDS")
    command.add_argument("--health", default="", metavar="HOST:PORT", help="/metrics, /readyz")
    command.add_argument("--log-level", default="info")


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; return the exit status."""
    given = parser().parse_args(arguments)
    settings = ProcessSettings(
        redis_url=given.redis,
        files=given.files or given.state_dir / "files",
        command=given.command,
        command_timeout_s=given.command_timeout,
        health=given.health,
        log_level=given.log_level,
    )
    try:
        if given.command_name == "agent":
            run_agent(given.host, given.az, given.state_dir, settings)
        else:
            run_worker(given.kind, given.id, settings)
    except SouthboundError as error:
        sys.stderr.write(f"southbound: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
