"""What tests of logs that lose something are made of: a topic that is cut, deleted and made again.

The rule: it is done as an operator would do it, or a storage: through the brokers, under whoever reads.
"""

from __future__ import annotations

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are its public names
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from southbound.edge.admin import apply_topics
from southbound.errors import EdgeError
from southbound.partitioning.topology import Topology
from tests.live.directory_kit import eventually


class Topic:
    """A hand on one topic of one cluster."""

    def __init__(self, topology: Topology, cluster: str, name: str) -> None:
        self.name = name
        self._topology = topology
        bootstrap = topology.cluster(cluster).bootstrap
        self._admin = AdminClient({"bootstrap.servers": ",".join(bootstrap)})

    def delete(self) -> None:
        """Delete it; return when it is gone."""
        for answer in self._admin.delete_topics([self.name]).values():
            answer.result(20)

    def make(self) -> None:
        """Make it again, as the topology means it."""

        def is_made() -> bool:
            try:
                return bool(apply_topics(self._topology).created)
            except EdgeError:
                return False

        eventually(is_made)

    def make_anew(self) -> None:
        """Delete it and make it again."""
        self.delete()
        self.make()

    def cut(self, partition: int, before: int = -1) -> None:
        """Delete the records before an offset, or all; compaction alone refuses that."""
        self._policy("compact,delete")
        try:
            place = TopicPartition(self.name, partition, before)
            eventually(lambda: self._is_cut(place))
        finally:
            self._policy("compact")

    def _is_cut(self, place: TopicPartition) -> bool:
        try:
            self._admin.delete_records([place])[place].result(20)
        except KafkaException:
            return False
        return True

    def _policy(self, words: str) -> None:
        entry = ConfigEntry("cleanup.policy", words, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.name, incremental_configs=[entry])
        for answer in self._admin.incremental_alter_configs([resource]).values():
            answer.result(20)
