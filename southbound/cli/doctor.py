"""`southbound doctor`: what a new operator gets wrong, and how to mend it.

The rule: it changes nothing, one trouble hides no other, and each finding says what to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from southbound.cli.commands import session_of
from southbound.cli.findings import Finding, Severity, error, note
from southbound.cli.progress import say
from southbound.cli.session import Session
from southbound.cli.stored import stored_topology
from southbound.cli.table import show
from southbound.errors import SouthboundError

if TYPE_CHECKING:
    from southbound.partitioning.topology import Topology

COLUMNS = ("severity", "subject", "what", "how_to_mend")
_AT_ONCE = 8


def doctor(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--topology", help="Check this document, not the stored one.")
    ] = None,
) -> None:
    """Check Kafka, Redis, the services and this machine; exit 1 when something is wrong."""
    from southbound.cli.machine_checks import machine_findings

    session = session_of(ctx)
    findings = list(machine_findings())
    topology = None
    try:
        redis, topology = _redis_part(session, file)
        findings += redis
    except SouthboundError as problem:
        findings.append(error("redis", str(problem), "start it, or name another with --redis"))
    topology = topology or _from_file(session, file, findings)
    if topology is not None:
        findings += _clusters_part(topology)
    if session.tracker:
        from southbound.cli.service_checks import tracker_findings

        findings += tracker_findings(session.tracker_client(), session.tracker)
    order = list(Severity)
    findings.sort(key=lambda one: -order.index(one.severity))
    show(session, COLUMNS, findings)
    bad = sum(one.severity is Severity.ERROR for one in findings)
    say(f"{len(findings)} checks, {bad} errors")
    if bad:
        raise typer.Exit(1)


def _redis_part(session: Session, file: Path | None) -> tuple[list[Finding], Topology | None]:
    from southbound.cli.redis_checks import journal_findings, ledger_findings, redis_findings
    from southbound.cli.service_checks import signed_findings
    from southbound.directory.index import Index
    from southbound.edge.redis import RedisLink
    from southbound.settings import DirectorySettings

    settings = DirectorySettings(redis_url=session.redis_url())
    link = RedisLink(
        settings.redis_url, timeout_s=settings.redis_timeout_s, client_name="southbound-doctor"
    )
    try:
        findings = list(redis_findings(link))
        findings += signed_findings(link, time.time_ns() // 1000)
        positions = Index(link, settings).status().positions
    finally:
        link.close()
    stored = stored_topology(session)
    if stored is None:
        findings.append(
            error(
                "redis",
                "holds no topology",
                "southbound topology apply; if it held one before, southbound directory rebuild",
            )
        )
        return findings, None
    findings.append(note("redis", f"topology version {stored.topology.version}"))
    findings += journal_findings(stored.topology, positions)
    findings += ledger_findings(stored.topology)
    return findings, None if file is not None else stored.topology


def _from_file(session: Session, file: Path | None, findings: list[Finding]) -> Topology | None:
    """Return the topology of a document, where there is one."""
    from southbound.documents.topology import load_topology

    if file is None and not session.uses_fleet:
        return None
    try:
        return load_topology(session.topology_file(file))
    except SouthboundError as problem:
        findings.append(error("topology", str(problem), "mend the document"))
        return None


def _clusters_part(topology: Topology) -> Iterator[Finding]:
    from southbound.cli.kafka_checks import cluster_findings

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        looked = pool.map(
            lambda cluster: list(cluster_findings(topology, cluster)), topology.clusters
        )
        for findings in looked:
            yield from findings
