"""Options that `agent run` and `worker run` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StateDir = Annotated[
    Path | None,
    typer.Option(
        envvar="SOUTHBOUND_STATE_DIR",
        help="Folder of its state; /var/lib/southbound, or in the local fleet's folder.",
    ),
]
Files = Annotated[
    Path | None, typer.Option(help="Root of the tree that the file applier keeps (STATE/files).")
]
Command = Annotated[
    str, typer.Option(help="Program that gets each plan, in place of the file applier.")
]
CommandTimeout = Annotated[float, typer.Option(help="Seconds that the program may take.")]
Health = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Answer /metrics, /livez and /readyz here.")
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
