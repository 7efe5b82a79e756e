"""What the publisher hands back: a receipt for each changeset, and one for many.

The rule: a receipt settles exactly once for acceptance, whatever happens to the publisher, and what
it says is known, not hoped: accepted, refused or failed (with why), or unknown.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import msgspec

from southbound.errors import OutcomeUnknown, SouthboundError
from southbound.producer.core import Parcel, Standing

if TYPE_CHECKING:
    from southbound.producer.tracker_core import Applied


class Accepted(msgspec.Struct, frozen=True):
    """Every part of a changeset is in the log that its readers read.

    `resent`: how often a part was turned to another slot on the way.
    """

    changeset: str
    resent: int = 0


class Receipt:
    """One changeset's. `lock` is shared by a publisher's receipts."""

    __slots__ = (
        "_accepted",
        "_applied",
        "_group",
        "_lock",
        "_on_settled",
        "_open",
        "_snapshot",
        "changeset",
        "parcels",
    )

    def __init__(self, changeset: str, parcels: Sequence[Parcel], lock: threading.Lock) -> None:
        self.changeset = changeset
        self.parcels = tuple(parcels)
        self._open = len(self.parcels)
        self._lock = lock
        self._accepted: Future[Accepted] | None = None
        self._applied: Future[Applied] | None = None
        self._snapshot: Callable[[], Applied] | None = None
        self._on_settled: Callable[[], None] | None = None
        self._group: Receipts | None = None

    @property
    def accepted(self) -> Future[Accepted]:
        """Done when every part is accepted; raises what kept one from it.

        `UnknownScope`, `CapacityError`, `EdgeError`, `OutcomeUnknown`, `Closed`.
        """
        with self._lock:
            if self._accepted is None:
                self._accepted = Future()
                if self._open == 0:
                    self._resolve(self._accepted)
            return self._accepted

    @property
    def applied(self) -> Future[Applied]:
        """Done when every host that must apply it has said what became of it.

        Raises as `accepted` does. Only for changesets that are tracked.
        """
        if self._applied is None:
            raise self._untracked()
        return self._applied

    @property
    def settled(self) -> bool:
        """Whether it is known if it was accepted."""
        return self._open == 0

    async def wait_accepted(self) -> Accepted:
        """Await `accepted`."""
        return await asyncio.wrap_future(self.accepted)

    async def wait_applied(self) -> Applied:
        """Await `applied`."""
        return await asyncio.wrap_future(self.applied)

    def error(self) -> SouthboundError | None:
        """Return what kept it from being accepted: an unknown outcome before any other."""
        errors = [parcel.error for parcel in self.parcels if parcel.error is not None]
        unknown = [error for error in errors if isinstance(error, OutcomeUnknown)]
        return next(iter(unknown or errors), None)

    def status(self) -> Applied:
        """Return what stands now of a changeset that is tracked, whether settled or not."""
        if self._snapshot is None:
            raise self._untracked()
        return self._snapshot()

    def track(
        self,
        applied: Future[Applied],
        snapshot: Callable[[], Applied],
        on_settled: Callable[[], None],
    ) -> None:
        """Take the future that the tracker resolves, and what tells how it stands until then.

        `on_settled` is called once, when it is known whether it was accepted.
        """
        self._applied = applied
        self._snapshot = snapshot
        self._on_settled = on_settled

    def _untracked(self) -> SouthboundError:
        return SouthboundError(
            f"the changeset {self.changeset!r} is not tracked: publish it with track=True"
        )

    def join(self, group: Receipts) -> None:
        """Become one of many."""
        self._group = group

    def settle_one(self) -> bool:
        """Note that one part has settled; return whether that was the last."""
        with self._lock:
            self._open -= 1
            assert self._open >= 0, "a part settles once"
            if self._open:
                return False
            if self._accepted is not None:
                self._resolve(self._accepted)
            group, on_settled = self._group, self._on_settled
        if on_settled is not None:
            on_settled()
        if group is not None:
            group.settle_one()
        return True

    def _resolve(self, future: Future[Accepted]) -> None:
        error = self.error()
        if error is not None:
            future.set_exception(error)
        else:
            assert all(parcel.standing is Standing.ACCEPTED for parcel in self.parcels)
            resent = sum(parcel.resends for parcel in self.parcels)
            future.set_result(Accepted(self.changeset, resent))


class Receipts(Sequence[Receipt]):
    """Those of changesets published together, in their order."""

    def __init__(self, receipts: Sequence[Receipt]) -> None:
        self._receipts = tuple(receipts)
        self._open = len(self._receipts)
        self._lock = threading.Lock()
        self.accepted: Future[int] = Future()
        """Done when all have settled: how many were accepted. Raises the first failure's error."""
        for receipt in self._receipts:
            receipt.join(self)
        if not self._receipts:
            self.accepted.set_result(0)

    def __len__(self) -> int:
        return len(self._receipts)

    def __iter__(self) -> Iterator[Receipt]:
        return iter(self._receipts)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        return self._receipts[index]

    def failures(self) -> list[Receipt]:
        """Return those that have settled and were not accepted."""
        return [receipt for receipt in self._receipts if receipt.settled and receipt.error()]

    @property
    def settled(self) -> int:
        """How many have settled."""
        return len(self._receipts) - self._open

    def settle_one(self) -> None:
        """Note that one of them has settled."""
        with self._lock:
            self._open -= 1
            if self._open:
                return
        error = next((one.error() for one in self._receipts if one.error() is not None), None)
        if error is not None:
            self.accepted.set_exception(error)
        else:
            self.accepted.set_result(len(self._receipts))
