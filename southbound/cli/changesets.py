"""`southbound changesets`: what became of changes, whoever sent them.

The rule: it is the tracker that answers; one whose sender announced it is known completely, another
as far as nodes have told of it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.table import show
from southbound.errors import NotConverged, UnknownScope

app = noun("Changesets: what nodes made of them, as the tracker knows it.")

_COLUMNS = ("changeset", "standing", "at", "settled", "applied", "not_yet")


@app.command("list", cls=Verb)
def list_changesets(
    ctx: typer.Context,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those that are not applied everywhere.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List the latest changesets, or those that are not applied everywhere."""
    from southbound.cli.tracked import moment

    session = session_of(ctx)
    found = session.tracker_client().changesets(only_open=only_open, limit=limit)
    rows = [
        (one.changeset, one.standing, moment(one.at_us), one.settled, one.applied, one.not_yet)
        for one in found
    ]
    show(session, _COLUMNS, rows)


@app.command("show", cls=Verb)
def show_one(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(help="The changeset's id.")],
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Until it has settled; exit 11 if not applied everywhere."),
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for that.")] = 30.0,
    names: Annotated[int, typer.Option(min=0, help="Hosts named of each kind.")] = 100,
) -> None:
    """Show who has applied a changeset and who has not; exit 3 when nothing is known of it."""
    from southbound.cli.tracked import show_changeset

    session = session_of(ctx)
    timeout_s = timeout if wait else 0.0
    found = session.tracker_client().changeset(id, names=names, timeout_s=timeout_s)
    if found is None:
        raise UnknownScope(
            "changeset", id, "nobody announced it, and nothing of it stands anywhere"
        )
    show_changeset(session, found)
    if wait and not found.complete:
        raise NotConverged(f"{id!r} is not applied everywhere")
