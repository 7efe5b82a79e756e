from collections import Counter
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import PlanError
from southbound.partitioning.topology import (
    Az,
    Cluster,
    Pool,
    PublicKind,
    Topology,
    public_topic_name,
    topic_name,
)

_CLASSES: tuple[Literal["host", "vpc"], ...] = ("host", "vpc")


def topology(azs: int) -> Topology:
    """A topology of one cluster in each AZ, with a pool of each class."""
    names = [f"az{number}" for number in range(azs)]
    return Topology(
        region="r",
        azs=tuple(Az(id=az, journal=f"c-{az}") for az in names),
        clusters=tuple(Cluster(id=f"c-{az}", az=az, bootstrap=("x:1",)) for az in names),
        pools=tuple(
            Pool(
                id=f"{az}-{cls}", cluster=f"c-{az}", cls=cls, topics=2, partitions=3, max_per_slot=4
            )
            for az in names
            for cls in _CLASSES
        ),
        public=(PublicKind(kind="elb", cluster="c-az0", partitions=8),),
    )


def test_everything_is_found_by_its_id() -> None:
    """And what is not there is an error that names it."""
    two = topology(2)
    assert two.cluster("c-az1").az == "az1"
    assert two.pool("az0-vpc").slots == 6
    assert two.az("az1").journal == "c-az1"
    assert two.public_kind("elb").partitions == 8
    assert two.find_pool("az0-host") is two.pool("az0-host")
    assert two.find_pool("gone") is None
    for find, noun in (
        (two.cluster, "cluster"),
        (two.pool, "pool"),
        (two.az, "AZ"),
        (two.public_kind, "public kind"),
    ):
        with pytest.raises(PlanError, match=f"no {noun} 'gone'"):
            find("gone")


def test_pools_are_chosen_by_class_and_place() -> None:
    """By AZ for hosts, by cluster for replicas, or all of a class."""
    two = topology(2)
    assert [pool.id for pool in two.pools_in("host", az="az1")] == ["az1-host"]
    assert [pool.id for pool in two.pools_in("vpc", cluster="c-az0")] == ["az0-vpc"]
    assert len(two.pools_in("vpc")) == 2


def test_topic_names() -> None:
    """Three digits of the topic behind the pool; one topic a public kind."""
    assert topic_name("c1-host", 7) == "sb.c1-host.007"
    assert public_topic_name("elb") == "sb.public.elb"


@given(st.text(min_size=1, max_size=30), st.integers(1, 5))
def test_adding_a_zone_moves_keys_only_to_it(key: str, azs: int) -> None:
    """A key's journal stays where it was unless the new AZ takes it over."""
    before, after = topology(azs).journal_az(key), topology(azs + 1).journal_az(key)
    assert after.id in {before.id, f"az{azs}"}


def test_journals_share_the_keys() -> None:
    """Each AZ records about as many VPCs as any other."""
    three = topology(3)
    counts = Counter(three.journal_az(f"v\x1fvpc-{number}").id for number in range(6_000))
    assert all(1_800 < counts[az.id] < 2_200 for az in three.azs)


def test_a_topology_survives_json() -> None:
    """What the directory stores is what it gets back, its indexes included."""
    two = topology(2)
    again = msgspec.json.decode(msgspec.json.encode(two), type=Topology)
    assert again == two
    assert again.pool("az1-vpc") == two.pool("az1-vpc")
