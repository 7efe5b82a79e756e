"""What the demonstration shows: a table of the nodes, live on a terminal, once in a log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.live import Live
from rich.table import Table

from southbound.demo.cast import Cast
from southbound.directory import Directory
from southbound.partitioning.placement import address_of
from southbound.resources import PORT, ScopeClass


def quantile(values: list[float], share: float) -> float:
    """Return the value below which `share` of the values lie (nearest rank); 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def convergence_ms(cast: Cast, published_at: Mapping[str, float]) -> list[float]:
    """Return, for each node and changeset that it applied, the milliseconds since it was published."""
    return [
        (at_s - published_at[changeset]) * 1000
        for node in cast.nodes.values()
        for changeset, at_s in node.applier.applied_at().items()
        if changeset in published_at
    ]


def node_table(cast: Cast, directory: Directory, published_at: Mapping[str, float]) -> Table:
    """Return a table of hosts, slots, VPCs and what was applied."""
    topology = directory.topology
    waits = convergence_ms(cast, published_at)
    table = Table(
        title=f"{len(cast.nodes)} nodes · published to applied: "
        f"p50 {quantile(waits, 0.5):.0f} ms, p99 {quantile(waits, 0.99):.0f} ms "
        f"({len(waits)} samples)",
        title_justify="left",
        header_style="bold",
    )
    for head in ("host", "zone", "cluster", "slot", "VPCs", "ports", "resources", "applied last"):
        table.add_column(head, justify="right" if head in {"ports", "resources"} else "left")
    placements = directory.known_hosts(cast.nodes)
    for host, node in cast.nodes.items():
        address = address_of("host", host, placements[host], topology)
        state = node.state()
        vpcs = sorted({key.scope.id for key in state if key.scope.cls is ScopeClass.VPC})
        table.add_row(
            host,
            node.az,
            address.cluster,
            f"{address.topic}/{address.partition}",
            ", ".join(name if len(name) < 20 else f"{name[:8]}…" for name in vpcs),
            str(sum(key.kind == PORT for key in state)),
            str(len(state)),
            node.applier.last or ("(own process)" if node.process is not None else ""),
        )
    return table


def live(console: Console, draw: Callable[[], Table]) -> AbstractContextManager[object]:
    """Show a table that redraws itself while the block runs, where there is a terminal for it."""
    if not console.is_terminal:
        return nullcontext()
    return Live(get_renderable=draw, console=console, refresh_per_second=5, transient=True)
