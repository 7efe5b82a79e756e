"""An agent at work: the core, and everything that performs what the core asks for.

The rule: one thread feeds the core, performs its effects in their order, and is the only one that
touches the store, the applier and the consumers. What may block for long (the directory) is asked
elsewhere, and answers come back through a queue. Nothing outside this process has to be up for the
agent to start from its own state and to keep the node as it is.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from southbound import failpoints
from southbound.errors import EdgeError, PlanError, SouthboundError
from southbound.nca import effects as ef
from southbound.nca import events as ev
from southbound.nca.appliers.base import Applier
from southbound.nca.core import AgentCore
from southbound.nca.counters import Counters, Gauges
from southbound.nca.lookups import Answer, Identity, Probe, Question
from southbound.nca.parts import AgentParts, directory_client
from southbound.nca.pending import Pending
from southbound.nca.plan import Plan
from southbound.nca.signals import stopping_on_signals
from southbound.nca.state import State
from southbound.nca.store import BrokenStore, Store
from southbound.nca.streams import Streams
from southbound.partitioning.topology import Cluster, Topology
from southbound.settings import AgentSettings, DirectorySettings
from southbound.wire.keys import check_id
from southbound.wire.reports import Presence, Report, encode_presence, encode_report, interest_key

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

_LOOK_S = 0.005
_PROBE_TIMEOUT_S = 5.0
_BACKOFF_MAX_S = 30.0
_FLUSH_S = 2.0
_QUARTER_S = 0.25
_GATHER_S = 0.25


class AgentStatus(msgspec.Struct, frozen=True):
    """`live`: the agent works, or waits for what will come back by itself. `ready`: the node has
    everything that the log held when the agent last caught up. `reasons`: what stands against it.
    """

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()


class _Interrupted(Exception):
    """The agent was told to stop while an effect waited for the disk."""


class Agent:
    """One host's agent. `start` and `stop`, or `run` until it is stopped.

    `az`: where to register the host when nobody has; None: it must be registered. `state_dir`
    holds this host's state and no other's.
    """

    def __init__(
        self,
        *,
        host: str,
        state_dir: Path,
        applier: Applier,
        az: str | None = None,
        redis_url: str = DirectorySettings().redis_url,
        settings: AgentSettings | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.host = check_id(host, "host")
        self.settings = settings or AgentSettings()
        self._az = az
        self._redis_url = redis_url
        self._registry = registry
        self._applier = applier
        self._parts: AgentParts | None = None
        self._owns_parts = True
        self._store = Store(
            state_dir,
            host,
            synchronous=self.settings.sqlite_synchronous,
            quarantine_max=self.settings.quarantine_max,
        )
        self._streams = Streams(f"agent-{host}", self.settings)
        self._core: AgentCore | None = None
        self._topology: Topology | None = None
        self._inbox: queue.SimpleQueue[Callable[[], ev.Event | None]] = queue.SimpleQueue()
        self._acks: deque[tuple[int, bool]] = deque()
        self._refusals: deque[str] = deque(maxlen=1)
        self._unsettled = 0
        self._settle_at_s = 0.0
        self._deadline_s: float | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None
        self._troubles: dict[str, str] = {}
        self._pending = Pending()
        self._gauges = Gauges()
        self._caught_up = False
        self._awaits_cluster = False
        self._has_stepped = False

    @classmethod
    def sharing(
        cls,
        parts: AgentParts,
        *,
        host: str,
        state_dir: Path,
        applier: Applier,
        az: str | None = None,
        settings: AgentSettings | None = None,
    ) -> Agent:
        """Make an agent that shares parts with others of this process."""
        agent = cls(host=host, state_dir=state_dir, applier=applier, az=az, settings=settings)
        agent._parts = parts
        agent._owns_parts = False
        return agent

    # For whoever runs it.

    def start(self) -> None:
        """Load the state and begin to work in a thread of its own.

        Raises `ConfigError` (another host's state, a newer agent's) and `EdgeError` (the disk, or
        an applier that cannot work). Neither Kafka nor Redis need be up.
        """
        assert self._thread is None, "an agent starts once"
        if self._parts is None:
            self._parts = self._own_parts()
        self._streams = Streams(f"agent-{self.host}", self.settings, self._parts.turns)
        state = self._open_store()
        try:
            self._applier.open()
        except BaseException:
            self._store.close()
            raise
        self._begin(state)
        self._parts.lookups.start()
        self._thread = threading.Thread(
            target=self._work, name=f"southbound-agent-{self.host}", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float | None = 30.0) -> None:
        """Stop reading, write down what is open, and end. What was applied stays."""
        self._stopping.set()
        self._inbox.put(lambda: None)
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        if self._owns_parts and self._parts is not None:
            self._parts.close()

    def request_stop(self) -> None:
        """Ask the agent to stop, without waiting for it."""
        self._stopping.set()
        self._inbox.put(lambda: None)

    def run(self) -> None:
        """Work until stopped, by `request_stop`, SIGTERM or SIGINT. Raises what ended it, if
        anything else did.
        """
        with stopping_on_signals(self.request_stop):
            if self._thread is None:
                self.start()
            assert self._thread is not None
            self._thread.join()
            self.stop()
        if self._fault is not None:
            raise self._fault

    @property
    def counters(self) -> Counters:
        """What the agent (or all that share its parts) has counted."""
        assert self._parts is not None, "the agent has not been started"
        return self._parts.counters

    def gauges(self) -> Gauges:
        """Return how the agent stands. May be called from any thread."""
        return self._gauges

    def status(self) -> AgentStatus:
        """Return whether it lives and is ready. May be called from any thread."""
        thread = self._thread
        if self._core is None or thread is None:
            return AgentStatus(live=False, ready=False, reasons=("not started",))
        if not thread.is_alive():
            return AgentStatus(live=False, ready=False, reasons=(f"ended: {self._fault}",))
        reasons = [f"{what}: {why}" for what, why in tuple(self._troubles.items())]
        if not self._caught_up:
            reasons.append("not caught up with the log")
        return AgentStatus(
            live=True,
            ready=self._caught_up and "disk" not in self._troubles,
            reasons=tuple(reasons),
        )

    # Beginning.

    def _own_parts(self) -> AgentParts:
        settings = DirectorySettings(
            redis_url=self._redis_url, client_id=f"agent-{self.host}", visitor=True
        )
        parts = AgentParts.make(
            lambda: directory_client(settings),
            client_id=f"agent-{self.host}",
            settings=self.settings,
        )
        if self._registry is not None:
            # Imported only where metrics are wanted.
            from southbound.nca.metrics import AgentCollector

            self._registry.register(AgentCollector(parts.counters, self.gauges))
        return parts

    def _open_store(self) -> State:
        try:
            return self._store.open()
        except BrokenStore as error:
            return self._replace_store(error)

    def _replace_store(self, error: BrokenStore) -> State:
        """Begin from nothing: the node keeps what it has until the snapshot is complete."""
        log.error("the state is broken, and is read anew from the log: %s", error)
        self.counters.resync("store_broken")
        self._store.move_aside()
        return self._store.open()

    def _begin(self, state: State) -> None:
        self._topology = state.topology
        self._core = AgentCore(self.host, self.settings, state, self.counters)

    # The thread.

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._loop()
                except BrokenStore as error:
                    self._streams.close()
                    self._begin(self._replace_store(error))
        except _Interrupted:
            log.info("stopped while the disk refused to write; the last step is repeated later")
        except BaseException as error:
            self._fault = error
            log.exception("the agent of %s ended", self.host)
        finally:
            self._end()

    def _loop(self) -> None:
        self._pending = Pending()
        self._feed(ev.Started(_now()))
        while not self._stopping.is_set():
            self._take_answers()
            self._assign_if_due()
            self._probe_if_due()
            self._show()
            self._read()
            self._tick_if_due()
        self._finish()

    def _show(self) -> None:
        """After a step, look how the agent stands: for other threads, and for what is due next."""
        if self._has_stepped and self._core is not None:
            self._has_stepped = False
            self._deadline_s = self._core.deadline()
            self._gauges = self._core.gauges()
            self._caught_up = self._core.is_caught_up()
            awaited, self._awaits_cluster = self._awaits_cluster, self._core.awaits_cluster
            if self._awaits_cluster and not awaited:
                self._pending.probe_at_s = time.monotonic()

    def _finish(self) -> None:
        """Stop reading, give what was sent a chance to arrive, and write down the rest."""
        assert self._parts is not None
        self._streams.close()
        self._parts.reporter.flush(_FLUSH_S)
        self._settle()
        self._feed(ev.Stopping(_now()))

    def _end(self) -> None:
        try:
            assert self._parts is not None
            self._parts.lookups.forget(self.host)
            self._streams.close()
            self._applier.close()
            self._store.close()
        except SouthboundError as error:
            log.warning("ending: %s", error)

    def _read(self) -> None:
        wait_s = self._wait_s()
        if not self._streams.is_reading:
            self._wait_for_answer(wait_s)
            return
        haul = self._streams.poll(wait_s)
        for trouble in haul.troubles:
            self._note("kafka", trouble)
        for cluster in self._streams.clusters_down:
            self._note("kafka", f"no broker of cluster {cluster} can be reached")
            self._pending.probe_soon(time.monotonic())
        for address in haul.lost:
            self._pending.probe_soon(time.monotonic())
            self._feed(ev.PositionLost(_now(), address))
        if self._streams.is_unsure():
            # It goes on by itself, in whatever log it finds under that name.
            self._pending.probe_soon(time.monotonic())
        if haul.records or haul.reached:
            self._feed(ev.Batch(_now(), tuple(haul.records), haul.reached))
            if not haul.troubles:
                self._troubles.pop("kafka", None)

    def _wait_s(self) -> float:
        """Return how long nothing but a record is of interest."""
        now_s = time.monotonic()
        wait_s = self.settings.poll_s
        if self._pending.asking:
            wait_s = min(wait_s, self._pending.ramp_s())
        for at_s in (self._deadline_s, self._pending.assign_at_s):
            if at_s is not None:
                wait_s = min(wait_s, max(at_s - now_s, 0.0))
        return wait_s

    def _wait_for_answer(self, wait_s: float) -> None:
        try:
            self._take(self._inbox.get(timeout=max(wait_s, _LOOK_S)))
        except queue.Empty:
            return

    def _take_answers(self) -> None:
        while not self._inbox.empty():
            self._take(self._inbox.get_nowait())
        if self._refusals:
            self._not_located(self._refusals.pop())
        self._take_acks()

    def _take(self, letter: Callable[[], ev.Event | None]) -> None:
        event = letter()
        if isinstance(event, ev.Located):
            self._topology = event.topology
            if event.host is None:
                self._note("directory", f"nobody has registered host {self.host!r}")
                self._pending.ask_again_at_s = time.monotonic() + _BACKOFF_MAX_S / 2
        if event is not None:
            self._feed(event)

    def _take_acks(self) -> None:
        """Let acknowledgements gather: they only strike out what the next transaction writes."""
        assert self._parts is not None
        if self._unsettled == 0:
            return
        self._parts.reporter.poll()
        now_s = time.monotonic()
        if self._acks and now_s >= self._settle_at_s:
            self._settle_at_s = now_s + _GATHER_S
            self._settle()

    def _settle(self) -> None:
        told = [self._acks.popleft() for _ in range(len(self._acks))]
        if not told:
            return
        if failpoints.armed:
            failpoints.armed.reach("agent.report.after")
        self._unsettled -= len(told)
        self._feed(
            ev.Settled(
                _now(),
                seqs=tuple(seq for seq, arrived in told if arrived),
                lost=tuple(seq for seq, arrived in told if not arrived),
            )
        )

    def _tick_if_due(self) -> None:
        now_s = time.monotonic()
        if self._deadline_s is not None and now_s >= self._deadline_s:
            self._feed(ev.Tick(_now()))
        again_s = self._pending.ask_again_at_s
        if again_s is not None and now_s >= again_s:
            self._pending.ask_again_at_s = None
            self._resolve(())

    # Performing effects.

    def _feed(self, event: ev.Event) -> None:
        assert self._core is not None
        self._has_stepped = True
        for effect in self._core.step(event):
            self._perform(effect)

    def _perform(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Persist():
                self._persist(effect)
            case ef.Apply():
                self._feed(self._applied(effect.plan))
            case ef.Send():
                self._send(effect)
            case ef.Announce():
                self._announce(effect)
            case ef.Assign():
                self._pending.assign_at_s = 0.0
            case ef.Resolve():
                self._resolve(effect.vpcs)

    def _persist(self, effect: ef.Persist) -> None:
        """Write, however often it takes: nothing else happens before."""
        wait_s = _QUARTER_S
        while True:
            try:
                self._store.commit(effect.transaction)
            except EdgeError as error:
                self.counters.persist_failures += 1
                self._note("disk", str(error))
            else:
                self._troubles.pop("disk", None)
                return
            if self._stopping.wait(random.uniform(wait_s / 2, wait_s)):
                raise _Interrupted
            wait_s = min(wait_s * 2, _BACKOFF_MAX_S)

    def _applied(self, plan: Plan) -> ev.Applied:
        name = "snapshot" if plan.complete else "apply"
        if failpoints.armed:
            failpoints.armed.reach(f"agent.{name}.before")
        applied = self._apply(plan)
        if failpoints.armed:
            failpoints.armed.reach(f"agent.{name}.after")
        return applied

    def _apply(self, plan: Plan) -> ev.Applied:
        try:
            failures = self._applier.apply(plan)
        except Exception as error:  # noqa: BLE001  # an applier is the operator's code: whatever it raises is a failure of this plan, and blocks nothing else
            self._note("applier", str(error))
            failures = {change.key: f"{type(error).__name__}: {error}" for change in plan.changes}
            return ev.Applied(_now(), failures, raised=True)
        self._troubles.pop("applier", None)
        return ev.Applied(_now(), failures)

    def _send(self, effect: ef.Send) -> None:
        assert self._parts is not None
        self._unsettled += 1
        cluster = self._cluster(effect.cluster)
        if cluster is None:
            self._acks.append((effect.seq, False))
            return
        report = Report(self.host, _now().us, effect.entries, effect.inventory)
        if failpoints.armed:
            failpoints.armed.reach("agent.report.before")
        self._parts.reporter.report(
            cluster, self.host, encode_report(report), self._told(effect.seq)
        )

    def _announce(self, effect: ef.Announce) -> None:
        assert self._parts is not None
        self._unsettled += 1
        cluster = self._cluster(effect.cluster)
        if cluster is None:
            self._acks.append((effect.seq, False))
            return
        value = encode_presence(Presence(effect.since_us)) if effect.present else None
        key = interest_key(effect.vpc, self.host)
        self._parts.reporter.presence(cluster, effect.vpc, key, value, self._told(effect.seq))

    def _told(self, seq: int) -> Callable[[bool], None]:
        acks = self._acks
        return lambda arrived: acks.append((seq, arrived))

    def _cluster(self, id: str) -> Cluster | None:
        try:
            return None if self._topology is None else self._topology.cluster(id)
        except PlanError:
            return None

    # What may fail and is tried again.

    def _assign_if_due(self) -> None:
        at_s = self._pending.assign_at_s
        if at_s is None or time.monotonic() < at_s or self._topology is None:
            return
        self._pending.assign_at_s = None
        if failpoints.armed:
            failpoints.armed.reach("agent.assign.before")
        try:
            self._assign(self._topology)
        except (EdgeError, PlanError) as error:
            self._note("kafka", str(error))
            self._assign_later()

    def _assign(self, topology: Topology) -> None:
        assert self._core is not None
        assignment = self._core.assignment()
        if assignment.marks:
            marks = self._streams.marks(topology, assignment)
            self._feed(ev.Marked(_now(), marks))
            assignment = self._core.assignment()
        self._streams.assign(topology, assignment)
        if failpoints.armed:
            failpoints.armed.reach("agent.assign.after")
        if assignment.marks:
            self._note("kafka", f"{len(assignment.marks)} partitions told no watermarks")
            self._assign_later()
        else:
            self._troubles.pop("kafka", None)
            self._pending.assigned()

    def _assign_later(self) -> None:
        self.counters.assign_failures += 1
        self._pending.assign_later(time.monotonic())

    def _resolve(self, vpcs: tuple[str, ...]) -> None:
        assert self._parts is not None
        self._pending.ask()
        inbox = self._inbox

        def answered(answer: Answer) -> None:
            inbox.put(lambda: self._located(answer))

        def failed(why: str) -> None:
            self._refusals.append(why)

        self._parts.lookups.ask(Question(self.host, self._az, vpcs, answered, failed))

    def _located(self, answer: Answer) -> ev.Event:
        self._pending.answered()
        self._troubles.pop("directory", None)
        return ev.Located(_now(), answer.topology, answer.host, answer.vpcs)

    def _not_located(self, why: str) -> None:
        """Note that the directory does not answer; it is being asked again."""
        self.counters.directory_failures += 1
        self._pending.answered()
        self._note("directory", why)

    def _probe_if_due(self) -> None:
        """Make sure now and then that the cluster still is there, with the same logs."""
        assert self._core is not None
        assert self._parts is not None
        now_s = time.monotonic()
        if now_s < self._pending.probe_at_s:
            return
        id = self._core.cluster
        cluster = None if id is None else self._cluster(id)
        if cluster is None:
            return
        self._pending.probe_at_s = now_s + self.settings.alive_every_s
        topics, reporter, inbox = self._core.topics, self._parts.reporter, self._inbox

        def ask(which: Cluster, wanted: frozenset[str]) -> Identity:
            kafka_id = reporter.kafka_id(which, _PROBE_TIMEOUT_S)
            return Identity(kafka_id, reporter.topic_ids(which, wanted, _PROBE_TIMEOUT_S))

        def seen(found: Identity | None) -> None:
            inbox.put(lambda: self._seen(cluster.id, topics, found))

        self._parts.lookups.probe(Probe(cluster, topics, ask, seen))

    def _seen(
        self, cluster: str, topics: frozenset[str], found: Identity | None
    ) -> ev.Event | None:
        if found is None:
            self._note("kafka", f"cluster {cluster} does not answer")
            self._pending.probe_soon(time.monotonic())
            return None
        told = {topic: id for topic, id in found.topics.items() if topic in topics}
        assert self._core is not None
        if self._core.lacks(cluster, topics - told.keys()):
            self._pending.probe_soon(time.monotonic())
        self._troubles.pop("kafka", None)
        return ev.ClusterSeen(_now(), cluster, found.kafka_id, told)

    def _note(self, what: str, why: str) -> None:
        if self._troubles.get(what) != why:
            log.warning("%s: %s: %s", self.host, what, why)
        self._troubles[what] = why


def _now() -> ev.Now:
    return ev.Now(time.monotonic(), time.time_ns() // 1000)
