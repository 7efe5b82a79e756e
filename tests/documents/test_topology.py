"""Reading, judging and writing a topology's document."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.documents.topology import (
    document_of,
    dump_topology,
    load_topology,
    read_topology,
    topology_of,
)
from southbound.errors import ConfigError
from southbound.local.layout import LayoutSettings, document
from southbound.local.record import BrokerRecord, FleetRecord

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "topology.yaml"

SMALL: dict[str, Any] = {
    "region": "r1",
    "azs": [{"id": "az-1"}, {"id": "az-2", "journal": "c3"}],
    "clusters": [
        {"id": "c1", "az": "az-1", "bootstrap": ["127.0.0.1:9092"]},
        {"id": "c2", "az": "az-2", "bootstrap": ["[::1]:9092", "kafka.example.net:9093"]},
        {
            "id": "c3",
            "az": "az-2",
            "bootstrap": ["c3:1"],
            "client": {"socket.keepalive.enable": True},
        },
    ],
    "pools": [
        {
            "id": "h1",
            "cluster": "c1",
            "class": "host",
            "topics": 2,
            "partitions": 4,
            "max_per_slot": 8,
        },
        {
            "id": "v1",
            "cluster": "c1",
            "class": "vpc",
            "topics": 1,
            "partitions": 2,
            "max_per_slot": 8,
        },
    ],
    "public": [{"kind": "elb", "cluster": "c2", "partitions": 4}],
}


def small(**sections: Any) -> dict[str, Any]:
    """Return a copy of the small topology with some sections replaced."""
    return {**copy.deepcopy(SMALL), **sections}


def places(document: Any) -> list[str]:
    """Return the places of the faults that judging a document finds."""
    with pytest.raises(ConfigError) as caught:
        topology_of(document)
    return [fault.place for fault in caught.value.faults]


def test_the_example_is_valid() -> None:
    """The example of the documentation is a topology with its journals and sizes."""
    topology = load_topology(EXAMPLE)
    assert topology.az("az-1").journal == "cluster-1"
    assert topology.az("az-2").journal == "cluster-3"
    assert topology.pool("hosts-1").slots == 10_000
    assert topology.cluster("cluster-1").client["sasl.username"] == "southbound"


def test_defaults_and_references() -> None:
    """A journal that is not named is the AZ's first cluster; settings become text."""
    topology = topology_of(SMALL)
    assert [az.journal for az in topology.azs] == ["c1", "c3"]
    assert topology.cluster("c1").min_insync_replicas == 1
    assert topology.cluster("c3").client == {"socket.keepalive.enable": "true"}
    assert [pool.id for pool in topology.pools_in("vpc")] == ["v1"]


def test_a_topology_survives_being_written_and_read() -> None:
    """What `dump_topology` writes reads back as the same topology."""
    topology = load_topology(EXAMPLE)
    assert read_topology(dump_topology(topology)) == topology


def test_a_local_fleet_writes_a_valid_topology() -> None:
    """The document that a local fleet lays out passes every rule."""
    brokers = tuple(
        BrokerRecord(
            name=f"cluster-{n}",
            az=f"az-{n % 2 + 1}",
            port=9000 + n,
            controller_port=9100 + n,
            kafka_id="x",
        )
        for n in range(3)
    )
    fleet = FleetRecord(region="local", brokers=brokers, redis_port=6379)
    assert len(topology_of(document(fleet, LayoutSettings())).clusters) == 3


def test_all_faults_are_gathered_at_once() -> None:
    """One reading names every fault, whether of a field, of a name or of a reference."""
    wrong = small(
        azs=[{"id": "az-1", "journal": "nowhere"}, {"id": "az-2", "jornal": "c3"}],
        clusters=[
            {"id": "c1", "az": "az-1", "bootstrap": ["127.0.0.1:9092", "no port"]},
            {"id": "c1", "az": "az-9", "bootstrap": [], "replication": 0},
            {"id": "c3", "az": "az-9", "bootstrap": ["h:70000"], "min_insync_replicas": 2},
        ],
        public=[{"kind": "port", "cluster": "c1", "partitions": True}],
    )
    assert sorted(places(wrong)) == sorted(
        [
            "azs[0].journal",
            "azs[1].jornal",
            "clusters[0].bootstrap[1]",
            "clusters[1].bootstrap",
            "clusters[1].replication",
            "clusters[1].id",
            "clusters[2].az",
            "clusters[2].bootstrap[0]",
            "clusters[2].min_insync_replicas",
            "public[0].partitions",
            "public[0].kind",
        ]
    )


