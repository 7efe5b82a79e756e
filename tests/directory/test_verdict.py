from hypothesis import given
from hypothesis import strategies as st

from southbound.directory.verdict import Held, better, judge
from southbound.wire.control import JournalEntry

entries = st.builds(
    JournalEntry,
    epoch=st.integers(1, 3),
    row=st.sampled_from(["a", "b", "c"]),
    writer=st.just("w"),
    written_us=st.just(0),
    mended=st.just(False),
)
logs = st.lists(st.tuples(st.sampled_from(["x", "y"]), entries), max_size=12)


def entry(epoch: int, row: str, *, mended: bool = False) -> JournalEntry:
    """An entry of the journal."""
    return JournalEntry(epoch, row, "w", 0, mended)


def by_the_book(log: list[tuple[str, JournalEntry]]) -> dict[str, Held]:
    """The rule in other words: of a key's entries, sorted by epoch and mending, the right one."""
    found = {}
    for text in {text for text, _ in log}:
        mine = [one for key, one in log if key == text]
        top = [one for one in mine if one.epoch == max(other.epoch for other in mine)]
        mended = [one for one in top if one.mended]
        chosen = mended[-1] if mended else top[0]
        found[text] = Held(chosen.epoch, chosen.row)
    return found


def mended_log(log: list[tuple[str, JournalEntry]]) -> list[tuple[str, JournalEntry]]:
    """The log after a reader of all of it has mended it."""
    mend = judge({}, log).mend
    return [*log, *((text, entry(*held, mended=True)) for text, held in mend.items())]


def compacted(log: list[tuple[str, JournalEntry]]) -> list[tuple[str, JournalEntry]]:
    """The log when only the last entry of each key is left."""
    return list(dict(log).items())


def test_the_highest_epoch_holds_then_the_first() -> None:
    """A later entry of the same epoch changes nothing, unless it mends."""
    first = better(None, entry(1, "a"))
    assert better(first, entry(1, "b")) == Held(1, "a")
    assert better(first, entry(2, "b")) == Held(2, "b")
    assert better(Held(2, "b"), entry(1, "a")) == Held(2, "b")
    assert better(Held(1, "b"), entry(1, "a", mended=True)) == Held(1, "a")
    assert better(Held(2, "b"), entry(1, "a", mended=True)) == Held(2, "b")


@given(logs)
def test_the_verdict_is_that_of_the_rule(log: list[tuple[str, JournalEntry]]) -> None:
    """Folding entry by entry gives what the rule says of the whole log."""
    assert judge({}, log).held == by_the_book(log)


@given(logs, st.integers(0, 12))
def test_reading_in_parts_gives_the_same(log: list[tuple[str, JournalEntry]], cut: int) -> None:
    """It does not matter where one reader stops and the next goes on."""
    whole = judge({}, log).held
    first = judge({}, log[:cut]).held
    second = judge(first, log[cut:]).held
    assert {**first, **second} == whole


@given(logs)
def test_compaction_of_a_mended_log_changes_nothing(log: list[tuple[str, JournalEntry]]) -> None:
    """Once mended, the last entries alone say what the whole log said."""
    before = judge({}, log).held
    after = mended_log(log)
    assert judge({}, after).held == before
    assert judge({}, compacted(after)).held == before
    assert judge({}, after).mend == {}


@given(logs, logs)
def test_mending_survives_late_writers(
    log: list[tuple[str, JournalEntry]], late: list[tuple[str, JournalEntry]]
) -> None:
    """Whoever writes after a mend changes nothing below a higher epoch, compacted or not."""
    settled = mended_log(log)
    held = judge({}, settled).held
    for history in (settled, compacted(settled)):
        after = judge({}, [*history, *late]).held
        for text, was in held.items():
            now = after[text]
            assert now == was or now.epoch > was.epoch
    assert judge(held, late).held.items() <= judge({}, [*settled, *late]).held.items()


def test_a_key_whose_last_entry_holds_needs_no_mending() -> None:
    """Two writers of the same row are no conflict."""
    assert judge({}, [("x", entry(1, "a")), ("x", entry(1, "a"))]).mend == {}
    assert judge({"x": Held(2, "b")}, [("x", entry(1, "a"))]).mend == {"x": Held(2, "b")}
