"""`southbound directory`: comparing Redis with the journals, and making it anew from them.

The rule: the journals are the truth; `verify` changes nothing, `rebuild` changes only Redis.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.progress import counting, say
from southbound.cli.stored import stored_topology
from southbound.cli.table import show

app = noun("The directory: Redis, compared with the journals in Kafka.")

COLUMNS = ("kind", "place", "redis", "journal")
_DIFFERS = 1


@app.command(cls=Verb)
def verify(ctx: typer.Context) -> None:
    """Compare Redis with the journals; exit 1 when they differ."""
    session = session_of(ctx)
    with session.directory() as directory:
        differences = directory.verify()
    rows = [
        (one.kind, one.place.replace("\x1f", ":"), one.redis, one.journal) for one in differences
    ]
    show(session, COLUMNS, rows)
    if differences:
        say(f"{len(differences)} differences: southbound directory rebuild")
        raise typer.Exit(_DIFFERS)
    say("no differences")


@app.command(cls=Verb)
def rebuild(
    ctx: typer.Context,
    topology: Annotated[
        Path | None,
        typer.Option(
            help="The topology's file, where Redis has lost that too (the local fleet's)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare, as `verify`.")] = False,
) -> None:
    """Make Redis anew from the journals. Publishers and agents may go on meanwhile."""
    from southbound.documents.topology import load_topology

    session = session_of(ctx)
    if dry_run:
        verify(ctx)
        return
    given = None
    if topology is not None or stored_topology(session) is None:
        given = load_topology(session.topology_file(topology))
    with session.directory(given) as directory, counting("journal entries") as advance:
        directory.rebuild(progress=advance)
    say("rebuilt")
