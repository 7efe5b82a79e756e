from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from southbound.janitor.entries import Entry, WrittenMove, judge_moves
from southbound.wire.control import NULL_BELIEVED_US, MoveEntry

NOW_US = 100 * NULL_BELIEVED_US


def move(epoch: int, age_us: int = 0) -> MoveEntry:
    """Return an entry."""
    return MoveEntry(epoch, f"pool:0:{epoch}:0", NOW_US - age_us)


def judged(*entries: MoveEntry | None, before: MoveEntry | None = None) -> tuple[int, int]:
    """Return the epochs that are held and repeated after these; 0 for none."""
    known = {} if before is None else {"h": Entry(before.epoch, before.row, before.written_us)}
    after, again = judge_moves(known, [WrittenMove("h", one, NOW_US) for one in entries])
    held = after["h"]
    return (held.epoch if held else 0), (again["h"].epoch if "h" in again else 0)


def test_the_highest_epoch_is_repeated_when_it_is_not_last() -> None:
    """Within a part, and behind what was there before it."""
    assert judged(move(3), move(2)) == (3, 3)
    assert judged(move(2), before=move(3)) == (3, 3)
    assert judged(move(2), move(3)) == (3, 0)
    assert judged(move(3), move(2), move(3)) == (3, 0)
    assert judged(move(3), before=move(2)) == (3, 0)


def test_a_null_ends_an_old_entry_only() -> None:
    """Behind a new one it landed too late: whoever pruned did not see that come."""
    assert judged(move(2, NULL_BELIEVED_US), None) == (0, 0)
    assert judged(None, before=move(2, NULL_BELIEVED_US)) == (0, 0)
    assert judged(move(2), None) == (2, 2)
    assert judged(None, before=move(2)) == (2, 2)
    assert judged(move(2), None, move(2)) == (2, 0)
    assert judged(None) == (0, 0)


written = st.lists(st.one_of(st.none(), st.integers(1, 6)), max_size=12)


@given(written, st.integers(0, 12))
def test_reading_in_parts_says_the_same(epochs: list[int | None], cut: int) -> None:
    """What is repeated at last is the same; and once repeated nothing is to be repeated."""
    entries = [WrittenMove("h", move(one) if one else None, NOW_US) for one in epochs]
    whole, again = judge_moves({}, entries)
    first, _ = judge_moves({}, entries[:cut])
    known = {text: one for text, one in first.items() if one is not None}
    second, later = judge_moves(known, entries[cut:])
    assert {**first, **second} == whole
    if entries[cut:]:
        assert later == again
    repeated = [WrittenMove(text, MoveEntry(*one), NOW_US) for text, one in again.items()]
    assert judge_moves({}, [*entries, *repeated])[1] == {}
    held = whole.get("h")
    assert max((one for one in epochs if one), default=0) == (held.epoch if held else 0)
