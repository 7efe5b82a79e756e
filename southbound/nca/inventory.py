"""Telling now and then everything that stands on this host, not only what is news. Pure.

The rule: whoever has lost what was reported, or never heard it, knows the host again after one
inventory, and one fits into every retention of the status topic. It is told once the node is caught
up: some time after a start and after a stream was read anew, since what went away then was said by
no report; and once in a period. A host's own share of `spread_s` keeps many that start together
apart. It is no debt: one that did not arrive is taken again, as things stand then.
"""

from __future__ import annotations

from collections.abc import Callable

from southbound.nca.effects import Send
from southbound.nca.events import Now, Settled
from southbound.partitioning.hashing import spread
from southbound.settings import AgentSettings
from southbound.wire.reports import Inventory, ReportEntry

_SHARES = 1_000


class Inventories:
    """When the next one is due, and what of the last is not acknowledged.

    Its reports have numbers below zero, so that no debt of the ledger is meant by them.
    """

    def __init__(self, host: str, settings: AgentSettings) -> None:
        self._after_s = settings.inventory_spread_s * spread(host, _SHARES) / _SHARES
        self._every_s = settings.inventory_every_s
        self._again_s = settings.retry_max_s
        self._lines_max = settings.report_batch
        self._due_s: float | None = None
        self._open: set[int] = set()
        self._last_seq = 0

    @property
    def due_s(self) -> float | None:
        """The monotonic time, in seconds, from which one is wanted."""
        return self._due_s

    def is_due(self, now_s: float) -> bool:
        """Tell whether one is to be told as soon as the node is caught up."""
        return self._due_s is not None and now_s >= self._due_s

    def hasten(self, now_s: float) -> None:
        """Want one soon, since something may have changed that no report spoke of."""
        at_s = now_s + self._after_s
        self._due_s = at_s if self._due_s is None else min(self._due_s, at_s)

    def take(
        self, entries: Callable[[int], list[ReportEntry]], cluster: str, now: Now
    ) -> list[Send]:
        """Return the reports of one; `entries` gives every line, told at that time in µs."""
        self._due_s = now.s + self._every_s
        lines = entries(now.us)
        parts = [lines[at : at + self._lines_max] for at in range(0, len(lines), self._lines_max)]
        sends = []
        for index, part in enumerate(parts or [[]]):
            self._last_seq -= 1
            of = Inventory(now.us, index, max(len(parts), 1))
            sends.append(Send(self._last_seq, cluster, tuple(part), of))
        self._open = {send.seq for send in sends}
        return sends

    def settled(self, event: Settled) -> None:
        """Take Kafka's answers; what was lost makes the whole due again."""
        if not self._open.isdisjoint(event.lost):
            again_s = event.now.s + self._again_s
            self._due_s = again_s if self._due_s is None else min(self._due_s, again_s)
        self._open.difference_update(event.seqs, event.lost)
