"""The tracker: what the nodes have really applied of what was published.

The rule: a changeset is watched from before its first record is sent, so that no report on it can
come too early; who must apply a VPC's change is asked once it is accepted, of the interest topic of
every cluster that holds a replica, so that a host that joins later is not waited for (it reads the
change in its snapshot). A cluster that is away delays answers, and is named; it loses none.

    tracker = Tracker(lambda: directory.topology, client_id="tracker", tracked_max=100_000)
    tracker.start()
    tracked = tracker.watch(changeset_id, parcels)      # before sending; tracked.future: Applied
    tracker.accepted(tracked)                           # once every part is accepted, or
    tracker.failed(tracked, error)                      # when one is not: the future raises it
    tracker.snapshot(tracked)                           # Applied, as it stands now
    tracker.wait(tracked, timeout_s=30)                 # raises NotConverged naming who lacks it
    tracker.close()                                     # open futures raise Closed

Every method may be called from any thread; callbacks of futures run on the tracker's threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from southbound.errors import Closed, EdgeError, NotConverged, SouthboundError
from southbound.partitioning.topology import Topology
from southbound.producer.core import Parcel
from southbound.producer.news import ClusterNews, Question
from southbound.producer.tracker_core import Applied, TrackedPart, TrackerCore, Watch
from southbound.resources import Scope, ScopeClass
from southbound.wire.reports import Report

log = logging.getLogger(__name__)

_NOTE_S = 5.0
_TOPOLOGY_EVERY_S = 1.0
_NAMED_MAX = 10


class Tracked:
    """One changeset that is tracked. `future` is done when every host that must has settled it."""

    __slots__ = ("changeset", "future", "parcels", "watch")

    def __init__(self, changeset: str, parcels: Sequence[Parcel], watch: Watch) -> None:
        self.changeset = changeset
        self.parcels = tuple(parcels)
        self.watch = watch
        self.future: Future[Applied] = Future()
        # Several may wait for it, so none of them may cancel it.
        self.future.set_running_or_notify_cancel()


class Tracker:
    """Follows every cluster of a topology, also those that join later. Making it does no IO.

    At most `tracked_max` changesets are followed; one more gives up the oldest that is open: its
    future raises `EdgeError`.
    """

    def __init__(
        self, topology_of: Callable[[], Topology], *, client_id: str, tracked_max: int
    ) -> None:
        self._topology_of = topology_of
        self._client_id = client_id
        self._lock = threading.Lock()
        self._core = TrackerCore(tracked_max)
        self._open: dict[Watch, Tracked] = {}
        self._news: dict[str, ClusterNews] = {}
        self._topology: Topology | None = None
        self._joining = threading.Lock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(
            target=self._keep_up, name="southbound-tracker", daemon=True
        )

    # Life.

    def start(self) -> None:
        """Note in every cluster where its reports end; return when all have answered.

        One that does not answer within seconds is retried in the background: see `away`.
        """
        self._follow(is_late=False)
        deadline = time.monotonic() + _NOTE_S
        for news in self._news.values():
            news.wait_noted(max(0.0, deadline - time.monotonic()))
        self._keeper.start()

    def close(self) -> None:
        """Stop following; open futures raise `Closed`."""
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        with self._joining:
            news = list(self._news.values())
        for one in news:
            one.close()
        with self._lock:
            left = list(self._open.values())
            self._open.clear()
        for tracked in left:
            tracked.future.set_exception(
                Closed(f"the tracker was closed before {tracked.changeset!r} was applied")
            )

    @property
    def away(self) -> Mapping[str, str]:
        """Clusters that are not being followed at the moment, and why."""
        troubles = {cluster: news.trouble for cluster, news in tuple(self._news.items())}
        return {cluster: trouble for cluster, trouble in troubles.items() if trouble is not None}

    @property
    def quarantined(self) -> int:
        """How many records could not be read and were passed over."""
        return sum(news.counters.broken for news in tuple(self._news.values()))

    @property
    def gaps(self) -> int:
        """How often reports were gone before they were read; hosts may then stay silent for ever."""
        return sum(news.counters.gaps for news in tuple(self._news.values()))

    # Following changesets.

    def watch(self, changeset: str, parcels: Sequence[Parcel]) -> Tracked:
        """Begin to follow a changeset, before anything of it is sent. Raises `Closed`."""
        parts = [
            TrackedPart(parcel.scope, {record.key: record.revision for record in parcel.records})
            for parcel in parcels
        ]
        with self._lock:
            if self._closing.is_set():
                raise Closed("the tracker is closed")
            watch = self._core.watch(changeset, parts)
            tracked = self._open[watch] = Tracked(changeset, parcels, watch)
            dropped = [self._open.pop(one) for one in self._core.overflow()]
        for one in dropped:
            one.future.set_exception(
                EdgeError(
                    f"too many changesets to track: gave up {one.changeset!r}", retryable=True
                )
            )
        return tracked

    def accepted(self, tracked: Tracked) -> None:
        """Every part is accepted: find out who must apply those of VPCs. Never waits."""
        try:
            for parcel in tracked.parcels:
                if parcel.scope.cls is ScopeClass.VPC:
                    assert parcel.route is not None
                    clusters = {address.cluster for address in parcel.route.addresses}
                    self._ask(tracked, parcel.scope, clusters)
        except SouthboundError as error:
            self.failed(tracked, error)

    def failed(self, tracked: Tracked, error: SouthboundError) -> None:
        """Give up a changeset that was not accepted: its future raises the error."""
        with self._lock:
            self._core.forget(tracked.watch)
            is_open = self._open.pop(tracked.watch, None) is not None
        if is_open:
            tracked.future.set_exception(error)

    def snapshot(self, tracked: Tracked) -> Applied:
        """Return what stands now; once settled, failures may still turn into applied."""
        with self._lock:
            return self._core.state(tracked.watch)

    def wait(self, tracked: Tracked, timeout_s: float | None = None) -> Applied:
        """Wait until every host has settled it, and return it when nothing is lacking.

        Raises `NotConverged` naming who failed or has not answered, and what `future` raises.
        """
        try:
            applied = tracked.future.result(timeout_s)
        except TimeoutError:
            applied = self.snapshot(tracked)
        if not applied.complete:
            raise NotConverged(_lacking(applied))
        return applied

    # What comes in.

    def _heard(self, report: Report) -> None:
        with self._lock:
            settled = [self._settled(watch) for watch in self._core.heard(report)]
        _tell(settled)

    def _expect(self, tracked: Tracked, scope: Scope, hosts: set[str]) -> None:
        with self._lock:
            if tracked.watch not in self._open:
                return
            is_settled = self._core.expect(tracked.watch, scope, hosts)
            settled = [self._settled(tracked.watch)] if is_settled else []
        _tell(settled)

    def _settled(self, watch: Watch) -> tuple[Tracked, Applied]:
        return self._open.pop(watch), self._core.state(watch)

    def _ask(self, tracked: Tracked, scope: Scope, clusters: set[str]) -> None:
        """Ask each cluster who follows a VPC; the last answer says who is expected."""
        left = set(clusters)
        found: set[str] = set()
        counting = threading.Lock()

        def answer(cluster: str, hosts: frozenset[str]) -> None:
            with counting:
                found.update(hosts)
                left.discard(cluster)
                is_last = not left
            if is_last:
                self._expect(tracked, scope, found)

        def is_wanted() -> bool:
            return not tracked.future.done()

        for cluster in clusters:
            self._news_of(cluster).ask(
                Question(scope.id, lambda hosts, name=cluster: answer(name, hosts), is_wanted)  # type: ignore[misc]
            )

    # Clusters.

    def _news_of(self, cluster: str) -> ClusterNews:
        """Return a cluster's news. Raises `PlanError` when the topology does not know it."""
        if cluster not in self._news:
            self._follow(is_late=True)
        if cluster not in self._news:
            self._topology_of().cluster(cluster)
            raise Closed("the tracker is closed")
        return self._news[cluster]

    def _follow(self, *, is_late: bool) -> None:
        """Follow every cluster of the topology as it is now."""
        with self._joining:
            topology = self._topology_of()
            if topology is self._topology or self._closing.is_set():
                return
            for cluster in topology.clusters:
                known = self._news.get(cluster.id)
                if known is not None:
                    known.change(cluster)
                    continue
                news = ClusterNews(
                    cluster, f"{self._client_id}-{cluster.id}", self._heard, is_late=is_late
                )
                news.start()
                self._news = {**self._news, cluster.id: news}
            self._topology = topology

    def _keep_up(self) -> None:
        while not self._closing.wait(_TOPOLOGY_EVERY_S):
            try:
                self._follow(is_late=True)
            except SouthboundError as error:
                log.warning("reading the topology: %s", error)


def _tell(settled: Sequence[tuple[Tracked, Applied]]) -> None:
    for tracked, applied in settled:
        tracked.future.set_result(applied)


def _lacking(applied: Applied) -> str:
    lines = [f"{applied.changeset!r} has not been applied everywhere"]
    reasons = [
        *(f"{host} failed: {why}" for host, why in applied.failed.items()),
        *(f"{host} waits: {what}" for host, what in applied.pending.items()),
        *(f"{host} has not answered" for host in applied.silent),
    ]
    lines += reasons[:_NAMED_MAX]
    if len(reasons) > _NAMED_MAX:
        lines.append(f"and {len(reasons) - _NAMED_MAX} more")
    return "\n  ".join(lines)
