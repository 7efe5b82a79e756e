"""`southbound tracker`: the service that knows what every node has, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.node_options import LogLevel

app = noun("The tracker: what every node has, and what became of every change.")

_STATE = Path("/var/lib/southbound/tracker")


@app.callback()
def _tracker() -> None:
    """Keep verbs apart even while there is one."""


@app.command(cls=Verb)
def run(
    ctx: typer.Context,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to answer; port 0 takes a free one.")
    ] = "127.0.0.1:9480",
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="SOUTHBOUND_STATE_DIR",
            help="Folder of its store; /var/lib/southbound/tracker, or in the local fleet's folder.",
        ),
    ] = None,
    cluster: Annotated[
        list[str] | None, typer.Option(help="Only this cluster's reports; may be repeated.")
    ] = None,
    cache_mib: Annotated[int, typer.Option(min=1, help="Memory for the store's pages.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="Requests served at once.")] = 64,
    log_level: LogLevel = "info",
) -> None:
    """Follow all status topics and answer questions until SIGTERM or Ctrl-C. Restarts resume."""
    from southbound.nca.process import address_of, log_to_stderr
    from southbound.settings import TrackerSettings
    from southbound.tracker.process import ListenSettings, run_tracker

    session = session_of(ctx)
    host, port = address_of(listen, "listen")
    redis_url = session.redis_url()
    log_to_stderr(log_level)
    uses_fleet = session.uses_fleet
    state = state_dir or (session.fleet_dir / "tracker" if uses_fleet else _STATE)
    settings = TrackerSettings(
        clusters=tuple(cluster or ()), cache_mib=cache_mib, threads_max=threads
    )
    told = session.tracker_file if uses_fleet and not cluster else None
    run_tracker(redis_url, state, settings, ListenSettings(host=host, port=port, told=told))
