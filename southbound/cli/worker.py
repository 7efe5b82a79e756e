"""`southbound worker`: a worker of public resources in the foreground."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.node_options import (
    Command,
    CommandTimeout,
    Files,
    Health,
    LogLevel,
    StateDir,
)

app = noun("Workers of public resources.")

_STATE = Path("/var/lib/southbound")


@app.command(cls=Verb)
def run(
    ctx: typer.Context,
    kind: Annotated[str, typer.Option(help="Kind of public resource, such as elb.")],
    id: Annotated[
        str | None, typer.Option("--id", help="Name of the worker; hostname and process id.")
    ] = None,
    state_dir: StateDir = None,
    files: Files = None,
    command: Command = "",
    command_timeout: CommandTimeout = 30.0,
    health: Health = "",
    log_level: LogLevel = "info",
) -> None:
    """Serve this worker's share of a kind until SIGTERM or Ctrl-C, then give it back."""
    from southbound.nca.process import ProcessSettings, run_worker

    session = session_of(ctx)
    name = id or f"{socket.gethostname()}-{os.getpid()}"
    state = state_dir or (session.fleet_dir / "workers" / name if session.uses_fleet else _STATE)
    settings = ProcessSettings(
        redis_url=session.redis_url(),
        files=files or state / "files",
        command=command,
        command_timeout_s=command_timeout,
        health=health,
        log_level=log_level,
    )
    run_worker(kind, name, settings)
