"""What a worker of public resources decides. Pure: the world comes in by arguments, clocks too.

The rule: a worker has on its node exactly what the partitions that it holds say, from the moment
when a partition's replay has reached the end that was noted for it until the moment when the
partition is given back. Until then nothing of it is applied, so a resource never appears in a state
that it had long ago; after that nothing of it is left, so two workers never serve it at once.

Giving back is not deleting: it takes a resource from this node, and no report speaks of it.

Each resource of a public changeset may lie in another partition, and partitions belong to different
workers, so a changeset is no unit here: index and count are not looked at, and each resource is
taken by itself (docs/decisions/0010-public-resources.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from southbound.errors import WireError
from southbound.nca.counters import Lag
from southbound.nca.events import Now, Record
from southbound.nca.incoming import Incoming, read
from southbound.nca.plan import Change, Plan, ordered
from southbound.nca.retries import Retries
from southbound.nca.revisions import Verdict, judge
from southbound.nca.state import Entry, Quarantined
from southbound.resources import Op, ResourceKey, ScopeClass
from southbound.settings import WorkerSettings
from southbound.wire.envelope import decode_spec
from southbound.wire.keys import decode_key, is_control
from southbound.wire.reports import Outcome, ReportEntry

_US = 1_000_000
_ALSO_MAX = 8


class Work(msgspec.Struct, frozen=True):
    """What is to be done: a plan for the applier, and what is to be told whatever becomes of it."""

    plan: Plan = Plan(())
    told: tuple[ReportEntry, ...] = ()


@dataclass(slots=True)
class WorkerCounters:
    """Totals since the process began.

    records: records read. records_quarantined: those that could not be read, or stand in the wrong
    topic. records_ignored: control records, and nulls of what is not deleted.
    resources_applied / resources_failed: outcomes of the applier. resources_released: taken from
    the node because their partition was given back; release_failures: those that resisted.
    apply_retries: failed ones tried again. revisions_older / revisions_equal /
    revisions_conflicting: what the revision rule dropped.
    partitions_assigned / partitions_revoked / partitions_lost: by the group; lost ones were given
    to another worker before this one knew. replays: partitions replayed to their end.
    resyncs: rejoinings because of a position that the broker did not have, or a fatal error.
    reports_sent / reports_resent / reports_dropped: entries of reports. plans: applier calls.
    """

    records: int = 0
    records_quarantined: int = 0
    records_ignored: int = 0
    resources_applied: int = 0
    resources_failed: int = 0
    resources_released: int = 0
    release_failures: int = 0
    apply_retries: int = 0
    revisions_older: int = 0
    revisions_equal: int = 0
    revisions_conflicting: int = 0
    partitions_assigned: int = 0
    partitions_revoked: int = 0
    partitions_lost: int = 0
    replays: int = 0
    resyncs: int = 0
    reports_sent: int = 0
    reports_resent: int = 0
    reports_dropped: int = 0
    plans: int = 0
    lag: Lag = field(default_factory=Lag)


@dataclass(frozen=True, slots=True)
class WorkerGauges:
    """How a worker stands at one moment.

    partitions: held; partitions_replaying: of those, what has not reached its end. resources: on
    this node. failed: refused by the applier, and tried again. unreleased: given back by the group
    but still on this node, since the applier failed to remove them. owed: report entries unsent.
    """

    partitions: int = 0
    partitions_replaying: int = 0
    resources: int = 0
    failed: int = 0
    unreleased: int = 0
    owed: int = 0


class _Held(msgspec.Struct, gc=False):
    """One resource of a partition that this worker holds.

    `sent_us` is 0 for what a replay brought. `failure`: the reason that was told last, if any.
    `also`: other changesets that published the same revision before it was applied.
    """

    entry: Entry
    wire_key: bytes
    sent_us: int
    failure: str = ""
    also: tuple[str, ...] = ()


class _Partition:
    """One partition that the group gave to this worker.

    `end` is None until it has been asked; `next` is the offset that reading has reached.
    """

    def __init__(self) -> None:
        self.end: int | None = None
        self.next = 0
        self.live = False
        self.held: dict[ResourceKey, _Held] = {}


class WorkerCore:
    """The state of one worker; every method is one event and returns the work that follows.

    After each piece of work with a plan the caller hands it to the applier, and the answer to
    `settle`, before it calls anything else.
    """

    def __init__(
        self, kind: str, settings: WorkerSettings, counters: WorkerCounters | None = None
    ) -> None:
        self.counters = counters or WorkerCounters()
        self.quarantined: deque[Quarantined] = deque(maxlen=settings.quarantine_max)
        self._kind = kind
        self._settings = settings
        self._partitions: dict[int, _Partition] = {}
        # Of this event, empty between events: what is to be applied, what is to be told.
        self._due: set[ResourceKey] = set()
        self._told: list[ReportEntry] = []
        # What may be on the node, and the partition that put it there.
        self._owner: dict[ResourceKey, _Partition] = {}
        # What is on the node although its partition was given back.
        self._unreleased: dict[ResourceKey, Change] = {}
        self._retries: Retries[ResourceKey] = Retries(settings.retry_first_s, settings.retry_max_s)

    # What can be asked.

    @property
    def partitions(self) -> tuple[int, ...]:
        """Partitions held, in order."""
        return tuple(sorted(self._partitions))

    @property
    def unmarked(self) -> tuple[int, ...]:
        """Partitions whose end is still to be asked."""
        return tuple(number for number, state in self._partitions.items() if state.end is None)

    @property
    def replaying(self) -> tuple[int, ...]:
        """Partitions whose replay has not reached its end."""
        return tuple(number for number, state in self._partitions.items() if not state.live)

    def gauges(self, owed: int = 0) -> WorkerGauges:
        """Return how the worker stands."""
        return WorkerGauges(
            partitions=len(self._partitions),
            partitions_replaying=len(self.replaying),
            resources=sum(
                held.entry.op is Op.UPSERT
                for state in self._partitions.values()
                if state.live
                for held in state.held.values()
            ),
            failed=len(self._retries) - len(self._unreleased),
            unreleased=len(self._unreleased),
            owed=owed,
        )

    def deadline_s(self) -> float | None:
        """Return when `retry` has something to do next, on the monotonic clock."""
        return self._retries.deadline_s()

    # What can happen.

    def assigned(self, partitions: Iterable[int]) -> None:
        """Take partitions over; each is read from its beginning."""
        for number in partitions:
            assert number not in self._partitions, "assigned twice"
            self._partitions[number] = _Partition()
            self.counters.partitions_assigned += 1

    def marked(self, ends: Mapping[int, int], now: Now) -> Work:
        """Learn where partitions ended when they were asked: the offset that comes next."""
        for number, end in ends.items():
            state = self._partitions.get(number)
            if state is not None and state.end is None:
                state.end = end
                self._end_if_reached(state, now)
        return self._work()

    def batch(self, records: Sequence[Record], reached: Mapping[int, int], now: Now) -> Work:
        """Take what was read.

        `reached` tells positions that no record's own offset tells: an end of partition, or what
        lies behind records that compaction has removed.
        """
        for record in records:
            state = self._partitions.get(record.address.partition)
            if state is None:
                continue  # read before the partition was given back
            self.counters.records += 1
            self._take(state, record, now)
            state.next = max(state.next, record.offset + 1)
            self._end_if_reached(state, now)
        for number, offset in reached.items():
            state = self._partitions.get(number)
            if state is not None:
                state.next = max(state.next, offset)
                self._end_if_reached(state, now)
        return self._work()

    def retry(self, now: Now) -> Work:
        """Try again what failed and is due."""
        changes = []
        for key in self._retries.due(now.s):
            self.counters.apply_retries += 1
            held = self._find(key)
            changes.append(self._unreleased[key] if held is None else _change(key, held.entry))
        return Work(Plan(ordered(changes)))

    def revoked(self, partitions: Iterable[int], *, lost: bool = False) -> Work:
        """Give partitions back: the plan takes from the node whatever of them may be on it.

        `lost`: the group has already given them to somebody else.
        """
        changes = []
        for number in partitions:
            state = self._partitions.pop(number, None)
            if state is None:
                continue
            if lost:
                self.counters.partitions_lost += 1
            else:
                self.counters.partitions_revoked += 1
            for key, held in state.held.items():
                if self._owner.get(key) is state:
                    del self._owner[key]
                    changes.append(Change(key, held.entry.revision, Op.DELETE, {}))
        return Work(Plan(ordered(changes)))

    def settle(
        self, plan: Plan, failed: Mapping[ResourceKey, str], now: Now
    ) -> tuple[ReportEntry, ...]:
        """Learn what became of a plan; return what is to be told of it."""
        self.counters.plans += 1
        told = []
        for change in plan.changes:
            held = self._find(change.key)
            reason = failed.get(change.key)
            if held is None:
                self._settle_release(change, reason, now)
            else:
                told += self._settle_held(change, held, reason, now)
        return tuple(told)

    # Records.

    def _take(self, state: _Partition, record: Record, now: Now) -> None:
        try:
            if record.key is None:
                raise WireError("a record without a key")
            key = decode_key(record.key)
            if is_control(key):
                self.counters.records_ignored += 1
                return
            if key.scope.cls is not ScopeClass.PUBLIC or key.kind != self._kind:
                raise WireError(f"{key} does not belong into the topic of {self._kind}")
            if record.value is None:
                self._forget(state, key)
            else:
                self._change(state, read(record.key, record.value, record.offset), now)
        except WireError as error:
            self._quarantine(record, error, now)

    def _quarantine(self, record: Record, error: WireError, now: Now) -> None:
        self.counters.records_quarantined += 1
        limit = self._settings.quarantine_bytes
        address = record.address
        self.quarantined.append(
            Quarantined(
                cluster=address.cluster,
                topic=address.topic,
                partition=address.partition,
                offset=record.offset,
                key=(record.key or b"")[:limit],
                value=(record.value or b"")[:limit],
                why=str(error),
                at_us=now.us,
            )
        )

    def _forget(self, state: _Partition, key: ResourceKey) -> None:
        """Take a null: the janitor's word that a delete need not be remembered any more."""
        held = state.held.get(key)
        if held is not None and held.entry.op is Op.DELETE and key not in self._owner:
            del state.held[key]
        elif held is not None:
            self.counters.records_ignored += 1

    def _change(self, state: _Partition, incoming: Incoming, now: Now) -> None:
        key = incoming.key
        held = state.held.get(key)
        sent_us = incoming.sent_us if state.live else 0
        arrived = _Held(incoming.entry, incoming.wire_key, sent_us)
        verdict = judge(held.entry if held is not None else None, incoming.entry)
        if verdict is Verdict.NEWER:
            if held is not None and (not state.live or key in self._due or key in self._retries):
                self._tell(held, Outcome.SUPERSEDED, now)
            state.held[key] = arrived
            if state.live:
                self._apply(state, key)
        elif verdict is Verdict.OLDER:
            self.counters.revisions_older += 1
            self._tell(arrived, Outcome.SUPERSEDED, now)
        else:
            assert held is not None
            if verdict is Verdict.CONFLICTING:
                self.counters.revisions_conflicting += 1
            else:
                self.counters.revisions_equal += 1
            self._tell_again(held, arrived, now, settled=state.live and key not in self._due)

    def _tell_again(self, held: _Held, again: _Held, now: Now, *, settled: bool) -> None:
        """Answer who published a revision again: what became of it is known, or will be told."""
        if not settled:
            changeset = again.entry.changeset
            if changeset not in {held.entry.changeset, *held.also}:
                held.also = (*held.also, changeset)[-_ALSO_MAX:]
        elif held.failure:
            self._tell(again, Outcome.FAILED, now, held.failure)
        else:
            self._tell(again, Outcome.APPLIED, now)

    # The end of a replay.

    def _end_if_reached(self, state: _Partition, now: Now) -> None:
        if state.live or state.end is None or state.next < state.end:
            return
        state.live = True
        self.counters.replays += 1
        for key, held in state.held.items():
            if held.entry.op is Op.UPSERT or key in self._unreleased:
                self._apply(state, key)
            else:
                self._tell(held, Outcome.APPLIED, now)  # it is not on this node

    def _apply(self, state: _Partition, key: ResourceKey) -> None:
        self._owner[key] = state
        self._due.add(key)

    def _work(self) -> Work:
        changes = []
        for key in self._due:
            held = self._find(key)
            assert held is not None, "due without being held"
            changes.append(_change(key, held.entry))
        self._due.clear()
        told, self._told = tuple(self._told), []
        return Work(Plan(ordered(changes)), told)

    # Outcomes.

    def _find(self, key: ResourceKey) -> _Held | None:
        state = self._owner.get(key)
        return None if state is None else state.held.get(key)

    def _settle_release(self, change: Change, reason: str | None, now: Now) -> None:
        if reason is None:
            self._unreleased.pop(change.key, None)
            self._retries.done(change.key)
            self.counters.resources_released += 1
        else:
            self._unreleased[change.key] = change
            self._retries.failed(change.key, now.s)
            self.counters.release_failures += 1

    def _settle_held(
        self, change: Change, held: _Held, reason: str | None, now: Now
    ) -> list[ReportEntry]:
        key = change.key
        self._unreleased.pop(key, None)
        if reason is not None:
            self.counters.resources_failed += 1
            self._retries.failed(key, now.s)
            told_before, held.failure = held.failure, reason
            return [] if told_before == reason else _lines(held, Outcome.FAILED, now, reason)
        self.counters.resources_applied += 1
        if held.sent_us:
            self.counters.lag.observe((now.us - held.sent_us) / _US)
        self._retries.done(key)
        held.failure = ""
        if change.op is Op.DELETE:
            del self._owner[key]
        return _lines(held, Outcome.APPLIED, now)

    def _tell(self, held: _Held, outcome: Outcome, now: Now, detail: str = "") -> None:
        self._told += _lines(held, outcome, now, detail)


def _lines(held: _Held, outcome: Outcome, now: Now, detail: str = "") -> list[ReportEntry]:
    """Return a report's line for each changeset that is concerned."""
    revision, deleted = held.entry.revision, held.entry.op is Op.DELETE
    return [
        ReportEntry(changeset, held.wire_key, revision, outcome, now.us, detail, deleted)
        for changeset in (held.entry.changeset, *held.also)
        if changeset
    ]


def _change(key: ResourceKey, entry: Entry) -> Change:
    spec = decode_spec(entry.spec) if entry.op is Op.UPSERT else {}
    return Change(key, entry.revision, entry.op, spec, entry.changeset)
