from hypothesis import given
from hypothesis import strategies as st

from southbound.directory.cache import Cache


def cache(size: int = 10) -> Cache[tuple[int, str]]:
    """A cache of (epoch, row)."""
    return Cache(size, lambda row: row[0])


def test_what_was_put_is_found_and_the_rest_is_missing() -> None:
    """Missing ids come back once each, in order."""
    rows = cache()
    rows.put({"a": (1, "x")}, rows.age)
    assert rows.split(["b", "a", "c", "b"]) == ({"a": (1, "x")}, ["b", "c"])


def test_a_row_never_goes_back() -> None:
    """A lower epoch is not taken, a higher or the same one is."""
    rows = cache()
    rows.put({"a": (2, "x")}, rows.age)
    rows.put({"a": (1, "old")}, rows.age)
    assert rows.split(["a"])[0] == {"a": (2, "x")}
    rows.put({"a": (2, "mended")}, rows.age)
    assert rows.split(["a"])[0] == {"a": (2, "mended")}
    rows.put({"a": (3, "new")}, rows.age)
    assert rows.split(["a"])[0] == {"a": (3, "new")}


def test_what_was_read_before_forgetting_is_not_taken_after() -> None:
    """A read that was under way when everything was forgotten may tell yesterday's rows."""
    rows = cache()
    age = rows.age
    rows.forget()
    rows.put({"a": (1, "x")}, age)
    assert rows.split(["a"]) == ({}, ["a"])
    rows.put({"a": (1, "x")}, rows.age)
    assert len(rows) == 1


def test_a_cache_of_no_size_keeps_nothing() -> None:
    """Visitors keep nothing."""
    rows = cache(0)
    rows.put({"a": (1, "x")}, rows.age)
    assert rows.split(["a"]) == ({}, ["a"])


@given(st.lists(st.integers(0, 60), max_size=200), st.integers(2, 20))
def test_a_cache_is_bounded_and_keeps_what_is_used(ids: list[int], size: int) -> None:
    """It never holds more than its size; what was asked for last is there."""
    rows = cache(size)
    for number in ids:
        id = str(number)
        if rows.split([id])[1]:
            rows.put({id: (1, id)}, rows.age)
        assert len(rows) <= size
        assert rows.split([id])[0] == {id: (1, id)}
