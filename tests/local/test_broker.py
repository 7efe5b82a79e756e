from pathlib import Path

import pytest

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
