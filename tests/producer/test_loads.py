"""What bulk work leaves side by side, and how much of it at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from southbound.partitioning.placement import Address
from southbound.pieces import in_pieces
from southbound.producer.core import Parcel, Record, Route
from southbound.producer.loads import by_slot, in_loads, records_of
from southbound.resources import Op, host_scope

RECORD = Record(b"k", 1, Op.UPSERT, b"\x80")
Slot = tuple[str, int, int]

slots = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), st.integers(0, 3))


def _parcels(places: list[Slot]) -> list[Parcel]:
    """Make a part for each place; parts of one slot share a route, as those of the resolver do."""
    routes = {
        place: Route(1, (Address(place[0], f"sb.{place[0]}.{place[1]:03}", place[2]),), (1,), "f")
        for place in places
    }
    return [
        Parcel(host_scope(f"h{number}"), "set", (RECORD,), 0, route=routes[place])
        for number, place in enumerate(places)
    ]


def _slot(parcel: Parcel) -> Address:
    assert parcel.route is not None
    return parcel.route.addresses[0]


@given(st.lists(slots, max_size=60))
def test_a_slots_parts_stand_together_and_in_order(places: list[Slot]) -> None:
    """No part is lost, no slot is met twice, and within one the order given is kept."""
    given_parcels = _parcels(places)
    ordered = by_slot(given_parcels)
    assert sorted(map(id, ordered)) == sorted(map(id, given_parcels))
    runs = [
        _slot(one)
        for at, one in enumerate(ordered)
        if not at or _slot(ordered[at - 1]) != _slot(one)
    ]
    assert len(runs) == len(set(runs))
    for slot in runs:
        here = [one for one in given_parcels if _slot(one) == slot]
        assert [one for one in ordered if _slot(one) == slot] == here


def test_every_cluster_has_work_from_the_beginning() -> None:
    """The first slots of all clusters come before the last of any."""
    parcels = _parcels([(cluster, topic, 0) for cluster in "ab" for topic in range(4)])
    assert [_slot(one).cluster for one in by_slot(parcels)] == ["a", "b"] * 4


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 12))
def test_chunks_hold_what_they_may(sizes: list[int], most: int) -> None:
    """A chunk holds at most so many records, unless it is a single part; nothing is left out."""
    parcels = [Parcel(host_scope("h"), "set", (RECORD,) * size, 0) for size in sizes]
    chunks = list(in_pieces(parcels, most, records_of))
    assert [one for chunk in chunks for one in chunk] == parcels
    for chunk in chunks:
        assert len(chunk) == 1 or sum(len(one.records) for one in chunk) <= most


@given(st.lists(st.tuples(slots, st.integers(1, 5)), max_size=40), st.integers(1, 12))
def test_a_load_is_cut_between_slots_where_it_can_be(
    places: list[tuple[Slot, int]], most: int
) -> None:
    """However few parts there are: what they hold in records decides whether they are put in order."""
    parcels = _parcels([place for place, _ in places])
    for parcel, (_, size) in zip(parcels, places, strict=True):
        parcel.records = (RECORD,) * size
    loads = list(in_loads(parcels, most))
    whole = sum(map(records_of, parcels)) <= most
    assert [one for load in loads for one in load] == (parcels if whole else by_slot(parcels))
