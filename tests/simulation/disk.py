"""An agent's disk: transactions, each whole or not at all, and a tail that power loss takes.

The rule: what was committed survives the process, but of the latest transactions only those written
through survive a loss of power: it takes a suffix, never one out of the middle. What forgets a
resource, and what begins to follow a scope, is written through, as the real store does.
"""

from __future__ import annotations

from southbound.nca.state import State, Transaction
from tests.nca.world import after

_KEPT = 6


class Disk:
    """What one agent has stored."""

    def __init__(self) -> None:
        self.state = State()
        self._before: list[State] = []

    def commit(self, transaction: Transaction) -> None:
        """Write a transaction."""
        followed = {scope for scope, state in transaction.streams.items() if state is not None}
        if None in transaction.entries.values() or followed - self.state.streams.keys():
            self._before = []
        else:
            self._before = [*self._before[1 - _KEPT :], self.state]
        self.state = after(self.state, transaction)

    def lose_power(self, transactions: int) -> None:
        """Lose the latest transactions."""
        for _ in range(min(transactions, len(self._before))):
            self.state = self._before.pop()

    def wipe(self) -> None:
        """Lose everything."""
        self.state = State()
        self._before = []
