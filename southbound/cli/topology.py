"""`southbound topology`: what the fleet is made of, and the topics that this means.

The rule: desired state, check, plan, apply. The same rows are shown by `diff`, by a dry run and by
`apply`, which makes the topics first and stores the document last, so that nobody is sent to a topic
that is not there. Every step may be repeated; an interrupted `apply` is mended by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from southbound.cli.commands import Verb, noun, session_of
from southbound.cli.progress import counting, say
from southbound.cli.session import Session
from southbound.cli.stored import needed_topology, stored_topology
from southbound.cli.table import show, show_json
from southbound.errors import ConfigError, EdgeError, Fault

if TYPE_CHECKING:
    from southbound.directory.topologies import Stored
    from southbound.edge.admin import Drift
    from southbound.partitioning.topology import Topology

app = noun("The clusters, pools and public kinds, and the topics that they mean.")

_COLUMNS = ("against", "action", "what", "field", "now", "wanted")
_DIFFERS = 1
_LOOK_TIMEOUT_S = 10.0

File = Annotated[
    Path | None, typer.Argument(help="The topology's YAML; the local fleet's where left out.")
]


class Line(NamedTuple):
    """One row of a comparison: `against` is `stored`, or the cluster whose topics differ."""

    against: str
    action: str
    what: str
    field: str
    now: str
    wanted: str


@app.command(cls=Verb)
def apply(
    ctx: typer.Context,
    file: File = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
) -> None:
    """Create the topics of a topology and store it. Pools are added, never resized."""
    from southbound.documents.topology import load_topology
    from southbound.edge.admin import apply_topics

    session = session_of(ctx)
    wanted = load_topology(session.topology_file(file))
    lines = _against_stored(stored_topology(session), wanted)
    drifts = _drifts(wanted)
    lines += _lines(drifts)
    _show(session, lines)
    _refuse_unmendable(drifts)
    if dry_run:
        say(f"dry run: {len(lines)} differences, nothing was changed")
        return
    with counting("partitions ready") as advance:
        done = apply_topics(wanted, progress=advance)
    with session.directory(wanted) as directory:
        version = directory.put_topology(wanted)
    counts = f"{len(done.created)} created, {len(done.grown)} grown, {len(done.altered)} altered"
    say(f"topology of region {wanted.region} is at version {version}; topics: {counts}")


@app.command("show", cls=Verb)
def show_topology(ctx: typer.Context) -> None:
    """Print the stored topology as the YAML that `apply` reads."""
    from southbound.documents.topology import document_of, dump_topology

    session = session_of(ctx)
    topology = needed_topology(session).topology
    if session.is_json:
        show_json({"version": topology.version, **document_of(topology)})
        return
    typer.echo(f"# version {topology.version}")
    typer.echo(dump_topology(topology), nl=False)


@app.command(cls=Verb)
def diff(ctx: typer.Context, file: File = None) -> None:
    """Compare a document, the stored topology and Kafka's topics; exit 1 when they differ."""
    session = session_of(ctx)
    stored = stored_topology(session)
    wanted = _wanted(session, stored, file)
    lines = [*_against_stored(stored, wanted, refuse=False), *_lines(_drifts(wanted))]
    _show(session, lines)
    if lines:
        raise typer.Exit(_DIFFERS)
    say("no differences")


def _wanted(session: Session, stored: Stored | None, file: Path | None) -> Topology:
    """Return the document to compare: the one named, the local fleet's, or the stored one."""
    from southbound.documents.topology import load_topology

    if file is None and stored is not None and not session.uses_fleet:
        return stored.topology
    return load_topology(session.topology_file(file))


def _drifts(topology: Topology) -> list[Drift]:
    """Compare Kafka's topics with a topology. A cluster that is away is an `EdgeError`."""
    from southbound.edge.admin import diff_topics
    from southbound.edge.topics import TopicSettings

    try:
        return diff_topics(topology, TopicSettings(call_timeout_s=_LOOK_TIMEOUT_S))
    except EdgeError as error:
        raise EdgeError(
            f"{error}\n  is that cluster up, and are its addresses in the topology right?"
            " (southbound doctor looks at all of them)",
            retryable=error.retryable,
        ) from error


def _lines(drifts: Sequence[Drift]) -> list[Line]:
    return [
        Line(
            one.cluster,
            _action(one),
            one.topic,
            "" if one.what == "missing" else one.what,
            one.found,
            one.wanted,
        )
        for one in drifts
    ]


def _action(drift: Drift) -> str:
    if not drift.mendable:
        return "refused"
    return "create" if drift.what == "missing" else "change"


def _refuse_unmendable(drifts: Sequence[Drift]) -> None:
    faults = [
        Fault(
            f"{one.cluster}: {one.topic}: {one.what}",
            one.found,
            f"cannot become {one.wanted}: a topic is never resized or replaced; add a new pool",
        )
        for one in drifts
        if not one.mendable
    ]
    if faults:
        raise ConfigError("Kafka holds topics that this topology cannot use", faults)


def _against_stored(stored: Stored | None, wanted: Topology, *, refuse: bool = True) -> list[Line]:
    from southbound.documents.topology_changes import changes

    if stored is None:
        summary = f"{len(wanted.clusters)} clusters, {len(wanted.pools)} pools"
        return [Line("stored", "add", "topology", "", "none", summary)]
    retired = frozenset(name.replace("public/", "public.", 1) for name in stored.retired)
    found = changes(stored.topology, wanted, retired)
    if found.faults and refuse:
        raise ConfigError("the topology cannot follow the one that is stored", found.faults)
    lines = [
        Line("stored", row.action, f"{row.noun} {row.id}", row.field, row.before, row.after)
        for row in found.rows
    ]
    lines += [
        Line("stored", "refused", fault.place, "", str(fault.value), fault.problem)
        for fault in found.faults
    ]
    return lines


def _show(session: Session, lines: Sequence[Line]) -> None:
    """Print differences; in tables, topics of a pool that differ in one way are one row."""
    if session.is_json or not lines:
        show(session, _COLUMNS, lines)
        return
    grouped: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        key = (line.against, line.action, _family(line), line.field, line.now, line.wanted)
        grouped.setdefault(key, []).append(line)
    rows = []
    for same in grouped.values():
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        rows.append(same[0]._replace(what=same[0].what + more))
    show(session, _COLUMNS, rows)


def _family(line: Line) -> str:
    """Return what topics of one pool have in common."""
    if line.against == "stored" or line.what.count(".") < 2:
        return line.what
    return line.what.rpartition(".")[0]
