"""Which logs an agent has read: the ids of clusters and of their topics. Pure.

The rule: a position means something in one log only, and so does what the log does not speak of. Who
reads a name under which another log answers reads it anew, and takes nothing down for its silence.
"""

from __future__ import annotations

from collections.abc import Mapping


class Logs:
    """The ids as they were last told. `known` is what was remembered: as in `state.State`."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._ids = dict(known)

    def is_known(self, cluster: str, topic: str) -> bool:
        """Tell whether a topic has told its id before."""
        return _name(cluster, topic) in self._ids

    def take(self, cluster: str, kafka_id: str, topics: Mapping[str, str]) -> dict[str, str]:
        """Take what a cluster says of itself; return what is to be remembered."""
        told = {cluster: kafka_id, **{_name(cluster, topic): id for topic, id in topics.items()}}
        news = {name: id for name, id in told.items() if self._ids.get(name) != id}
        self._ids.update(news)
        return news

    def is_another(self, cluster: str, kafka_id: str) -> bool:
        """Tell whether a cluster is another one than before, if it was known."""
        return self._ids.get(cluster, kafka_id) != kafka_id

    def others(self, cluster: str, topics: Mapping[str, str]) -> frozenset[str]:
        """Return the topics that are other ones than before, of those that were known."""
        return frozenset(
            topic for topic, id in topics.items() if self._ids.get(_name(cluster, topic), id) != id
        )


def _name(cluster: str, topic: str) -> str:
    return f"{cluster}/{topic}"
