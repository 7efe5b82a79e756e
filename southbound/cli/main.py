"""The entry point: nouns are put together here.

The rule: `southbound --help` must answer at once, so a noun's file imports nothing but the command
line's own parts at its top; what a command works with is imported when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from southbound import __version__
from southbound.cli import (
    agent,
    bench,
    changesets,
    demo,
    directory,
    doctor,
    hosts,
    janitor,
    loadgen,
    local,
    plan_capacity,
    publish,
    shards,
    topology,
    tracker,
    vpcs,
    worker,
)
from southbound.cli.commands import Root, Verb
from southbound.cli.session import (
    LOCAL_VARIABLE,
    REDIS_VARIABLE,
    TRACKER_VARIABLE,
    Output,
    Session,
)

app = typer.Typer(
    name="southbound",
    help="Carries a cloud's network configuration from its control plane to its compute nodes.",
    epilog="Exit codes, and which command changes what: docs/operations.md.",
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(local.app, name="local")
app.add_typer(topology.app, name="topology")
app.add_typer(hosts.app, name="hosts")
app.add_typer(vpcs.app, name="vpcs")
app.command("publish", cls=Verb)(publish.publish)
app.add_typer(changesets.app, name="changesets")
app.add_typer(agent.app, name="agent")
app.add_typer(worker.app, name="worker")
app.add_typer(tracker.app, name="tracker")
app.add_typer(janitor.app, name="janitor")
app.add_typer(shards.app, name="shards")
app.add_typer(directory.app, name="directory")
app.command("doctor", cls=Verb)(doctor.doctor)
app.command("demo", cls=Verb)(demo.demo)
app.command("plan-capacity", cls=Verb)(plan_capacity.plan_capacity)
app.add_typer(bench.app, name="bench")
app.add_typer(loadgen.app, name="loadgen")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"southbound {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    output: Annotated[
        Output, typer.Option(help="How data are printed: a table, or JSON.")
    ] = Output.TABLE,
    redis: Annotated[
        str | None,
        typer.Option(
            envvar=REDIS_VARIABLE,
            help="Address of the directory's Redis; the local fleet's where none is given.",
        ),
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(envvar=TRACKER_VARIABLE, help="Address of a tracker: http://HOST:PORT."),
    ] = None,
    local_dir: Annotated[
        Path | None,
        typer.Option(envvar=LOCAL_VARIABLE, help="Folder of the local fleet (var/local)."),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    ctx.obj = Session(output=output, redis=redis, tracker=tracker, local_dir=local_dir)
