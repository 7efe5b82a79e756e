import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from southbound.errors import ConfigError, EdgeError
from southbound.local import jars, launch
from southbound.local.broker import BrokerSettings
from southbound.local.fleet import LocalFleet, LocalSettings
from southbound.partitioning.topology import Cluster
from tests.live.conftest import SETTINGS, FleetFactory


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """A fleet of one cluster that the tests of this file stop, kill and start."""
    return module_fleet_factory(clusters=1)


@pytest.fixture
def running(own: LocalFleet) -> LocalFleet:
    """The same fleet, up whatever the test before did to it."""
    own.up(len(own.status()) - 1)
    return own


def make_topic(address: str, topic: str, **settings: str) -> None:
    """Create a topic of one partition and wait for it."""
    admin = AdminClient({"bootstrap.servers": address})
    made = admin.create_topics([NewTopic(topic, num_partitions=1, config=settings)])
    made[topic].result(30)


def write(address: str, topic: str, records: list[tuple[str, str]]) -> None:
    """Write keyed records, each acknowledged."""
    outcomes: list[object] = []
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    for key, value in records:
        producer.produce(topic, value, key, on_delivery=lambda error, _m: outcomes.append(error))
    assert producer.flush(30) == 0
    assert outcomes == [None] * len(records)


def read(address: str, topic: str, timeout_s: float = 60.0) -> list[tuple[bytes, bytes]]:
    """Return all records up to the end as of now."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "t", "fetch.wait.max.ms": 20})
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=timeout_s)
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        found: list[tuple[bytes, bytes]] = []
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            assert message.error() is None
            found.append((message.key() or b"", message.value() or b""))
            if (message.offset() or 0) >= high - 1:
                return found
        raise AssertionError(f"{topic} was not read to its end at {high}")
    finally:
        consumer.close()


def pids_of(fleet: LocalFleet) -> list[int]:
    """Ids of the fleet's running processes."""
    return [status.pid for status in fleet.status() if status.pid is not None]


def wait_until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Poll until something is true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def test_the_shared_fleet_is_two_real_clusters_and_a_redis(
    fleet: LocalFleet, clusters: dict[str, Cluster]
) -> None:
    """Each broker tells the cluster id of the topology, and all run in processes of their own."""
    assert [(s.name, s.kind, s.up) for s in fleet.status()] == [
        ("c1", "kafka", True),
        ("c2", "kafka", True),
        ("redis", "redis", True),
    ]
    assert len(set(pids_of(fleet))) == 3
    assert all((status.rss_bytes or 0) > 1_000_000 for status in fleet.status())
    assert {name: cluster.az for name, cluster in clusters.items()} == {"c1": "az-a", "c2": "az-b"}
    for cluster in clusters.values():
        told = AdminClient({"bootstrap.servers": cluster.bootstrap[0]}).list_topics(timeout=10)
        assert told.cluster_id == cluster.kafka_id


def test_a_topic_is_not_made_by_naming_it(fleet: LocalFleet, unique: Callable[[str], str]) -> None:
    """Only `topology apply` makes topics, with their settings."""
    producer = Producer({"bootstrap.servers": fleet.bootstrap("c1"), "message.timeout.ms": 1500})
    said: list[object] = []
    producer.produce(unique("typo"), b"v", on_delivery=lambda error, _m: said.append(error))
    producer.flush(20)
    assert len(said) == 1
    assert said[0] is not None


def test_compaction_can_be_forced(fleet: LocalFleet, unique: Callable[[str], str]) -> None:
    """With small segments, only the last record of each key outlives the cleaner."""
    topic, address = unique("compacted"), fleet.bootstrap("c1")
    settings = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    make_topic(address, topic, **{"cleanup.policy": "compact", **settings})
    write(address, topic, [("k", str(number)) for number in range(50)])

    def compacted() -> bool:
        # A segment is closed by the first record after its time.
        write(address, topic, [("other", "x")])
        return [value for key, value in read(address, topic) if key == b"k"] == [b"49"]

    wait_until(compacted)


def test_state_survives_down_and_up(running: LocalFleet, unique: Callable[[str], str]) -> None:
    """The same ports, and the same data in Kafka and in Redis."""
    topic, address = unique("kept"), running.bootstrap("c1")
    make_topic(address, topic)
    write(address, topic, [("k", "v")])
    with redis.Redis.from_url(running.redis_url) as client:
        client.set(topic, "v")
    ports = [status.port for status in running.status()]
    running.down()
    assert [(status.up, status.pid, status.rss_bytes) for status in running.status()] == [
        (False, None, None)
    ] * 2
    running.up(1)
    assert [status.port for status in running.status()] == ports
    assert read(address, topic) == [(b"k", b"v")]
    with redis.Redis.from_url(running.redis_url) as client:
        assert client.get(topic) == b"v"


def test_up_on_a_running_fleet_changes_nothing(running: LocalFleet) -> None:
    """The same processes, and the same files."""
    before = (pids_of(running), running.record_file.stat().st_ino, running.topology_document())
    said: list[str] = []
    running.up(1, progress=said.append)
    assert (pids_of(running), running.topology_document()) == (before[0], before[2])
    assert not any("fetch" in line for line in said)


