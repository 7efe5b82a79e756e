"""Looking: the last step before a part counts as accepted.

The rule: parts that were delivered are judged together, after one look at their cluster's
`sb.moves` that began when all of them had been delivered. One thread for each cluster owns the
parts that it keeps from their delivery to their verdict; while it looks, the next ones gather.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from southbound import failpoints
from southbound.directory.moves import MovesTail
from southbound.errors import (
    Closed,
    EdgeError,
    OutcomeUnknown,
    PlanError,
    SouthboundError,
    WireError,
)
from southbound.partitioning.topology import Cluster, Topology
from southbound.producer.core import Parcel, Route, Standing, judge
from southbound.producer.delivery import Group
from southbound.resources import Scope, vpc_scope
from southbound.settings import PublisherSettings
from southbound.wire.control import MoveEntry

log = logging.getLogger(__name__)


class Fencer:
    """One cluster's. `resend` sends parts on their new routes; `settle` takes those with a verdict.

    `adopt` is told each row that turned a part, and of each VPC that has left the cluster;
    `is_present` tells whether the VPCs of a part's ports are known to be where it was sent to.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: PublisherSettings,
        topology: Callable[[], Topology],
        *,
        resend: Callable[[Sequence[Parcel]], None],
        settle: Callable[[Sequence[Parcel]], None],
        adopt: Callable[[Scope, str], None],
        is_present: Callable[[Parcel], bool],
    ) -> None:
        self._tail = MovesTail(cluster, client_id=f"{settings.client_id}-{cluster.id}")
        self._settings = settings
        self._topology = topology
        self._resend = resend
        self._settle = settle
        self._adopt = adopt
        self._is_present = is_present
        # Bounded by the publisher's buffer: every group holds parts that have room in it.
        self._groups: queue.SimpleQueue[Group | Parcel | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name=f"southbound-fence-{cluster.id}", daemon=True
        )

    def start(self) -> None:
        """Start following and judging."""
        self._tail.start()
        self._thread.start()

    @property
    def quarantined(self) -> int:
        """How many records of `sb.moves` could not be read."""
        return self._tail.quarantined

    def put(self, delivered: Group | Parcel) -> None:
        """Hand in a group that was answered, or a part that needs no delivery, only a look."""
        self._groups.put(delivered)

    def close(self) -> None:
        """Judge what was handed in, and end."""
        self._groups.put(None)
        self._thread.join()
        self._tail.close()

    def _run(self) -> None:
        closing = False
        while not closing:
            batch = [self._groups.get()]
            while not self._groups.empty():
                batch.append(self._groups.get_nowait())
            closing = None in batch
            delivered = self._delivered([one for one in batch if one is not None])
            if delivered:
                self._judge(delivered)

    def _delivered(self, batch: Sequence[Group | Parcel]) -> list[Parcel]:
        """Count deliveries; return the parts that have all of theirs."""
        ready: list[Parcel] = []
        failed: list[Parcel] = []
        for one in batch:
            if isinstance(one, Parcel):
                ready.append(one)
                continue
            failures = one.failures
            if one.is_whole and not failures:
                whole = list(one.parcels())
                for parcel in whole:
                    parcel.awaited = 0
                ready += whole
                continue
            for parcel in one.parcels():
                parcel.awaited -= 1
                if failures and parcel.error is None:
                    parcel.error = _first_failure(parcel, failures)
                if parcel.awaited == 0:
                    (ready if parcel.error is None else failed).append(parcel)
        for parcel in failed:
            error = parcel.error
            assert error is not None
            parcel.fail(error)
        if failed:
            self._settle(failed)
        return ready

    def _judge(self, parcels: Sequence[Parcel]) -> None:
        fenced = [one for one in parcels if one.route is not None and one.route.fence is not None]
        if failpoints.armed:
            failpoints.armed.reach("publisher.ack.after")
        try:
            if fenced:
                self._tail.look(self._settings.fence_timeout_s)
        except (EdgeError, Closed) as error:
            unknown = OutcomeUnknown(f"delivered, but not known to be accepted: {error}")
            for parcel in fenced:
                parcel.fail(unknown)
            self._settle(fenced)
            parcels = [one for one in parcels if one.standing is Standing.OPEN]
        if failpoints.armed:
            failpoints.armed.reach("publisher.fence.after")
        settled: Sequence[Parcel] = []
        turned: list[Parcel] = []
        if len(self._tail):
            turned = [one for one in parcels if self._is_turned(one)]
            settled = [one for one in parcels if one.standing is not Standing.OPEN]
        else:
            for parcel in parcels:
                parcel.accept()
            settled = parcels
        if settled:
            self._settle(settled)
        if turned:
            self._resend(turned)

    def _is_turned(self, parcel: Parcel) -> bool:
        """Judge one; return whether it has a new route. Else it has its verdict."""
        assert parcel.route is not None
        if parcel.route.fence is None:
            parcel.accept()
            return False
        try:
            entry = self._tail.entry(parcel.scope)
            route = judge(parcel, entry, self._topology())
            is_complete = route is None and self._has_vpcs(parcel)
        except (WireError, PlanError) as error:
            parcel.fail(_lost(parcel, error))
            return False
        if is_complete:
            parcel.accept()
            return False
        return self._turn(parcel, route, entry)

    def _has_vpcs(self, parcel: Parcel) -> bool:
        """Tell whether the VPCs of a part's ports are still where it was delivered.

        Who drops a replica tells this cluster's `sb.moves` first, and looks for ports after that.
        """
        told = False
        for vpc in parcel.vpcs:
            entry = self._tail.entry(vpc_scope(vpc))
            if entry is not None:
                self._adopt(vpc_scope(vpc), entry.row)
                told = True
        return not told or self._is_present(parcel)

    def _turn(self, parcel: Parcel, route: Route | None, entry: MoveEntry | None) -> bool:
        """Note a new route, or (None) that the part must wait for a VPC of its ports."""
        parcel.resends += 1
        if parcel.resends > self._settings.resends_max:
            parcel.fail(_lost(parcel, PlanError(f"turned {parcel.resends} times")))
            return False
        if route is not None:
            assert entry is not None
            parcel.route = route
            self._adopt(parcel.scope, entry.row)
        return True


def _first_failure(parcel: Parcel, failures: dict[bytes, EdgeError]) -> EdgeError | None:
    return next((failures[record.key] for record in parcel.records if record.key in failures), None)


def _lost(parcel: Parcel, error: SouthboundError) -> EdgeError:
    """Return the error of a part that was delivered where nobody may read it any more."""
    return OutcomeUnknown(f"{parcel.scope} has moved, and its new place is not clear: {error}")