def test_a_bad_entry_does_not_make_references_to_it_wrong() -> None:
    """A cluster with a bad field is still known by its name."""
    clusters = copy.deepcopy(SMALL["clusters"])
    clusters[0]["replication"] = "three"
    assert places(small(clusters=clusters)) == ["clusters[0].replication"]


@pytest.mark.parametrize(
    ("section", "entry", "place"),
    [
        ("pools", {"id": "public"}, "pools[0].id"),
        ("pools", {"id": "Hosts"}, "pools[0].id"),
        ("pools", {"id": "h" * 33}, "pools[0].id"),
        ("pools", {"id": 7}, "pools[0].id"),
        ("pools", {"cluster": "c9"}, "pools[0].cluster"),
        ("pools", {"class": "public"}, "pools[0].class"),
        ("pools", {"topics": 0}, "pools[0].topics"),
        ("pools", {"topics": 1.0}, "pools[0].topics"),
        ("pools", {"topics": 1000, "partitions": 10_000}, "pools[0]"),
        ("pools", {"max_per_slot": -1}, "pools[0].max_per_slot"),
        ("azs", {"id": "a b"}, "azs[0].id"),
        ("azs", {"journal": "c2"}, "azs[0].journal"),
        ("clusters", {"client": {"acks": "1"}}, "clusters[0].client.acks"),
        ("clusters", {"client": {"x": None}}, "clusters[0].client.x"),
        ("public", {"kind": "an elb"}, "public[0].kind"),
    ],
)
def test_each_rule_names_its_place(section: str, entry: dict[str, Any], place: str) -> None:
    """A broken rule is named where it is broken."""
    changed = small()
    changed[section][0].update(entry)
    assert place in places(changed)


def test_both_classes_of_pools_are_needed() -> None:
    """A topology without room for hosts, or for VPCs, is of no use."""
    assert places(small(pools=SMALL["pools"][:1])) == ["pools"]
    assert places(small(pools=[])) == ["pools", "pools"]


def test_an_az_needs_a_cluster() -> None:
    """An AZ whose journal nobody could hold is refused."""
    assert places(small(azs=[*SMALL["azs"], {"id": "az-3"}])) == ["azs[2].journal"]


@pytest.mark.parametrize("text", ["", "just text", "[]", "region: r1", "a: 1\n---\nb: 2", "azs: {"])
def test_what_is_no_topology_is_refused_by_name(text: str) -> None:
    """Any other document ends in one error that names the file."""
    with pytest.raises(ConfigError, match=r"fleet\.yaml"):
        read_topology(text, "fleet.yaml")


def test_a_missing_file_is_a_users_mistake(tmp_path: Path) -> None:
    """A path without a file gives an error that names it."""
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_topology(tmp_path / "none.yaml")


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=30), max_size=5))
def test_any_client_setting_survives_yaml(client: dict[str, str]) -> None:
    """Settings that look like numbers, dates or booleans come back as the text they were."""
    document = small()
    document["clusters"][0]["client"] = client
    try:
        topology = topology_of(document)
    except ConfigError as error:
        found = [fault.place for fault in error.faults]
    else:
        found = []
        assert read_topology(dump_topology(topology)) == topology
        assert topology_of(document_of(topology)) == topology
    assert all(place.startswith("clusters[0].client.") for place in found)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "az", "kind", "cluster", "class", *SMALL]), inner, max_size=5
            )
        ),
        max_leaves=20,
    )
)
def test_any_data_is_judged_and_nothing_else_happens(data: Any) -> None:
    """Whatever stands in the sections, judging ends in a topology or in a `ConfigError`."""
    document = {**SMALL, **data} if isinstance(data, dict) else data
    outcome: tuple[object, ...] = ()
    try:
        outcome = (topology_of(document),)
    except ConfigError as error:
        outcome = error.faults
    assert outcome
