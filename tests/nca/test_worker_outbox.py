from __future__ import annotations

import pytest

from southbound.nca.worker_core import WorkerCounters
from southbound.nca.worker_outbox import Outbox
from southbound.wire.reports import Outcome, ReportEntry


def entries(*numbers: int) -> tuple[ReportEntry, ...]:
    """Return entries that are told apart by their revision."""
    return tuple(ReportEntry("c", b"p\x1felb\x1fa", n, Outcome.APPLIED, 0) for n in numbers)


@pytest.fixture
def counters() -> WorkerCounters:
    """Return counters at zero."""
    return WorkerCounters()


def test_entries_leave_in_order(counters: WorkerCounters) -> None:
    """A report takes as many as it may, and the rest waits for the next."""
    outbox = Outbox(10, counters)
    outbox.add(entries(1, 2, 3))
    assert outbox.reports(2) == 2
    assert outbox.take(2) == entries(1, 2)
    assert outbox.take(2) == entries(3)
    assert outbox.take(2) == ()
    assert len(outbox) == 3


def test_what_arrived_is_forgotten(counters: WorkerCounters) -> None:
    """An acknowledged report is no debt any more."""
    outbox = Outbox(10, counters)
    outbox.add(entries(1, 2))
    outbox.settle(outbox.take(5), arrived=True)
    assert len(outbox) == 0
    assert counters.reports_sent == 2


def test_what_did_not_arrive_is_told_again_first(counters: WorkerCounters) -> None:
    """The order in which things became true is kept."""
    outbox = Outbox(10, counters)
    outbox.add(entries(1, 2))
    lost = outbox.take(2)
    outbox.add(entries(3))
    outbox.settle(lost, arrived=False)
    assert outbox.take(9) == entries(1, 2, 3)
    assert counters.reports_resent == 2


def test_a_full_outbox_drops_the_oldest(counters: WorkerCounters) -> None:
    """Memory stays bounded while Kafka is away; what is in flight counts."""
    outbox = Outbox(3, counters)
    outbox.add(entries(1, 2))
    lost = outbox.take(2)
    outbox.add(entries(3, 4))
    assert len(outbox) == 3
    outbox.settle(lost, arrived=False)
    assert outbox.take(9) == entries(1, 2, 4)
    assert counters.reports_dropped == 1
