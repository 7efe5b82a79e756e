"""What the publisher hands back: a receipt for each changeset, and one for many.

The rule: a receipt settles exactly once for acceptance, whatever happens to the publisher, and what
it says is known, not hoped: accepted, refused or failed (with why), or unknown.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, overload

import msgspec

from southbound.errors import OutcomeUnknown, SouthboundError
from southbound.producer.core import Owner, Parcel, Standing

if TYPE_CHECKING:
    from southbound.producer.tracker_core import Applied


class Accepted(msgspec.Struct, frozen=True):
    """Every part of a changeset is in the log that its readers read.

    `resent`: how often a part was turned to another slot on the way.
    """

    changeset: str
    resent: int = 0


class Receipt:
    """One changeset's. `lock` is shared by a publisher's receipts.

    `group`: those that it is one of; making it then needs the lock.
    """

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

    def __init__(
        self,
        changeset: str,
        parcels: Sequence[Parcel],
        lock: threading.Lock,
        group: Receipts | None = None,
    ) -> None:
        self.changeset = changeset
        self.parcels = tuple(parcels)
        self._lock = lock
        self._group = group
        self._open = 0
        for parcel in parcels:
            # One of many may be made late: what has settled by then has no owner any more.
            if group is None or parcel.owner is not None:
                parcel.owner = self
                self._open += 1
        self._accepted: Future[Accepted] | None = None
        self._applied: Future[Applied] | None = None
        self._snapshot: Callable[[], Applied] | None = None
        self._on_settled: Callable[[], None] | None = None

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

    def settle(self, parts: int) -> None:
        """Note that so many parts have settled."""
        with self._lock:
            self._open -= parts
            assert self._open >= 0, "a part settles once"
            is_last = self._open == 0
            if is_last and self._accepted is not None:
                self._resolve(self._accepted)
            group = self._group
        if is_last and self._on_settled is not None:
            self._on_settled()
        if group is not None:
            group.settle(parts)

    def _resolve(self, future: Future[Accepted]) -> None:
        error = self.error()
        if error is not None:
            future.set_exception(error)
        else:
            assert all(parcel.standing is Standing.ACCEPTED for parcel in self.parcels)
            resent = sum(parcel.resends for parcel in self.parcels)
            future.set_result(Accepted(self.changeset, resent))


class Receipts(Sequence[Receipt]):
    """Those of changesets published together, in their order; each is made when it is asked for."""

    def __init__(
        self, changesets: Sequence[str], parts: Sequence[Sequence[Parcel]], lock: threading.Lock
    ) -> None:
        self._changesets = changesets
        self._parts = parts
        self._lock = lock
        self._made: dict[int, Receipt] = {}
        self._open = 0
        for parcels in parts:
            self._open += len(parcels)
            for parcel in parcels:
                parcel.owner = self
        self._is_simple = self._open == len(parts)
        self.accepted: Future[int] = Future()
        """Done when all have settled: how many were accepted. Raises the first failure's error."""
        if not parts:
            self.accepted.set_result(0)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Receipt]:
        return (self._receipt(at) for at in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Receipt: ...

    @overload
    def __getitem__(self, index: slice) -> list[Receipt]: ...

    def __getitem__(self, index: int | slice) -> Receipt | list[Receipt]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._receipt(places)
        return [self._receipt(at) for at in places]

    def failures(self) -> list[Receipt]:
        """Return those that have settled and were not accepted."""
        failed = [at for at, parcels in enumerate(self._parts) if any(one.error for one in parcels)]
        return [receipt for at in failed if (receipt := self._receipt(at)).settled]

    @property
    def settled(self) -> int:
        """How many have settled."""
        if self._is_simple:
            return len(self) - self._open
        return sum(all(is_settled(one) for one in parcels) for parcels in self._parts)

    def settle(self, parts: int) -> None:
        """Note that so many parts have settled."""
        with self._lock:
            self._open -= parts
            assert self._open >= 0, "a part settles once"
            if self._open:
                return
        errors = (one.error for parcels in self._parts for one in parcels)
        error = next((error for error in errors if error is not None), None)
        if error is not None:
            self.accepted.set_exception(error)
        else:
            self.accepted.set_result(len(self))

    def _receipt(self, at: int) -> Receipt:
        with self._lock:
            found = self._made.get(at)
            if found is None:
                found = Receipt(self._changesets[at], self._parts[at], self._lock, self)
                self._made[at] = found
            return found


def is_settled(parcel: Parcel) -> bool:
    """Tell whether a part has its verdict."""
    return parcel.standing is not Standing.OPEN


def settle(parcels: Iterable[Parcel], lock: threading.Lock) -> None:
    """Tell the owners of parts with a verdict. `lock` is the one of their receipts."""
    owners: dict[Owner, int] = {}
    last: Owner | None = None
    run = 0
    with lock:
        for parcel in parcels:
            owner, parcel.owner = parcel.owner, None
            if owner is last:
                run += 1
                continue
            if last is not None:
                owners[last] = owners.get(last, 0) + run
            last, run = owner, 1
    if last is not None:
        owners[last] = owners.get(last, 0) + run
    for owner, parts in owners.items():
        owner.settle(parts)
