"""Keys that stand twice in one object of a JSON text. Pure.

The rule: which of two equal keys counts is never guessed. Readers keep the first or the last of them, and
a person who has changed the other one would see neither an error nor an effect. Documents that
people write have readers of their own (`documents`); this is for what programs write and people edit.
"""

from __future__ import annotations

import json

from southbound.errors import WireError


def check_doubles(text: bytes) -> None:
    """Raise `WireError`, naming the key, when one stands twice in an object of a text that is JSON.

    Raises `ValueError` or `RecursionError` for a text that is not.
    """
    json.loads(text.decode(), object_pairs_hook=_check)


def _check(pairs: list[tuple[str, object]]) -> None:
    """Take an object; nothing of it is kept."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise WireError(f"the key {key[:80]!r} stands twice in one object")
        seen.add(key)
