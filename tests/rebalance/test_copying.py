from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import WireError
from southbound.rebalance.copying import YOUNG_US, History, Record, Version, copies
from southbound.resources import Op, ResourceKey, Scope, host_scope, vpc_scope
from southbound.wire.control import Seal, encode_control
from southbound.wire.envelope import EMPTY_SPEC, FLAG_COPIED, Envelope, decode, encode
from southbound.wire.keys import encode_key, seal_key

VPC = vpc_scope("blue")
NOW_US = 10 * YOUNG_US


def key(id: str, scope: Scope = VPC) -> bytes:
    """Return the key of a neighbour."""
    return encode_key(ResourceKey(scope, "neighbor", id))


def value(
    revision: int,
    *,
    changeset: str = "",
    index: int = 0,
    count: int = 1,
    age_us: int = 0,
    flags: int = 0,
    op: Op = Op.UPSERT,
) -> bytes:
    """Return a record's value, sent `age_us` before `NOW_US`."""
    sent_us = NOW_US - age_us
    return encode(Envelope(revision, op, 1, changeset, index, count, sent_us, flags, EMPTY_SPEC))


def history(*records: tuple[bytes, bytes | None]) -> History:
    """Return what is known after reading these records."""
    made = History(VPC)
    made.take(Record(at, key, value, _sent_us(value)) for at, (key, value) in enumerate(records))
    return made


def _sent_us(value: bytes | None) -> int:
    """Return when the log takes a record whose sender's clock is right."""
    try:
        return NOW_US if value is None else decode(value).sent_us
    except WireError:
        return NOW_US


def revisions(made: History) -> dict[bytes, int]:
    """Return the highest revisions."""
    return {key: version.revision for key, version in made.highest(NOW_US).items()}


def test_the_highest_revision_wins_wherever_it_stands() -> None:
    """Neither order nor a delete changes what is highest."""
    made = history(
        (key("a"), value(1)),
        (key("a"), value(3)),
        (key("a"), value(2)),
        (key("b"), value(1)),
        (key("b"), value(2, op=Op.DELETE)),
    )
    assert revisions(made) == {key("a"): 3, key("b"): 2}
    assert decode(made.highest(NOW_US)[key("b")].value).op is Op.DELETE


def test_among_equal_revisions_the_first_is_kept() -> None:
    """As an agent does, which takes an equal revision for a repetition."""
    first, second = value(1, changeset="first"), value(1, changeset="second")
    made = history((key("a"), first), (key("a"), second))
    assert made.highest(NOW_US)[key("a")].value == first
    assert list(made.inversions(NOW_US, 2)) == []


@pytest.mark.parametrize("scope", [vpc_scope("blue2"), vpc_scope("blu"), host_scope("blue")])
def test_other_scopes_are_passed_by_undecoded(scope: Scope) -> None:
    """A neighbour's record is told by its key; its value may be anything."""
    made = history((key("a", scope), b"\xffnonsense"), (key("a"), value(1)))
    assert revisions(made) == {key("a"): 1}


def test_null_tombstones_say_nothing() -> None:
    """A delete has a revision of its own; the null that follows it days later has none."""
    made = history((key("a"), value(2, op=Op.DELETE)), (key("a"), None))
    assert revisions(made) == {key("a"): 2}
    assert list(made.inversions(NOW_US, 2)) == []


def test_control_records_are_no_resources() -> None:
    """A seal is seen, only for its own epoch, and never copied."""
    made = history((seal_key(VPC, 3), encode_control(Seal(3))), (key("a"), value(1)))
    assert made.sealed(3)
    assert not made.sealed(2)
    assert revisions(made) == {key("a"): 1}


def test_a_young_incomplete_changeset_is_left_out() -> None:
    """What nobody has accepted is not carried singly; what was there before it is."""
    made = history(
        (key("a"), value(1)),
        (key("a"), value(2, changeset="half", index=0, count=2)),
        (key("a"), value(2, changeset="half", index=0, count=2)),
        (key("b"), value(1, changeset="half", index=0, count=2)),
    )
    assert revisions(made) == {key("a"): 1}


def test_an_old_incomplete_changeset_is_taken_as_it_is() -> None:
    """Compaction may have thinned it."""
    made = history((key("a"), value(2, changeset="half", count=2, age_us=YOUNG_US)))
    assert revisions(made) == {key("a"): 2}


@pytest.mark.parametrize(
    ("sent_us", "at_us", "carried"),
    [(NOW_US + 10**15, 0, {key("a"): 2}), (0, NOW_US, {})],
    ids=["ahead", "behind"],
)
def test_the_senders_clock_makes_nothing_young_or_old(
    sent_us: int, at_us: int, carried: dict[bytes, int]
) -> None:
    """What compaction has left of a set is carried, whatever its sender took for the time."""
    made = History(VPC)
    made.take(
        [Record(0, key("a"), value(2, changeset="s", count=2, age_us=NOW_US - sent_us), at_us)]
    )
    assert revisions(made) == carried


def test_a_changeset_is_as_young_as_its_youngest_record() -> None:
    """Its publisher is still at it."""
    old = value(1, changeset="half", index=0, count=3, age_us=2 * YOUNG_US)
    new = value(1, changeset="half", index=1, count=3)
    assert revisions(history((key("a"), old), (key("b"), new))) == {}


