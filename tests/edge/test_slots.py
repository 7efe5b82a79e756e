from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from southbound.edge import slots
from southbound.edge.kafka import KafkaError, KafkaException, TopicPartition
from southbound.edge.slots import Place, SlotEnds
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

PLACE = Place("sb.p.000", 3)


def answered(what: object) -> Future[Any]:
    """Return an answer that has come; an error is raised."""
    future: Future[Any] = Future()
    if isinstance(what, Exception):
        future.set_exception(what)
    else:
        future.set_result(what)
    return future


class Admin:
    """A client that goes by what it knew of the leaders when it was made."""

    epoch = 1

    def __init__(self, _settings: Mapping[str, object]) -> None:
        self._knows = Admin.epoch

    def list_topics(self, _topic: str, **_: object) -> SimpleNamespace:
        """Tell the cluster's id."""
        return SimpleNamespace(cluster_id="one")

    def list_offsets(
        self, asked: Mapping[TopicPartition, object], **_: object
    ) -> dict[TopicPartition, Future[Any]]:
        """Tell the ends, unless the leader is another by now."""
        old = KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH))
        answer = SimpleNamespace(offset=7) if self._knows == Admin.epoch else old
        return {at: answered(answer) for at in asked}


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> SlotEnds:
    """Who asks such a client."""
    monkeypatch.setattr(slots, "AdminClient", Admin)
    monkeypatch.setattr(Admin, "epoch", 1)
    return SlotEnds(Cluster(id="c1", az="az", bootstrap=("x:1",)), "test")


def test_a_client_that_knows_an_old_leader_is_not_asked_again(
    ends: SlotEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library keeps what it knows for minutes, whatever the brokers answer: a new one learns."""
    assert ends.ends([PLACE], 1.0) == {PLACE: 7}
    monkeypatch.setattr(Admin, "epoch", 2)
    with pytest.raises(EdgeError) as caught:
        ends.ends([PLACE], 1.0)
    assert caught.value.retryable
    assert ends.ends([PLACE], 1.0) == {PLACE: 7}
