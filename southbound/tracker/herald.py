"""Announcing what a publisher publishes to a tracker service, behind the publisher's back.

The rule: publishing waits for no tracker. What is to be told stands in a bounded queue, which one
thread empties in order; a tracker that is away is asked again until it is back. When the queue is
full, what comes is not told, and counted: those changesets are published all the same, and only the
tracker does not know their names. One that hears of a changeset late makes up for it from what the
hosts have told meanwhile.

    with Herald("http://127.0.0.1:9480") as herald:
        publisher = Publisher(directory, settings, listener=herald)
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from southbound.errors import OutcomeUnknown, SouthboundError
from southbound.resources import Changeset
from southbound.tracker.client import TrackerClient

log = logging.getLogger(__name__)

_AT_ONCE = 500
_AGAIN_FIRST_S = 0.1
_AGAIN_MAX_S = 5.0


class _Settled(NamedTuple):
    changeset: str
    refusal: str | None


class Asked(Protocol):
    """What a herald needs of a tracker's client."""

    def announce(self, changesets: Sequence[Changeset]) -> None:
        """Have changesets followed."""

    def settle(self, accepted: Sequence[str], refused: dict[str, str]) -> tuple[str, ...]:
        """Tell what was accepted and what was not; return what the tracker never heard of."""
        ...


class Herald:
    """A publisher's listener that tells a tracker. Thread-safe; making it does no IO.

    `url`: as of `TrackerClient`. `waiting_max`: how much may wait to be told. `told` and `untold`
    count announcements and verdicts; the latter were dropped, by a full queue, a tracker that
    refused them, or the end.
    """

    def __init__(
        self,
        url: str,
        *,
        waiting_max: int = 20_000,
        client_of: Callable[[str], Asked] = TrackerClient,
    ) -> None:
        self._client = client_of(url)
        self._waiting_max = waiting_max
        self._changed = threading.Condition()
        self._waiting: deque[Changeset | _Settled] = deque()
        self._busy = 0
        self._is_closing = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="southbound-herald", daemon=True)
        self.told = 0
        self.untold = 0

    def start(self) -> None:
        """Start telling."""
        self._thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Tell what still waits, for so long; the rest stays untold."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # As a publisher's listener.

    def published(self, changesets: Sequence[Changeset]) -> None:
        """Take changesets that are about to be sent."""
        self._put(changesets)

    def settled(self, changeset: str, error: SouthboundError | None) -> None:
        """Take a verdict; of an unknown outcome there is nothing to tell, it may turn out yet."""
        if not isinstance(error, OutcomeUnknown):
            self._put([_Settled(changeset, None if error is None else str(error))])

    def _put(self, items: Sequence[Changeset | _Settled]) -> None:
        with self._changed:
            room = 0 if self._is_closing else self._waiting_max - len(self._waiting)
            taken = items[: max(room, 0)]
            self.untold += len(items) - len(taken)
            self._waiting.extend(taken)
            self._changed.notify_all()

    # The thread.

    def _run(self) -> None:
        again_s = _AGAIN_FIRST_S
        while not self._stopped.is_set():
            batch = self._next()
            try:
                self._tell(batch)
            except SouthboundError as error:
                if getattr(error, "retryable", False):
                    log.warning("%s", error)
                    self._keep(batch)
                    self._stopped.wait(again_s)
                    again_s = min(2 * again_s, _AGAIN_MAX_S)
                    continue
                log.error("what the tracker refuses stays untold: %s", error)  # noqa: TRY400  # no bug
                self._done(0, len(batch))
            else:
                self._done(len(batch), 0)
            again_s = _AGAIN_FIRST_S
        with self._changed:
            self.untold += len(self._waiting)

    def _next(self) -> list[Changeset | _Settled]:
        """Return what waits first: announcements, or verdicts; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._is_closing)
            batch: list[Changeset | _Settled] = []
            while self._waiting and len(batch) < _AT_ONCE:
                if batch and type(self._waiting[0]) is not type(batch[0]):
                    break
                batch.append(self._waiting.popleft())
            self._busy = len(batch)
        if not batch:
            self._stopped.wait(_AGAIN_FIRST_S)
        return batch

    def _tell(self, batch: Sequence[Changeset | _Settled]) -> None:
        changesets = [one for one in batch if isinstance(one, Changeset)]
        verdicts = [one for one in batch if isinstance(one, _Settled)]
        if changesets:
            self._client.announce(changesets)
        if verdicts:
            accepted = [one.changeset for one in verdicts if one.refusal is None]
            refused = {one.changeset: one.refusal for one in verdicts if one.refusal is not None}
            self._client.settle(accepted, refused)

    def _keep(self, batch: Sequence[Changeset | _Settled]) -> None:
        with self._changed:
            self._waiting.extendleft(reversed(batch))
            self._busy = 0
            self._changed.notify_all()

    def _done(self, told: int, untold: int) -> None:
        with self._changed:
            self.told += told
            self.untold += untold
            self._busy = 0
            self._changed.notify_all()
