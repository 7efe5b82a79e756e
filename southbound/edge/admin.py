"""Making a topology's topics, and telling where they have drifted.

The rule: what is made may be made again without harm, and nothing is ever deleted or resized: a
topic that is there with another shape is an error that names it. Requests are small, since a
controller refuses 10,000 partitions at once; and done means that every partition answers, since the
request to create returns long before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from confluent_kafka import TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are its public names
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from southbound.edge.answers import answer_of, asking_s, await_all
from southbound.edge.kafka import (
    KafkaError,
    KafkaException,
    base_config,
    edge_error,
    told_kafka_id,
)
from southbound.edge.topics import TopicSettings, TopicSpec, topics_of
from southbound.errors import ConfigError, EdgeError, Fault
from southbound.partitioning.topology import Cluster, Topology
from southbound.pieces import in_pieces

Progress = Callable[[int, int], None]

_AGAIN_S = 0.1
_ASKED_MAX = 5

_Answer = TypeVar("_Answer")
_CONFIGS_PER_CALL = 50


class Drift(NamedTuple):
    """One thing in which a topic is not as the topology means it.

    `what`: `missing`, `partitions`, or the name of a setting. `mendable`: `apply_topics` mends it.
    """

    cluster: str
    topic: str
    what: str
    found: str
    wanted: str
    mendable: bool


class Applied(NamedTuple):
    """What `apply_topics` did, as `cluster/topic`; all empty when everything was there."""

    created: list[str]
    grown: list[str]
    altered: list[str]


class Found(NamedTuple):
    """One topic as it is."""

    partitions: int
    config: dict[str, str]


class ClusterAdmin:
    """Administers one Kafka cluster. Making it does no IO; all calls raise `EdgeError`."""

    def __init__(self, cluster: Cluster, settings: TopicSettings) -> None:
        self.cluster = cluster
        self._settings = settings
        self._client: AdminClient | None = None

    def kafka_id(self) -> str:
        """Return the id by which the brokers call their cluster."""
        return told_kafka_id(self._open(), self.cluster.id, self._asking_s)

    def check_identity(self) -> None:
        """Raise `ConfigError` when the brokers are another Kafka cluster than the topology names."""
        if self.cluster.kafka_id:
            found = self.kafka_id()
            if found != self.cluster.kafka_id:
                place = f"clusters[{self.cluster.id}].kafka_id"
                fault = Fault(place, self.cluster.kafka_id, f"the brokers there are of {found!r}")
                raise ConfigError("a cluster is not the one that the topology names", [fault])

    def find(self, specs: Sequence[TopicSpec]) -> dict[str, Found]:
        """Return those of the topics that exist, by name."""
        partitions: dict[str, int] = {}
        for piece in self._pieces(specs):
            partitions.update(_asked(self._partitions, [spec.name for spec in piece]))
        configs: dict[str, dict[str, str]] = {}
        names = [spec.name for spec in specs if spec.name in partitions]
        for first in range(0, len(names), _CONFIGS_PER_CALL):
            configs.update(_asked(self._configs, names[first : first + _CONFIGS_PER_CALL]))
        return {name: Found(partitions[name], configs[name]) for name in names}

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create topics in one request; one that exists meanwhile is no error."""
        wanted = [
            NewTopic(spec.name, spec.partitions, spec.replication, config=dict(spec.config))
            for spec in specs
        ]
        answers = self._open().create_topics(
            wanted, operation_timeout=self._asking_s, request_timeout=self._asking_s
        )
        await_all(answers.values())
        for name, answer in answers.items():
            doing = f"creating {name} in cluster {self.cluster.id}"
            answer_of(answer, doing, fine=KafkaError.TOPIC_ALREADY_EXISTS)

    def grow(self, spec: TopicSpec) -> None:
        """Raise a topic's number of partitions."""
        wanted = [NewPartitions(spec.name, spec.partitions)]
        answers = self._open().create_partitions(wanted, request_timeout=self._asking_s)
        await_all(answers.values())
        for name, answer in answers.items():
            answer_of(answer, f"adding partitions to {name} in cluster {self.cluster.id}")

    def configure(self, name: str, config: Iterable[tuple[str, str]]) -> None:
        """Set some settings of a topic; the others stay."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        answers = self._open().incremental_alter_configs([resource], request_timeout=self._asking_s)
        await_all(answers.values())
        for answer in answers.values():
            answer_of(answer, f"configuring {name} in cluster {self.cluster.id}")

    def wait_ready(self, specs: Sequence[TopicSpec], progress: Progress | None = None) -> None:
        """Return when every partition of the topics answers for its end."""
        deadline = time.monotonic() + self._settings.ready_timeout_s
        waiting = [(spec.name, number) for spec in specs for number in range(spec.partitions)]
        total = len(waiting)
        while waiting:
            # A client remembers that a topic was unknown, and answers from memory: ask with a new one.
            self._client = None
            waiting = list(self._silent(waiting))
            if progress is not None:
                progress(total - len(waiting), total)
            if waiting and time.monotonic() > deadline:
                topic, number = waiting[0]
                raise EdgeError(
                    f"{len(waiting)} partitions of cluster {self.cluster.id} have no leader after "
                    f"{self._settings.ready_timeout_s:g} s, {topic}/{number} among them",
                    retryable=True,
                )
            if waiting:
                time.sleep(_AGAIN_S)

    def wait_seen(self, specs: Sequence[TopicSpec]) -> None:
        """Return when topics are told as they are asked to be.

        The controller answers a change before the brokers that tell of it have heard.
        """
        deadline = time.monotonic() + self._settings.ready_timeout_s
        while drifts := drift_of(self.cluster.id, specs, self.find(specs)):
            if time.monotonic() > deadline:
                drift = drifts[0]
                raise EdgeError(
                    f"cluster {self.cluster.id} took the change of {drift.topic}, and after "
                    f"{self._settings.ready_timeout_s:g} s still tells {drift.what} "
                    f"{drift.found!r} instead of {drift.wanted!r}",
                    retryable=True,
                )
            time.sleep(_AGAIN_S)

    def _silent(self, partitions: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        """Yield the partitions that do not answer yet."""
        size = self._settings.partitions_per_call
        for first in range(0, len(partitions), size):
            latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
            piece = {TopicPartition(*one): latest for one in partitions[first : first + size]}
            answers = self._open().list_offsets(piece, request_timeout=self._asking_s)
            await_all(answers.values())
            for partition, answer in answers.items():
                try:
                    answer.result()
                except KafkaException as error:
                    doing = f"waiting for {partition.topic} of cluster {self.cluster.id}"
                    made = edge_error(error, doing)
                    if not made.retryable:
                        raise made from error
                    yield partition.topic, partition.partition

    def _partitions(self, names: Sequence[str]) -> dict[str, int]:
        answers = self._open().describe_topics(
            TopicCollection(list(names)), request_timeout=self._asking_s
        )
        await_all(answers.values())
        found = {}
        for name, answer in answers.items():
            doing = f"describing {name} of cluster {self.cluster.id}"
            described = answer_of(answer, doing, fine=KafkaError.UNKNOWN_TOPIC_OR_PART)
            if described is not None:
                found[name] = len(described.partitions)
        return found

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._open().describe_configs(resources, request_timeout=self._asking_s)
        await_all(answers.values())
        found = {}
        for resource, answer in answers.items():
            doing = f"describing {resource.name} of cluster {self.cluster.id}"
            entries = answer_of(answer, doing)
            found[resource.name] = {name: entry.value or "" for name, entry in entries.items()}
        return found

    def _pieces(self, specs: Sequence[TopicSpec]) -> Iterator[list[TopicSpec]]:
        """Cut a list of topics into pieces that one request may hold."""
        yield from pieces(specs, self._settings.partitions_per_call)

    @property
    def _asking_s(self) -> float:
        return asking_s(self._settings.call_timeout_s)

    def _open(self) -> AdminClient:
        if self._client is None:
            self._client = AdminClient(base_config(self.cluster, "admin"))
        return self._client


def _asked(question: Callable[[Sequence[str]], _Answer], names: Sequence[str]) -> _Answer:
    """Ask, and ask again what was cut off: a client with several bootstrap addresses lets go of them,
    and of the questions on their way, when it learns which broker each one is.
    """
    for _ in range(_ASKED_MAX - 1):
        try:
            return question(names)
        except EdgeError as error:
            cause = error.__cause__
            if not isinstance(cause, KafkaException):
                raise
            if cause.args[0].code() != KafkaError._DESTROY_BROKER:
                raise
        time.sleep(_AGAIN_S)
    return question(names)


def pieces(specs: Sequence[TopicSpec], partitions_max: int) -> Iterator[list[TopicSpec]]:
    """Cut a list of topics so that each piece has at most so many partitions, or one topic."""
    return in_pieces(specs, partitions_max, lambda spec: spec.partitions)


def drift_of(cluster: str, specs: Sequence[TopicSpec], found: dict[str, Found]) -> list[Drift]:
    """Compare topics as they are with how they must be."""
    drifts: list[Drift] = []
    for spec in specs:
        there = found.get(spec.name)
        if there is None:
            shape = f"{spec.partitions} partitions"
            drifts.append(Drift(cluster, spec.name, "missing", "", shape, mendable=True))
            continue
        if there.partitions != spec.partitions:
            grows = spec.grows and there.partitions < spec.partitions
            counts = str(there.partitions), str(spec.partitions)
            drifts.append(Drift(cluster, spec.name, "partitions", *counts, mendable=grows))
        drifts += [
            Drift(cluster, spec.name, key, there.config.get(key, ""), value, mendable=True)
            for key, value in spec.config.items()
            if there.config.get(key) != value
        ]
    return drifts


def diff_topics(topology: Topology, settings: TopicSettings | None = None) -> list[Drift]:
    """Return everything in which the clusters' topics are not as the topology means them.

    Raises `EdgeError` when a cluster does not answer, `ConfigError` when it is another one.
    """
    chosen = settings or TopicSettings()
    drifts: list[Drift] = []
    for cluster in topology.clusters:
        admin = ClusterAdmin(cluster, chosen)
        admin.check_identity()
        specs = topics_of(topology, cluster, chosen)
        drifts += drift_of(cluster.id, specs, admin.find(specs))
    return drifts


def apply_topics(
    topology: Topology, settings: TopicSettings | None = None, *, progress: Progress | None = None
) -> Applied:
    """Create what is missing, grow public topics, set drifted settings; wait until all answer.

    `progress` gets partitions that answer and all of them. Raises `ConfigError`, before anything is
    done, naming every topic that is there with another shape or cluster; `EdgeError`.
    """
    chosen = settings or TopicSettings()
    work = []
    for cluster in topology.clusters:
        admin = ClusterAdmin(cluster, chosen)
        admin.check_identity()
        specs = topics_of(topology, cluster, chosen)
        work.append((admin, specs, drift_of(cluster.id, specs, admin.find(specs))))
    _refuse([drift for _, _, drifts in work for drift in drifts if not drift.mendable])
    applied = Applied([], [], [])
    total = sum(spec.partitions for _, specs, _ in work for spec in specs)
    done = 0
    for admin, specs, drifts in work:
        _mend(admin, specs, drifts, chosen, applied)
    for admin, specs, drifts in work:
        admin.wait_ready(specs, None if progress is None else _shifted(progress, done, total))
        mended = {drift.topic for drift in drifts if drift.what != "missing"}
        admin.wait_seen([spec for spec in specs if spec.name in mended])
        done += sum(spec.partitions for spec in specs)
    return applied


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _refuse(drifts: Sequence[Drift]) -> None:
    if drifts:
        faults = [
            Fault(
                f"{drift.cluster}/{drift.topic}.{drift.what}",
                drift.found,
                f"must be {drift.wanted}",
            )
            for drift in drifts
        ]
        raise ConfigError("topics exist with another shape, which cannot be changed", faults)


def _mend(
    admin: ClusterAdmin,
    specs: Sequence[TopicSpec],
    drifts: Sequence[Drift],
    settings: TopicSettings,
    applied: Applied,
) -> None:
    by_topic: dict[str, list[Drift]] = {}
    for drift in drifts:
        by_topic.setdefault(drift.topic, []).append(drift)
    place = admin.cluster.id
    missing = [
        spec for spec in specs if any(d.what == "missing" for d in by_topic.get(spec.name, ()))
    ]
    for piece in pieces(missing, settings.partitions_per_call):
        admin.create(piece)
        applied.created.extend(f"{place}/{spec.name}" for spec in piece)
    for spec in specs:
        changed = [drift for drift in by_topic.get(spec.name, ()) if drift.what != "missing"]
        if any(drift.what == "partitions" for drift in changed):
            admin.grow(spec)
            applied.grown.append(f"{place}/{spec.name}")
        config = [(d.what, d.wanted) for d in changed if d.what != "partitions"]
        if config:
            admin.configure(spec.name, config)
            applied.altered.append(f"{place}/{spec.name}")
