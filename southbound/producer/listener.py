"""Who is told of everything that a publisher publishes, and of what becomes of it.

The rule: a listener never holds a publisher up. It is called on the threads that publish and settle,
must return at once, and raises nothing; what it does with what it is told it does on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from southbound.errors import SouthboundError
from southbound.producer.receipts import Accepted, Receipt
from southbound.resources import Changeset


class Listener(Protocol):
    """For any thread."""

    def published(self, changesets: Sequence[Changeset]) -> None:
        """Take changesets of which nothing has been sent yet."""

    def settled(self, changeset: str, error: SouthboundError | None) -> None:
        """Take that a changeset was accepted, or why it was not, or is not known to be."""


def listen(
    listener: Listener, changesets: Sequence[Changeset], receipts: Iterable[Receipt]
) -> None:
    """Tell a listener of changesets before anything of them is sent, and later of their verdicts."""
    listener.published(changesets)
    for receipt in receipts:
        receipt.accepted.add_done_callback(partial(_tell, listener, receipt.changeset))


def _tell(listener: Listener, changeset: str, done: Future[Accepted]) -> None:
    error = done.exception()
    assert error is None or isinstance(error, SouthboundError)
    listener.settled(changeset, error)
