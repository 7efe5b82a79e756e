"""The importers of other control planes' documents, called for whatever JSON or YAML there is.

The rule: every object of a document is published or listed with the reason; nothing vanishes, and what
is published may be sent. The importers are asked whatever a document looks like: which of them it is
for is another reader's decision (`documents`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from southbound.documents import alcor
from southbound.documents.document import Document
from southbound.documents.goalstate import import_goalstate
from southbound.documents.imported import Imported
from southbound.documents.neutron import import_neutron
from southbound.documents.neutron_tables import _SUPPORTED
from southbound.documents.options import ImportOptions
from southbound.documents.text import parse
from southbound.producer.checks import parcels_of
from southbound.settings import DocumentSettings

SMALL = DocumentSettings(bytes_max=1 << 20, yaml_bytes_max=1 << 18, yaml_nodes_max=20_000)
OPTIONS = ImportOptions(router_hosts=("h9",), security_group_vpc="v9", revision_offset=1)


def _maps(data: bytes) -> list[Document]:
    return [one for one in parse(data, "fuzz", SMALL) if isinstance(one.value, dict)]


def read_neutron(data: bytes) -> None:
    """Import responses of the Networking API, all as views of one cloud."""
    documents = _maps(data)
    imported = import_neutron(documents, OPTIONS, SMALL)
    _all_told(imported, {id for one in documents for id in _ids_of_responses(one.value)})
    sent(imported)


def _ids_of_responses(value: dict[str, Any]) -> Iterator[str]:
    # The others are answers to actions, each of which is listed as one.
    for name in _SUPPORTED.keys() & value.keys():
        content = value[name]
        for item in content if isinstance(content, list) else [content]:
            if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"]:
                yield item["id"]


def read_goalstate(data: bytes) -> None:
    """Import goal states, one after the other."""
    for document in _maps(data):
        imported = import_goalstate(document, OPTIONS, SMALL)
        _all_told(imported, set(_ids_of_states(document.value)))
        sent(imported)


def _ids_of_states(value: dict[str, Any]) -> Iterator[str]:
    # Of two spellings of one field the later one counts.
    top = {alcor.snake(name): held for name, held in value.items()}
    for kind in alcor.TYPES:
        held = top.get(f"{kind}_states")
        if isinstance(held, dict):
            yield from held


def _all_told(imported: Imported, wanted: set[str]) -> None:
    """Check that each object is published or listed."""
    told = {one.id for changeset in imported.changesets for one in changeset.resources}
    told |= {one.id for one in imported.unplaced}
    lost = wanted - told
    assert not lost, f"neither published nor listed: {sorted(lost)[:5]}"


def sent(imported: Imported) -> None:
    """Put an import together as a publisher does."""
    for changeset in imported.changesets:
        parcels_of(changeset, 1, None)
