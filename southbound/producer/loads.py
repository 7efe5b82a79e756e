"""In which order, and how much at once, bulk work is taken in. Pure.

The rule: a slot's parts leave side by side, since neighbours in a slot share a request. What is too
much to be under way at once is therefore put in the order of its slots before it is cut, and all
clusters' first slots come first, so that each chunk keeps every cluster busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from southbound.partitioning.placement import Address
from southbound.producer.core import Parcel


def by_slot(parcels: Iterable[Parcel]) -> list[Parcel]:
    """Return parts that have a route, those of one slot together and in the order given."""
    together: dict[int, list[Parcel]] = {}
    for parcel in parcels:
        those = together.get(id(parcel.route))
        if those is None:
            together[id(parcel.route)] = [parcel]
        else:
            those.append(parcel)
    # A slot that is entered at several epochs has as many routes; sorting keeps them side by side.
    return [parcel for those in sorted(together.values(), key=_place) for parcel in those]


def in_chunks(parcels: Iterable[Parcel], records_max: int) -> Iterator[Sequence[Parcel]]:
    """Yield parts in their order, as many at once as hold so many records, and at least one."""
    chunk: list[Parcel] = []
    records = 0
    for parcel in parcels:
        size = len(parcel.records)
        if chunk and records + size > records_max:
            yield chunk
            chunk, records = [], 0
        chunk.append(parcel)
        records += size
    if chunk:
        yield chunk


def _place(parcels: Sequence[Parcel]) -> tuple[str, int, str]:
    route = parcels[0].route
    assert route is not None
    first: Address = route.addresses[0]
    return first.topic.rpartition(".")[2], first.partition, first.topic
