"""The ledger over a log in memory: whose record counts, and what compaction may do to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import pytest

from southbound.errors import StaleMap, WireError
from southbound.partitioning.handover import Move, Step, claim, plan_move
from southbound.partitioning.move import Kind, Part
from southbound.partitioning.placement import Address, Placement
from southbound.partitioning.plan import Goal, Plan, PlannedMove
from southbound.partitioning.topology import Cluster
from southbound.rebalance.ledger import Batch, Ledger, Note

_PLANNED = PlannedMove(
    cls="host", id="a", action="move", old="h1:0:1:0", cluster="c2", pool="h2", probe=0
)
_PLAN = Plan(
    goal=Goal(kind="drain-pool", what=("h1",)),
    map_version=1,
    topology_version=1,
    moves=(_PLANNED, msgspec.structs.replace(_PLANNED, id="b")),
)
_BATCHES = [Batch(number, (move,)) for number, move in enumerate(_PLAN.moves)]


class Message:
    """One record of the log."""

    def __init__(self, offset: int, key: bytes, value: bytes | None) -> None:
        self._at, self._key, self._value = offset, key, value

    def offset(self) -> int:
        """Return where it stands."""
        return self._at

    def key(self) -> bytes:
        """Return its key."""
        return self._key

    def value(self) -> bytes | None:
        """Return its value."""
        return self._value


class Log:
    """A partition in memory that can be compacted."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.end = 0

    def append(self, records: Sequence[tuple[bytes, bytes | None]]) -> list[int]:
        """Append records."""
        offsets = []
        for key, value in records:
            self.messages.append(Message(self.end, key, value))
            offsets.append(self.end)
            self.end += 1
        return offsets

    def bounds(self, _timeout_s: float) -> tuple[int, int]:
        """Return both ends."""
        return 0, self.end

    def read(self, start: int, end: int, _timeout_s: float) -> Iterable[Message]:
        """Return a part of it."""
        return [one for one in self.messages if start <= one.offset() < end]

    def compact(self) -> None:
        """Keep the last record of each key."""
        last = {one.key(): one.offset() for one in self.messages}
        self.messages = [one for one in self.messages if last[one.key()] == one.offset()]

    def close(self) -> None:
        """Let go of nothing."""


def ledger_on(log: Log) -> Ledger:
    """Return a process' view of a log."""
    ledger = Ledger(
        Cluster(id="c1", az="a", bootstrap=("127.0.0.1:1",)), client_id="t", timeout_s=1.0
    )
    ledger._asker = ledger._reader = ledger._appender = log  # type: ignore[assignment]
    return ledger


def record(owner: str) -> Move:
    """Return the record of the first batch, claimed by an executor."""
    part = Part(
        cls="host",
        id="a",
        epoch=1,
        old=Placement("h1", 0),
        fence="c1",
        new=Placement("h2", 0, epoch=2),
    )
    slots = (Address("c1", "sb.h1.000", 0), Address("c2", "sb.h2.000", 0))
    return claim(plan_move(_PLAN.id, "0", Kind.MOVE, slots, [part]), owner)


@pytest.fixture
def log() -> Log:
    """An empty log."""
    return Log()


def test_a_plan_is_there_for_everybody(log: Log) -> None:
    """Another process finds its batches; a second beginning is refused."""
    ledger_on(log).begin(_PLAN, _BATCHES)
    other = ledger_on(log)
    other.refresh()
    (state,) = other.plans()
    assert [batch.moves for batch in state.rest()] == [batch.moves for batch in _BATCHES]
    with pytest.raises(StaleMap, match="begun already"):
        other.begin(_PLAN, _BATCHES)


def test_a_plan_without_its_header_was_never_begun(log: Log) -> None:
    """Its writer died; the same plan may be begun."""
    ledger_on(log).begin(_PLAN, _BATCHES)
    log.messages.pop()
    other = ledger_on(log)
    other.refresh()
    assert other.plans() == []
    assert other.begin(_PLAN, _BATCHES).header.moves == 2


def test_the_second_to_store_is_refused(log: Log) -> None:
    """Two hold the same record; the first to store what follows it goes on, the other stops."""
    first = ledger_on(log)
    first.begin(_PLAN, _BATCHES)
    (mine,) = first.store([(0, record("first"))])
    second = ledger_on(log)
    second.refresh()
    second.store([(0, claim(mine, "second"))])
    with pytest.raises(StaleMap, match="taken over by second"):
        first.store([(0, msgspec.structs.replace(mine, step=Step.RESERVED))])


def test_a_refused_record_does_not_outlive_compaction(log: Log) -> None:
    """Whoever reads it appends the one that counts again, so that this is the last."""
    first = ledger_on(log)
    first.begin(_PLAN, _BATCHES)
    (mine,) = first.store([(0, record("first"))])
    second = ledger_on(log)
    second.refresh()
    (theirs,) = second.store([(0, claim(mine, "second"))])
    with pytest.raises(StaleMap):
        first.store([(0, mine)])
    second.refresh()
    second.refresh()
    log.compact()
    third = ledger_on(log)
    third.refresh()
    (state,) = third.plans()
    assert state.moves[0] == theirs
    (again,) = third.store([(0, claim(theirs, "third"))])
    assert (again.owner, again.serial) == ("third", theirs.serial + 1)


