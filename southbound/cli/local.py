"""`southbound local`: a real Kafka and a Redis on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.progress import say
from southbound.cli.session import Session
from southbound.cli.table import show, show_json
from southbound.errors import ConfigError, Fault

app = noun("Real Kafka clusters and a Redis on this machine, for trying out.")

_COLUMNS = ("name", "kind", "up", "pid", "port", "memory_mib", "data")
_MIB = 1 << 20


@app.command(cls=Verb)
def up(
    ctx: typer.Context,
    clusters: Annotated[int, typer.Option(min=1, max=32, help="Kafka clusters of one node.")] = 3,
    azs: Annotated[
        int | None, typer.Option(min=1, help="Availability zones; 2 at most unless told.")
    ] = None,
) -> None:
    """Start the fleet, or what of it does not run, and wait until it answers."""
    session = session_of(ctx)
    fleet = session.fleet()
    fleet.up(clusters, azs, progress=say)
    if session.is_json:
        show_json({"topology": str(fleet.topology_file), "redis": fleet.redis_url})
        return
    _show_status(session)
    say(f"topology: {fleet.topology_file}")
    say(f"redis: {fleet.redis_url}")
    say("next: southbound topology apply")


@app.command(cls=Verb)
def down(
    ctx: typer.Context,
    wipe: Annotated[bool, typer.Option(help="Remove its data too.")] = False,
) -> None:
    """Stop every server; data stay for the next `up` unless wiped."""
    session_of(ctx).fleet().down(wipe, progress=say)


@app.command(cls=Verb)
def status(ctx: typer.Context) -> None:
    """Show each server; exit 1 when one does not answer."""
    if not _show_status(session_of(ctx)):
        raise typer.Exit(1)


@app.command(cls=Verb)
def logs(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A server, such as c1 or redis.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="So many last lines.")] = 40,
) -> None:
    """Print the end of servers' logs."""
    session = session_of(ctx)
    files = session.fleet().log_files()
    if not files:
        raise ConfigError(f"{session.fleet_dir} holds no local fleet: southbound local up")
    if name is not None and name not in files:
        fault = Fault("name", name, f"this fleet has {', '.join(files)}")
        raise ConfigError("no such server", [fault])
    wanted = [name] if name is not None else list(files)
    tails = {
        one: _tail(files[one].read_text(errors="replace"), lines)
        for one in wanted
        if files[one].is_file()
    }
    if session.is_json:
        show_json(tails)
        return
    for one, tail in tails.items():
        say(f"==> {one}: {files[one]}")
        for line in tail:
            typer.echo(line)


def _tail(text: str, lines: int) -> list[str]:
    return text.splitlines()[-lines:]


def _show_status(session: Session) -> bool:
    """Print the servers; tell whether there are any and all of them answer."""
    servers = session.fleet().status()
    show(
        session,
        _COLUMNS,
        [
            (
                server.name,
                server.kind,
                server.up,
                server.pid,
                server.port,
                None if server.rss_bytes is None else server.rss_bytes // _MIB,
                str(server.data_dir),
            )
            for server in servers
        ],
    )
    return bool(servers) and all(server.up for server in servers)
