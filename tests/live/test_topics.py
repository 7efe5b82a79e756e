import time
from collections.abc import Iterator

import msgspec
import pytest

from southbound.edge.admin import ClusterAdmin, apply_topics, diff_topics
from southbound.edge.kafka import Message, new_producer
from southbound.edge.log_time import LogTime
from southbound.edge.tail import RangeReader
from southbound.edge.topics import TopicSettings, TopicSpec, topics_of
from southbound.errors import ConfigError, EdgeError
from southbound.local.fleet import LocalFleet
from southbound.partitioning.topology import Az, Cluster, Pool, PublicKind, Topology
from tests.live.agent_kit import eventually
from tests.live.conftest import FleetFactory


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """A cluster without topics."""
    return module_fleet_factory(1)


@pytest.fixture
def topology(own: LocalFleet) -> Topology:
    """A topology of one cluster, with forty topics of fifty partitions."""
    entry = own.topology_document()["clusters"][0]
    return Topology(
        region="r",
        azs=(Az(id="az-a", journal="c1"),),
        clusters=(
            Cluster(
                id="c1",
                az="az-a",
                bootstrap=tuple(entry["bootstrap"]),
                kafka_id=entry["kafka_id"],
            ),
        ),
        pools=(
            Pool(id="many", cluster="c1", cls="host", topics=40, partitions=50, max_per_slot=9),
        ),
        public=(PublicKind(kind="elb", cluster="c1", partitions=3),),
    )


@pytest.fixture
def few(topology: Topology) -> Topology:
    """The same cluster's topology with one small pool of its own, its topics made."""
    pool = Pool(id="few", cluster="c1", cls="host", topics=1, partitions=1, max_per_slot=9)
    small = msgspec.structs.replace(topology, pools=(pool,), public=())
    apply_topics(small)
    return small


@pytest.fixture
def admin(topology: Topology) -> Iterator[ClusterAdmin]:
    """The cluster's administrator."""
    return ClusterAdmin(topology.clusters[0], TopicSettings())  # type: ignore[return-value]


def test_topics_are_made_once_and_mended(topology: Topology, admin: ClusterAdmin) -> None:
    """A first call makes all of them, a second nothing; drift is shown, mended, or refused."""
    told: list[tuple[int, int]] = []
    missing = diff_topics(topology)
    made = apply_topics(topology, progress=lambda done, total: told.append((done, total)))
    assert {drift.what for drift in missing} == {"missing"}
    assert made.created == [f"c1/{drift.topic}" for drift in missing]
    assert len(made.created) >= 41
    assert {"c1/sb.many.039", "c1/sb.public.elb"} <= set(made.created)
    specs = topics_of(topology, topology.clusters[0], TopicSettings())
    partitions = sum(spec.partitions for spec in specs)
    assert told[-1] == (partitions, partitions)
    assert {"sb.directory", "sb.moves"} <= {spec.name for spec in specs}
    assert diff_topics(topology) == []
    assert apply_topics(topology) == ([], [], [])

    # Somebody changes a setting by hand, and the document asks for more public partitions.
    admin.configure("sb.many.007", [("cleanup.policy", "delete")])
    grown = (PublicKind(kind="elb", cluster="c1", partitions=5),)
    wanted = msgspec.structs.replace(topology, public=grown)
    drifted = {
        ("sb.many.007", "cleanup.policy", "delete"),
        ("sb.public.elb", "partitions", "3"),
    }
    eventually(lambda: {(one.topic, one.what, one.found) for one in diff_topics(wanted)} == drifted)
    assert apply_topics(wanted) == ([], ["c1/sb.public.elb"], ["c1/sb.many.007"])
    assert diff_topics(wanted) == []

    # A topic of another shape: nothing at all is done, and it is named.
    other = (msgspec.structs.replace(topology.pools[0], partitions=60),)
    extra = (
        *other,
        Pool(id="extra", cluster="c1", cls="vpc", topics=1, partitions=1, max_per_slot=1),
    )
    with pytest.raises(ConfigError, match=r"c1/sb\.many\.000\.partitions") as caught:
        apply_topics(msgspec.structs.replace(wanted, pools=extra))
    assert len(caught.value.faults) == 40
    assert admin.find([TopicSpec("sb.extra.000", 1, 1, {})]) == {}


def test_what_was_mended_is_seen_at_once(few: Topology, admin: ClusterAdmin) -> None:
    """A controller answers before its brokers have heard; who applies and looks again finds no drift."""
    specs = {spec.name: spec for spec in topics_of(few, few.clusters[0], TopicSettings())}
    spec = specs["sb.few.000"]
    for turn in range(200):
        wanted = {**spec.config, "retention.ms": str(86_400_000 + turn)}
        admin.configure(spec.name, wanted.items())
        admin.wait_seen([spec._replace(config=wanted)])
        assert admin.find([spec])[spec.name].config["retention.ms"] == wanted["retention.ms"]


def test_another_kafka_cluster_is_refused(topology: Topology) -> None:
    """The brokers are asked who they are before anything is made."""
    cluster = msgspec.structs.replace(topology.clusters[0], kafka_id="somebody-else")
    with pytest.raises(ConfigError, match="kafka_id"):
        apply_topics(msgspec.structs.replace(topology, clusters=(cluster,)))


def test_a_cluster_that_is_away_is_named(topology: Topology) -> None:
    """A retryable error in the time that the settings give."""
    cluster = msgspec.structs.replace(
        topology.clusters[0], id="away", bootstrap=("127.0.0.1:1",), kafka_id=""
    )
    away = ClusterAdmin(cluster, TopicSettings(call_timeout_s=1.0))
    with pytest.raises(EdgeError, match="away") as caught:
        away.kafka_id()
    assert caught.value.retryable


@pytest.mark.parametrize("year", [2001, 2061])
def test_brokers_stamp_records_whatever_their_senders_clock_says(few: Topology, year: int) -> None:
    """Compaction waits by the stamp: one long past would have none, one far ahead is refused."""
    cluster = few.clusters[0]
    producer = new_producer(cluster, "clock")
    answers: list[tuple[object, Message]] = []
    log_time = LogTime()
    sent_ms = (year - 1970) * 365 * 86_400_000
    producer.produce(
        "sb.few.000",
        b"v",
        b"k",
        partition=0,
        timestamp=sent_ms,
        on_delivery=lambda error, message: answers.append((error, message)),
    )
    producer.flush(20)
    ((failure, message),) = answers
    assert failure is None
    log_time.note(message)
    assert log_time.is_told
    assert abs(log_time.now_us() / 1e6 - time.time()) < 60
    offset = message.offset()
    assert offset is not None
    reader = RangeReader(cluster, "sb.few.000", "clock")
    (found,) = reader.read(offset, offset + 1, 20)
    reader.close()
    assert abs(found.timestamp()[1] / 1e3 - time.time()) < 60
