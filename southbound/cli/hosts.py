"""`southbound hosts`: registering hosts, and where they live.

The rule: registering is explicit and idempotent: a host that has a place keeps it. Where a host
lives is shown as the hash gives it to publisher and agent alike.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.host_files import read_hosts
from southbound.cli.progress import counting, say
from southbound.cli.session import Session
from southbound.cli.table import show
from southbound.errors import ConfigError, UnknownScope

if TYPE_CHECKING:
    from southbound.partitioning.placement import Placement
    from southbound.partitioning.topology import Topology

app = noun("Compute nodes: registering them, and where their streams are.")

COLUMNS = ("host", "az", "cluster", "topic", "partition", "probe", "epoch", "start")
_SHOWN_MAX = 200


@app.command(cls=Verb)
def register(
    ctx: typer.Context,
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Hosts of the AZ that --az names.")
    ] = None,
    az: Annotated[str | None, typer.Option(help="Availability zone.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="CSV (host,az) or YAML with hosts and their AZs; - is stdin."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show who would be new.")] = False,
) -> None:
    """Give hosts their places. Those that have one keep it."""
    session = session_of(ctx)
    wanted = read_hosts(hosts or [], az, file)
    with session.directory() as directory:
        known = directory.hosts(wanted)
        if dry_run:
            _show_plan(session, wanted, known)
            return
        with counting("hosts") as advance:
            placed = directory.register_hosts(wanted, progress=advance)
        topology = directory.topology
    new = len(placed.keys() - known.keys())
    if session.is_json or len(placed) <= _SHOWN_MAX:
        show(session, COLUMNS, _rows(placed.items(), topology))
    else:
        _show_pools(session, placed.values())
    say(f"{new} registered, {len(placed) - new} were registered before")
    moved = _elsewhere(wanted, placed, topology)
    if moved:
        say(f"note: {len(moved)} stay in the AZ where they were registered: {moved[0]} and so on")


@app.command(cls=Verb)
def locate(
    ctx: typer.Context, hosts: Annotated[list[str], typer.Argument(help="Host ids.")]
) -> None:
    """Show where hosts live; exit 3 when one is unknown."""
    session = session_of(ctx)
    with session.directory() as directory:
        found = directory.hosts(hosts)
        topology = directory.topology
    known = ((host, found[host]) for host in dict.fromkeys(hosts) if host in found)
    show(session, COLUMNS, _rows(known, topology))
    for host in hosts:
        if host not in found:
            raise UnknownScope("host", host, "southbound hosts register --az AZ HOST")


@app.command(cls=Verb)
def effective(ctx: typer.Context, host: Annotated[str, typer.Argument(help="Host id.")]) -> None:
    """Show what stands on a host, as it told the tracker; exit 3 when it never told anything."""
    from southbound.cli.tracked import show_host

    session = session_of(ctx)
    found = session.tracker_client().host(host)
    if found is None:
        raise UnknownScope("host", host, "it has told the tracker nothing")
    show_host(session, found)


@app.command(cls=Verb)
def gate(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(help="Host id.")],
    port: Annotated[str | None, typer.Option(help="Port that must be programmed.")] = None,
    kind: Annotated[str, typer.Option(help="Kind of what --id names.")] = "port",
    id: Annotated[str | None, typer.Option("--id", help="Resource, where it is no port.")] = None,
    vpc: Annotated[str, typer.Option(help="VPC of a resource that a VPC owns.")] = "",
    revision: Annotated[
        int | None, typer.Option(min=1, help="At least this revision; else the last told of.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for that.")] = 30.0,
) -> None:
    """Wait until a port, with all that it needs, is programmed on its host; exit 11 when not."""
    from southbound.cli.tracked import check_gate

    named = port or id
    if not named or (port and id):
        raise ConfigError("name what to wait for: --port ID, or --kind KIND --id ID")
    session = session_of(ctx)
    found = session.tracker_client().gate(
        host, "port" if port else kind, named, revision=revision, vpc=vpc, timeout_s=timeout
    )
    check_gate(session, found)


@app.command("list", cls=Verb)
def list_hosts(
    ctx: typer.Context,
    az: Annotated[str | None, typer.Option(help="Only hosts of this AZ.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Only hosts of this cluster.")] = None,
    pool: Annotated[str | None, typer.Option(help="Only hosts of this pool.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    sums: Annotated[bool, typer.Option("--sums", help="Only how many each pool holds.")] = False,
) -> None:
    """List registered hosts, in no order."""
    session = session_of(ctx)
    with session.directory() as directory:
        topology = directory.topology
        _check_filters(topology, az, cluster, pool)
        scanned = (
            (host, placement)
            for host, placement in directory.hosts_scan()
            if _fits(placement, topology, az, cluster, pool)
        )
        rows = itertools.islice(scanned, limit)
        if sums:
            _show_pools(session, (placement for _, placement in rows))
        else:
            show(session, COLUMNS, _rows(sorted(rows), topology))


def _elsewhere(
    wanted: Mapping[str, str], placed: Mapping[str, Placement], topology: Topology
) -> list[str]:
    """Return the hosts that live in another AZ than was asked for."""
    azs = {pool.id: topology.cluster(pool.cluster).az for pool in topology.pools}
    return [host for host, az in wanted.items() if azs.get(placed[host].pool, az) != az]


def _check_filters(
    topology: Topology, az: str | None, cluster: str | None, pool: str | None
) -> None:
    """Raise `PlanError` for a name that the topology does not know."""
    if az is not None:
        topology.az(az)
    if cluster is not None:
        topology.cluster(cluster)
    if pool is not None:
        topology.pool(pool)


def _fits(
    placement: Placement, topology: Topology, az: str | None, cluster: str | None, pool: str | None
) -> bool:
    there = topology.pool(placement.pool)
    return (
        (pool is None or there.id == pool)
        and (cluster is None or there.cluster == cluster)
        and (az is None or topology.cluster(there.cluster).az == az)
    )


def _rows(
    placed: Iterable[tuple[str, Placement]], topology: Topology
) -> Iterator[tuple[object, ...]]:
    from southbound.partitioning.placement import address_of

    for host, placement in placed:
        address = address_of("host", host, placement, topology)
        yield (
            host,
            topology.cluster(address.cluster).az,
            address.cluster,
            address.topic,
            address.partition,
            placement.probe,
            placement.epoch,
            placement.start,
        )


def _show_plan(session: Session, wanted: Mapping[str, str], known: Mapping[str, Placement]) -> None:
    with session.directory() as directory:
        zones = {az.id for az in directory.topology.azs}
    wrong = sorted(set(wanted.values()) - zones)
    if wrong:
        raise ConfigError(f"no such AZ: {', '.join(wrong)} (there are {', '.join(sorted(zones))})")
    rows = [(host, az, "keep" if host in known else "register") for host, az in wanted.items()]
    show(session, ("host", "az", "action"), rows)
    say(f"dry run: {len(wanted) - len(known)} would be new, nothing was changed")


def _show_pools(session: Session, placed: Iterable[Placement]) -> None:
    counts = Counter(placement.pool for placement in placed)
    show(session, ("pool", "hosts"), sorted(counts.items()))
