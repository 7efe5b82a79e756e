"""`southbound agent`: a node's agent in the foreground."""

from __future__ import annotations

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

app = noun("The agent of a compute node.")

_STATE = Path("/var/lib/southbound")


@app.command(cls=Verb)
def run(
    ctx: typer.Context,
    host: Annotated[
        str | None, typer.Option(envvar="SOUTHBOUND_HOST", help="Id of the host; its hostname.")
    ] = None,
    az: Annotated[
        str | None, typer.Option(help="Where to register the host, when nobody has.")
    ] = None,
    state_dir: StateDir = None,
    files: Files = None,
    command: Command = "",
    command_timeout: CommandTimeout = 30.0,
    health: Health = "",
    log_level: LogLevel = "info",
) -> None:
    """Keep this node's network configuration until SIGTERM or Ctrl-C. Restarts resume."""
    from southbound.nca.process import ProcessSettings, run_agent

    session = session_of(ctx)
    id = host or socket.gethostname()
    state = state_dir or (session.fleet_dir / "agents" / id if session.uses_fleet else _STATE)
    settings = ProcessSettings(
        redis_url=session.redis_url(),
        files=files or state / "files",
        command=command,
        command_timeout_s=command_timeout,
        health=health,
        log_level=log_level,
    )
    run_agent(id, az, state, settings)