def test_who_carries_on_a_plan_that_is_gone_is_told() -> None:
    """Its records were taken away meanwhile, one key after another, whether he has read that or not."""
    for has_read in (False, True):
        log = Log()
        ledger = ledger_on(log)
        ledger.begin(_PLAN, _BATCHES)
        (mine,) = ledger.store([(0, record("first"))])
        log.append([(one.key(), None) for one in log.messages])
        if has_read:
            ledger.refresh()
        with pytest.raises(StaleMap, match="shards recover"):
            ledger.store([(0, msgspec.structs.replace(mine, step=Step.RESERVED))])


def test_a_plan_whose_records_were_there_before_it_goes_on_from_them(log: Log) -> None:
    """Who dies before the header has begun nothing; the same records are no conflict then."""
    known = msgspec.structs.replace(record("first"), owner="", token=0, serial=0)
    ledger_on(log).begin(_PLAN, _BATCHES, records={0: known})
    log.messages.pop()
    state = ledger_on(log).begin(_PLAN, _BATCHES, records={0: known})
    assert state.moves == {0: known}
    other = ledger_on(log)
    other.refresh()
    (claimed,) = other.store([(0, claim(known, "other"))])
    assert (claimed.owner, claimed.token) == ("other", 1)


def test_an_answer_that_was_lost_is_asked_for_again(log: Log) -> None:
    """The same record stored twice is stored once."""
    ledger = ledger_on(log)
    ledger.begin(_PLAN, _BATCHES)
    (stored,) = ledger.store([(0, record("first"))])
    log.append([(log.messages[-1].key(), log.messages[-1].value())])
    ledger.refresh()
    state = ledger.plan(_PLAN.id)
    assert state is not None
    assert state.moves[0] == stored
    assert log.end == log.messages[-1].offset() + 1


def test_the_first_note_counts_and_ends_a_batch(log: Log) -> None:
    """A batch without a record is done with its note."""
    ledger = ledger_on(log)
    state = ledger.begin(_PLAN, _BATCHES)
    ledger.note([Note(plan=_PLAN.id, number=1, state="done")])
    ledger.note([Note(plan=_PLAN.id, number=1, state="abandoned")])
    assert state.notes[1].state == "done"
    assert [batch.number for batch in state.rest()] == [0]


def test_finished_plans_are_let_go_of(log: Log) -> None:
    """Key by key; what compaction leaves of them is no plan."""
    ledger = ledger_on(log)
    state = ledger.begin(_PLAN, _BATCHES)
    ledger.store([(0, record("first"))])
    ledger.note([Note(plan=_PLAN.id, number=1, state="done")])
    ledger.put_header(msgspec.structs.replace(state.header, finished_us=5))
    ledger.forget(before_us=5)
    assert ledger.plan(_PLAN.id) is not None
    ledger.forget(before_us=6)
    assert ledger.plan(_PLAN.id) is None
    other = ledger_on(log)
    other.refresh()
    assert other.plans() == []


_GARBAGE = [
    b"",
    b"{",
    b"[" * 100_000,
    b"\xff",
    b"null",
    b'{"version": 99}',
    b'{"version": 1}',
    b'{"id": "p", "moves": 1e5000}',
]


def test_garbage_is_counted_and_what_follows_it_goes_on(log: Log) -> None:
    """Keys that are none, records that are none, of plans that nobody knows: the next plan is told."""
    keys = [
        b"",
        b"x",
        b"\xff",
        b"move",
        b"move\x1fp",
        b"move\x1fp\x1f-1",
        b"move\x1fp\x1f" + b"9" * 5_000,
    ]
    plans = [
        b"plan\x1fother",
        b"batches\x1fother\x1f0",
        b"move\x1fother\x1f0",
        b"note\x1fother\x1f0",
    ]
    log.append([(key, b"{}") for key in keys])
    log.append([(key, value) for key in plans for value in _GARBAGE])
    ledger = ledger_on(log)
    assert ledger.begin(_PLAN, _BATCHES).header.moves == 2
    assert [state.header.id for state in ledger.plans()] == [_PLAN.id]
    assert ledger.quarantined == len(keys) + len(plans) * len(_GARBAGE)


@pytest.mark.parametrize("sort", ["plan", "batches", "move", "note"])
def test_of_a_plan_with_a_record_that_cannot_be_read_nothing_is_concluded(
    log: Log, sort: str
) -> None:
    """It may be a newer software's: beginning the batch anew would be a guess. A null ends the doubt."""
    first = ledger_on(log)
    first.begin(_PLAN, _BATCHES)
    key = f"{sort}\x1f{_PLAN.id}" + ("" if sort == "plan" else "\x1f1")
    log.append([(key.encode(), b'{"version": 99}')])
    other = ledger_on(log)
    other.refresh()
    with pytest.raises(WireError, match=_PLAN.id):
        other.plan(_PLAN.id)
    if sort != "plan":
        log.append([(key.encode(), None)])
        other.refresh()
        assert other.plan(_PLAN.id) is not None


def test_a_record_that_can_be_read_ends_the_doubt(log: Log) -> None:
    """Its writer has seen what came before."""
    first = ledger_on(log)
    first.begin(_PLAN, _BATCHES)
    first.store([(0, record("first"))])
    key = f"move\x1f{_PLAN.id}\x1f0".encode()
    log.append([(key, b"garbage")])
    first.refresh()
    with pytest.raises(WireError):
        first.plan(_PLAN.id)
    stored = record("first")
    first.store([(0, claim(stored, "second"))])
    first.refresh()
    found = first.plan(_PLAN.id)
    assert found is not None
    assert found.moves[0].owner == "second"
