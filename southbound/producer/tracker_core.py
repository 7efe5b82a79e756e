"""What has become of changesets on the hosts that must apply them. Pure.

The rule: a host has settled a resource when it reported the watched revision, or a later one, as
applied, superseded or failed; a changeset is settled when every expected host has settled every
resource of every part. Applied and superseded are final; a failure may still turn into them;
"pending" settles nothing and never hides a failure. Reports count from the moment of `watch`, in
whatever order they come and whether or not it is known by then who is expected.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from southbound.resources import Scope, ScopeClass
from southbound.wire.keys import decode_key
from southbound.wire.reports import Outcome, Report, ReportEntry

_ANY_WORKER = ""
"""Stands for whichever worker holds a public resource."""


class Applied(msgspec.Struct, frozen=True):
    """What became of a changeset; each host stands in one place, the worst that holds for it.

    `applied`: hosts that applied all of it; `superseded`: those where a later revision of some of
    it stands. `failed` and `pending`: host to why, or to what it waits for, naming the resource.
    `silent`: expected, and has not told of all of it. A part whose hosts are not known yet, or a
    public one that no worker told of, stands among the silent as its scope (`vpc:<id>`, `public`).
    """

    changeset: str
    applied: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    failed: Mapping[str, str] = msgspec.field(default_factory=dict)
    pending: Mapping[str, str] = msgspec.field(default_factory=dict)
    silent: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nobody failed, waits or keeps silent."""
        return not (self.failed or self.pending or self.silent)


class TrackedPart(NamedTuple):
    """One scope's share of a changeset: the revision of each record key."""

    scope: Scope
    revisions: Mapping[bytes, int]


class _Verdict(enum.IntEnum):
    """What stands for one host; the highest of its resources counts."""

    APPLIED = 0
    SUPERSEDED = 1
    SILENT = 2
    PENDING = 3
    FAILED = 4


_VERDICTS = {
    Outcome.APPLIED: _Verdict.APPLIED,
    Outcome.SUPERSEDED: _Verdict.SUPERSEDED,
    Outcome.PENDING: _Verdict.PENDING,
    Outcome.FAILED: _Verdict.FAILED,
}
_FINAL = frozenset({_Verdict.APPLIED, _Verdict.SUPERSEDED})


class _Told(NamedTuple):
    """The last word on one resource on one host."""

    verdict: _Verdict
    host: str
    detail: str


class _Standing(NamedTuple):
    host: str
    verdict: _Verdict
    reason: str = ""


