"""`southbound vpcs`: where VPCs live.

The rule: one row for each replica, the home first; nothing is changed here, since a VPC gets its
places when something of it is published.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.table import show
from southbound.errors import UnknownScope

if TYPE_CHECKING:
    from southbound.partitioning.placement import VpcPlacement
    from southbound.partitioning.topology import Topology

app = noun("VPCs: in which clusters they are present.")

COLUMNS = ("vpc", "role", "az", "cluster", "topic", "partition", "epoch", "start")


@app.command(cls=Verb)
def locate(ctx: typer.Context, vpcs: Annotated[list[str], typer.Argument(help="VPC ids.")]) -> None:
    """Show where VPCs live; exit 3 when one is unknown."""
    session = session_of(ctx)
    with session.directory() as directory:
        found = directory.vpcs(vpcs)
        topology = directory.topology
    known = ((vpc, found[vpc]) for vpc in dict.fromkeys(vpcs) if vpc in found)
    show(session, COLUMNS, _rows(known, topology))
    for vpc in vpcs:
        if vpc not in found:
            raise UnknownScope("vpc", vpc, "nothing of it has been published")


@app.command("list", cls=Verb)
def list_vpcs(
    ctx: typer.Context,
    cluster: Annotated[str | None, typer.Option(help="Only VPCs present in this cluster.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
) -> None:
    """List VPCs, in no order."""
    session = session_of(ctx)
    with session.directory() as directory:
        topology = directory.topology
        if cluster is not None:
            topology.cluster(cluster)
        scanned = (
            (vpc, placement)
            for vpc, placement in directory.vpcs_scan()
            if cluster is None or placement.in_cluster(cluster, topology) is not None
        )
        rows = sorted(itertools.islice(scanned, limit), key=lambda one: one[0])
        show(session, COLUMNS, _rows(rows, topology))


def _rows(
    placed: Iterable[tuple[str, VpcPlacement]], topology: Topology
) -> Iterator[tuple[object, ...]]:
    from southbound.partitioning.placement import address_of

    for vpc, placement in placed:
        for number, replica in enumerate(placement.replicas):
            address = address_of("vpc", vpc, replica, topology)
            yield (
                vpc,
                "replica" if number else "home",
                topology.cluster(address.cluster).az,
                address.cluster,
                address.topic,
                address.partition,
                replica.epoch,
                replica.start,
            )
