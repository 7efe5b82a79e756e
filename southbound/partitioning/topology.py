"""What the fleet is made of: availability zones, clusters, pools, public kinds.

The rule: a pool is a fixed set of equally sized topics; it is added, never resized, and its id is
never used again. These are plain frozen structs, cheap for an agent; reading and judging a YAML
document is the work of `southbound.documents.topology`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import mmh3
import msgspec

from southbound.errors import PlanError

MOVES_TOPIC = "sb.moves"
DIRECTORY_TOPIC = "sb.directory"
REBALANCE_TOPIC = "sb.rebalance"
STATUS_TOPIC = "sb.status"
INTEREST_TOPIC = "sb.interest"


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """A Kafka cluster in one AZ.

    `client` holds librdkafka settings every client of this cluster needs (security, mostly).
    `kafka_id`, where given, must equal the cluster id that the brokers name.
    """

    id: str
    az: str
    bootstrap: tuple[str, ...]
    kafka_id: str = ""
    client: Mapping[str, str] = msgspec.field(default_factory=dict)
    replication: int = 1
    min_insync_replicas: int = 1
    status_partitions: int = 4
    interest_partitions: int = 4


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Equally sized topics of one cluster for one class."""

    id: str
    cluster: str
    cls: Literal["host", "vpc"]
    topics: int
    partitions: int
    max_per_slot: int

    @property
    def slots(self) -> int:
        """Number of slots."""
        return self.topics * self.partitions


class PublicKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of public resource: its topic lives in one cluster."""

    kind: str
    cluster: str
    partitions: int


class Az(msgspec.Struct, frozen=True, kw_only=True):
    """An availability zone; `journal` names the cluster that holds its directory journal."""

    id: str
    journal: str


class Topology(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The whole document, as validated. `version` rises with each document that is applied."""

    region: str
    azs: tuple[Az, ...]
    clusters: tuple[Cluster, ...]
    pools: tuple[Pool, ...]
    public: tuple[PublicKind, ...] = ()
    version: int = 0

    def __post_init__(self) -> None:
        """Index the document by id; the structs themselves stay as they are."""
        self.__dict__["_clusters"] = {cluster.id: cluster for cluster in self.clusters}
        self.__dict__["_pools"] = {pool.id: pool for pool in self.pools}
        self.__dict__["_azs"] = {az.id: az for az in self.azs}
        self.__dict__["_public"] = {public.kind: public for public in self.public}

    def cluster(self, id: str) -> Cluster:
        """Return the cluster of that id; raises `PlanError` when there is none."""
        found: Cluster | None = self.__dict__["_clusters"].get(id)
        return _known(found, "cluster", id, self.clusters)

    def pool(self, id: str) -> Pool:
        """Return the pool of that id; raises `PlanError` when there is none."""
        found: Pool | None = self.__dict__["_pools"].get(id)
        return _known(found, "pool", id, self.pools)

    def find_pool(self, id: str) -> Pool | None:
        """Return the pool of that id, or None when there is none (any more)."""
        found: Pool | None = self.__dict__["_pools"].get(id)
        return found

    def az(self, id: str) -> Az:
        """Return the AZ of that id; raises `PlanError` when there is none."""
        found: Az | None = self.__dict__["_azs"].get(id)
        return _known(found, "AZ", id, self.azs)

    def public_kind(self, kind: str) -> PublicKind:
        """Return where a kind of public resource lives; raises `PlanError` when there is none."""
        found: PublicKind | None = self.__dict__["_public"].get(kind)
        return _known(found, "public kind", kind, self.public)

    def pools_in(
        self, cls: str, *, az: str | None = None, cluster: str | None = None
    ) -> list[Pool]:
        """Return the pools of a class, optionally only those of one AZ or one cluster."""
        return [
            pool
            for pool in self.pools
            if pool.cls == cls
            and (cluster is None or pool.cluster == cluster)
            and (az is None or self.cluster(pool.cluster).az == az)
        ]

    def journal_az(self, key: str) -> Az:
        """Return the AZ whose journal records a VPC or public resource.

        Highest random weight, so that adding an AZ takes over only its share of the keys.
        """
        return max(
            self.azs,
            key=lambda az: (mmh3.hash64(f"{az.id}\x1f{key}".encode(), signed=False)[0], az.id),
        )


_Named = TypeVar("_Named", Az, Cluster, Pool, PublicKind)


def _known(found: _Named | None, noun: str, id: str, known: Sequence[_Named]) -> _Named:
    if found is None:
        raise PlanError(f"the topology has no {noun} {id!r} (it has {len(known)} of them)")
    return found


def topic_name(pool: str, topic: int) -> str:
    """Return the name of one topic of a pool."""
    return f"sb.{pool}.{topic:03d}"


def public_topic_name(kind: str) -> str:
    """Return the name of the topic of a public kind. No pool may be called `public`."""
    return f"sb.public.{kind}"
