"""What `doctor` looks at in one Kafka cluster: whether it answers, who it is, and its topics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from southbound.cli.findings import Finding, error, ok, warning
from southbound.errors import EdgeError

if TYPE_CHECKING:
    from southbound.edge.admin import ClusterAdmin, Drift
    from southbound.edge.topics import TopicSpec
    from southbound.partitioning.topology import Cluster, Topology

_TIMEOUT_S = 6.0
_SHOWN_MAX = 3
_APPLY = "southbound topology apply"


def cluster_findings(topology: Topology, cluster: Cluster) -> Iterator[Finding]:
    """Yield what is to be said of a cluster."""
    from southbound.edge.admin import ClusterAdmin, drift_of
    from southbound.edge.topics import TopicSettings, topics_of

    # No patience: what has no leader now is told.
    settings = TopicSettings(call_timeout_s=_TIMEOUT_S, ready_timeout_s=0.0)
    admin = ClusterAdmin(cluster, settings)
    wanted = topics_of(topology, cluster, settings)
    try:
        told = admin.kafka_id()
        found = admin.find(wanted)
    except EdgeError as problem:
        yield error(
            cluster.id,
            f"does not answer at {', '.join(cluster.bootstrap)}: {problem}",
            "start it, or mend `bootstrap` and `client` in the topology and apply that",
        )
        return
    yield identity_finding(cluster, told)
    drifts = drift_of(cluster.id, wanted, found)
    yield from topic_findings(cluster.id, drifts)
    if not drifts:
        yield ok(cluster.id, f"{len(wanted)} topics are as they should be")
    yield from _leader_findings(admin, [spec for spec in wanted if spec.name in found])


def _leader_findings(admin: ClusterAdmin, specs: Sequence[TopicSpec]) -> Iterator[Finding]:
    try:
        admin.wait_ready(specs)
    except EdgeError as problem:
        yield error(admin.cluster.id, str(problem), "start the brokers that hold them")


def identity_finding(cluster: Cluster, told: str) -> Finding:
    """Judge the cluster id that the brokers tell."""
    if not cluster.kafka_id:
        return warning(
            cluster.id,
            "its `kafka_id` is not in the topology, so another cluster at its address is not noticed",
            f"kafka_id: {told} in the topology, then {_APPLY}",
        )
    if told != cluster.kafka_id:
        return error(
            cluster.id,
            f"another Kafka cluster answers: {told!r}, and the topology says {cluster.kafka_id!r}",
            "mend `bootstrap`; if the cluster was made anew, give it a new id and new pools",
        )
    return ok(cluster.id, f"is the Kafka cluster {told}")


def topic_findings(cluster: str, drifts: Sequence[Drift]) -> Iterator[Finding]:
    """Judge how topics differ from what they should be; like ones are one finding."""
    groups: dict[tuple[str, str, str], list[Drift]] = {}
    for one in drifts:
        groups.setdefault((one.what, one.found, one.wanted), []).append(one)
    for (what, found, wanted), same in groups.items():
        names = _some([one.topic for one in same])
        if what == "missing":
            yield error(cluster, f"{len(same)} topics are missing: {names}", _APPLY)
        elif what == "cleanup.policy":
            yield error(
                cluster,
                f"{len(same)} topics are {found!r} and not {wanted!r}, which loses what nodes"
                f" restart from: {names}",
                _APPLY,
            )
        elif same[0].mendable:
            yield warning(cluster, f"{what} is {found}, not {wanted}: {names}", _APPLY)
        else:
            yield error(
                cluster,
                f"{what} is {found}, not {wanted}: {names}",
                "a topic is never resized: add a new pool to the topology",
            )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_MAX
    return ", ".join(names[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
