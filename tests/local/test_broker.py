from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from southbound.errors import ConfigError
from southbound.local import broker as broker_module
from southbound.local.broker import Broker, BrokerSettings


def broker(**overrides: str) -> Broker:
    """A broker that is not started."""
    return Broker(
        name="c1",
        directory=Path("/var/x"),
        port=1001,
        controller_port=1002,
        kafka_id="id",
        settings=BrokerSettings(overrides=overrides),
    )


def test_every_listener_is_on_the_loopback_address() -> None:
    """Nobody outside this machine can reach it."""
    lines = broker().properties()
    assert lines["listeners"] == "BROKER://127.0.0.1:1001,CONTROLLER://127.0.0.1:1002"
    assert lines["advertised.listeners"] == lines["listeners"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("auto.create.topics.enable", "false"),
        ("unclean.leader.election.enable", "false"),
        ("message.max.bytes", "1114112"),
    ],
)
def test_settings_that_promises_rest_on(setting: str, value: str) -> None:
    """No topic by accident, no lost writes by election, room for a record of 1 MiB."""
    assert broker().properties()[setting] == value


def test_overrides_replace_and_add() -> None:
    """So a test can force compaction."""
    lines = broker(**{"log.cleaner.backoff.ms": "1", "segment.ms": "5"}).properties()
    assert (lines["log.cleaner.backoff.ms"], lines["segment.ms"]) == ("1", "5")


class Client:
    """Stands for a consumer: tells one topic of two partitions, and their ends or refusals."""

    def __init__(self, refusals: list[int | None], kafka_id: str = "id") -> None:
        self.refusals = refusals
        self.kafka_id = kafka_id

    def list_topics(self, timeout: float) -> Any:
        """Answer as a broker that has its metadata."""
        topics = {"t": SimpleNamespace(partitions={0: None, 1: None})}
        return SimpleNamespace(cluster_id=self.kafka_id, brokers={1: None}, topics=topics)

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> Any:
        """Give each partition's end or refusal; as librdkafka, raise when all are refused."""
        assert [(each.topic, each.partition) for each in asked] == [("t", 0), ("t", 1)]
        if all(self.refusals):
            raise KafkaException(KafkaError(self.refusals[0] or 0))
        return [SimpleNamespace(error=code and KafkaError(code)) for code in self.refusals]


@pytest.mark.parametrize(
    ("refusals", "ready"),
    [
        ([None, None], True),
        ([None, KafkaError.NOT_LEADER_FOR_PARTITION], False),
        ([KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE], False),
    ],
)
def test_a_broker_is_ready_when_it_leads_every_partition(
    monkeypatch: pytest.MonkeyPatch, refusals: list[int | None], ready: bool
) -> None:
    """One that comes back knows its topics before it leads them: that is not ready."""
    monkeypatch.setattr(broker_module, "answers", lambda _port: True)
    client: Any = Client(refusals)
    assert broker()._answered(client) is ready


def test_another_cluster_on_the_port_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never taken for the fleet's own."""
    monkeypatch.setattr(broker_module, "answers", lambda _port: True)
    client: Any = Client([None, None], kafka_id="stranger")
    with pytest.raises(ConfigError, match="another Kafka cluster, stranger"):
        broker()._answered(client)
