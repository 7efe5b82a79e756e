"""Keys that stand twice in one object."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.doubles import check_doubles
from southbound.errors import WireError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_JSON)
def test_what_holds_each_key_once_passes(value: object) -> None:
    """Equal keys of different objects are no doubles."""
    check_doubles(json.dumps([value, {"a": {"a": [{"a": 1}]}}]).encode())


@pytest.mark.parametrize(
    "text",
    ['{"id": 1, "id": 2}', '[{"a": {"id": 1, "b": 2, "id": 1}}]', r'{"id": 1, "\u0069d": 2}'],
)
def test_a_double_is_named(text: str) -> None:
    """Wherever it stands, however it is written, and even where both say the same."""
    with pytest.raises(WireError, match=r"'id' stands twice"):
        check_doubles(text.encode())
