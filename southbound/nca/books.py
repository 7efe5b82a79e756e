"""Telling what is owed: from the ledger to the effects that carry it. Pure.

The rule: what is told is what the ledger holds, each time; a debt that Kafka did not acknowledge is
told again after a backoff, and all of them after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable

from southbound.nca.counters import Counters
from southbound.nca.draft import Draft
from southbound.nca.effects import Announce, Send
from southbound.nca.events import Now, Settled
from southbound.nca.ledger import Answer, Ledger
from southbound.nca.retries import Retries
from southbound.nca.state import Due, Owed, OwedPresence, OwedReport, line_of
from southbound.wire.reports import ReportEntry


class Books:
    """The ledger, what of it is to be told in this step, and what is to be told again."""

    def __init__(
        self, ledger: Ledger, retries: Retries[int], draft: Draft, counters: Counters
    ) -> None:
        self._ledger = ledger
        self._retries = retries
        self._draft = draft
        self._counters = counters
        self._ready: list[tuple[int, Owed]] = []
        self._untold = True

    def __len__(self) -> int:
        """Return the number of debts."""
        return len(self._ledger)

    def owe(self, dues: list[Due]) -> None:
        """Owe lines of reports; those whose outcome is known are told in this step."""
        if not dues:
            return
        owed = self._ledger.add_reports(dues)
        self._draft.owed(owed)
        self._ready += self._ledger.ready(owed)
        dropped = self._ledger.overflow()
        self._counters.reports_dropped += len(dropped)
        for seq in dropped:
            self._strike(seq)

    def owe_presence(self, debt: OwedPresence) -> None:
        """Owe a word on the interest topic."""
        seq, outdated = self._ledger.add_presence(debt)
        for old in outdated:
            self._strike(old)
        # A VPC that is followed is followed again after a restart, and said to be.
        self._draft.owed({seq: debt}, urgent=not debt.present)
        self._ready.append((seq, debt))

    def answer(self, answer: Answer) -> set[bytes]:
        """Close the open lines; return the keys that they were about."""
        answered = self._ledger.answer(answer)
        self._ready += answered
        return {due.key for _, report in answered for due in report.dues}

    @property
    def is_open(self) -> bool:
        """Whether a line waits for the applier's answer."""
        return self._ledger.is_open

    def open_dues(self) -> list[Due]:
        """Return the lines that wait for the applier's answer."""
        return self._ledger.open_dues()

    def settled(self, event: Settled) -> None:
        """Take Kafka's answers."""
        for seq in event.seqs:
            if self._ledger.settle(seq):
                self._counters.reports_sent += 1
                self._strike(seq)
        for seq in filter(self._ledger.__contains__, event.lost):
            self._retries.failed(seq, event.now.s)

    def has_news(self, now: Now) -> bool:
        """Whether `tell` has anything to say."""
        return bool(self._ready) or self._untold or bool(self._retries.due(now.s))

    def tell(self, cluster: str | None, now: Now) -> list[Send | Announce]:
        """Return what is to be told now: nothing while the host's cluster is not known.

        The first time, that is everything; later what is new, and what is due again.
        """
        if cluster is None:
            self._ready.clear()
            self._untold = True
            return []
        if self._untold:
            self._untold = False
            self._ready = self._ledger.all_ready()
        return [_effect(seq, debt, cluster, now) for seq, debt in [*self._take(), *self._due(now)]]

    def deadline_s(self) -> float | None:
        """Return when something is due to be told again."""
        return self._retries.deadline_s()

    def _take(self) -> list[tuple[int, Owed]]:
        ready, self._ready = self._ready, []
        return ready

    def _due(self, now: Now) -> Iterable[tuple[int, Owed]]:
        seqs = self._retries.due(now.s)
        # Until the answer comes it is not due again; a further failure doubles the wait.
        for seq in seqs:
            self._retries.waits(seq)
        again = self._ledger.ready(seqs)
        self._counters.reports_resent += len(again)
        return again

    def _strike(self, seq: int) -> None:
        self._retries.done(seq)
        self._draft.settled(seq)


def _effect(seq: int, debt: Owed, cluster: str, now: Now) -> Send | Announce:
    if isinstance(debt, OwedPresence):
        return Announce(seq, debt.cluster, debt.vpc, debt.present, now.us)
    return Send(seq, cluster, tuple(_lines(debt, now)))


def _lines(report: OwedReport, now: Now) -> Iterable[ReportEntry]:
    for due in report.dues:
        yield line_of(due, now.us)
