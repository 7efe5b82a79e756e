"""Responses of the OpenStack Networking API v2, gathered by kind and id.

The rule: the documents of one import are views of one cloud. Of two that show the same object, the
higher revision counts; at equal revision they show the same object, perhaps not all of it (fields
are hidden from some users), so what only one of them shows is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from southbound.documents.document import Document, joined
from southbound.documents.placing import Placing

NETWORK, SUBNET, PORT = "network", "subnet", "port"
GROUP, RULE = "security_group", "security_group_rule"
ROUTER, FLOATING_IP = "router", "floatingip"

_SUPPORTED = {
    name: kind
    for kind in (NETWORK, SUBNET, PORT, GROUP, RULE, ROUTER, FLOATING_IP)
    for name in (kind, f"{kind}s")
}
_NO_KIND = (
    "Southbound has no kind of its own for it: publish it as a native document with its class"
)
_NO_RESOURCE = "describes the API, not a resource of the network"
_PARTIAL = "is the answer to an action, not a resource: import the resource itself"
_UNSUPPORTED = {
    "trunk": ("trunk", _NO_KIND),
    "trunks": ("trunk", _NO_KIND),
    "sub_ports": ("trunk", _PARTIAL),
    "subnetpool": ("subnetpool", "hands out prefixes; a node needs the subnets only"),
    "subnetpools": ("subnetpool", "hands out prefixes; a node needs the subnets only"),
    "prefixes": ("subnetpool", _PARTIAL),
    "subnetpool_id": ("subnetpool", _PARTIAL),
    "subnet_ids": ("router interface", _PARTIAL),
    "floatingip_pools": (
        "floatingip_pool",
        "hands out addresses; a worker needs the floating IPs only",
    ),
    "binding": ("port_binding", "does not say which port it is of: import the port"),
    "bindings": ("port_binding", "does not say which port it is of: import the port"),
    "versions": ("api version", _NO_RESOURCE),
    "resources": ("api resource", _NO_RESOURCE),
}
FIELDS = frozenset(_SUPPORTED) | frozenset(_UNSUPPORTED)
"""Fields at the top of a document by which a response is known."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object, its fields as the API showed them, and where it was read."""

    kind: str
    id: str
    fields: Mapping[str, Any]
    source: str


class Tables:
    """All objects of an import; `of(kind)` holds them by id, in the order in which they were read."""

    def __init__(self, placing: Placing) -> None:
        self._placing = placing
        self._tables: dict[str, dict[str, Item]] = {kind: {} for kind in _SUPPORTED.values()}

    def of(self, kind: str) -> Mapping[str, Item]:
        """Return the objects of a kind, by id."""
        return self._tables[kind]

    def read(self, document: Document) -> None:
        """Take in one response."""
        supported = not _SUPPORTED.keys().isdisjoint(document.value)
        for name, content in document.value.items():
            if name in _SUPPORTED:
                self._read_all(_SUPPORTED[name], name, content, document)
            elif name in _UNSUPPORTED:
                self._leave_all(name, document.value, document)
            elif name.endswith("_links"):
                self._warn_of_pages(name, content, document)
            elif supported:
                why = "is nothing that an import of the Networking API knows"
                self._placing.leave(name, document.name, why, document.place(name))

    def add(self, item: Item) -> None:
        """Take in one object, or what it adds to the one that is known."""
        table = self._tables[item.kind]
        known = table.setdefault(item.id, item)
        if known is item:
            return
        older, newer = self._revision(known), self._revision(item)
        if older < newer:
            table[item.id] = item
        elif older == newer:
            table[item.id] = self._merged(known, item)

    def _read_all(self, kind: str, name: str, content: Any, document: Document) -> None:
        items = content if isinstance(content, list) else [content]
        for index, fields in enumerate(items):
            path = joined(name, index) if isinstance(content, list) else name
            place = document.place(path)
            if not isinstance(fields, dict):
                self._placing.leave(kind, document.source, "is not an object", place)
            elif not isinstance(fields.get("id"), str):
                self._placing.leave(kind, document.source, "has no id", place)
            else:
                self.add(Item(kind, fields["id"], fields, place))

    def _leave_all(self, name: str, value: Mapping[str, Any], document: Document) -> None:
        kind, why = _UNSUPPORTED[name]
        content = value[name]
        each = isinstance(content, list) and why != _PARTIAL
        for fields in content if each else [content]:
            holder = fields if isinstance(fields, dict) else {}
            id = holder.get("id") or holder.get("name") or value.get("id") or document.source
            self._placing.leave(kind, str(id), why, document.place(name))

    def _warn_of_pages(self, name: str, content: Any, document: Document) -> None:
        links = content if isinstance(content, list) else []
        if any(isinstance(link, dict) and link.get("rel") == "next" for link in links):
            self._placing.warn(
                f"{document.place(name)}: the listing goes on with a further page; import it too"
            )

    @staticmethod
    def _revision(item: Item) -> int:
        number = item.fields.get("revision_number")
        return number if type(number) is int else -1

    def _merged(self, first: Item, second: Item) -> Item:
        differing = sorted(_differing(first.fields, second.fields))
        if differing:
            self._placing.warn(
                f"{first.kind} {first.id}: two documents of one revision differ in"
                f" {', '.join(differing)}; {first.source} was taken"
            )
        return Item(first.kind, first.id, {**second.fields, **first.fields}, first.source)


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    return (field for field in first.keys() & second.keys() if first[field] != second[field])