class _Part:
    """One part of a watch: what was told, by host and key.

    A host that has settled all of it for good is kept as one bit, since a VPC may have very many.
    """

    __slots__ = ("expected", "final", "revisions", "scope", "told", "unsettled", "watch")

    def __init__(self, part: TrackedPart, watch: Watch) -> None:
        self.scope = part.scope
        self.revisions = dict(part.revisions)
        self.watch = watch
        self.told: dict[str, dict[bytes, _Told]] = {}
        self.final: dict[str, bool] = {}
        self.expected: frozenset[str] | None = None
        self.unsettled: set[str] = set()

    @property
    def is_settled(self) -> bool:
        return self.expected is not None and not self.unsettled

    @property
    def is_final(self) -> bool:
        """Whether nothing that is told from now on could change what stands."""
        return self.is_settled and all(
            told.verdict in _FINAL for keys in self.told.values() for told in keys.values()
        )

    def expect(self, hosts: Iterable[str]) -> None:
        """Fix who must apply it; what others told is forgotten."""
        self.expected = frozenset(hosts)
        self.told = {host: told for host, told in self.told.items() if host in self.expected}
        self.final = {host: late for host, late in self.final.items() if host in self.expected}
        self.unsettled = {host for host in self.expected if not self._has_settled(host)}

    def hear(self, host: str, entry: ReportEntry) -> str | None:
        """Take one line; return under which name, or None when it changes nothing."""
        name = _ANY_WORKER if self.scope.cls is ScopeClass.PUBLIC else host
        revision = self.revisions[entry.key]
        unasked = self.expected is not None and name not in self.expected
        if entry.revision < revision or name in self.final or unasked:
            return None
        verdict = _VERDICTS[entry.outcome]
        if verdict is _Verdict.APPLIED and entry.revision > revision:
            verdict = _Verdict.SUPERSEDED
        told = self.told.setdefault(name, {})
        before = told.get(entry.key)
        if before is not None and not _outweighs(verdict, before.verdict):
            return None
        told[entry.key] = _Told(verdict, host, entry.detail)
        return name

    def review(self, name: str) -> bool:
        """Draw the conclusion of what one host told; return whether it has settled this part."""
        if not self._has_settled(name):
            return False
        self.unsettled.discard(name)
        verdicts = {told.verdict for told in self.told[name].values()}
        if verdicts <= _FINAL and name != _ANY_WORKER:
            self.final[name] = _Verdict.SUPERSEDED in verdicts
            del self.told[name]
        return True

    def standings(self) -> Iterator[_Standing]:
        """Yield what stands for each host; a host may come several times."""
        if self.scope.cls is ScopeClass.PUBLIC:
            yield from self._worker_standings()
            return
        if self.expected is None:
            yield _Standing(str(self.scope), _Verdict.SILENT)
        for host in self.expected if self.expected is not None else {**self.told, **self.final}:
            late = self.final.get(host)
            if late is not None:
                yield _Standing(host, _Verdict.SUPERSEDED if late else _Verdict.APPLIED)
            else:
                yield self._standing(host)

    def _standing(self, host: str) -> _Standing:
        told = self.told.get(host, {})
        worst = _Standing(host, _Verdict.APPLIED)
        for key in self.revisions:
            one = told.get(key)
            found = _Standing(host, _Verdict.SILENT) if one is None else _standing_of(key, one)
            if found.verdict > worst.verdict:
                worst = found
        return worst

    def _worker_standings(self) -> Iterator[_Standing]:
        told = self.told.get(_ANY_WORKER, {})
        for key in self.revisions:
            one = told.get(key)
            if one is None:
                yield _Standing(str(self.scope), _Verdict.SILENT)
            else:
                yield _standing_of(key, one)

    def _has_settled(self, name: str) -> bool:
        if name in self.final:
            return True
        told = self.told.get(name, {})
        return len(told) == len(self.revisions) and all(
            one.verdict is not _Verdict.PENDING for one in told.values()
        )


def _outweighs(new: _Verdict, old: _Verdict) -> bool:
    """Tell whether a later word replaces an earlier one of the same host on the same resource."""
    if old in _FINAL:
        return False
    return new is not _Verdict.PENDING or old is _Verdict.PENDING


def _standing_of(key: bytes, told: _Told) -> _Standing:
    if told.verdict in _FINAL:
        return _Standing(told.host, told.verdict)
    return _Standing(told.host, told.verdict, f"{decode_key(key)}: {told.detail}")


class Watch:
    """One changeset that is followed. Made by `TrackerCore.watch`; compared by identity."""

    __slots__ = ("changeset", "parts")

    def __init__(self, changeset: str, parts: Sequence[TrackedPart]) -> None:
        self.changeset = changeset
        self.parts = {part.scope: _Part(part, self) for part in parts}

    @property
    def is_settled(self) -> bool:
        """Whether every expected host has settled everything."""
        return all(part.is_settled for part in self.parts.values())

    @property
    def is_final(self) -> bool:
        """Whether nothing that is told from now on could change what stands."""
        return all(part.is_final for part in self.parts.values())


OnHost = Callable[[Watch, Report], None]


