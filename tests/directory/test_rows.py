import pytest

from southbound.directory.keys import BUCKETS, bucket_of, parts_of, public_field, text_of
from southbound.directory.rows import RowReader
from southbound.directory.verdict import Held
from southbound.errors import WireError
from southbound.partitioning.allocation import slot_index
from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import host_scope, vpc_scope
from southbound.wire.keys import scope_text

TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="a", journal="c"),),
    clusters=(Cluster(id="c", az="a", bootstrap=("x:1",)),),
    pools=(
        Pool(id="hp", cluster="c", cls="host", topics=4, partitions=8, max_per_slot=9),
        Pool(id="vp", cluster="c", cls="vpc", topics=4, partitions=8, max_per_slot=9),
    ),
)


def test_key_texts_are_those_of_scopes() -> None:
    """The journal's keys are written as a scope is written everywhere."""
    assert text_of("h", "n1") == scope_text(host_scope("n1"))
    assert text_of("v", "n1") == scope_text(vpc_scope("n1"))
    assert parts_of(text_of("p", public_field("elb", "e1"))) == ("p", "elb\x1fe1")


def test_buckets_are_named_by_class() -> None:
    """Hosts spread over all buckets of their own."""
    letter, _, number = bucket_of("h\x1fn1").partition(":")
    assert letter == "h"
    assert 0 <= int(number) < BUCKETS
    assert len({bucket_of(f"h\x1fn{i}") for i in range(5_000)}) > 4_500


def test_equal_rows_are_one_object() -> None:
    """A million hosts that never moved share a few dozen placements; moved ones do not."""
    rows = RowReader()
    assert rows.host("hp:0:1:0") is rows.host("hp:0:1:0")
    assert rows.host("hp:0:2:7") == Placement("hp", 0, 2, 7)
    assert rows.host("hp:0:2:7") is not rows.host("hp:0:2:7")


def test_rows_of_the_three_classes() -> None:
    """Each class has its shape, and its epoch."""
    rows = RowReader()
    assert rows.held("h\x1fn", "hp:0:3:5") == Held(3, "hp:0:3:5")
    assert rows.held("v\x1fn", "7|vp:0:1:0|q:1:7:2") == Held(7, "7|vp:0:1:0|q:1:7:2")
    assert rows.held("p\x1felb\x1fn", "12") == Held(1, "12")
    assert rows.public("12") == 12


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("h\x1fn", Held(1, "hp:0:2:0")),
        ("h\x1fn", Held(1, "hp:0:1")),
        ("h\x1f", Held(1, "hp:0:1:0")),
        ("h\x1fa\x1fb", Held(1, "hp:0:1:0")),
        ("h\x1fa\n", Held(1, "hp:0:1:0")),
        ("v\x1fn", Held(1, "hp:0:1:0")),
        ("p\x1fn", Held(1, "3")),
        ("p\x1felb\x1fn", Held(2, "3")),
        ("p\x1felb\x1fn", Held(1, "-3")),
        ("q\x1fn", Held(1, "hp:0:1:0")),
        ("nonsense", Held(1, "hp:0:1:0")),
    ],
)
def test_entries_that_make_no_row_are_refused(text: str, held: Held) -> None:
    """A key that is none, a row of another class, an epoch that is not the row's."""
    with pytest.raises(WireError):
        RowReader().check(text, held)


def test_where_rows_count() -> None:
    """A host in one slot, a VPC in one of each replica's pool, a public resource in its partition."""
    rows = RowReader()
    host = slot_index("host", "n", TOPOLOGY.pool("hp"), 1)
    assert list(rows.slots("h\x1fn", "hp:1:1:0", TOPOLOGY)) == [("hp", host)]
    vpc = slot_index("vpc", "n", TOPOLOGY.pool("vp"), 0)
    row = "2|vp:0:1:0|retired:0:2:0"
    assert list(rows.slots("v\x1fn", row, TOPOLOGY)) == [("vp", vpc)]
    assert list(rows.slots("p\x1felb\x1fn", "3", TOPOLOGY)) == [("public/elb", 3)]
