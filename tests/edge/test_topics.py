from southbound.edge.admin import Found, drift_of, pieces
from southbound.edge.topics import TopicSettings, TopicSpec, topics_of
from southbound.partitioning.topology import Az, Cluster, Pool, PublicKind, Topology

TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="a", journal="c1"),),
    clusters=(
        Cluster(id="c1", az="a", bootstrap=("x:1",), replication=3, min_insync_replicas=2),
        Cluster(id="c2", az="a", bootstrap=("x:2",), status_partitions=9, interest_partitions=5),
    ),
    pools=(
        Pool(id="hp", cluster="c1", cls="host", topics=200, partitions=50, max_per_slot=16),
        Pool(id="vp", cluster="c2", cls="vpc", topics=2, partitions=3, max_per_slot=16),
    ),
    public=(PublicKind(kind="elb", cluster="c2", partitions=8),),
)


def specs_of(cluster: int, settings: TopicSettings | None = None) -> dict[str, TopicSpec]:
    """The topics of a cluster by name."""
    specs = topics_of(TOPOLOGY, TOPOLOGY.clusters[cluster], settings or TopicSettings())
    return {spec.name: spec for spec in specs}


def test_a_cluster_holds_its_pools_and_the_topics_of_the_system() -> None:
    """The journal is only where an AZ keeps it; public kinds only in their cluster."""
    first, second = specs_of(0), specs_of(1)
    assert len([name for name in first if name.startswith("sb.hp.")]) == 200
    assert first.keys() - {f"sb.hp.{n:03d}" for n in range(200)} == {
        "sb.directory",
        "sb.interest",
        "sb.moves",
        "sb.rebalance",
        "sb.status",
    }
    assert second.keys() == {
        "sb.interest",
        "sb.moves",
        "sb.public.elb",
        "sb.status",
        "sb.vp.000",
        "sb.vp.001",
    }


def test_shapes_are_those_of_the_topology() -> None:
    """Partitions and replicas; the order of journal and moves is that of one partition."""
    first, second = specs_of(0), specs_of(1)
    assert {first[name].partitions for name in ("sb.directory", "sb.moves")} == {1}
    assert first["sb.hp.000"][1:3] == (50, 3)
    assert first["sb.hp.000"].config["min.insync.replicas"] == "2"
    assert second["sb.status"].partitions == 9
    assert second["sb.interest"].partitions == 5
    assert second["sb.public.elb"].partitions == 8


def test_all_but_reports_are_compacted_after_an_hour() -> None:
    """The log is the state store; reports are news."""
    for spec in specs_of(1).values():
        if spec.name == "sb.status":
            assert spec.config["cleanup.policy"] == "delete"
            assert int(spec.config["retention.ms"]) > 86_400_000
        else:
            assert spec.config["cleanup.policy"] == "compact"
            assert int(spec.config["min.compaction.lag.ms"]) >= 3_600_000


def test_only_public_topics_and_reports_grow() -> None:
    """The hash depends on the number of all others."""
    growing = {spec.name for spec in specs_of(1).values() if spec.grows}
    assert growing == {"sb.public.elb", "sb.status"}


def test_tests_may_force_compaction() -> None:
    """The lag is a setting, and any other may be added."""
    settings = TopicSettings(compaction_lag_ms=0, overrides={"segment.ms": "500"})
    config = specs_of(1, settings)["sb.vp.000"].config
    assert (config["min.compaction.lag.ms"], config["segment.ms"]) == ("0", "500")


def test_requests_stay_small() -> None:
    """Twenty topics of fifty partitions go together; a bigger one goes alone; none is lost."""
    specs = list(specs_of(0).values())
    batches = list(pieces(specs, 1_000))
    assert [spec for batch in batches for spec in batch] == specs
    assert max(sum(spec.partitions for spec in batch) for batch in batches) <= 1_000
    assert len(batches) <= 12
    big = TopicSpec("big", 5_000, 1, {})
    assert list(pieces([big, big], 1_000)) == [[big], [big]]
    assert list(pieces([], 1_000)) == []


def test_drift_is_named() -> None:
    """A missing topic, a wrong number of partitions, a wrong setting; only some can be mended."""
    specs = [
        TopicSpec("gone", 2, 1, {}),
        TopicSpec("small", 8, 1, {}, grows=True),
        TopicSpec("big", 8, 1, {}, grows=True),
        TopicSpec("fixed", 8, 1, {}),
        TopicSpec("set", 1, 1, {"cleanup.policy": "compact", "x": "1"}),
        TopicSpec("fine", 1, 1, {"x": "1"}),
    ]
    found = {
        "small": Found(4, {}),
        "big": Found(9, {}),
        "fixed": Found(4, {}),
        "set": Found(1, {"cleanup.policy": "delete"}),
        "fine": Found(1, {"x": "1", "y": "2"}),
        "stranger": Found(1, {}),
    }
    drifts = {(one.topic, one.what): one for one in drift_of("c", specs, found)}
    assert drifts.keys() == {
        ("gone", "missing"),
        ("small", "partitions"),
        ("big", "partitions"),
        ("fixed", "partitions"),
        ("set", "cleanup.policy"),
        ("set", "x"),
    }
    assert {name for name, _ in drifts if not drifts[name, _].mendable} == {"big", "fixed"}
    assert drifts["set", "cleanup.policy"][3:5] == ("delete", "compact")
