from __future__ import annotations

import pytest

from southbound.nca.ledger import Ledger
from southbound.nca.state import Due, OwedPresence, OwedReport
from southbound.wire.reports import Outcome


def due(number: int, outcome: Outcome | None = Outcome.APPLIED) -> Due:
    """Return one line."""
    return Due("c", b"key%d" % number, number, outcome)


@pytest.fixture
def ledger() -> Ledger:
    """Return an empty ledger of six lines, two to a report."""
    return Ledger({}, dues_max=6, report_dues=2)


def test_lines_are_cut_into_reports(ledger: Ledger) -> None:
    """None is longer than allowed, and the order is kept."""
    owed = ledger.add_reports([due(number) for number in range(5)])
    lines = [len(debt.dues) for debt in owed.values() if isinstance(debt, OwedReport)]
    assert lines == [2, 2, 1]
    assert list(owed) == [1, 2, 3]
    assert [seq for seq, _ in ledger.all_ready()] == [1, 2, 3]


def test_an_open_report_is_not_ready_until_it_is_answered(ledger: Ledger) -> None:
    """Lines whose outcome is known keep it."""
    ledger.add_reports([due(1, Outcome.PENDING), due(2, None)])
    assert ledger.is_open
    assert ledger.all_ready() == []
    assert ledger.open_dues() == [due(2, None)]
    ((seq, report),) = ledger.answer(lambda _: (Outcome.FAILED, "why"))
    assert report.dues == (due(1, Outcome.PENDING), Due("c", b"key2", 2, Outcome.FAILED, "why"))
    assert ledger.ready([seq, 99]) == [(seq, report)]
    assert not ledger.is_open


def test_a_settled_debt_is_gone(ledger: Ledger) -> None:
    """And cannot be settled twice."""
    (seq,) = ledger.add_reports([due(1)])
    assert seq in ledger
    assert ledger.settle(seq)
    assert not ledger.settle(seq)
    assert len(ledger) == 0


def test_numbers_go_on_after_a_restart() -> None:
    """A number is never used for two debts."""
    ledger = Ledger({7: OwedReport((due(1),))}, dues_max=6, report_dues=2)
    assert list(ledger.add_reports([due(2)])) == [8]


def test_the_oldest_are_dropped_when_it_is_full(ledger: Ledger) -> None:
    """Open ones and words of presence are kept."""
    ledger.add_reports([due(1, None)])
    ledger.add_presence(OwedPresence("c1", "v", present=True))
    for number in range(2, 9):
        ledger.add_reports([due(number)])
    assert ledger.overflow() == [3, 4]
    assert ledger.overflow() == []
    assert len(ledger) == 7


def test_a_later_word_takes_the_place_of_an_earlier_one(ledger: Ledger) -> None:
    """Told again, the earlier would undo the later."""
    first, none = ledger.add_presence(OwedPresence("c1", "v", present=True))
    ledger.add_presence(OwedPresence("c2", "v", present=True))
    second, outdated = ledger.add_presence(OwedPresence("c1", "v", present=False))
    assert (none, outdated) == ([], [first])
    assert second in ledger
    assert len(ledger) == 2
