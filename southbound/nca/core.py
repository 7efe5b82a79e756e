"""The agent's core: events in, effects out; no socket, clock, thread or chance. Pure.

The rule: one step takes one event and returns everything that follows from it, in the order in
which it must be done (`effects.py`): written down, then applied, then told. The core's memory is
never behind what it asks to be written, so a step that cannot be written is simply tried again.

Where the pieces are: whose a record is and how far a stream has been read, `positions`; taking
records apart, `reading`; gathering a state from a stream's start, `snapshot`; keeping changesets
whole, `changesets`; which revision wins and what waits for what, `desired`; where streams begin and
end, `whereabouts`; what the applier is to be rid of, `sweeps`; what is owed, `books`; what is written,
`draft`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from southbound.nca import events as ev
from southbound.nca.books import Books
from southbound.nca.counters import Counters, Gauges
from southbound.nca.desired import Desired
from southbound.nca.draft import Draft
from southbound.nca.effects import Apply, Assign, Assignment, Effect, Persist, Resolve, Send
from southbound.nca.inventory import Inventories
from southbound.nca.ledger import Ledger
from southbound.nca.logs import Logs
from southbound.nca.plan import Change, Plan, ordered
from southbound.nca.positions import Positions, Stream
from southbound.nca.reading import Reading
from southbound.nca.retries import Retries
from southbound.nca.snapshot import Reason
from southbound.nca.state import Entry, State, Status, StreamState
from southbound.nca.sweeps import Sweeps
from southbound.nca.whereabouts import Whereabouts
from southbound.resources import PORT, Op, ResourceKey, Scope, ScopeClass, host_scope, vpc_of_port
from southbound.settings import AgentSettings
from southbound.wire.envelope import decode_spec
from southbound.wire.keys import decode_key

_FREQUENT = (ev.Batch, ev.Applied, ev.Settled)


class AgentCore:
    """One agent. Feed events to `step`, perform what it returns, and feed `Tick` by `deadline()`."""

    def __init__(
        self, host: str, settings: AgentSettings, state: State, counters: Counters
    ) -> None:
        self._host = host_scope(host)
        self._settings = settings
        self._counters = counters
        self._draft = Draft(settings.flush_s)
        self._retries: Retries[ResourceKey] = Retries(settings.retry_first_s, settings.retry_max_s)
        self._desired = Desired(state.entries, self._retries, counters)
        self._positions = Positions()
        self._logs = Logs(state.kafka_ids)
        self._reading = Reading(
            self._positions, self._desired, self._draft, counters, settings, self._logs
        )
        self._where = Whereabouts(
            host, self._positions, self._reading, self._desired, self._draft, settings
        )
        ledger = Ledger(state.owed, dues_max=settings.outbox_max, report_dues=settings.report_batch)
        resends: Retries[int] = Retries(settings.retry_first_s, settings.retry_max_s)
        self._books = Books(ledger, resends, self._draft, counters)
        self._inventories = Inventories(host, settings)
        self._progress_us = state.progress_us
        self._sweeps = Sweeps(settings.retry_first_s, settings.retry_max_s, alone=state.alone)
        self._applying: Plan | None = None
        self._asking = False
        self._load(state)

    def step(self, event: ev.Event) -> list[Effect]:
        """Take one event; return what is to be done, in this order."""
        assert (self._applying is not None) == isinstance(event, ev.Applied)
        now = event.now
        self._take(event)
        effects = self._follow_up(now, stopping=isinstance(event, ev.Stopping))
        # Whom to look for changes with ports, with markers, and with events that come seldom.
        changed = self._where.interest.changed or self._reading.moved
        if changed or not isinstance(event, _FREQUENT):
            effects += self._look(now)
        return effects

    def assignment(self) -> Assignment:
        """Return what is to be read now, and which watermarks are to be asked for that."""
        return self._positions.assignment()

    def deadline(self) -> float | None:
        """Return the monotonic time, in seconds, by which the core wants a `Tick`."""
        times = (
            self._reading.holding.deadline_s(),
            self._retries.deadline_s(),
            self._sweeps.deadline_s(),
            self._where.deadline_s(),
            self._books.deadline_s(),
            self._draft.deadline_s(),
        )
        soonest_s = min((at_s for at_s in times if at_s is not None), default=None)
        # Whether an inventory may be told is seldom asked: it is seldom the next thing to be due.
        due_s = self._inventories.due_s
        if due_s is None or (soonest_s is not None and soonest_s <= due_s):
            return soonest_s
        return due_s if self._may_tell_all() else soonest_s

    @property
    def cluster(self) -> str | None:
        """The cluster that the host is placed in, as far as that is known."""
        return self._where.cluster

    @property
    def topics(self) -> frozenset[str]:
        """The topics that are read in the host's cluster."""
        cluster = self.cluster
        return frozenset(
            stream.address.topic
            for stream in self._positions
            if stream.address is not None and stream.address.cluster == cluster
        )

    def lacks(self, cluster: str, unnamed: Collection[str]) -> bool:
        """Tell whether one of the topics that a cluster has not named was there before."""
        return any(self._logs.is_known(cluster, topic) for topic in unnamed)

    @property
    def awaits_cluster(self) -> bool:
        """Whether something waits for a cluster to say who it is."""
        return any(stream.is_waiting for stream in self._positions)

    def gauges(self) -> Gauges:
        """Return how the agent stands."""
        return Gauges(
            resources=self._desired.upserts,
            parked=self._desired.parked,
            failed=self._desired.failed,
            held=len(self._reading.holding),
            streams=len(self._positions),
            streams_behind=sum(stream.behind for stream in self._positions),
            owed=len(self._books),
            unresolved=self._where.unresolved,
            reached_us=self._progress_us,
        )

    def is_caught_up(self) -> bool:
        """Tell whether every stream that is wanted is read, and past its snapshot."""
        return (
            self._where.host_stream is not None
            and not any(stream.behind for stream in self._positions)
            and self._where.unresolved == 0
        )

    # Events.

    def _take(self, event: ev.Event) -> None:
        match event:
            case ev.Batch():
                self._progress(event.now)
                self._reading.batch(event)
            case ev.Applied():
                self._take_answer(event)
            case ev.Settled():
                self._books.settled(event)
                self._inventories.settled(event)
            case ev.Marked():
                for address, mark in event.marks.items():
                    self._reading.marked(address, mark, event.now)
            case ev.Tick():
                self._tick(event.now)
            case _:
                self._take_seldom(event)

    def _take_seldom(self, event: ev.Event) -> None:
        match event:
            case ev.Started():
                self._start(event.now)
            case ev.Located():
                self._where.located(event)
            case ev.ClusterSeen():
                self._see_cluster(event)
            case ev.PositionLost():
                self._reading.lost(event.address)

    def _load(self, state: State) -> None:
        self._reading.topology = state.topology
        for scope, stood in state.streams.items():
            stream = Stream(scope, stood.placement, swept=stood.swept)
            if stood.next is None or not stood.swept or stood.doubted:
                # Power loss may have put this state back behind the node: nothing is swept by it
                # before the log was read to its end once more.
                is_first = not self._desired.of_scope(scope)
                stream.restart(Reason.FIRST if is_first else Reason.RESUMED, doubted=stood.doubted)
            else:
                stream.go_to(stood.next, stood.leader_epoch)
            stream.locate(state.topology)
            self._positions.put(stream)

    def _start(self, now: ev.Now) -> None:
        """Go on from what was loaded: apply again whatever may not have reached the node."""
        self._note_ports(dict(self._desired), now)
        for stream in self._positions:
            if stream.scope.cls is ScopeClass.VPC:
                self._where.interest.keep(stream.scope.id, now.s)
        self._desired.wake()
        self._desired.try_again(
            key for key, entry in self._desired if entry.status in {Status.FAILED, Status.LEAVING}
        )
        self._desired.try_again(decode_key(due.key) for due in self._books.open_dues())
        self._progress(now)
        self._inventories.hasten(now.s)
        self._reading.changed = len(self._positions) > 0
        self._asking = True

    def _progress(self, now: ev.Now) -> None:
        """Note that the log was reached. After too long without, deletes may be gone from it.

        So they may when the clock has been far ahead: then nobody knows how long it was.
        """
        last_us, self._progress_us = self._progress_us, now.us
        limit_us = self._settings.retention_of_deletes_s / 2 * 1e6
        if last_us and abs(now.us - last_us) > limit_us:
            for stream in list(self._positions):
                if stream.snapshot is None:
                    self._reading.resync(stream, Reason.ABSENCE)

    def _see_cluster(self, event: ev.ClusterSeen) -> None:
        self._progress(event.now)
        self._draft.touch()
        is_another = self._logs.is_another(event.cluster, event.kafka_id)
        others = self._logs.others(event.cluster, event.topics)
        self._draft.kafka_ids(self._logs.take(event.cluster, event.kafka_id, event.topics))
        for stream in list(self._positions):
            if stream.address is None or stream.address.cluster != event.cluster:
                continue
            if is_another:
                self._reading.resync(stream, Reason.CLUSTER_CHANGED)
            elif stream.address.topic in others:
                self._reading.resync(stream, Reason.TOPIC_CHANGED)
            elif stream.address.topic in event.topics:
                self._reading.is_same_log(stream, event.now)

    def _tick(self, now: ev.Now) -> None:
        self._reading.release_overdue(now)
        self._where.tick(now)
        self._sweeps.tick(now.s)
        due = self._retries.due(now.s)
        self._counters.apply_retries += len(due)
        self._desired.try_again(due)

    def _take_answer(self, answer: ev.Applied) -> None:
        plan = self._applying
        assert plan is not None
        self._applying = None
        turned = self._desired.applied(plan, answer.failures, answer.now.s)
        told = self._books.answer(self._desired.answer)
        lines = [line for key in turned if (line := self._desired.standing(key)) is not None]
        self._books.owe([line for line in lines if line.key not in told])
        self._take_sweeps(plan, answer)
        for sent_us in self._reading.sent_us:
            self._counters.lag.observe((answer.now.us - sent_us) / 1e6)
        self._reading.sent_us.clear()

    def _take_sweeps(self, plan: Plan, answer: ev.Applied) -> None:
        refused = bool(plan.changes) and len(answer.failures) >= len(plan.changes)
        is_done = not answer.raised and not refused
        for scope in self._sweeps.answered(plan, is_done=is_done, now_s=answer.now.s):
            stream = self._positions.get(scope)
            if stream is not None:
                stream.swept = True
                self._draft.stream(scope)
        if plan.only is not None and self._sweeps.alone:
            self._draft.alone()

    # What follows from any event.

    def _follow_up(self, now: ev.Now, *, stopping: bool) -> list[Effect]:
        plan = self._settle(now)
        self._announce()
        effects: list[Effect] = []
        if self._draft.is_due(now.s, at_once=stopping):
            effects.append(Persist(self._draft.close(self._progress_us, self._stream_state)))
        if plan is not None:
            self._counters.plans += 1
            self._applying = plan
            effects.append(Apply(plan))
        if self._books.has_news(now):
            effects += self._books.tell(self._where.cluster, now)
        effects += self._tell_all(now)
        if self._reading.changed:
            self._reading.changed = False
            effects.append(Assign())
        return effects

    def _settle(self, now: ev.Now) -> Plan | None:
        """Draw the conclusions of what was touched; return what is to be applied."""
        changes: tuple[Change, ...] = ()
        if self._desired.has_news:
            settlement = self._desired.settle()
            self._draft.entries(settlement.entries)
            self._note_ports(settlement.entries, now)
            self._books.owe(settlement.dues)
            changes = settlement.changes
        plan = self._plan(changes)
        if plan is None and self._books.is_open:
            self._books.answer(self._desired.answer)
        return plan

    def _may_tell_all(self) -> bool:
        """Tell whether what stands is all that there is, and the applier has answered."""
        return (
            self._applying is None
            and not self._books.is_open
            and self._where.cluster is not None
            and self.is_caught_up()
        )

    def _tell_all(self, now: ev.Now) -> list[Send]:
        if self._reading.resynced:
            self._reading.resynced = False
            self._inventories.hasten(now.s)
        if not self._inventories.is_due(now.s) or not self._may_tell_all():
            return []
        cluster = self._where.cluster
        assert cluster is not None
        self._counters.inventories += 1
        return self._inventories.take(self._desired.inventory, cluster, now)

    def _plan(self, changes: tuple[Change, ...]) -> Plan | None:
        """Return what to apply, with every scope that the applier has never been told whole.

        A scope of which something is parked waits: told without it, the applier would remove what
        an earlier life of this node had put up.
        """
        unswept = [
            stream.scope
            for stream in self._positions
            if not stream.swept
            and stream.snapshot is None
            and self._desired.parked_in(stream.scope) == 0
            and self._sweeps.may_tell(stream.scope)
        ]
        only = self._only(unswept)
        if not unswept:
            return Plan(changes, only=only) if changes or only is not None else None
        by_key = {change.key: change for scope in unswept for change in self._desired.whole(scope)}
        by_key.update((change.key, change) for change in changes)
        return Plan(ordered(by_key.values()), tuple(unswept), only)

    def _only(self, unswept: Collection[Scope]) -> tuple[Scope, ...] | None:
        """Return the scopes beside which nothing is to be left of an earlier life of this node.

        None while the applier knows them, or while one that is wanted is not there as a whole.
        """
        host = self._where.host_stream
        if host is not None and host.snapshot is not None:
            # Read anew: a loss of power may have taken what this state knew of another VPC.
            self._sweeps.alone = False
            return None
        if self._sweeps.alone or not self._sweeps.may_tell(None):
            return None
        if len(self._reading.holding) or not self._where.follows_all():
            return None
        if not all(stream.swept or stream.scope in unswept for stream in self._positions):
            return None
        return tuple(stream.scope for stream in self._positions)

    def _look(self, now: ev.Now) -> list[Effect]:
        """Ask the directory for what is wanted and not known where to read."""
        self._where.interest.changed = False
        vpcs = self._where.ask(now)
        lost = self._asking or any(stream.address is None for stream in self._reading.moved)
        self._asking = False
        self._reading.moved.clear()
        return [Resolve(vpcs)] if vpcs or lost else []

    def _announce(self) -> None:
        for word in self._where.announcements:
            self._books.owe_presence(word)
        self._where.announcements.clear()
        self._counters.vpcs_joined += self._where.joined
        self._counters.vpcs_left += self._where.left
        self._where.joined = self._where.left = 0

    def _note_ports(self, entries: Mapping[ResourceKey, Entry | None], now: ev.Now) -> None:
        for key, entry in entries.items():
            if key.kind == PORT and key.scope == self._host:
                here = entry is not None and entry.op is Op.UPSERT
                spec = decode_spec(entry.spec) if here and entry is not None else {}
                self._where.interest.note(key, vpc_of_port(spec), now.s)

    def _stream_state(self, scope: Scope) -> StreamState | None:
        stream = self._positions.get(scope)
        if stream is None:
            return None
        return stream.state(self._reading.holding.first_offset(scope))
