"""Kafka's topics: seeing them, making them, and mending their settings.

The rule: every call may be repeated; what is there already is no error. A topic counts as made when
each of its partitions has a leader, since a publisher that comes sooner would only wait. Nothing is
ever deleted here: a topic's name must never mean two things.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from southbound.edge.kafka import KafkaError, KafkaException, edge_error
from southbound.errors import EdgeError
from southbound.partitioning.topics import FoundTopic, TopicSpec
from southbound.partitioning.topology import Cluster

Progress = Callable[[int, int], None]
"""Called with how many topics are ready, and of how many."""

_PARTITIONS_A_CALL = 1_000
"""Kafka refuses more than 10,000 records in one CreateTopics; each partition costs several."""
_CONFIGS_A_CALL = 100
_LOOK_S = 0.1


class ClusterAdmin:
    """Administers the topics of one cluster. Making it does no IO; all calls raise `EdgeError`."""

    def __init__(self, cluster: Cluster, client_id: str = "topics", *, timeout_s: float = 30.0):
        self._cluster = cluster
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._client: AdminClient | None = None

    def kafka_id(self) -> str:
        """Return the cluster id that the brokers tell."""
        return self._identity()[0]

    def brokers(self) -> int:
        """Return how many brokers are known to the one that answers."""
        return self._identity()[1]

    def topics(self, *, configs: bool = True) -> dict[str, FoundTopic]:
        """Return Southbound's topics (`sb.*`) that are there; without `configs` theirs are empty."""
        found = self._listed()
        told = self._configs(sorted(found)) if configs else {}
        return {name: FoundTopic(*numbers, told.get(name, {})) for name, numbers in found.items()}

    def create(self, specs: Sequence[TopicSpec], progress: Progress | None = None) -> None:
        """Make the topics and wait until every partition of each has a leader.

        Topics that are there already stay as they are.
        """
        missing = [spec for spec in specs if spec.name not in self._listed()]
        ready = len(specs) - len(missing)
        for batch in _batches(missing):
            made = self._open().create_topics([_new_topic(spec) for spec in batch])
            self._all(made, "making topics", KafkaError.TOPIC_ALREADY_EXISTS)
            self._await_leaders(batch)
            ready += len(batch)
            if progress is not None:
                progress(ready, len(specs))

    def grow(self, spec: TopicSpec) -> None:
        """Add partitions to a topic until it has as many as wanted, and wait for their leaders."""
        wanted = [NewPartitions(spec.name, spec.partitions)]
        self._all(self._open().create_partitions(wanted), "adding partitions")
        self._await_leaders([spec])

    def configure(self, topic: str, settings: Mapping[str, str]) -> None:
        """Set some settings of a topic; the others stay."""
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self._all(self._open().incremental_alter_configs([resource]), "setting topics")

    def _open(self) -> AdminClient:
        if self._client is None:
            self._client = AdminClient(
                {
                    **self._cluster.client,
                    "bootstrap.servers": ",".join(self._cluster.bootstrap),
                    "client.id": self._client_id,
                    "log_level": 2,
                    "socket.timeout.ms": int(self._timeout_s * 1000),
                    "reconnect.backoff.max.ms": 1000,
                }
            )
        return self._client

    def _doing(self, what: str) -> str:
        return f"{what} of cluster {self._cluster.id} at {', '.join(self._cluster.bootstrap)}"

    def _identity(self) -> tuple[str, int]:
        try:
            metadata = self._open().list_topics(timeout=self._timeout_s)
        except KafkaException as error:
            raise edge_error(error, self._doing("asking for the id")) from error
        return str(metadata.cluster_id), len(metadata.brokers)

    def _listed(self) -> dict[str, tuple[int, int, int]]:
        """Return partitions, replication and leaderless partitions of each topic."""
        try:
            metadata = self._open().list_topics(timeout=self._timeout_s)
        except KafkaException as error:
            raise edge_error(error, self._doing("listing topics")) from error
        found = {}
        for name, topic in metadata.topics.items():
            if not name.startswith("sb."):
                continue
            parts = topic.partitions.values()
            leaderless = sum(part.leader < 0 for part in parts)
            replication = min((len(part.replicas) for part in parts), default=0)
            found[name] = (len(parts), replication, leaderless)
        return found

    def _await_leaders(self, specs: Iterable[TopicSpec]) -> None:
        wanted = {spec.name: spec.partitions for spec in specs}
        deadline = time.monotonic() + self._timeout_s
        while True:
            found = self._listed()
            late = [
                name
                for name, partitions in wanted.items()
                if name not in found or found[name][0] < partitions or found[name][2]
            ]
            if not late:
                return
            if time.monotonic() > deadline:
                what = f"waiting for leaders of {late[0]} and {len(late) - 1} more topics"
                raise EdgeError(
                    f"{self._doing(what)}: none in {self._timeout_s:g} s", retryable=True
                )
            time.sleep(_LOOK_S)

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        told: dict[str, dict[str, str]] = {}
        for first in range(0, len(names), _CONFIGS_A_CALL):
            asked = [
                ConfigResource(ResourceType.TOPIC, name)
                for name in names[first : first + _CONFIGS_A_CALL]
            ]
            answers = self._open().describe_configs(asked, request_timeout=self._timeout_s)
            for resource, answer in answers.items():
                entries = self._result(answer, "reading settings")
                told[resource.name] = {
                    name: entry.value for name, entry in entries.items() if entry.value is not None
                }
        return told

    def _all(self, futures: Mapping[Any, Future[Any]], what: str, fine: int | None = None) -> None:
        for name, future in futures.items():
            try:
                future.result(self._timeout_s)
            except KafkaException as error:
                if error.args[0].code() != fine:
                    raise edge_error(error, self._doing(f"{what} ({name})")) from error
            except TimeoutError as error:
                doing = self._doing(f"{what} ({name})")
                raise EdgeError(
                    f"{doing}: no answer in {self._timeout_s:g} s", retryable=True
                ) from error

    def _result(self, future: Future[dict[str, ConfigEntry]], what: str) -> dict[str, ConfigEntry]:
        try:
            return future.result(self._timeout_s)
        except KafkaException as error:
            raise edge_error(error, self._doing(what)) from error
        except TimeoutError as error:
            doing = self._doing(what)
            raise EdgeError(
                f"{doing}: no answer in {self._timeout_s:g} s", retryable=True
            ) from error


def _new_topic(spec: TopicSpec) -> NewTopic:
    return NewTopic(
        spec.name,
        num_partitions=spec.partitions,
        replication_factor=spec.replication,
        config=dict(spec.config),
    )


def _batches(specs: Sequence[TopicSpec]) -> Iterator[list[TopicSpec]]:
    batch: list[TopicSpec] = []
    for spec in specs:
        if batch and sum(one.partitions for one in batch) + spec.partitions > _PARTITIONS_A_CALL:
            yield batch
            batch = []
        batch.append(spec)
    if batch:
        yield batch
