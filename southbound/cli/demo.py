"""`southbound demo`: the whole path on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    hosts: Annotated[int, typer.Option(min=4, help="Compute nodes, each with an agent.")] = 30,
    clusters: Annotated[int, typer.Option(min=1, max=10, help="Kafka clusters.")] = 3,
    state_dir: Annotated[Path, typer.Option(help="Folder of everything it makes.")] = Path(
        "var/demo"
    ),
    keep: Annotated[
        bool, typer.Option(help="Leave servers and files as they are at the end.")
    ] = False,
) -> None:
    """Clusters, agents, workers, one application: from publish to node, checked at the end."""
    from southbound.demo import run_demo

    raise typer.Exit(run_demo(hosts=hosts, clusters=clusters, state_dir=state_dir, keep=keep))
