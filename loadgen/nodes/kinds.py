"""What a compact node has to know of a kind, by the bytes that stand in a record key. Pure.

The rule: everything here is drawn from `southbound.resources.KINDS`; it is a faster way to the same
answers (`tests/loadgen` compares `refs_of` with `southbound.resources.references`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from southbound.resources import KINDS, PORT, RANK_UNKNOWN_KIND, ScopeClass, vpc_of_port

Ref = tuple[str, bytes]
"""Something that is named by another: its VPC (empty: the scope of who names it), and its suffix.

The suffix is what follows the prefix of the scope in a record key: `<kind>␟<id>`.
"""

SEPARATOR = 0x1F


class FieldFacts(NamedTuple):
    """A field that names others: which `kind` (bytes, with its separator), and in whose scope."""

    field: str
    kind: str
    many: bool
    item: str
    in_vpc: bool


class KindFacts(NamedTuple):
    """`fields`: what of its spec names others. `named`: others may name it. `port`: it is a port."""

    rank: int
    fields: tuple[FieldFacts, ...]
    named: bool
    port: bool


_NAMED = {reference.kind for kind in KINDS.values() for reference in kind.references}

FACTS: Mapping[bytes, KindFacts] = {
    name.encode(): KindFacts(
        kind.rank,
        tuple(
            FieldFacts(
                one.field,
                one.kind + "\x1f",
                one.many,
                one.item,
                KINDS[one.kind].cls is ScopeClass.VPC,
            )
            for one in kind.references
        ),
        name in _NAMED,
        name == PORT,
    )
    for name, kind in KINDS.items()
}

UNKNOWN = KindFacts(RANK_UNKNOWN_KIND, (), named=False, port=False)


def facts_of(suffix: bytes) -> KindFacts:
    """Return the facts of the kind that a suffix begins with."""
    return FACTS.get(suffix[: suffix.find(SEPARATOR)], UNKNOWN)


def refs_of(facts: KindFacts, spec: Mapping[str, Any], *, of_host: bool) -> tuple[Ref, ...]:
    """Return what must stand before a resource with this spec can.

    `of_host`: it is in a host's scope, else in a VPC's.
    """
    vpc = vpc_of_port(spec) or "" if of_host else ""
    found: list[Ref] = []
    for field, kind, many, item, in_vpc in facts.fields:
        if in_vpc and of_host and not vpc:
            continue
        value = spec.get(field)
        where = vpc if in_vpc else ""
        if type(value) is str:
            if value:
                found.append((where, (kind + value).encode()))
        elif value is not None:
            found += [(where, (kind + id).encode()) for id in _ids(value, item, many=many)]
    return tuple(found)


def _ids(value: object, item: str, *, many: bool) -> Iterator[str]:
    for one in value if many and isinstance(value, list | tuple) else (value,):
        named = one.get(item) if isinstance(one, Mapping) else one
        if isinstance(named, str) and named:
            yield named
