"""One document of a file, and how a place in it is named.

The rule: a fault names the file, the document where a file holds several, and the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data out of a file: dicts with string keys, lists, and scalars that msgpack can carry.

    `source` is the file's name; `number` counts from 1 within it, and is 0 where it is the only one.
    """

    source: str
    value: Any
    number: int = 0

    @property
    def name(self) -> str:
        """What messages call this document."""
        return f"{self.source}, document {self.number}" if self.number else self.source

    def place(self, path: str) -> str:
        """Name a field of this document; `path` is like `resources[3].spec.cidr`."""
        return f"{self.name}, {path}" if path else self.name


def joined(path: str, *steps: str | int) -> str:
    """Return a path with further steps: names after a dot, positions in brackets."""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if path else step
    return path
