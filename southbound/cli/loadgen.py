"""`southbound loadgen`: load from workers on several machines, which only Redis and Kafka connect."""

from __future__ import annotations

from typing import Annotated

import typer

from southbound.cli.bench import report
from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.progress import say

app = noun("Load from workers on several machines; only Redis and Kafka are between them.")

Team = Annotated[str, typer.Option(help="Workers and runs of one name find each other.")]


@app.command(cls=Verb)
def worker(
    ctx: typer.Context,
    team: Team = "default",
    seats: Annotated[int, typer.Option(min=1, help="Workers here, each a process.")] = 1,
) -> None:
    """Join a team and serve one run after another, until SIGTERM or Ctrl-C."""
    import threading

    from loadgen.coordination import Outpost, OutpostSettings
    from loadgen.roles import ROLES
    from southbound.nca.signals import stopping_on_signals

    settings = OutpostSettings(redis_url=session_of(ctx).redis_url(), team=team, seats=seats)
    over = threading.Event()
    with stopping_on_signals(over.set), Outpost(settings, ROLES) as outpost:
        for card in outpost.cards:
            say(f"{card} has joined team {team}")
        outpost.serve(over.is_set)


@app.command(cls=Verb)
def run(
    ctx: typer.Context,
    scenario: Annotated[str, typer.Argument(help="Which scenario: docs/workloads.md.")],
    workers: Annotated[int, typer.Option(min=1, help="How many workers take part.")] = 1,
    hosts: Annotated[int, typer.Option(min=1, help="Hosts of the fleet.")] = 10_000,
    vms: Annotated[int, typer.Option(min=1, help="VMs (ports) of each host.")] = 20,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="How long changes go on; the scenario's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which fleet it is.")] = 1,
    team: Team = "default",
    gather: Annotated[float, typer.Option(min=0, help="Seconds to wait for workers.")] = 60.0,
) -> None:
    """Hand out shares of a scenario to workers, wait, and merge what they found."""
    from loadgen.campaign import CampaignSettings, run_campaign

    session = session_of(ctx)
    redis_url = session.redis_url()
    settings = CampaignSettings(
        scenario=scenario,
        workers=workers,
        hosts=hosts,
        vms=vms,
        seconds=seconds,
        seed=seed,
        team=team,
        gather_timeout_s=gather,
    )
    report(session, run_campaign(redis_url, settings, progress=say), redis_url)
