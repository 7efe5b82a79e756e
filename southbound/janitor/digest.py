"""The highest revision of each key of a slot, small enough to be kept for all slots. Pure.

The rule: it serves to notice, not to decide. A record below what stands here for its key's hash puts
the slot in doubt, and a slot in doubt is read as a whole. Two keys of one hash share the higher of
their revisions, so a collision can only raise a doubt, never hide an inversion.

Sixteen bytes a key: a hash of 64 bits and the revision.
"""

from __future__ import annotations

from array import array

import mmh3

from southbound.errors import WireError
from southbound.janitor.facts import SlotFacts
from southbound.janitor.standing import Whereabouts


class Digest:
    """Hash of a key to the highest revision that was seen of it in one slot."""

    def __init__(self, data: bytes = b"") -> None:
        if len(data) % 16:
            raise WireError(f"not a digest: {len(data)} bytes")
        numbers = array("Q")
        numbers.frombytes(data)
        half = len(numbers) // 2
        self._highest = dict(zip(numbers[:half], numbers[half:], strict=True))

    def __len__(self) -> int:
        return len(self._highest)

    def encode(self) -> bytes:
        """Return what the constructor reads."""
        return array("Q", self._highest).tobytes() + array("Q", self._highest.values()).tobytes()

    def take(self, facts: SlotFacts) -> None:
        """Take the highest revisions of what is here."""
        for key, revision, _ in _revisions(facts):
            hashed = _hash(key)
            if self._highest.get(hashed, 0) < revision:
                self._highest[hashed] = revision

    def doubts(self, facts: SlotFacts) -> bool:
        """Tell whether a key's last record may be lower than what was there before."""
        return any(last < self._highest.get(_hash(key), 0) for key, _, last in _revisions(facts))


def _revisions(facts: SlotFacts) -> list[tuple[bytes, int, int]]:
    """Return (key, highest, last) of what is here and can be read."""
    return [
        (key, one.revision, one.last)
        for scope in facts.scopes()
        if scope.standing.whereabouts is Whereabouts.HERE
        for key, one in scope.keys.items()
        if one.revision and not one.unreadable
    ]


def _hash(key: bytes) -> int:
    return mmh3.hash64(key, 0, True, signed=False)[0]
