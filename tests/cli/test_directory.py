"""What operators are told to do about differences."""

from __future__ import annotations

import pytest

from southbound.cli.directory import advice


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (["row", "count", "total"], ["directory rebuild"]),
        (["reservation", "reservation"], ["2 slots", "shards recover"]),
        (["row", "reservation"], ["directory rebuild", "shards recover"]),
        (["entry"], ["1 entries"]),
        (["journal", "alone", "alone", "row"], ["2 rows", "rebuild --keep"]),
        (["journal"], ["lost entries", "rebuild --keep"]),
    ],
)
def test_each_kind_of_difference_has_its_remedy(kinds: list[str], words: list[str]) -> None:
    """And no remedy is named that would do harm, or nothing."""
    told = "\n".join(advice(kinds))
    assert all(word in told for word in words)
    assert ("rebuild" in told) == any("rebuild" in word for word in words)
    # A plain rebuild is not for journals that have lost something.
    assert "wrong: southbound directory rebuild" not in told or "--keep" not in told
