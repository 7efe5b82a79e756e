"""What an administrator of a cluster does when a question is cut off."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from southbound.edge.admin import ClusterAdmin
from southbound.edge.topics import TopicSettings, TopicSpec
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

SPEC = TopicSpec("sb.moves", 1, 1, {})


class Described:
    """One topic, as the client tells it."""

    partitions = (0,)


class FakeAdmin:
    """Answers, after it was cut off some times."""

    def __init__(self, cuts: int) -> None:
        self.cuts = cuts
        self.asked = 0

    def describe_topics(self, _topics: Any, **_: Any) -> dict[str, Future[Any]]:
        """Answer whether the one topic is there."""
        return {SPEC.name: self._answer(Described())}

    def describe_configs(self, resources: Any, **_: Any) -> dict[Any, Future[Any]]:
        """Answer with no settings."""
        return {resource: self._answer({}) for resource in resources}

    def _answer(self, found: object) -> Future[Any]:
        self.asked += 1
        answer: Future[Any] = Future()
        if self.asked <= self.cuts:
            answer.set_exception(KafkaException(KafkaError(KafkaError._DESTROY_BROKER)))
        else:
            answer.set_result(found)
        return answer


def admin_of(fake: FakeAdmin) -> ClusterAdmin:
    """Return an administrator that speaks to a fake."""
    made = ClusterAdmin(Cluster(id="c1", az="a", bootstrap=("h:1", "h:2")), TopicSettings())
    made._client = fake  # type: ignore[assignment]
    return made


def test_a_question_is_asked_again_when_its_broker_turned_out_to_be_another() -> None:
    """Of several bootstrap addresses, those learnt to be one broker are let go of."""
    assert admin_of(FakeAdmin(cuts=1)).find([SPEC])[SPEC.name].partitions == 1


def test_it_is_not_asked_for_ever() -> None:
    """Then whoever asked may try again."""
    with pytest.raises(EdgeError) as raised:
        admin_of(FakeAdmin(cuts=100)).find([SPEC])
    assert raised.value.retryable


def test_a_change_that_brokers_never_tell_of_is_named() -> None:
    """What a controller took and a broker keeps telling otherwise is no success."""
    made = admin_of(FakeAdmin(cuts=0))
    made._settings = TopicSettings(ready_timeout_s=0.15)
    wanted = TopicSpec(SPEC.name, 1, 1, {"cleanup.policy": "compact"})
    with pytest.raises(EdgeError, match=r"sb\.moves.*cleanup\.policy '' instead of 'compact'"):
        made.wait_seen([wanted])
