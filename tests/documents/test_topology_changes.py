"""Which changes of a topology are safe."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from southbound.documents.topology import topology_of
from southbound.documents.topology_changes import changes, retired_names
from southbound.partitioning.topology import Topology

BEFORE: dict[str, Any] = {
    "region": "r1",
    "azs": [{"id": "az-1", "journal": "c1"}],
    "clusters": [
        {"id": "c1", "az": "az-1", "bootstrap": ["a:1"], "kafka_id": "k1"},
        {"id": "c2", "az": "az-1", "bootstrap": ["b:1"]},
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
            "topics": 2,
            "partitions": 4,
            "max_per_slot": 8,
        },
    ],
    "public": [{"kind": "elb", "cluster": "c1", "partitions": 4}],
}
NEW_POOL = {
    "id": "h2",
    "cluster": "c2",
    "class": "host",
    "topics": 9,
    "partitions": 4,
    "max_per_slot": 8,
}


def changed(section: str, index: int, **fields: Any) -> Topology:
    """Return the topology with some fields of one entry changed."""
    document = copy.deepcopy(BEFORE)
    document[section][index].update(fields)
    return topology_of(document)


def grown(section: str, entry: dict[str, Any]) -> Topology:
    """Return the topology with an entry added."""
    document = copy.deepcopy(BEFORE)
    document[section].append(entry)
    return topology_of(document)


def test_nothing_changed() -> None:
    """The same topology shows no rows, no faults, no retired names."""
    found = changes(topology_of(BEFORE), topology_of(BEFORE))
    assert (found.rows, found.faults, found.retired) == ((), (), frozenset())


def test_a_pool_is_added() -> None:
    """A new pool is a row and no fault."""
    found = changes(topology_of(BEFORE), grown("pools", NEW_POOL))
    assert [(row.action, row.noun, row.id) for row in found.rows] == [("add", "pool", "h2")]
    assert "topics 9" in found.rows[0].after
    assert not found.faults


@pytest.mark.parametrize(
    ("section", "fields", "place"),
    [
        ("pools", {"topics": 3}, "pools[0].topics"),
        ("pools", {"partitions": 8}, "pools[0].partitions"),
        ("pools", {"cluster": "c2"}, "pools[0].cluster"),
        ("clusters", {"kafka_id": "k2"}, "clusters[0].kafka_id"),
        ("clusters", {"interest_partitions": 8}, "clusters[0].interest_partitions"),
        ("clusters", {"status_partitions": 1}, "clusters[0].status_partitions"),
        ("azs", {"journal": "c2"}, "azs[0].journal"),
        ("public", {"cluster": "c2"}, "public[0].cluster"),
        ("public", {"partitions": 2}, "public[0].partitions"),
    ],
)
def test_what_must_stay_as_it_is(section: str, fields: dict[str, Any], place: str) -> None:
    """A change that placements, hashes or journals rest on is a fault at its place, and a row."""
    found = changes(topology_of(BEFORE), changed(section, 0, **fields))
    assert [fault.place for fault in found.faults] == [place]
    assert [row.field for row in found.rows] == [place.rsplit(".", 1)[1]]


def test_a_pool_keeps_its_class() -> None:
    """A host pool never becomes a VPC pool."""
    document = copy.deepcopy(BEFORE)
    document["pools"].append(NEW_POOL)
    other = copy.deepcopy(document)
    other["pools"][2]["class"] = "vpc"
    found = changes(topology_of(document), topology_of(other))
    assert [fault.place for fault in found.faults] == ["pools[2].class"]


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("pools", {"max_per_slot": 99}),
        ("clusters", {"bootstrap": ["z:1"], "replication": 3, "status_partitions": 9}),
        ("clusters", {"client": {"security.protocol": "SSL"}}),
        ("clusters", {"kafka_id": ""}),
        ("public", {"partitions": 400}),
    ],
)
def test_what_may_change(section: str, fields: dict[str, Any]) -> None:
    """Capacities, addresses and partitions that only grow may change, and are shown."""
    found = changes(topology_of(BEFORE), changed(section, 0, **fields))
    assert not found.faults
    assert {row.field for row in found.rows} == set(fields)


def test_an_az_is_not_removed() -> None:
    """Removing an AZ would forget the placements in its journal."""
    more = copy.deepcopy(BEFORE)
    more["azs"].append({"id": "az-2"})
    more["clusters"].append({"id": "c3", "az": "az-2", "bootstrap": ["c:1"]})
    found = changes(topology_of(more), topology_of(BEFORE))
    assert [(fault.place, fault.value) for fault in found.faults] == [("azs", "az-2")]


def test_a_name_is_never_used_again() -> None:
    """Once removed, a pool's id and a public kind are retired, and refused when they come back."""
    bigger = copy.deepcopy(BEFORE)
    bigger["pools"].append(NEW_POOL)
    bigger["public"].append({"kind": "eip", "cluster": "c1", "partitions": 4})
    removal = changes(topology_of(bigger), topology_of(BEFORE))
    assert removal.retired == {"h2", "public.eip"}
    assert not removal.faults
    back = changes(topology_of(BEFORE), topology_of(bigger), removal.retired)
    assert [fault.place for fault in back.faults] == ["pools[2].id", "public[1].kind"]


def test_passwords_are_not_shown() -> None:
    """Of client settings the rows show the names only."""
    found = changes(
        topology_of(BEFORE), changed("clusters", 0, client={"sasl.password": "hunter2"})
    )
    assert found.rows[0].after == "{sasl.password}"


def test_names_of_a_topology() -> None:
    """Retirable names are the pools' ids and the public kinds."""
    assert retired_names(topology_of(BEFORE)) == {"h1", "v1", "public.elb"}
