"""`southbound directory`: comparing Redis with the journals, and making it anew from them.

The rule: the journals are the truth; `verify` changes nothing, `rebuild` changes only Redis. Where journals
have lost something, what Redis alone knows is lost by no rebuild unless somebody says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.progress import counting, say
from southbound.cli.stored import stored_topology
from southbound.cli.table import show
from southbound.errors import ConfigError, Fault

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
        say(f"{len(differences)} differences")
        for line in advice([one.kind for one in differences]):
            say(line)
        raise typer.Exit(_DIFFERS)
    say("no differences")


def advice(kinds: Iterable[str]) -> list[str]:
    """Return what to do about differences of these kinds, what must come first before the rest."""
    counts = Counter(kinds)
    lines = []
    if counts["alone"]:
        lines.append(
            f"{counts['alone']} rows stand in Redis alone, the journals have lost them: southbound directory "
            "rebuild --keep writes them there first; do so before Redis forgets (--drop lets them go)"
        )
    elif counts["journal"]:
        lines.append(
            "a journal has lost entries; what Redis knows is in it, but a Redis that has forgotten is not "
            "brought forward by itself any more: southbound directory rebuild --keep does it"
        )
    elif counts.total() > counts["reservation"] + counts["entry"]:
        lines.append("what Redis has wrong: southbound directory rebuild")
    if counts["reservation"]:
        lines.append(
            f"{counts['reservation']} slots are kept for somebody who has not come for ten minutes: "
            "southbound shards recover"
        )
    if counts["entry"]:
        lines.append(
            f"{counts['entry']} entries of journals cannot be read, and are passed by: somebody else "
            "writes there, or a newer software"
        )
    return lines


@app.command(cls=Verb)
def rebuild(
    ctx: typer.Context,
    topology: Annotated[
        Path | None,
        typer.Option(
            help="The topology's file, where Redis has lost that too (the local fleet's)."
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Write what Redis alone knows into the journals first."),
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Let go of what Redis alone knows.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare, as `verify`.")] = False,
) -> None:
    """Make Redis anew from the journals. Publishers and agents may go on meanwhile."""
    from southbound.documents.topology import load_topology

    session = session_of(ctx)
    if keep and drop:
        raise ConfigError("not both", [Fault("--keep, --drop", "both", "name one of the two")])
    if dry_run:
        verify(ctx)
        return
    given = None
    if topology is not None or stored_topology(session) is None:
        given = load_topology(session.topology_file(topology))
    with session.directory(given) as directory, counting("journal entries") as advance:
        losses: Literal["keep", "drop", "refuse"] = "keep" if keep else "drop" if drop else "refuse"
        directory.rebuild(progress=advance, losses=losses)
    say("rebuilt")
