"""`southbound janitor`: the service that keeps the logs in order, in the foreground, or one sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.node_options import Health, LogLevel
from southbound.cli.session import Session

if TYPE_CHECKING:
    from southbound.janitor.service import Janitor

app = noun("The janitor: keeps the logs such that compaction drops nothing that counts.")

_STATE = Path("/var/lib/southbound/janitor")
_DAY_S = 86_400.0


@app.callback()
def _janitor() -> None:
    """Keep verbs apart even while there is one."""


@app.command(cls=Verb)
def run(
    ctx: typer.Context,
    cluster: Annotated[
        list[str] | None, typer.Option(help="Only this cluster's slots; may be repeated.")
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(help="Only this pool, or public/KIND; may be repeated."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Look at every slot once, say what was done, and end.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say what would be done.")
    ] = False,
    records_per_second: Annotated[
        float, typer.Option(min=0, help="At most so many records read and written; 0: no bound.")
    ] = 0.0,
    sweep_seconds: Annotated[
        float, typer.Option(min=0.1, help="How often each slot is glanced at.")
    ] = 600.0,
    delete_retention_days: Annotated[
        float, typer.Option(help="How long deletes are kept: as long as agents believe.")
    ] = 7.0,
    cleanup_minutes: Annotated[
        float, typer.Option(min=0, help="How long a scope that moved must have been quiet.")
    ] = 60.0,
    moves_retention_days: Annotated[
        float, typer.Option(help="Longer than any publisher keeps a placement in memory.")
    ] = 30.0,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="SOUTHBOUND_STATE_DIR",
            help="Folder of its memory; /var/lib/southbound/janitor, or in the local fleet's folder. "
            "--once uses none unless it is named, --dry-run never.",
        ),
    ] = None,
    health: Health = "",
    log_level: LogLevel = "info",
) -> None:
    """Mend, tombstone and clean up until SIGTERM or Ctrl-C. Several may run at once."""
    from southbound.janitor.service import Janitor
    from southbound.nca.process import log_to_stderr
    from southbound.settings import DirectorySettings, JanitorSettings

    session = session_of(ctx)
    log_to_stderr(log_level)
    settings = JanitorSettings(
        clusters=tuple(cluster or ()),
        pools=tuple(pool or ()),
        dry_run=dry_run,
        records_per_second=records_per_second,
        sweep_every_s=sweep_seconds,
        delete_retention_s=delete_retention_days * _DAY_S,
        cleanup_after_s=cleanup_minutes * 60,
        moves_retention_s=moves_retention_days * _DAY_S,
    )
    directory = DirectorySettings(redis_url=session.redis_url(), client_id=settings.client_id)
    kept = state_dir or (session.fleet_dir / "janitor" if session.uses_fleet else _STATE)
    state = None if once and state_dir is None else kept
    janitor = Janitor(settings, directory, state)
    if once:
        _run_once(session, janitor)
    else:
        _run(janitor, health)


def _run(janitor: Janitor, health: str) -> None:
    from southbound.nca.signals import stopping_on_signals

    with stopping_on_signals(janitor.stop), _served(janitor, health):
        janitor.run()


@contextmanager
def _served(janitor: Janitor, health: str) -> Iterator[None]:
    if not health:
        yield
        return
    from prometheus_client import CollectorRegistry

    from southbound.cli.progress import say
    from southbound.janitor.metrics import JanitorCollector
    from southbound.nca.health import HealthServer, ServerSettings
    from southbound.nca.process import address_of

    registry = CollectorRegistry()
    registry.register(JanitorCollector(janitor.tally, janitor.stand))
    host, port = address_of(health)
    server = HealthServer(janitor.status, registry, ServerSettings(host=host, port=port))
    server.start()
    say("health and metrics on http://{}:{}".format(*server.address))
    try:
        yield
    finally:
        server.close()


def _run_once(session: Session, janitor: Janitor) -> None:
    from southbound.nca.signals import stopping_on_signals

    with stopping_on_signals(janitor.stop):
        try:
            janitor.run_once()
        finally:
            # What was done before an error is told; of a mistake in the options there is nothing.
            if janitor.stand.slots:
                _show(session, janitor)


def _show(session: Session, janitor: Janitor) -> None:
    """Print what was done, or would be: a count of each kind, and in a dry run the records too."""
    from southbound.cli.progress import say
    from southbound.cli.table import show, show_json
    from southbound.janitor.report import lines_of

    lines, notes = lines_of(janitor.tally, janitor.stand), janitor.notes()
    if session.is_json:
        done = {line.what: line.done for line in lines}
        show_json({"dry_run": janitor.settings.dry_run, "done": done, "records": notes})
        return
    show(session, ("what", "done", "meaning"), lines)
    if janitor.settings.dry_run and notes:
        say("what would be appended:")
        show(session, ("why", "cluster", "topic", "partition", "key"), notes)
