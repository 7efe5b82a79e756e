"""Which log it is that answers under a topic's name: topics' ids.

The rule: a name says nothing of a log. A topic that was deleted and made again goes on under its name,
and the client library reads on in it from the offset at which it stood in the one before: past its
end that is an error, within it nothing at all. Only the id, which is never used again, tells the two
apart. A cluster is asked only when it has just answered otherwise: a new client would try one that is
away at once, and again and again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from confluent_kafka import TopicCollection

from southbound.edge.kafka import (
    KafkaError,
    KafkaException,
    base_config,
    edge_error,
    one_of_many,
)
from southbound.partitioning.topology import Cluster

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What a broker that knows no ids of topics says."""


class TopicIds:
    """Asks a cluster for ids. For one thread at a time; making it does no IO."""

    def __init__(self, cluster: Cluster, client_id: str) -> None:
        self._cluster = cluster
        self._client_id = client_id
        self._client: AdminClient | None = None

    def ask(self, topics: Collection[str], timeout_s: float) -> Mapping[str, str]:
        """Return topics' ids; one that is not there, or has none, is left out.

        Raises `EdgeError` when the cluster does not answer.
        """
        # A process that never asks does without what it takes.
        from southbound.edge.answers import answer_of, asking_s, await_all

        doing = f"asking cluster {self._cluster.id} for the ids of topics"
        try:
            asked = self._open().describe_topics(
                TopicCollection(list(topics)), request_timeout=asking_s(timeout_s)
            )
        except KafkaException as error:
            raise edge_error(error, doing) from error
        await_all(asked.values())
        found: dict[str, str] = {}
        for topic, answer in asked.items():
            told = answer_of(answer, doing, fine=KafkaError.UNKNOWN_TOPIC_OR_PART)
            if told is not None and (id := str(told.topic_id)) != _NO_ID:
                found[topic] = id
        return found

    def close(self) -> None:
        """Let go of the client; the next question makes a new one."""
        self._client = None

    def _open(self) -> AdminClient:
        if self._client is None:
            # A process that never asks does without the module.
            from confluent_kafka.admin import AdminClient

            config = base_config(self._cluster, f"{self._client_id}-identity")
            self._client = AdminClient({**config, **one_of_many()})
        return self._client


def topic_ids(
    cluster: Cluster, topics: Collection[str], client_id: str, timeout_s: float
) -> Mapping[str, str]:
    """Ask as `TopicIds` does, through a client that is made for this question: 3 ms."""
    return TopicIds(cluster, client_id).ask(topics, timeout_s) if topics else {}
