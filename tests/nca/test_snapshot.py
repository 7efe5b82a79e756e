from __future__ import annotations

import pytest

from southbound.nca.incoming import Incoming, read
from southbound.nca.snapshot import Reason, Snapshot
from southbound.partitioning.placement import Placement
from southbound.wire.keys import encode_key
from tests.nca.records import gone, port, value_of

KEY = port("h", "p", 1).key


def record(revision: int, changeset: str = "c", *, deleted: bool = False) -> Incoming:
    """Return one revision of the port `p`."""
    put = gone(port("h", "p", 1), revision) if deleted else port("h", "p", revision)
    return read(encode_key(put.key), value_of(put, changeset), 0)


def snapshot(epoch: int = 1, reason: Reason = Reason.FIRST) -> Snapshot:
    """Return a snapshot of a stream at an epoch."""
    return Snapshot(Placement("pool", 0, epoch), reason)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_highest_revision_is_kept(order: tuple[int, int]) -> None:
    """Whatever the order; the other is returned as beaten."""
    made = snapshot()
    beaten = [one for revision in order for one in made.take(record(revision))]
    assert [one.entry.revision for one in beaten] == [1]
    assert [one.entry.revision for one in made.drain()] == [2]
    assert made.drain() == []


def test_a_repeated_revision_of_another_changeset_is_kept_beside() -> None:
    """Its sender is told too; a copy of the same record is not."""
    made = snapshot()
    for changeset in ("a", "a", "b"):
        assert made.take(record(1, changeset)) == []
    assert [one.entry.changeset for one in made.drain()] == ["a", "b"]


def test_a_null_ends_a_delete_only() -> None:
    """A null behind an upsert is not believed."""
    made = snapshot()
    made.take(record(1))
    made.erase(KEY)
    assert len(made.drain()) == 1
    made.take(record(2, deleted=True))
    made.erase(KEY)
    assert made.drain() == []
    assert made.absent({KEY}) == {KEY}


def test_absence_is_what_the_log_does_not_speak_of() -> None:
    """A record that could not be read speaks of its resource too."""
    made = snapshot()
    other = KEY._replace(id="other")
    made.see(KEY)
    assert made.absent({KEY, other}) == {other}


@pytest.mark.parametrize(
    ("epoch", "seal", "complete"), [(1, None, True), (2, None, False), (3, 2, False), (3, 3, True), (3, 4, True)]
)  # fmt: skip
def test_a_slot_entered_by_a_handover_needs_its_seal(
    epoch: int, seal: int | None, complete: bool
) -> None:
    """The end alone is not enough after a handover, nor an earlier seal."""
    made = snapshot(epoch)
    if seal is not None:
        made.seal(seal)
    assert not made.complete
    made.at_end = True
    assert made.complete == complete


@pytest.mark.parametrize(
    ("start", "low", "high", "begins"), [(0, 0, 9, 0), (5, 0, 9, 5), (5, 7, 9, 7), (9, 0, 9, 9)]
)
def test_reading_begins_at_the_start_that_is_there(
    start: int, low: int, high: int, begins: int
) -> None:
    """The later of the placement's start and the first offset the log has."""
    made = snapshot()
    assert made.begin(start, low, high, 1) == begins
    assert made.high == high
    assert made.believed == (low <= start)
    assert made.doubted == (low > start)


def test_a_start_beyond_the_end_is_not_believed() -> None:
    """The log was made anew: it is read, but its absences mean nothing."""
    made = snapshot()
    assert made.begin(10, 2, 9, 1) == 2
    assert not made.believed


@pytest.mark.parametrize(
    ("reason", "empty", "spoken"),
    [
        (Reason.FIRST, True, True),
        (Reason.ABSENCE, True, True),
        (Reason.GAP, True, True),
        (Reason.RESUMED, False, True),
        (Reason.POSITION_LOST, False, False),
        (Reason.CLUSTER_CHANGED, False, False),
        (Reason.TOPIC_CHANGED, False, False),
    ],
)
def test_a_log_is_believed_unless_it_may_be_lost(reason: Reason, empty: bool, spoken: bool) -> None:
    """After an interruption a record of ours shows that the log is the right one; after a loss, none."""
    made = snapshot(reason=reason)
    assert made.believed == empty
    made.see(KEY)
    assert made.believed == spoken


def test_a_trace_of_a_delete_tells_in_a_log_that_has_lost_something() -> None:
    """A null, alone or behind a delete, says that the resource is gone, until it is spoken of again."""
    made = snapshot(reason=Reason.POSITION_LOST)
    made.take(record(1))
    made.erase(KEY)
    assert not made.is_gone(KEY)
    made.take(record(2, deleted=True))
    made.erase(KEY)
    assert made.is_gone(KEY)
    made.take(record(3))
    assert not made.is_gone(KEY)
    other = KEY._replace(id="other")
    made.erase(other)
    assert made.is_gone(other)