def test_a_killed_broker_comes_back_with_its_data(
    running: LocalFleet, unique: Callable[[str], str]
) -> None:
    """What it had acknowledged is there after SIGKILL; the port is the same."""
    topic, address = unique("killed"), running.bootstrap("c1")
    make_topic(address, topic)
    write(address, topic, [("k", "v")])
    running.kill("c1")
    assert [status.up for status in running.status()] == [False, True]
    running.start("c1")
    assert read(address, topic) == [(b"k", b"v")]


def test_down_is_clean_after_every_server_was_killed(running: LocalFleet) -> None:
    """No process, no pid file."""
    for pid in pids_of(running):
        os.kill(pid, signal.SIGKILL)
    running.down()
    assert pids_of(running) == []
    assert list(running.state_dir.glob("servers/*/pid")) == []


def test_down_ends_what_a_killed_starter_left(run_dir: Path) -> None:
    """A starter killed in the middle: whatever had started is known, and ended."""
    state = run_dir / "cut-short"
    program = (
        "import pathlib, sys\n"
        "from southbound.local.fleet import LocalFleet\n"
        "LocalFleet(pathlib.Path(sys.argv[1])).up(1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(state)]) as starter:
        wait_until(lambda: len(list(state.glob("servers/*/pid"))) == 2)
        starter.kill()
    fleet = LocalFleet(state)
    left = pids_of(fleet)
    assert len(left) == 2
    fleet.down(wipe=True)
    assert [launch.start_mark(pid) for pid in left] == [None, None]
    assert not (state / "servers").exists()
    assert fleet.status() == []


def test_a_taken_port_is_named_and_nothing_starts(running: LocalFleet) -> None:
    """The fault names the server and its port."""
    port = running.status()[0].port
    running.down()
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen(1)
        with pytest.raises(ConfigError, match=rf"c1: its port is taken.*{port}"):
            running.up(1)
    assert pids_of(running) == []


def test_wrong_jars_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of jars with one wrong byte starts nothing and records nothing."""
    for jar in jars.kafka_jars(os.environ, print):
        (tmp_path / jar.name).symlink_to(jar)
    wrong = tmp_path / jars.pins()[-1].file_name
    right = wrong.read_bytes()
    wrong.unlink()
    wrong.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    monkeypatch.setenv(jars.VARIABLE, str(tmp_path))
    fleet = LocalFleet(tmp_path / "fleet", SETTINGS)
    with pytest.raises(ConfigError, match=rf"not used \(got .*{wrong.name}"):
        fleet.up(1)
    assert fleet.status() == []


def test_a_broker_that_cannot_run_is_told_with_its_last_words(tmp_path: Path) -> None:
    """The error holds Kafka's own complaint, and what had started beside it is stopped again."""
    settings = LocalSettings(broker=BrokerSettings(overrides={"num.io.threads": "none"}))
    fleet = LocalFleet(tmp_path, settings)
    with pytest.raises(EdgeError, match=r"num\.io\.threads"):
        fleet.up(1)
    assert len(fleet.status()) == 2
    assert pids_of(fleet) == []


def test_a_frozen_redis_answers_again_when_it_goes_on(running: LocalFleet) -> None:
    """Frozen is alive and silent: not up."""
    running.pause("redis")
    assert (running.status()[-1].up, running.status()[-1].pid is None) == (False, False)
    running.resume("redis")
    wait_until(lambda: running.status()[-1].up)


def test_one_command_at_a_time(running: LocalFleet) -> None:
    """A second one is turned away with a reason, and may come again."""
    with running._alone(), pytest.raises(EdgeError, match="another command") as caught:
        LocalFleet(running.state_dir, SETTINGS).down()
    assert caught.value.retryable
    assert len(pids_of(running)) == 2


@pytest.fixture
def grown(fleet_factory: FleetFactory) -> LocalFleet:
    """A small fleet grown by a cluster."""
    settings = dataclasses.replace(SETTINGS, region="grows")
    made = fleet_factory(1, None, settings)
    made.up(2)
    return made


def test_a_fleet_grows(grown: LocalFleet) -> None:
    """The new cluster runs beside the old one, and the topology holds both."""
    assert [(status.name, status.up) for status in grown.status()] == [
        ("c1", True),
        ("c2", True),
        ("redis", True),
    ]
    document = grown.topology_document()
    assert document["region"] == "grows"
    assert [pool["id"] for pool in document["pools"]] == ["c1-host", "c1-vpc", "c2-host", "c2-vpc"]


def test_names_of_servers_that_are_not_there_are_faults(fleet: LocalFleet, tmp_path: Path) -> None:
    """A wrong name tells the right ones; a folder without a fleet says so."""
    with pytest.raises(ConfigError, match="c1, c2, redis"):
        fleet.stop("c3")
    with pytest.raises(ConfigError, match="is not a Kafka cluster"):
        fleet.bootstrap("redis")
    with pytest.raises(ConfigError, match="holds no local fleet"):
        LocalFleet(tmp_path).bootstrap("c1")
    assert LocalFleet(tmp_path).status() == []
