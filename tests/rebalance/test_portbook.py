"""Which VPCs have ports in a cluster: when in doubt, they have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from southbound.partitioning.placement import Address
from southbound.rebalance.portbook import PortBook, PortRecord
from southbound.resources import Op, ResourceKey, host_scope
from southbound.wire.control import Marker, Seal, encode_control
from southbound.wire.envelope import EMPTY_SPEC, Envelope, encode, encode_spec
from southbound.wire.keys import encode_key, handover_key, seal_key

HOST = host_scope("h1")
FIRST, SECOND = Address("c1", "sb.a.000", 0), Address("c1", "sb.b.000", 3)


def book() -> PortBook:
    """Return an empty book of c1; pools of other clusters begin with `far`."""
    return PortBook(lambda pool: pool.startswith("far"))


def port(revision: int, vpc: str = "", id: str = "p", at_us: int = 0) -> PortRecord:
    """Return a port's record; without a VPC, its delete."""
    spec = encode_spec({"vpc_id": vpc}) if vpc else EMPTY_SPEC
    op = Op.UPSERT if vpc else Op.DELETE
    value = encode(Envelope(revision, op, 1, "c", 0, 1, 1, 0, spec))
    return PortRecord(encode_key(ResourceKey(HOST, "port", id)), value, at_us)


def marker(epoch: int, pool: str, at_us: int = 0) -> PortRecord:
    """Return the host's marker into a pool."""
    value = encode_control(Marker(epoch, f"{pool}:0:{epoch}:7", 7))
    return PortRecord(handover_key(HOST, epoch), value, at_us)


def seal(epoch: int) -> PortRecord:
    """Return the host's seal."""
    return PortRecord(seal_key(HOST, epoch), encode_control(Seal(epoch)), 0)


def test_ports_come_and_go() -> None:
    """The last port's delete, or its change to another VPC, ends what the first one began."""
    made = book()
    assert not made.has("v")
    made.take(FIRST, [port(1, "v"), port(1, "v", "q")])
    assert made.counts() == {"v": 2}
    made.take(FIRST, [port(2, at_us=5), port(2, "w", "q", at_us=9)])
    assert (made.has("v"), made.has("w")) == (False, True)
    assert (made.gone_us("v"), made.gone_us("w")) == (9, None)


def test_revisions_count_and_nulls_do_not() -> None:
    """A lower revision behind a delete brings nothing back; a null ends nothing."""
    made = book()
    made.take(FIRST, [port(3), port(2, "v")])
    assert not made.has("v")
    made.take(FIRST, [port(4, "v"), port(4, "v")._replace(value=None)])
    assert made.counts() == {"v": 1}


def test_a_host_that_leaves_the_cluster_takes_its_ports_along() -> None:
    """Its marker ends them; what comes behind it may be of a return, and counts."""
    made = book()
    made.take(FIRST, [port(1, "v"), marker(2, "far", at_us=8)])
    assert (made.has("v"), made.gone_us("v")) == (False, 8)
    made.take(FIRST, [port(1, "v"), seal(3)])
    assert made.has("v")


def test_a_host_that_moves_within_the_cluster_keeps_its_ports() -> None:
    """Between the marker and the seal the delta is on its way: the old slot's ports count."""
    made = book()
    made.take(FIRST, [port(1, "v"), marker(2, "near")])
    assert made.has("v")
    made.take(SECOND, [port(1, "v")])
    assert made.counts() == {"v": 2}
    made.take(SECOND, [seal(2)])
    assert made.counts() == {"v": 1}
    made.take(SECOND, [port(2, at_us=3)])
    assert (made.has("v"), made.gone_us("v")) == (False, 3)


def test_a_seal_read_before_its_marker_counts_too() -> None:
    """Slots are read one after the other."""
    made = book()
    made.take(SECOND, [seal(2)])
    made.take(FIRST, [port(1, "v"), marker(2, "near")])
    assert not made.has("v")


def test_what_cannot_be_read_may_be_anything() -> None:
    """Until a readable record of that key comes, every VPC may have a port."""
    made = book()
    made.take(FIRST, [port(1, "v")._replace(value=b"\xffwhat")])
    assert made.has("w")
    made.take(FIRST, [port(2, "v")])
    assert (made.has("w"), made.has("v")) == (False, True)


def test_other_records_say_nothing() -> None:
    """VPCs' own, other kinds, keys of another shape, markers of hosts without ports."""
    made = book()
    other = port(1, "v")._replace(key=encode_key(ResourceKey(HOST, "router", "p")))
    made.take(FIRST, [other, other._replace(key=b"x"), marker(2, "far"), marker(3, "near")])
    assert made.counts() == {}


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["", "v", "w"])), max_size=12))
def test_the_highest_revision_decides(written: list[tuple[int, str]]) -> None:
    """In whatever order they come; of equal revisions the last one."""
    made = book()
    made.take(FIRST, [port(revision, vpc) for revision, vpc in written])
    highest = max((revision for revision, _ in written), default=0)
    last = [vpc for revision, vpc in written if revision == highest][-1:]
    assert made.counts() == ({last[0]: 1} if last and last[0] else {})
