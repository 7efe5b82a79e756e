"""Which of the formats a document is in.

The rule: a document is known by the fields at its top, never by its file's name. What is in no known
format is listed as such, with the fields that it has.
"""

from __future__ import annotations

import enum

from southbound.documents import goalstate, neutron_tables
from southbound.documents.alcor import snake
from southbound.documents.document import Document

_NATIVE = frozenset({"changeset", "resources", "kind"})
_SHOWN_MAX = 8


class Format(enum.Enum):
    """A document's format."""

    NATIVE = "native"
    NEUTRON = "neutron"
    GOALSTATE = "goalstate"
    UNKNOWN = "unknown"


def format_of(document: Document) -> Format:
    """Return the format of a document."""
    if not isinstance(document.value, dict):
        return Format.UNKNOWN
    fields = document.value.keys()
    if not goalstate.FIELDS.isdisjoint(snake(field) for field in fields):
        return Format.GOALSTATE
    if not _NATIVE.isdisjoint(fields) and not _describes_the_api(document.value.get("resources")):
        return Format.NATIVE
    if not neutron_tables.FIELDS.isdisjoint(fields):
        return Format.NEUTRON
    return Format.UNKNOWN


def why_unknown(document: Document) -> str:
    """Say what a document of no known format is."""
    if not isinstance(document.value, dict):
        return f"is no document: it holds {type(document.value).__name__} instead of a map"
    fields = ", ".join(sorted(document.value)[:_SHOWN_MAX])
    return (
        "is neither a document of Southbound's own, nor a response of the Networking API with a"
        f" resource in it, nor a goal state (its fields: {fields or 'none'})"
    )


def _describes_the_api(resources: object) -> bool:
    """Tell whether this is Neutron's list of what its API offers, which has the name in common."""
    return isinstance(resources, list) and any(
        isinstance(item, dict) and "collection" in item and "kind" not in item for item in resources
    )
