"""The topology's YAML document into a `Topology`, and back.

The rule: a topology is taken whole or not at all. Every fault is gathered and named with its place
(`clusters[1].bootstrap[0]`), since whoever writes one for ten clusters wants to mend it in one go.

    region, azs: [{id, journal?}], clusters: [{id, az, bootstrap, kafka_id?, client, replication,
    min_insync_replicas, status_partitions, interest_partitions}], pools: [{id, cluster, class,
    topics, partitions, max_per_slot}], public: [{kind, cluster, partitions}]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from southbound.documents.findings import faults_of, refusal
from southbound.documents.text import parse, read_bounded
from southbound.documents.topology_draft import Draft, draft_of
from southbound.documents.topology_models import AzEntry
from southbound.documents.topology_rules import rule_faults
from southbound.errors import ConfigError, Fault
from southbound.partitioning.topology import Az, Cluster, Pool, PublicKind, Topology
from southbound.settings import DocumentSettings


def load_topology(path: Path) -> Topology:
    """Read a topology's file. Raises `ConfigError` with every fault and its place."""
    try:
        with path.open("rb") as file:
            data = read_bounded(file, DocumentSettings().bytes_max)
    except (OSError, ValueError) as error:
        fault = Fault(str(path), None, getattr(error, "strerror", None) or str(error))
        raise ConfigError("the topology cannot be read", [fault]) from error
    return read_topology(data, str(path))


def read_topology(data: str | bytes, source: str = "the topology") -> Topology:
    """Read a topology's YAML (or JSON). Raises `ConfigError` with every fault and its place."""
    encoded = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    documents = parse(encoded, source)
    if len(documents) != 1:
        fault = Fault(source, len(documents), "must hold exactly one document")
        raise ConfigError(f"{source} is not a valid topology", [fault])
    return topology_of(documents[0].value, source)


def topology_of(document: Any, source: str = "the topology") -> Topology:
    """Judge plain data and return the topology. Raises `ConfigError` with every fault."""
    try:
        draft = draft_of(document)
    except ValidationError as error:
        raise refusal(f"{source} is not a valid topology", faults_of(error)) from error
    faults = [*draft.faults(), *rule_faults(draft)]
    if faults:
        raise refusal(f"{source} is not a valid topology", faults)
    return _made(draft)


def _made(draft: Draft) -> Topology:
    return Topology(
        region=draft.region,
        azs=tuple(Az(id=az.id, journal=_journal(az, draft)) for az in draft.azs.entries),
        clusters=tuple(
            Cluster(**{**cluster.model_dump(), "bootstrap": tuple(cluster.bootstrap)})
            for cluster in draft.clusters.entries
        ),
        pools=tuple(Pool(**pool.model_dump()) for pool in draft.pools.entries),
        public=tuple(PublicKind(**public.model_dump()) for public in draft.public.entries),
    )


def _journal(az: AzEntry, draft: Draft) -> str:
    clusters = draft.clusters.entries
    return az.journal or next(cluster.id for cluster in clusters if cluster.az == az.id)


def dump_topology(topology: Topology) -> str:
    """Return the YAML that `read_topology` reads back."""
    return yaml.safe_dump(document_of(topology), sort_keys=False)


def document_of(topology: Topology) -> dict[str, Any]:
    """Return plain data that `topology_of` reads back; the version is not part of a document."""
    return {
        "region": topology.region,
        "azs": [{"id": az.id, "journal": az.journal} for az in topology.azs],
        "clusters": [_cluster_document(cluster) for cluster in topology.clusters],
        "pools": [
            {
                "id": pool.id,
                "cluster": pool.cluster,
                "class": pool.cls,
                "topics": pool.topics,
                "partitions": pool.partitions,
                "max_per_slot": pool.max_per_slot,
            }
            for pool in topology.pools
        ],
        "public": [
            {"kind": public.kind, "cluster": public.cluster, "partitions": public.partitions}
            for public in topology.public
        ],
    }


def _cluster_document(cluster: Cluster) -> dict[str, Any]:
    return {
        "id": cluster.id,
        "az": cluster.az,
        "bootstrap": list(cluster.bootstrap),
        **({"kafka_id": cluster.kafka_id} if cluster.kafka_id else {}),
        **({"client": dict(cluster.client)} if cluster.client else {}),
        "replication": cluster.replication,
        "min_insync_replicas": cluster.min_insync_replicas,
        "status_partitions": cluster.status_partitions,
        "interest_partitions": cluster.interest_partitions,
    }