def test_a_complete_changeset_is_carried_however_old_its_parts_are() -> None:
    """Completeness is judged over everything that was read."""
    made = history(
        (key("a"), value(1, changeset="set", index=0, count=2, age_us=2 * YOUNG_US)),
        (key("b"), value(1, changeset="set", index=1, count=2)),
    )
    assert revisions(made) == {key("a"): 1, key("b"): 1}


def test_copied_records_are_taken_singly() -> None:
    """Whoever copied them knew that they were accepted."""
    made = history((key("a"), value(2, changeset="half", count=2, flags=FLAG_COPIED)))
    assert revisions(made) == {key("a"): 2}


def test_a_lower_last_record_is_an_inversion() -> None:
    """The highest is appended again, marked as copied, under the epoch of the new slot."""
    made = history((key("a"), value(6)), (key("b"), value(1)), (key("a"), value(5)))
    ((found_key, found),) = made.inversions(NOW_US, 4)
    envelope = decode(found)
    assert (found_key, envelope.revision) == (key("a"), 6)
    assert (envelope.epoch, envelope.copied) == (4, True)
    made.take([Record(3, found_key, found, NOW_US)])
    assert list(made.inversions(NOW_US, 4)) == []


def test_an_open_changesets_inversion_stays_one_of_its_set() -> None:
    """A copy behind half of a changeset must not release that half singly."""
    half = value(6, changeset="half", index=0, count=2)
    made = history((key("a"), half), (key("a"), value(5)))
    assert list(made.inversions(NOW_US, 4)) == [(key("a"), half)]
    assert revisions(made) == {key("a"): 5}


def test_an_unreadable_last_record_stops_the_copying() -> None:
    """It is named; a newer readable revision of that resource mends it."""
    made = history((key("a"), value(1)), (key("a"), b"\x09"))
    with pytest.raises(WireError, match="offset 1"):
        made.highest(NOW_US)
    with pytest.raises(WireError, match="neighbor"):
        list(made.inversions(NOW_US, 2))
    made.take([Record(2, key("a"), value(2), NOW_US)])
    assert revisions(made) == {key("a"): 2}


def test_only_what_is_lacking_is_copied() -> None:
    """Copies carry the new epoch, the mark, and everything else unchanged."""
    source = {key(id): Version(2, value(2, changeset="s", count=3, index=1)) for id in "abc"}
    there = {key("a"): Version(2, b""), key("b"): Version(1, b"")}
    found = dict(copies(source, there, 7))
    assert set(found) == {key("b"), key("c")}
    envelope = decode(found[key("c")])
    assert (envelope.epoch, envelope.flags) == (7, FLAG_COPIED)
    assert (envelope.changeset, envelope.index, envelope.count) == ("s", 1, 3)


_WRITES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=30)


@given(home=_WRITES, direct=_WRITES, cut=st.integers(0, 30))
def test_copied_and_mended_slots_end_with_the_highest(
    home: list[tuple[str, int]], direct: list[tuple[str, int]], cut: int
) -> None:
    """Whenever copies land among direct writes, mending leaves the highest revision last."""
    source = history(*((key(id), value(revision)) for id, revision in home))
    log = [(key(id), value(revision)) for id, revision in direct[:cut]]
    log += copies(source.highest(NOW_US), history(*log).highest(NOW_US), 2)
    log += [(key(id), value(revision)) for id, revision in direct[cut:]]
    log += history(*log).inversions(NOW_US, 2)
    last = {key: decode(value).revision for key, value in log}
    wanted: dict[bytes, int] = {}
    for id, revision in home + direct:
        wanted[key(id)] = max(revision, wanted.get(key(id), 0))
    assert last == wanted
    assert list(history(*log).inversions(NOW_US, 2)) == []


def test_a_null_behind_an_upsert_is_mended() -> None:
    """A clean-up that knew nothing of the re-creation: the record is appended again."""
    made = history((key("a"), value(4)), (key("a"), None), (key("b"), value(2)))
    (again,) = made.inversions(NOW_US, 7)
    assert (again[0], decode(again[1]).revision) == (key("a"), 4)
    made.take([Record(9, *again, NOW_US)])
    assert list(made.inversions(NOW_US, 7)) == []


def test_a_null_behind_a_delete_says_nothing() -> None:
    """It ends what is left of the delete."""
    made = history((key("a"), value(4)), (key("a"), value(5, op=Op.DELETE)), (key("a"), None))
    assert list(made.inversions(NOW_US, 7)) == []


def test_a_key_that_is_none_neither_stops_the_copying_nor_is_waited_for() -> None:
    """Nobody can publish a newer revision of it, so it must not stand in the way for ever."""
    good = key("a")
    bad = good[:-1] + b"x" * 300
    made = history((good, value(3)), (bad, b"\x01garbage"), (bad + b"\xff", b""))
    assert revisions(made) == {good: 3}


def test_a_record_that_cannot_be_read_names_its_key_in_few_words() -> None:
    """However long the key is."""
    made = history((key("a" * 200), b"\x01garbage"))
    with pytest.raises(WireError, match="publish a newer revision") as caught:
        made.highest(NOW_US)
    assert len(str(caught.value)) < 500
