"""Cutting what is too much for one go into pieces. Pure.

The rule: order is kept, nothing is left out, and what is larger than a piece may be goes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def _one(_: object) -> int:
    return 1


def in_pieces(
    items: Iterable[_Item], most: int, size: Callable[[_Item], int] = _one
) -> Iterator[list[_Item]]:
    """Yield items in their order, as many at once as are of size `most` together, and at least one."""
    piece: list[_Item] = []
    total = 0
    for item in items:
        counted = size(item)
        if piece and total + counted > most:
            yield piece
            piece, total = [], 0
        piece.append(item)
        total += counted
    if piece:
        yield piece
