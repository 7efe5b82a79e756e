"""In which order, and how much at once, bulk work is taken in. Pure.

The rule: a slot's parts leave side by side, since neighbours in a slot share a request. What is too
much to be under way at once is therefore put in the order of its slots before it is cut, and all
clusters' first slots come first, so that each chunk keeps every cluster busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from southbound.partitioning.placement import Address
from southbound.pieces import in_pieces
from southbound.producer.core import Parcel


def by_route(parcels: Iterable[Parcel]) -> list[list[Parcel]]:
    """Put together the parts that take one and the same route, in the order given."""
    together: dict[int, list[Parcel]] = {}
    for parcel in parcels:
        those = together.get(id(parcel.route))
        if those is None:
            together[id(parcel.route)] = [parcel]
        else:
            those.append(parcel)
    return list(together.values())


def by_slot(parcels: Iterable[Parcel]) -> list[Parcel]:
    """Return parts that have a route, those of one slot together and in the order given."""
    # A slot that is entered at several epochs has as many routes; sorting keeps them side by side.
    return [parcel for those in sorted(by_route(parcels), key=_place) for parcel in those]


def records_of(parcel: Parcel) -> int:
    """Return how many records a part has."""
    return len(parcel.records)


def in_loads(parcels: Sequence[Parcel], records_max: int) -> Iterator[Sequence[Parcel]]:
    """Yield parts that have a route, as many at once as hold so many records, and at least one."""
    if sum(map(records_of, parcels)) <= records_max:
        # Whoever sends a load orders it by slot.
        return iter([parcels] if parcels else [])
    return in_pieces(by_slot(parcels), records_max, records_of)


def _place(parcels: Sequence[Parcel]) -> tuple[str, int, str]:
    route = parcels[0].route
    assert route is not None
    first: Address = route.addresses[0]
    return first.topic.rpartition(".")[2], first.partition, first.topic
