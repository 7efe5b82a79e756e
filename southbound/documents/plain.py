"""What a document may hold: the data that a record's spec can carry unaltered.

The rule: text, whole numbers of 64 bits, finite numbers, booleans, null, lists, and maps with text
keys, not nested without end. Anything else would be refused, or changed, on its way to a node, so it
is refused where it comes in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from southbound.documents.document import joined
from southbound.errors import Fault

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1


def plain_faults(value: Any, path: str, *, depth_max: int) -> list[Fault]:
    """Return what is wrong with `value`; its place is named as seen from `path`."""
    # Nearly all documents are sound: names of places are made only where one is not.
    return [] if _sound(value, depth_max) else list(_faults(value, path, depth_max))


def _sound(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is str:
        return value.isascii() or _encodes(value)
    if kind is dict:
        return depth > 0 and all(
            type(key) is str and (key.isascii() or _encodes(key)) and _sound(item, depth - 1)
            for key, item in value.items()
        )
    if kind is list:
        return depth > 0 and all(_sound(item, depth - 1) for item in value)
    if kind is int:
        return bool(INTEGER_MIN <= value <= INTEGER_MAX)
    if kind is float:
        return math.isfinite(value)
    return value is None or kind is bool


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _faults(value: Any, path: str, depth: int) -> Iterator[Fault]:
    if isinstance(value, dict | list) and depth == 0:
        yield Fault(path, "...", "is nested too deeply")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _key_faults(key, path)
            yield from _faults(item, joined(path, str(key)), depth - 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, joined(path, index), depth - 1)
    elif not _sound(value, depth):
        yield Fault(path, _shown(value), _scalar_problem(value))


def _key_faults(key: Any, path: str) -> Iterator[Fault]:
    if not isinstance(key, str):
        yield Fault(path, key, "a key must be text: put it in quotes")
    elif not _encodes(key):
        yield Fault(path, key, "a key must be text that UTF-8 can carry")


def _shown(value: Any) -> object:
    # Python refuses to write out an integer of thousands of digits.
    return f"an integer of {value.bit_length()} bits" if type(value) is int else value


def _scalar_problem(value: Any) -> str:
    if isinstance(value, str):
        return "must be text that UTF-8 can carry"
    if isinstance(value, int):
        return f"a whole number must lie between {INTEGER_MIN} and {INTEGER_MAX}"
    if isinstance(value, float):
        return "a number must be finite"
    return f"cannot be carried ({type(value).__name__})"
