"""A worker of public resources at work: the core, and everything that performs what it decides.

The rule: one thread reads, applies and changes partitions, and nothing else touches the core or the
applier. A worker begins with nothing: whatever its node still holds from a life that ended badly is
removed before it joins the group, since others may serve it by now; and it ends with nothing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from southbound.errors import ConfigError, EdgeError, Fault
from southbound.nca.appliers.base import Applier
from southbound.nca.events import Now
from southbound.nca.parts import directory_client
from southbound.nca.plan import Plan
from southbound.nca.reporter import Reporter
from southbound.nca.signals import stopping_on_signals
from southbound.nca.worker_core import Work, WorkerCore, WorkerCounters, WorkerGauges
from southbound.nca.worker_group import Group
from southbound.nca.worker_outbox import Outbox
from southbound.partitioning.topology import Cluster, PublicKind, Topology
from southbound.resources import PUBLIC_SCOPE, ResourceKey
from southbound.settings import DirectorySettings, WorkerSettings
from southbound.wire.keys import check_id
from southbound.wire.reports import Report, ReportEntry, encode_report

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

_PROBE_EVERY_S = 2.0
_ANY = (0,)


class WorkerStatus(msgspec.Struct, frozen=True):
    """How a worker stands.

    `live`: it works, or waits for what will come back by itself. `ready`: it is a member of the
    group, and its node has everything of its partitions. `partitions` are those, in order.
    """

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    gauges: WorkerGauges = WorkerGauges()


class Worker:
    """One worker. `start` and `stop`, or `run` until it is stopped.

    `worker_id` names it in reports, where a host's id stands for an agent. The topology is read
    from the directory at `redis_url` when none is given.
    """

    def __init__(
        self,
        *,
        kind: str,
        worker_id: str,
        applier: Applier,
        topology: Topology | None = None,
        redis_url: str = DirectorySettings().redis_url,
        settings: WorkerSettings | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.kind = kind
        self.worker_id = check_id(worker_id, "worker_id")
        self.settings = settings or WorkerSettings()
        self.counters = WorkerCounters()
        self._applier = applier
        self._topology = topology
        self._redis_url = redis_url
        self._registry = registry
        self._core = WorkerCore(kind, self.settings, self.counters)
        self._outbox = Outbox(self.settings.outbox_max, self.counters)
        self._reporter = Reporter(f"worker-{worker_id}", linger_ms=self.settings.report_linger_ms)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None
        self._troubles: dict[str, str] = {}
        self._joined = False
        self._probe_at_s = 0.0
        self._status = WorkerStatus(live=False, ready=False, reasons=("not started",))

    # For whoever runs it.

    def start(self) -> None:
        """Clear the node of earlier lives, and begin to work in a thread of its own.

        Raises `ConfigError` (an unknown kind, an applier that cannot work) and `EdgeError` (no
        directory, or a node that cannot be cleared).
        """
        assert self._thread is None, "a worker starts once"
        topology = self._topology or self._ask_topology()
        cluster, public = _place_of(self.kind, topology)
        self._applier.open()
        try:
            self._applier.apply(Plan((), (PUBLIC_SCOPE,)))
        except BaseException:
            self._applier.close()
            raise
        if self._registry is not None:
            # Imported only where metrics are wanted.
            from southbound.nca.metrics import WorkerCollector

            self._registry.register(WorkerCollector(self.counters, self.gauges))
        self._show()
        self._thread = threading.Thread(
            target=self._work,
            args=(cluster, public),
            name=f"southbound-worker-{self.worker_id}",
            daemon=True,
        )
        self._thread.start()

    def request_stop(self) -> None:
        """Ask the worker to stop, without waiting for it."""
        self._stopping.set()

    def stop(self, timeout_s: float | None = 30.0) -> None:
        """Release everything, leave the group, and end."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run(self) -> None:
        """Work until stopped, by `request_stop`, SIGTERM or SIGINT. Raises what ended it, if
        anything else did.
        """
        with stopping_on_signals(self.request_stop):
            if self._thread is None:
                self.start()
            assert self._thread is not None
            self._thread.join()
        if self._fault is not None:
            raise self._fault

    def gauges(self) -> WorkerGauges:
        """Return how the worker stood after its last step. May be called from any thread."""
        return self._status.gauges

    def status(self) -> WorkerStatus:
        """Return whether it lives and is ready. May be called from any thread."""
        thread = self._thread
        if thread is not None and not thread.is_alive():
            return WorkerStatus(live=False, ready=False, reasons=(f"ended: {self._fault}",))
        return self._status

    def _ask_topology(self) -> Topology:
        directory = directory_client(DirectorySettings(redis_url=self._redis_url))
        directory.open()
        try:
            return directory.topology
        finally:
            directory.close()

    # The thread.

    def _work(self, cluster: Cluster, public: PublicKind) -> None:
        group = Group(cluster, public, f"worker-{self.worker_id}", self.settings, self)
        try:
            group.join()
            while not self._stopping.is_set():
                self._step(cluster, group)
        except BaseException as error:
            self._fault = error
            log.exception("the worker %s ended", self.worker_id)
        finally:
            self._end(cluster, group)

    def _step(self, cluster: Cluster, group: Group) -> None:
        self._mark(group)
        self._read(group)
        self._perform(self._core.retry(_now()))
        self._send(cluster)
        self._show()

    def _mark(self, group: Group) -> None:
        """Ask where new partitions end; until that is known they only read.

        An answer also ends an earlier trouble with Kafka, which an idle topic would not.
        """
        unmarked = self._core.unmarked
        now_s = time.monotonic()
        if not unmarked and ("kafka" not in self._troubles or now_s < self._probe_at_s):
            return
        self._probe_at_s = now_s + _PROBE_EVERY_S
        try:
            ends = group.ends(unmarked or _ANY)
        except EdgeError as error:
            self._note("kafka", str(error))
            return
        if ends:
            self._troubles.pop("kafka", None)
        self._perform(self._core.marked(ends, _now()))

    def _read(self, group: Group) -> None:
        haul = group.read(self._wait_s())
        reached = {**group.positions(self._core.replaying), **haul.reached}
        if haul.records or reached:
            self._troubles.pop("kafka", None)
            self._perform(self._core.batch(haul.records, reached, _now()))
        for trouble in haul.troubles:
            self._note("kafka", trouble)
        if haul.must_rejoin:
            self._rejoin(group, haul.must_rejoin)

    def _rejoin(self, group: Group, why: str) -> None:
        log.warning("worker %s joins anew: %s", self.worker_id, why)
        self.counters.resyncs += 1
        group.leave()
        self._stopping.wait(random.uniform(0, self.settings.retry_first_s))
        group.join()

    def _wait_s(self) -> float:
        wait_s = self.settings.poll_s
        deadline_s = self._core.deadline_s()
        if deadline_s is not None:
            wait_s = min(wait_s, max(deadline_s - time.monotonic(), 0.0))
        return wait_s

    def _end(self, cluster: Cluster, group: Group) -> None:
        try:
            group.leave()
            self._send(cluster)
            self._reporter.flush(self.settings.flush_s)
        finally:
            self._applier.close()
            self._show()

    # What the group asks of its member.

    def assigned(self, partitions: list[int]) -> None:
        """Take partitions over, and begin to read them."""
        log.info("worker %s gets %d partitions", self.worker_id, len(partitions))
        self._core.assigned(partitions)
        self._joined = True

    def revoked(self, partitions: list[int], *, lost: bool) -> None:
        """Release what partitions put on the node."""
        how = "lost" if lost else "gives back"
        log.info("worker %s %s %d partitions", self.worker_id, how, len(partitions))
        self._perform(self._core.revoked(partitions, lost=lost))
        self._joined = False

    # Performing work.

    def _perform(self, work: Work) -> None:
        self._outbox.add(work.told)
        if work.plan.changes:
            failed = self._apply(work.plan)
            self._outbox.add(self._core.settle(work.plan, failed, _now()))

    def _apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        try:
            failed = self._applier.apply(plan)
        except Exception as error:  # noqa: BLE001  # an applier is the operator's code: whatever it raises is a failure of this plan, and blocks nothing else
            self._note("applier", str(error))
            return {change.key: f"{type(error).__name__}: {error}" for change in plan.changes}
        self._troubles.pop("applier", None)
        return failed

    def _send(self, cluster: Cluster) -> None:
        self._reporter.poll()
        for _ in range(self._outbox.reports(self.settings.report_batch)):
            entries = self._outbox.take(self.settings.report_batch)
            report = Report(self.worker_id, _now().us, entries)
            self._reporter.report(
                cluster, self.worker_id, encode_report(report), self._told(entries)
            )

    def _told(self, entries: tuple[ReportEntry, ...]) -> Callable[[bool], None]:
        return lambda arrived: self._outbox.settle(entries, arrived=arrived)

    # What others see.

    def _show(self) -> None:
        reasons = [f"{what}: {why}" for what, why in self._troubles.items()]
        replaying = len(self._core.replaying)
        if not self._joined:
            reasons.append(f"waiting for the group to share out {self.kind}")
        elif replaying:
            reasons.append(f"replaying {replaying} of {len(self._core.partitions)} partitions")
        self._status = WorkerStatus(
            live=True,
            ready=self._joined and not replaying,
            reasons=tuple(reasons),
            partitions=self._core.partitions,
            gauges=self._core.gauges(owed=len(self._outbox)),
        )

    def _note(self, what: str, why: str) -> None:
        if self._troubles.get(what) != why:
            log.warning("%s: %s: %s", self.worker_id, what, why)
        self._troubles[what] = why


def _place_of(kind: str, topology: Topology) -> tuple[Cluster, PublicKind]:
    known = [public.kind for public in topology.public]
    if kind not in known:
        problem = f"is not a public kind of the topology (it has {', '.join(known) or 'none'})"
        raise ConfigError("no such worker", [Fault("kind", kind, problem)])
    public = topology.public_kind(kind)
    return topology.cluster(public.cluster), public


def _now() -> Now:
    return Now(time.monotonic(), time.time_ns() // 1000)
