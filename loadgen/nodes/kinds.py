"""What a compact node has to know of a kind, by the bytes that stand in a record key. Pure.

The rule: everything here is drawn from `southbound.resources.KINDS`; it is a faster way to the same
answers (`tests/loadgen` compares `refs_of` with `southbound.resources.references`).
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """Return what must stand before a resource with this spec, decoded from msgpack, can.

    `of_host`: it is in a host's scope, else in a VPC's.
    """
    vpc = vpc_of_port(spec) or "" if of_host else ""
    found: list[Ref] = []
    for field, kind, many, item, in_vpc in facts.fields:
        value = spec.get(field)
        if value is None or (in_vpc and of_host and not vpc):
            continue
        where = vpc if in_vpc else ""
        for one in value if many and type(value) is list else (value,):
            # Decoded msgpack has no other mappings than dictionaries, and no other lists.
            id = one.get(item) if type(one) is dict else one
            if type(id) is str and id:
                found.append((where, (kind + id).encode()))
    return tuple(found)
