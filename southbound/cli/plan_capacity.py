"""`southbound plan-capacity`: how large a fleet's clusters must be, from measured unit costs.

The rule: it computes and changes nothing, and every number can be asked for its formula and for the
run that measured the costs in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from southbound.cli.commands import session_of
from southbound.cli.session import Session
from southbound.cli.table import show, show_json
from southbound.errors import ConfigError, Fault

if TYPE_CHECKING:
    from loadgen.capacity.demand import Aims, Ceilings, Demand
    from loadgen.capacity.planner import Plan
    from loadgen.capacity.units import Units

_Inputs = TypeVar("_Inputs", "Demand", "Aims", "Ceilings")
_SCALES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def plan_capacity(
    ctx: typer.Context,
    hosts: Annotated[int | None, typer.Option(help="Compute nodes [1,000,000].")] = None,
    azs: Annotated[int | None, typer.Option(help="Availability zones [3].")] = None,
    changes: Annotated[
        float | None, typer.Option(help="Changes of hosts a second, in the whole fleet [500].")
    ] = None,
    vpc_changes: Annotated[
        float | None, typer.Option(help="Changes of VPCs a second [10].")
    ] = None,
    resource_bytes: Annotated[
        float | None, typer.Option(help="An encoded spec in the mean [400].")
    ] = None,
    ports: Annotated[float | None, typer.Option(help="Ports of a host [20].")] = None,
    vpcs_per_host: Annotated[
        float | None, typer.Option(help="VPCs that a host has ports in [4].")
    ] = None,
    ports_per_vpc: Annotated[
        float | None, typer.Option(help="Ports of a VPC in the mean [200].")
    ] = None,
    replication: Annotated[int | None, typer.Option(help="Copies of each partition [3].")] = None,
    hosts_per_slot: Annotated[
        float | None, typer.Option(help="Aim: hosts of a partition in the mean [10].")
    ] = None,
    topics: Annotated[
        int | None, typer.Option(help="Aim: topics of a pool of hosts, at most [200].")
    ] = None,
    partitions: Annotated[int | None, typer.Option(help="Partitions of a topic [50].")] = None,
    replicas_per_broker: Annotated[
        int | None, typer.Option(help="Aim: partitions that a broker holds [10,000].")
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=NUMBER", help="Any other number of the inputs that are listed."
        ),
    ] = None,
    units: Annotated[
        Path | None,
        typer.Option(help="Unit costs: a document of `bench units`; else those of the package."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Each number with its formula and unit costs.")
    ] = False,
) -> None:
    """Clusters, brokers and what they need for a fleet, and where it would break."""
    from loadgen.capacity.planner import plan
    from loadgen.capacity.units import read_units, shipped

    given = {
        "hosts": hosts,
        "azs": azs,
        "changes_per_s": changes,
        "vpc_changes_per_s": vpc_changes,
        "resource_bytes": resource_bytes,
        "ports_per_host": ports,
        "vpcs_per_host": vpcs_per_host,
        "ports_per_vpc": ports_per_vpc,
        "replication": replication,
        "hosts_per_slot": hosts_per_slot,
        "topics_max": topics,
        "partitions": partitions,
        "replicas_per_broker": replicas_per_broker,
    }
    inputs = _inputs(given, other or ())
    measured = read_units(units) if units else shipped()
    found = plan(*inputs, measured.costs)
    _show(session_of(ctx), found, inputs, measured, explain=explain)


def document(found: Plan, inputs: tuple[Demand, Aims, Ceilings], measured: Units) -> dict[str, Any]:
    """Return the whole plan as plain data."""
    demand, aims, ceilings = (dataclasses.asdict(one) for one in inputs)
    return {
        "plan": found.shape,
        "brokers": {"per_cluster": found.given["brokers"], "bound_by": found.brokers_bound_by},
        "restart": {"seconds": found.value("restart_s"), "bound_by": found.restart_bound_by},
        "inputs": {"demand": demand, "aims": aims, "ceilings": ceilings},
        "quantities": [one._asdict() for one in found.quantities],
        "limits": [one._asdict() for one in found.limits],
        "breaks": found.breaks._asdict() if found.breaks else None,
        "units": {"costs": dict(measured.costs), "provenance": dict(measured.provenance)},
    }


def _inputs(
    given: Mapping[str, float | None], other: Iterable[str]
) -> tuple[Demand, Aims, Ceilings]:
    from loadgen.capacity.demand import Aims, Ceilings, Demand

    chosen = {name: float(value) for name, value in given.items() if value is not None}
    chosen |= dict(_pair(text) for text in other)
    _check_known(chosen, (Demand(), Aims(), Ceilings()))
    return _with(Demand(), chosen), _with(Aims(), chosen), _with(Ceilings(), chosen)


def _pair(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip().replace("-", "_"), float(number)
    except ValueError:
        raise ConfigError(
            "an input is not a number", [Fault("--set", text, "must be NAME=NUMBER")]
        ) from None


def _check_known(chosen: Mapping[str, float], inputs: tuple[Demand, Aims, Ceilings]) -> None:
    known = {field.name for one in inputs for field in dataclasses.fields(one)}
    faults = [
        Fault("--set", name, f"is no input: there are {', '.join(sorted(known))}")
        for name in chosen
        if name not in known
    ]
    if faults:
        raise ConfigError("an input is not known", faults)


def _with(inputs: _Inputs, chosen: Mapping[str, float]) -> _Inputs:
    """Return the inputs with those values that were chosen."""
    own = {field.name for field in dataclasses.fields(inputs)}
    return dataclasses.replace(
        inputs, **{name: value for name, value in chosen.items() if name in own}
    )


# For people.


def _show(
    session: Session,
    found: Plan,
    inputs: tuple[Demand, Aims, Ceilings],
    measured: Units,
    *,
    explain: bool,
) -> None:
    if session.is_json:
        show_json(document(found, inputs, measured))
        return
    _title(found.shape)
    head = (("per cluster", round(found.given["brokers"]), found.brokers_bound_by),)
    show(session, ("brokers", "count", "bound_by"), head)
    _title("What it takes")
    show(
        session,
        ("quantity", "value", "unit", "meaning"),
        (
            (one.name.replace("_", " "), *readable(one.value, one.unit), one.meaning)
            for one in found.quantities
        ),
    )
    _title(f"Where it breaks: {_breaking(found)}")
    show(session, ("limit", "kind", "load", "at_most", "unit", "used", "passed_at"), _limits(found))
    if explain:
        _explain(session, found, measured)
    _title("From these inputs (--set NAME=NUMBER)")
    parts = ("demand", "aim", "ceiling")
    named = zip(parts, [dataclasses.asdict(one) for one in inputs], strict=True)
    rows = [(part, name, _plain(value)) for part, one in named for name, value in one.items()]
    show(session, ("part", "input", "value"), rows)
    _title("Unit costs")
    show(session, ("measured", "value"), measured.provenance.items())


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _title(text: str) -> None:
    typer.echo(f"\n{text}\n")


def _breaking(found: Plan) -> str:
    limit = found.breaks
    if limit is None or limit.hosts is None:
        return "no ceiling is met by more hosts"
    return f"at {limit.hosts:,} hosts, by {limit.resource}; aims are missed before"


def _limits(found: Plan) -> list[tuple[Any, ...]]:
    rows = []
    for one in found.limits:
        load, unit = readable(one.load, one.unit)
        ceiling, ceiling_unit = readable(one.ceiling, one.unit)
        at_most = ceiling if ceiling_unit == unit else f"{ceiling} {ceiling_unit}"
        met = f"{one.hosts:,} hosts" if one.hosts is not None else "never"
        rows.append((one.resource, one.kind, load, at_most, unit, f"{one.used:.0%}", met))
    return rows


def _explain(session: Session, found: Plan, measured: Units) -> None:
    from loadgen.capacity.costs import COSTS

    _title("How each number was computed")
    for one in found.quantities:
        typer.echo(f"{one.name} = {one.formula}")
        typer.echo(f"    = {one.value:,.6g} {one.unit}")
        for name in one.costs:
            typer.echo(f"    {name} = {measured.costs[name]:,.6g} {COSTS[name].unit}")
    _title("What a unit cost is")
    rows = ((name, measured.costs[name], cost.unit, cost.how) for name, cost in COSTS.items())
    show(session, ("cost", "value", "unit", "measured_as"), rows)


def readable(value: float, unit: str) -> tuple[str, str]:
    """Return a value with the digits that count, bytes in a unit of their size."""
    if unit == "bytes":
        for name, size in _SCALES:
            if value >= size:
                return f"{value / size:,.1f}", name
    if value >= 100:
        return f"{value:,.0f}", unit
    return f"{value:.3g}", unit
