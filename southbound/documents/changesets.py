"""Changesets out of resources: their ids, and how many resources stand in one.

The rule: an id that nobody chose follows from the content, so importing the same documents twice is
the same changesets, and a node that applied them does nothing. Resources of other control planes'
documents are put together by scope, since a scope's part is what is applied in one step; a public
resource stands alone, since no two need the same worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from southbound.resources import Changeset, Resource, Scope, ScopeClass, rank_of

_encoder = msgspec.msgpack.Encoder(order="sorted")


def content_id(resources: Sequence[Resource]) -> str:
    """Return the changeset id that follows from the resources: `c-` and 32 hex digits."""
    rows = [
        (item.scope.cls, item.scope.id, item.kind, item.id, item.revision, item.op, item.spec)
        for item in resources
    ]
    return "c-" + hashlib.blake2b(_encoder.encode(rows), digest_size=16).hexdigest()


def of_content(resources: Sequence[Resource]) -> Changeset:
    """Return a changeset whose id follows from its content."""
    return Changeset(content_id(resources), tuple(resources))


def by_scope(resources: Iterable[Resource], *, resources_max: int) -> list[Changeset]:
    """Put resources into changesets of one scope each, in order of rank; VPCs come first.

    A scope with more than `resources_max` resources gets several changesets.
    """
    scopes: dict[Scope | tuple[Scope, str, str], list[Resource]] = {}
    for item in resources:
        public = item.scope.cls is ScopeClass.PUBLIC
        scopes.setdefault((*item.key,) if public else item.scope, []).append(item)
    made: list[tuple[int, Changeset]] = []
    for items in scopes.values():
        items.sort(key=lambda item: rank_of(item.kind))
        order = _CLASS_ORDER.index(items[0].scope.cls)
        made.extend(
            (order, of_content(items[first : first + resources_max]))
            for first in range(0, len(items), resources_max)
        )
    made.sort(key=lambda pair: pair[0])
    return [changeset for _, changeset in made]


_CLASS_ORDER = (ScopeClass.VPC, ScopeClass.HOST, ScopeClass.PUBLIC)
