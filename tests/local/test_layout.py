import pytest
import yaml

from southbound.documents.topology import topology_of
from southbound.local.layout import LayoutSettings, PoolSize, document, extended, read_document
from southbound.local.record import planned


def test_each_cluster_has_a_host_pool_and_a_vpc_pool() -> None:
    """Of the sizes asked for, under ids of their own."""
    settings = LayoutSettings(host=PoolSize(topics=3, partitions=5, max_per_slot=7))
    made = document(planned(None, 2, 2, "here"), settings)
    assert [pool["id"] for pool in made["pools"]] == ["c1-host", "c1-vpc", "c2-host", "c2-vpc"]
    assert made["pools"][2] == {
        "id": "c2-host",
        "cluster": "c2",
        "class": "host",
        "topics": 3,
        "partitions": 5,
        "max_per_slot": 7,
    }


def test_each_zone_keeps_its_journal_in_a_cluster_of_its_own() -> None:
    """The first one of the zone."""
    made = document(planned(None, 4, 2, "here"), LayoutSettings())
    assert made["azs"] == [{"id": "az-a", "journal": "c1"}, {"id": "az-b", "journal": "c2"}]


def test_clusters_tell_their_address_and_id() -> None:
    """As the record has them."""
    record = planned(None, 1, None, "here")
    (cluster,) = document(record, LayoutSettings())["clusters"]
    assert cluster["bootstrap"] == [f"127.0.0.1:{record.brokers[0].port}"]
    assert cluster["kafka_id"] == record.brokers[0].kafka_id


def test_public_kinds_are_spread_over_the_clusters() -> None:
    """Round and round."""
    made = document(planned(None, 2, 2, "here"), LayoutSettings())
    assert [(public["kind"], public["cluster"]) for public in made["public"]] == [
        ("elb", "c1"),
        ("nat_gateway", "c2"),
        ("eip", "c1"),
    ]


def test_a_grown_fleet_keeps_what_a_person_wrote() -> None:
    """A pool added by hand, a changed kind and a further setting all stay; new clusters come."""
    small = planned(None, 1, None, "here")
    written = document(small, LayoutSettings())
    written["pools"].append({"id": "mine", "cluster": "c1", "class": "host"})
    written["public"] = [{"kind": "elb", "cluster": "c1", "partitions": 99}]
    written["note"] = "by hand"
    wanted = document(planned(small, 2, None, "here"), LayoutSettings())
    grown = extended(written, wanted)
    assert [pool["id"] for pool in grown["pools"]] == [
        "c1-host",
        "c1-vpc",
        "mine",
        "c2-host",
        "c2-vpc",
    ]
    assert grown["public"][0]["partitions"] == 99
    assert [public["kind"] for public in grown["public"]] == ["elb", "nat_gateway", "eip"]
    assert grown["note"] == "by hand"


def test_extending_a_complete_document_changes_nothing() -> None:
    """So a second start leaves the file alone."""
    made = document(planned(None, 2, 2, "here"), LayoutSettings())
    assert extended(made, made) == made


@pytest.mark.parametrize(("clusters", "azs"), [(1, 1), (2, 2), (3, 2), (26, 26)])
def test_the_document_is_a_valid_topology(clusters: int, azs: int) -> None:
    """The validation that `topology apply` runs finds nothing wrong with it."""
    topology = topology_of(document(planned(None, clusters, azs, "here"), LayoutSettings()))
    assert len(topology.clusters) == clusters
    assert len(topology.azs) == azs
    assert len(topology.pools) == 2 * clusters


def test_a_document_is_read_as_it_was_written() -> None:
    """And a fleet that grows adds to it."""
    made = document(planned(None, 2, 2, "here"), LayoutSettings())
    assert read_document(yaml.safe_dump(made).encode()) == made


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1]",
        b"\xff",
        b"- " * 100_000,
        b"{a: " * 100_000,
        b"[" * 300_000,
        b"azs: 1",
        b"azs: [1]",
        b"pools: [{id: [1]}]",
        b"public: [{id: x}]",
        b"a: " + b"9" * 300_000,
        b"a: 2001-99-99",
        b"a: &a {k: v}\nb: {<<: *a}\n",
        b"!!python/object/apply:os.system ['true']",
        b"#" * (1 << 20) + b"#",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_document_is_a_value_error(data: bytes) -> None:
    """At once, whatever it would unfold to."""
    with pytest.raises(ValueError, match=r"."):
        read_document(data)