class TrackerCore:
    """Watches by record key. At most `tracked_max` are kept; `overflow` tells which fell out.

    A watch that settled with failures is listened to further, while there is room, since an agent
    tries again. `on_host` is called when a report makes a host settle a part, or settle it better
    than before. For one thread at a time.
    """

    def __init__(self, tracked_max: int, on_host: OnHost | None = None) -> None:
        assert tracked_max > 0
        self._tracked_max = tracked_max
        self._on_host = on_host
        self._open: dict[Watch, None] = {}
        self._ended: dict[Watch, None] = {}
        self._by_key: dict[bytes, dict[_Part, None]] = {}

    def __len__(self) -> int:
        """Return how many watches are kept."""
        return len(self._open) + len(self._ended)

    def watch(self, changeset: str, parts: Sequence[TrackedPart]) -> Watch:
        """Begin to follow a changeset; do it before the first record of it is sent.

        Who must apply a host's or a public part is known at once.
        """
        watch = Watch(changeset, parts)
        assert len(watch.parts) == len(parts), "a changeset has one part for each scope"
        self._open[watch] = None
        for part in watch.parts.values():
            if part.scope.cls is not ScopeClass.VPC:
                part.expect({part.scope.id})
            for key in part.revisions:
                self._by_key.setdefault(key, {})[part] = None
        return watch

    def __contains__(self, watch: object) -> bool:
        """Tell whether a watch is kept: it is open, or what stands for it may still change."""
        return watch in self._open or watch in self._ended

    def is_open(self, watch: Watch) -> bool:
        """Tell whether some host that must has not settled everything."""
        return watch in self._open

    def overflow(self) -> list[Watch]:
        """Drop what is too many, settled ones first, then the oldest; return those still open."""
        dropped = []
        while len(self) > self._tracked_max:
            watch = next(iter(self._ended or self._open))
            if watch in self._open:
                dropped.append(watch)
            self.forget(watch)
        return dropped

    def expect(self, watch: Watch, scope: Scope, hosts: Iterable[str]) -> bool:
        """Say who must apply a VPC's part; return whether that settled the watch."""
        watch.parts[scope].expect(hosts)
        return self._conclude(watch)

    def heard(self, report: Report) -> list[Watch]:
        """Take a report; return the watches that it settled, the earlier ones first."""
        touched: dict[tuple[_Part, str], None] = {}
        for entry in report.entries:
            for part in self._by_key.get(entry.key, ()):
                name = part.hear(report.host, entry)
                if name is not None:
                    touched[part, name] = None
        for part, name in touched:
            if part.review(name) and self._on_host is not None:
                self._on_host(part.watch, report)
        watches = dict.fromkeys(part.watch for part, _ in touched)
        return [watch for watch in watches if self._conclude(watch)]

    def state(self, watch: Watch) -> Applied:
        """Return what stands now."""
        worst: dict[str, _Standing] = {}
        for part in watch.parts.values():
            for one in part.standings():
                before = worst.get(one.host)
                if before is None or one.verdict > before.verdict:
                    worst[one.host] = one
        by: dict[_Verdict, list[_Standing]] = {verdict: [] for verdict in _Verdict}
        for host in sorted(worst):
            by[worst[host].verdict].append(worst[host])
        return Applied(
            watch.changeset,
            applied=tuple(one.host for one in by[_Verdict.APPLIED]),
            superseded=tuple(one.host for one in by[_Verdict.SUPERSEDED]),
            failed={one.host: one.reason for one in by[_Verdict.FAILED]},
            pending={one.host: one.reason for one in by[_Verdict.PENDING]},
            silent=tuple(one.host for one in by[_Verdict.SILENT]),
        )

    def forget(self, watch: Watch) -> None:
        """Listen for a watch no more; what stands for it stays. Once more does no harm."""
        self._open.pop(watch, None)
        self._ended.pop(watch, None)
        for part in watch.parts.values():
            for key in part.revisions:
                parts = self._by_key.get(key)
                if parts is not None:
                    parts.pop(part, None)
                    if not parts:
                        del self._by_key[key]

    def _conclude(self, watch: Watch) -> bool:
        """Settle a watch if nothing is missing; return whether this was the moment."""
        settled = watch in self._open and watch.is_settled
        if settled:
            del self._open[watch]
            self._ended[watch] = None
        if watch in self._ended and watch.is_final:
            self.forget(watch)
        return settled
