"""What must hold between the entries of a topology's document.

The rule: ids are unique and of their form, every reference exists, a journal stays in its AZ, there
is room for hosts and for VPCs, and no client setting undoes what Southbound's guarantees rest on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from southbound.documents.topology_draft import Draft, Section
from southbound.documents.topology_models import ClusterEntry
from southbound.errors import Fault
from southbound.resources import KINDS, ScopeClass

RESERVED_POOLS = frozenset({"public", "directory", "moves", "status", "interest"})
"""A pool's topics are `sb.<pool>.<number>`; these words begin the names of other topics."""

SLOTS_MAX = 1_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NAME_RULE = "must be 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
_POOL_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_KIND = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_DECIDED_HERE = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "client.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "group.id",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "metadata.broker.list",
        "partitioner",
        "request.required.acks",
    }
)


def rule_faults(draft: Draft) -> Iterator[Fault]:
    """Yield every rule that the document breaks."""
    if not _NAME.fullmatch(draft.region):
        yield Fault("region", draft.region, _NAME_RULE)
    yield from _az_faults(draft)
    yield from _cluster_faults(draft)
    yield from _pool_faults(draft)
    yield from _public_faults(draft)


def _name_faults(section: Section[Any], problem_of: Callable[[str], str | None]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, name in section.names():
        problem = problem_of(name)
        if problem is not None:
            yield Fault(section.place(index, section.key), name, problem)
        if name in seen:
            yield Fault(section.place(index, section.key), name, "stands twice")
        seen.add(name)


def _name_problem(name: str) -> str | None:
    return None if _NAME.fullmatch(name) else _NAME_RULE


def pool_id_problem(id: str) -> str | None:
    """Say what is wrong with a pool's id, which is part of its topics' names, or return None."""
    if id in RESERVED_POOLS:
        return "is a reserved word"
    if _POOL_ID.fullmatch(id):
        return None
    return "must be 1 to 32 of a-z 0-9 - and begin with a letter or digit"


def _kind_problem(kind: str) -> str | None:
    known = KINDS.get(kind)
    if known is not None and known.cls is not ScopeClass.PUBLIC:
        return f"is a kind of class {known.cls}, not a public one"
    if _KIND.fullmatch(kind):
        return None
    return "must be 1 to 63 of a-z 0-9 _ - and begin with a letter or digit"


def _reference_faults(
    value: str, known: AbstractSet[str], place: str, noun: str
) -> Iterator[Fault]:
    if value not in known:
        names = sorted(known)
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        yield Fault(place, value, f"names no {noun} of this topology (it has {shown or 'none'})")


def _az_faults(draft: Draft) -> Iterator[Fault]:
    yield from _name_faults(draft.azs, _name_problem)
    if not draft.azs.raw:
        yield Fault("azs", [], "at least one AZ is needed")
    az_of = {cluster.id: cluster.az for cluster in draft.clusters.entries}
    for index, az in draft.azs.sound:
        place = draft.azs.place(index, "journal")
        if draft.clusters.whole and az.id not in az_of.values():
            yield Fault(
                place, az.journal, f"AZ {az.id!r} has no cluster that could hold its journal"
            )
        if az.journal is not None:
            yield from _reference_faults(az.journal, draft.clusters.known(), place, "cluster")
            if az_of.get(az.journal, az.id) != az.id:
                problem = f"is a cluster of AZ {az_of[az.journal]!r}; a journal stays in its own AZ"
                yield Fault(place, az.journal, problem)


def _cluster_faults(draft: Draft) -> Iterator[Fault]:
    clusters = draft.clusters
    yield from _name_faults(clusters, _name_problem)
    for index, cluster in clusters.sound:
        yield from _reference_faults(
            cluster.az, draft.azs.known(), clusters.place(index, "az"), "AZ"
        )
        yield from _connection_faults(cluster, clusters.place(index))
        if cluster.min_insync_replicas > cluster.replication:
            place = clusters.place(index, "min_insync_replicas")
            problem = f"must not exceed the replication, {cluster.replication}"
            yield Fault(place, cluster.min_insync_replicas, problem)


def _connection_faults(cluster: ClusterEntry, place: str) -> Iterator[Fault]:
    for index, server in enumerate(cluster.bootstrap):
        match = _SERVER.fullmatch(server)
        if match is None or not 1 <= int(match[1]) <= 65_535:
            yield Fault(f"{place}.bootstrap[{index}]", server, "must be host:port")
    for name, value in cluster.client.items():
        if name in _DECIDED_HERE:
            problem = "is decided by Southbound, since its guarantees rest on it"
            yield Fault(f"{place}.client.{name}", value, problem)


def _pool_faults(draft: Draft) -> Iterator[Fault]:
    pools = draft.pools
    yield from _name_faults(pools, pool_id_problem)
    for index, pool in pools.sound:
        place = pools.place(index, "cluster")
        yield from _reference_faults(pool.cluster, draft.clusters.known(), place, "cluster")
        slots = pool.topics * pool.partitions
        if slots > SLOTS_MAX:
            yield Fault(
                pools.place(index), slots, f"topics x partitions may be {SLOTS_MAX:,} at most"
            )
    for cls in ("host", "vpc"):
        if pools.whole and all(pool.cls != cls for pool in pools.entries):
            yield Fault("pools", len(pools.raw), f"at least one pool of class {cls} is needed")


def _public_faults(draft: Draft) -> Iterator[Fault]:
    yield from _name_faults(draft.public, _kind_problem)
    for index, public in draft.public.sound:
        place = draft.public.place(index, "cluster")
        yield from _reference_faults(public.cluster, draft.clusters.known(), place, "cluster")
