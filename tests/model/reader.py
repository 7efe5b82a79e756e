"""An agent as the model sees it: one resource, one stream, any slot.

It follows `southbound.nca` (`reading`, `snapshot`): markers of a higher epoch lead on, a snapshot
gathers up to the end that was noted when it began, and deletes by absence only when it is complete.

A log is a tuple. Each record is one of: 0, a hole that compaction left; a positive number, a
revision times 4 plus its origin; `NULL`, a tombstone (`LATE_NULL`: by an executor that was
overtaken); below `SEAL`, a seal of epoch `SEAL - record`;
a tuple (epoch, slot, start), a marker.
"""

from __future__ import annotations

from typing import NamedTuple

Record = int | tuple[int, int, int]
Log = tuple[Record, ...]

HOLE = 0
NULL, LATE_NULL = -1, -2
SEAL = -10
"""A seal of epoch e is `SEAL - e`."""

_NULLS = frozenset({NULL, LATE_NULL})

DIRECT, COPY, LATE = 0, 1, 2
"""Origins: a publisher; the executor that holds the move; one that was overtaken."""

ORIGINS = 4

OFF, LIVE, GATHERING, TRAILING, WRONG = range(5)
"""Not started; past the snapshot; reading it; at its end without the seal; deleted what stands."""


class Place(NamedTuple):
    """Where a stream is read: its slot, the placement's epoch, and where it begins."""

    slot: int
    epoch: int
    start: int


class Reader(NamedTuple):
    """An agent. `held` and `found`: the highest revision it has, and that its snapshot has seen."""

    mode: int
    place: Place
    next: int
    held: int
    found: int = 0
    high: int = 0
    sealed: bool = False


class Habits(NamedTuple):
    """What a reader holds to; each is a bug when it is not so."""

    needs_seal: bool = True
    begins_at_start: bool = True


class Revisions(NamedTuple):
    """Which revisions are deletes."""

    deletes: frozenset[int] = frozenset()

    def shows(self, revision: int) -> int:
        """Return what is on the node: the revision, or 0 when there is nothing."""
        return 0 if revision in self.deletes else revision


def begin(place: Place, logs: tuple[Log, ...], held: int, habits: Habits) -> Reader:
    """Begin a snapshot; the end is noted now."""
    high = len(logs[place.slot])
    is_whole = place.epoch == 1 or not habits.needs_seal
    start = place.start if habits.begins_at_start else 0
    return _ended(Reader(GATHERING, place, start, held, 0, high, is_whole), Revisions())


def read(reader: Reader, logs: tuple[Log, ...], habits: Habits, revisions: Revisions) -> Reader:
    """Read one record, which must be there."""
    record = logs[reader.place.slot][reader.next]
    if isinstance(record, tuple):
        return _marked(reader, record, logs, habits, revisions)
    reader = reader._replace(next=reader.next + 1)
    if record > 0:
        revision = record // ORIGINS
        if reader.mode != LIVE and reader.found < revision:
            reader = reader._replace(found=revision)
        if reader.mode != GATHERING and reader.held < revision:
            reader = reader._replace(held=revision)
    elif record in _NULLS:
        reader = _erased(reader, revisions)
    elif record < SEAL and SEAL - record >= reader.place.epoch:
        reader = reader._replace(sealed=True)
    return _ended(reader, revisions) if reader.mode != LIVE else reader


def catch_up(reader: Reader, logs: tuple[Log, ...], habits: Habits, rev: Revisions) -> Reader:
    """Read everything that is there."""
    while reader.mode not in {OFF, WRONG} and reader.next < len(logs[reader.place.slot]):
        reader = read(reader, logs, habits, rev)
    return reader


def _marked(
    reader: Reader,
    marker: tuple[int, int, int],
    logs: tuple[Log, ...],
    habits: Habits,
    revisions: Revisions,
) -> Reader:
    epoch, slot, start = marker
    if epoch <= reader.place.epoch:
        reader = reader._replace(next=reader.next + 1)
        return _ended(reader, revisions) if reader.mode != LIVE else reader
    place = Place(slot, epoch, start)
    if reader.mode != LIVE:
        return begin(place, logs, reader.held, habits)
    return reader._replace(place=place, next=start if habits.begins_at_start else 0)


def _erased(reader: Reader, revisions: Revisions) -> Reader:
    """A null ends what is left of a delete; behind anything else it is not believed."""
    if reader.mode != LIVE and reader.found in revisions.deletes:
        reader = reader._replace(found=0)
    if reader.mode != GATHERING and reader.held in revisions.deletes:
        reader = reader._replace(held=0)
    return reader


def _ended(reader: Reader, revisions: Revisions) -> Reader:
    """Draw a snapshot's conclusions once its end is reached, and once more when it is complete."""
    if reader.next < reader.high:
        return reader
    held = max(reader.held, reader.found)
    if not reader.sealed:
        return reader._replace(mode=TRAILING, held=held)
    if reader.found == 0 and revisions.shows(held):
        # Whether this deletion is right is for the world to say.
        return reader._replace(mode=WRONG, held=held)
    return Reader(LIVE, reader.place, reader.next, held)


def compacted(log: Log) -> Log:
    """Return a log as compaction may leave it long after the last seal.

    What was written before the seal is older than the lag, so of it the last record is kept. Before
    that, the janitor has repaired what publishers wrote in falling order, and what an overtaken
    executor appended late; what the executor itself has appended is for it to mend. A null that is
    the last record has taken everything with it.
    """
    seals = [at for at, one in enumerate(log) if isinstance(one, int) and one < SEAL]
    edge = seals[-1] if seals else 0
    data = data_in(log[:edge])
    if not data:
        return log
    kept = log[data[-1]]
    highest = max((log[at] for at in data), key=_revision)
    assert isinstance(kept, int)
    if kept == NULL:
        kept = HOLE
    elif kept == LATE_NULL or (_revision(kept) < _revision(highest) and kept % ORIGINS != COPY):
        kept = highest if isinstance(highest, int) else kept
    thinned = [HOLE if at in data else one for at, one in enumerate(log)]
    thinned[data[-1]] = kept
    return tuple(thinned)


def data_in(log: Log) -> list[int]:
    """Return the offsets of what compaction sees as one key: revisions and nulls."""
    return [at for at, one in enumerate(log) if isinstance(one, int) and (one > 0 or one in _NULLS)]


def is_nulled(log: Log, begin: int) -> bool:
    """Tell whether the last of the data behind an offset is a null."""
    data = data_in(log)
    return bool(data) and data[-1] >= begin and log[data[-1]] in _NULLS


def highest(log: Log, begin: int, end: int) -> int:
    """Return the highest revision in a range, 0 when there is none."""
    return max(
        (one // ORIGINS for one in log[begin:end] if isinstance(one, int) and one > 0), default=0
    )


def last(log: Log, begin: int) -> int:
    """Return the last revision behind an offset, 0 when there is none."""
    for at in range(len(log) - 1, begin - 1, -1):
        one = log[at]
        if isinstance(one, int) and one > 0:
            return one // ORIGINS
    return 0


def has_seal(log: Log, epoch: int) -> bool:
    """Tell whether the seal of an epoch stands there."""
    return SEAL - epoch in log


def _revision(record: Record) -> int:
    return record // ORIGINS if isinstance(record, int) and record > 0 else 0
