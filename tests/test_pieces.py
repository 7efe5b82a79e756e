"""What is too much for one go, in pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from southbound.pieces import in_pieces


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 12))
def test_pieces_are_as_large_as_they_may_be(sizes: list[int], most: int) -> None:
    """Order is kept, none is too large unless it is a single item, and no two would fit into one."""
    pieces = list(in_pieces(sizes, most, int))
    assert [one for piece in pieces for one in piece] == sizes
    assert all(len(piece) == 1 or sum(piece) <= most for piece in pieces)
    assert all(sum(piece) + after[0] > most for piece, after in pairwise(pieces))


def test_items_count_as_one_each() -> None:
    """Unless they have a size of their own."""
    assert list(in_pieces("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
