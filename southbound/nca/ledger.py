"""What the agent still owes to those who sent: reports and words of presence. Pure.

The rule: a debt is written down in the transaction that makes it, and struck out in a later one
after Kafka has acknowledged it; so everything is told at least once. The ledger is bounded: when it
is full the oldest reports are dropped and counted, since configuration matters more than news of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from southbound.nca.state import Due, Owed, OwedPresence, OwedReport
from southbound.wire.reports import Outcome

Answer = Callable[[Due], tuple[Outcome, str]]


def _chunks(dues: list[Due], size: int) -> Iterator[tuple[Due, ...]]:
    for first in range(0, len(dues), size):
        yield tuple(dues[first : first + size])


class Ledger:
    """Debts by number. `dues_max` bounds the lines of all reports, `report_dues` those of one."""

    def __init__(self, owed: Mapping[int, Owed], *, dues_max: int, report_dues: int) -> None:
        self._dues_max = dues_max
        self._report_dues = report_dues
        self._owed: dict[int, Owed] = dict(sorted(owed.items()))
        self._next = max(self._owed, default=0) + 1
        self._lines = sum(_lines(debt) for debt in self._owed.values())
        self._open: set[int] = {seq for seq, debt in self._owed.items() if _is_open(debt)}

    def __len__(self) -> int:
        """Return the number of debts."""
        return len(self._owed)

    def __contains__(self, seq: object) -> bool:
        """Tell whether a debt is still owed."""
        return seq in self._owed

    def add_reports(self, dues: list[Due]) -> dict[int, Owed]:
        """Owe these lines; return the new debts."""
        return {self._add(debt): debt for debt in map(OwedReport, _chunks(dues, self._report_dues))}

    def add_presence(self, debt: OwedPresence) -> tuple[int, list[int]]:
        """Owe a word on the interest topic; return its number, and those of earlier words on the
        same VPC, which are owed no more: told again, they would undo this one.
        """
        outdated = [
            seq
            for seq, earlier in self._owed.items()
            if isinstance(earlier, OwedPresence)
            and (earlier.cluster, earlier.vpc) == (debt.cluster, debt.vpc)
        ]
        for seq in outdated:
            self.settle(seq)
        return self._add(debt), outdated

    def answer(self, answer: Answer) -> list[tuple[int, OwedReport]]:
        """Fill the outcomes that were open; return the reports that this made ready to be sent."""
        ready = []
        for seq in sorted(self._open):
            debt = self._owed[seq]
            assert isinstance(debt, OwedReport)
            filled = OwedReport(tuple(_filled(due, answer) for due in debt.dues))
            self._owed[seq] = filled
            ready.append((seq, filled))
        self._open.clear()
        return ready

    @property
    def is_open(self) -> bool:
        """Whether the outcome of any line is not known yet."""
        return bool(self._open)

    def open_dues(self) -> list[Due]:
        """Return the lines whose outcome the applier has not told yet."""
        return [due for seq in self._open for due in _dues(self._owed[seq]) if due.outcome is None]

    def ready(self, seqs: Iterable[int]) -> list[tuple[int, Owed]]:
        """Return those of the debts that still exist and are ready to be told."""
        return [
            (seq, self._owed[seq]) for seq in seqs if seq in self._owed and seq not in self._open
        ]

    def all_ready(self) -> list[tuple[int, Owed]]:
        """Return every debt that is ready to be told."""
        return self.ready(tuple(self._owed))

    def settle(self, seq: int) -> bool:
        """Strike a debt out; return whether there was one."""
        debt = self._owed.pop(seq, None)
        if debt is None:
            return False
        self._lines -= _lines(debt)
        self._open.discard(seq)
        return True

    def overflow(self) -> list[int]:
        """Drop the oldest reports until the rest fits; return their numbers."""
        dropped: list[int] = []
        if self._lines <= self._dues_max:
            return dropped
        for seq, debt in list(self._owed.items()):
            if self._lines <= self._dues_max:
                break
            if isinstance(debt, OwedReport) and seq not in self._open:
                self.settle(seq)
                dropped.append(seq)
        return dropped

    def _add(self, debt: Owed) -> int:
        seq = self._next
        self._next += 1
        self._owed[seq] = debt
        self._lines += _lines(debt)
        if _is_open(debt):
            self._open.add(seq)
        return seq


def _dues(debt: Owed) -> tuple[Due, ...]:
    return debt.dues if isinstance(debt, OwedReport) else ()


def _lines(debt: Owed) -> int:
    return len(_dues(debt))


def _is_open(debt: Owed) -> bool:
    return any(due.outcome is None for due in _dues(debt))


def _filled(due: Due, answer: Answer) -> Due:
    if due.outcome is not None:
        return due
    outcome, detail = answer(due)
    return msgspec.structs.replace(due, outcome=outcome, detail=detail)
