"""What the node should be, and what stands between that and the node. Pure.

The rule: one table of entries; the revision rule guards every way in; what may be applied now is
found in rank order, so that a resource is never applied before what it refers to. Methods only
change the table and note what was touched; `settle` then says, for all that was touched since the
last time, what to write down, what to apply and what to report.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from southbound.nca.counters import Counters
from southbound.nca.incoming import Incoming
from southbound.nca.parking import Parking, describe
from southbound.nca.plan import Change, Plan, ordered
from southbound.nca.retries import Retries
from southbound.nca.revisions import Verdict, judge
from southbound.nca.state import Due, Entry, Status, line_of
from southbound.resources import Op, ResourceKey, Scope, rank_of, references
from southbound.wire.envelope import EMPTY_SPEC, decode_spec
from southbound.wire.keys import decode_key, encode_key
from southbound.wire.reports import Outcome, ReportEntry

_OUTCOME_OF = {
    Status.SETTLED: Outcome.APPLIED,
    Status.PARKED: Outcome.PENDING,
    Status.FAILED: Outcome.FAILED,
    Status.LEAVING: Outcome.SUPERSEDED,
}
_RANK_NEEDS_MAX = rank_of("dhcp")
"""What comes later (neighbours) is much, and no launch waits for a single one."""


class Settlement(msgspec.Struct, frozen=True):
    """What follows from all that was touched."""

    entries: dict[ResourceKey, Entry | None]
    changes: tuple[Change, ...]
    dues: list[Due]


class Desired:
    """The entries of all scopes, with their parking and their retries.

    `upserts` counts the entries that are no deletes.
    """

    def __init__(
        self,
        entries: Mapping[ResourceKey, Entry],
        retries: Retries[ResourceKey],
        counters: Counters,
    ) -> None:
        self._entries: dict[Scope, dict[ResourceKey, Entry]] = {}
        self._parking = Parking()
        self._retries = retries
        self._counters = counters
        self._touched: dict[ResourceKey, Mapping[str, Any] | None] = {}
        self._again: set[ResourceKey] = set()
        self._dues: list[tuple[ResourceKey, Due]] = []
        self._written: dict[ResourceKey, Entry | None] = {}
        self.upserts = 0
        for key, entry in entries.items():
            self._table(key.scope)[key] = entry
            self.upserts += entry.op is Op.UPSERT

    # What is there.

    def get(self, key: ResourceKey) -> Entry | None:
        """Return the entry of a resource, or None when the node has never heard of it."""
        table = self._entries.get(key.scope)
        return None if table is None else table.get(key)

    def stands(self, key: ResourceKey) -> bool:
        """Tell whether the node should have a resource, or is being rid of it only now."""
        entry = self.get(key)
        return entry is not None and (entry.op is Op.UPSERT or entry.status is not Status.SETTLED)

    def of_scope(self, scope: Scope) -> Mapping[ResourceKey, Entry]:
        """Return the entries of one scope."""
        return self._entries.get(scope, {})

    def scopes(self) -> list[Scope]:
        """Return the scopes that have entries."""
        return [scope for scope, table in self._entries.items() if table]

    def __iter__(self) -> Iterator[tuple[ResourceKey, Entry]]:
        """Yield every entry."""
        for table in self._entries.values():
            yield from table.items()

    @property
    def parked(self) -> int:
        """How many resources wait for a reference."""
        return len(self._parking)

    @property
    def failed(self) -> int:
        """How many resources the applier has refused."""
        return len(self._retries)

    def refused_to_go(self, kind: str) -> bool:
        """Tell whether the applier has refused to take a resource of that kind away."""
        return any(
            key.kind == kind and (entry := self.get(key)) is not None and entry.op is Op.DELETE
            for key in self._retries
        )

    def parked_in(self, scope: Scope) -> int:
        """Return how many resources of a scope wait for a reference."""
        return self._parking.count_in(scope)

    # What comes in.

    def take(self, incoming: Incoming, *, snapshot: bool = False, clean: bool = False) -> bool:
        """Take one revision; return whether it is news.

        `snapshot`: it is read from a log as a whole, so an equal revision is old news unless
        another changeset repeats it. `clean`: the applier has been told the whole scope before, so
        a delete of what was never here needs no applying.
        """
        key, entry = incoming.key, incoming.entry
        held = self.get(key)
        verdict = judge(held, entry)
        if verdict is Verdict.NEWER:
            self._put(key, entry)
            if clean and snapshot and held is None and entry.op is Op.DELETE:
                self._owe(incoming, Outcome.APPLIED)
            else:
                self._touched[key] = incoming.spec
                self._owe(incoming, None)
            return True
        assert held is not None
        if verdict is Verdict.OLDER:
            self._counters.revisions_older += 1
            self._owe(incoming, Outcome.SUPERSEDED)
            return False
        if verdict is Verdict.CONFLICTING:
            self._counters.revisions_conflicting += 1
        else:
            self._counters.revisions_equal += 1
        if not snapshot or entry.changeset != held.changeset:
            self._owe_as_held(incoming, held)
        return False

    def supersede(self, incoming: Incoming) -> None:
        """Report a revision that lost to a higher one before it could be applied."""
        self._counters.revisions_older += 1
        self._owe(incoming, Outcome.SUPERSEDED)

    def is_news(self, incoming: Incoming) -> bool:
        """Tell whether the revision rule would let this record change anything."""
        return judge(self.get(incoming.key), incoming.entry) is Verdict.NEWER

    def remove(self, keys: Iterable[ResourceKey]) -> None:
        """Take resources away that their stream does not speak of any more."""
        for key in keys:
            held = self.get(key)
            if held is None:
                continue
            if held.op is Op.DELETE and held.status is Status.SETTLED:
                self.forget(key)
                continue
            self._counters.resources_removed += 1
            self._put(key, Entry(held.revision, Op.DELETE, EMPTY_SPEC, "", Status.LEAVING))
            self._touched[key] = {}

    def forget(self, key: ResourceKey) -> None:
        """Drop the last trace of a resource."""
        self._parking.unpark(key)
        self._retries.done(key)
        entry = self._table(key.scope).pop(key, None)
        if entry is not None:
            self.upserts -= entry.op is Op.UPSERT
            self._written[key] = None

    def try_again(self, keys: Iterable[ResourceKey]) -> None:
        """Apply these once more as they stand, whatever became of them before."""
        for key in keys:
            entry = self.get(key)
            if entry is not None and entry.status is not Status.PARKED:
                self._again.add(key)

    def wake(self) -> None:
        """After a restart: let what was parked look again for what it misses."""
        for key, entry in self:
            if entry.status is Status.PARKED:
                self._touched.setdefault(key, None)

    # What follows.

    @property
    def has_news(self) -> bool:
        """Whether `settle` has anything to say."""
        return bool(self._touched or self._dues or self._written or self._again)

    def settle(self) -> Settlement:
        """Say what follows from everything touched since the last call."""
        changes = self._deletions()
        self._place(self._touched, changes)
        for key in self._again - changes.keys():
            entry = self.get(key)
            if entry is not None and entry.status is not Status.PARKED:
                changes[key] = _change(key, entry, None)
        dues = [self._due(key, due) for key, due in self._dues]
        written = self._written
        self._touched, self._again, self._dues, self._written = {}, set(), [], {}
        return Settlement(written, ordered(changes.values()), dues)

    def whole(self, scope: Scope) -> list[Change]:
        """Return a change for everything of a scope that the node should have."""
        return [
            _change(key, entry, None)
            for key, entry in self.of_scope(scope).items()
            if entry.op is Op.UPSERT and entry.status is not Status.PARKED
        ]

    def applied(
        self, plan: Plan, failures: Mapping[ResourceKey, str], now_s: float
    ) -> list[ResourceKey]:
        """Take the applier's answer; return what failed before and now did not, or fails anew."""
        turned = []
        for change in plan.changes:
            entry = self.get(change.key)
            if entry is None:
                continue
            reason = failures.get(change.key)
            if reason is not None:
                self._counters.resources_failed += 1
                self._retries.failed(change.key, now_s)
                if self._restate(change.key, entry, Status.FAILED, reason):
                    turned.append(change.key)
                continue
            self._counters.resources_applied += 1
            self._retries.done(change.key)
            if entry.status is Status.LEAVING:
                self.forget(change.key)
            elif self._restate(change.key, entry, Status.SETTLED, ""):
                turned.append(change.key)
        return turned

    def answer(self, due: Due) -> tuple[Outcome, str]:
        """Say what became of a line whose outcome was open, now that the applier has answered."""
        entry = self.get(decode_key(due.key))
        if entry is None or entry.revision != due.revision:
            return Outcome.SUPERSEDED, ""
        return _OUTCOME_OF[entry.status], entry.detail

    def standing(self, key: ResourceKey) -> Due | None:
        """Return the line that tells how a resource stands now."""
        entry = self.get(key)
        if entry is None or not entry.changeset:
            return None
        return _line(key, entry, _OUTCOME_OF[entry.status])

    def inventory(self, at_us: int) -> list[ReportEntry]:
        """Return a line, told at that time in µs, for everything that stands or is to go."""
        return [
            line_of(_line(key, entry, _OUTCOME_OF[entry.status]), at_us)
            for key, entry in self
            if entry.changeset and not (entry.op is Op.DELETE and entry.status is Status.SETTLED)
        ]

    # The parts of it.

    def _table(self, scope: Scope) -> dict[ResourceKey, Entry]:
        table = self._entries.get(scope)
        if table is None:
            table = self._entries[scope] = {}
        return table

    def _put(self, key: ResourceKey, entry: Entry) -> None:
        self._parking.unpark(key)
        self._retries.done(key)
        table = self._table(key.scope)
        held = table.get(key)
        self.upserts += (entry.op is Op.UPSERT) - (held is not None and held.op is Op.UPSERT)
        table[key] = entry
        self._written[key] = entry

    def _restate(self, key: ResourceKey, entry: Entry, status: Status, detail: str) -> bool:
        if entry.status is Status.LEAVING and status is Status.FAILED:
            status = Status.LEAVING
        if entry.status is status and entry.detail == detail:
            return False
        restated = Entry(entry.revision, entry.op, entry.spec, entry.changeset, status, detail)
        self._table(key.scope)[key] = restated
        self._written[key] = restated
        return True

    def _owe(self, incoming: Incoming, outcome: Outcome | None, detail: str = "") -> None:
        entry = incoming.entry
        due = Due(
            entry.changeset,
            incoming.wire_key,
            entry.revision,
            outcome,
            detail,
            entry.op is Op.DELETE,
            _needs(incoming.key, incoming.spec),
        )
        self._dues.append((incoming.key, due))

    def _owe_as_held(self, incoming: Incoming, held: Entry) -> None:
        # What was touched in this very step is not applied yet: its outcome is open.
        if incoming.key in self._touched:
            self._owe(incoming, None)
        else:
            self._owe(incoming, _OUTCOME_OF[held.status], held.detail)

    def _due(self, key: ResourceKey, due: Due) -> Due:
        """Close a line whose outcome is known before anything is applied."""
        if due.outcome is not None:
            return due
        entry = self.get(key)
        if entry is None or entry.revision != due.revision:
            return msgspec.structs.replace(due, outcome=Outcome.SUPERSEDED)
        if entry.status is Status.PARKED:
            return msgspec.structs.replace(due, outcome=Outcome.PENDING, detail=entry.detail)
        return due

    def _deletions(self) -> dict[ResourceKey, Change]:
        changes = {}
        for key in self._touched:
            entry = self.get(key)
            if entry is not None and entry.op is Op.DELETE:
                changes[key] = _change(key, entry, None)
        return changes

    def _place(
        self,
        touched: Mapping[ResourceKey, Mapping[str, Any] | None],
        changes: dict[ResourceKey, Change],
    ) -> None:
        """Find, in rank order, which upserts can be applied and which have to wait."""
        queue = [(rank_of(key.kind), key) for key in touched if key not in changes]
        heapq.heapify(queue)
        placed: set[ResourceKey] = set()
        while queue:
            _, key = heapq.heappop(queue)
            entry = self.get(key)
            if entry is None or key in placed:
                continue
            placed.add(key)
            spec = touched.get(key)
            if spec is None:
                spec = decode_spec(entry.spec)
            missing = tuple(ref for ref in references(key, spec) if not self._is_there(ref))
            if missing:
                self._park(key, entry, missing)
                continue
            woken = self._parking.waiting_for(key)
            self._unpark(key, entry)
            changes[key] = _change(key, entry, spec)
            for waiter in woken:
                heapq.heappush(queue, (rank_of(waiter.kind), waiter))

    def _is_there(self, key: ResourceKey) -> bool:
        entry = self.get(key)
        return entry is not None and entry.op is Op.UPSERT and entry.status is not Status.PARKED

    def _park(self, key: ResourceKey, entry: Entry, missing: tuple[ResourceKey, ...]) -> None:
        self._parking.park(key, missing)
        news = entry.status is Status.PARKED
        if self._restate(key, entry, Status.PARKED, describe(missing)) and news:
            due = self.standing(key)
            assert due is not None
            self._dues.append((key, due))

    def _unpark(self, key: ResourceKey, entry: Entry) -> None:
        self._parking.unpark(key)
        if entry.status is Status.PARKED:
            self._restate(key, entry, Status.SETTLED, "")
            self._dues.append((key, _line(key, entry, None)))


def _line(key: ResourceKey, entry: Entry, outcome: Outcome | None) -> Due:
    spec = decode_spec(entry.spec) if _names_needs(key) else {}
    detail = "" if outcome is None else entry.detail
    deleted = entry.op is Op.DELETE
    needs = _needs(key, spec)
    return Due(entry.changeset, encode_key(key), entry.revision, outcome, detail, deleted, needs)


def _names_needs(key: ResourceKey) -> bool:
    """Tell whether somebody may wait for such a resource, and so for what it refers to."""
    return rank_of(key.kind) <= _RANK_NEEDS_MAX


def _needs(key: ResourceKey, spec: Mapping[str, Any]) -> tuple[bytes, ...]:
    return tuple(map(encode_key, references(key, spec))) if _names_needs(key) else ()


def _change(key: ResourceKey, entry: Entry, spec: Mapping[str, Any] | None) -> Change:
    if entry.op is Op.DELETE:
        return Change(key, entry.revision, Op.DELETE, {}, entry.changeset)
    decoded = decode_spec(entry.spec) if spec is None else spec
    return Change(key, entry.revision, Op.UPSERT, decoded, entry.changeset)
