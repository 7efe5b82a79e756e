"""The announced changesets that are followed, over the library's tracker core. Pure.

The rule: what has become of a changeset is decided by `TrackerCore` alone, here as in a publisher's
process; this adds when each host had settled, and what is needed to begin again after a restart: the
announcement, who was expected, and the hosts' standings, from which the same reports are made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from southbound.producer.tracker_core import Applied, TrackedPart, TrackerCore, Watch
from southbound.resources import PUBLIC_SCOPE, Scope, ScopeClass
from southbound.tracker.standing import Standing
from southbound.tracker.summary import Convergence, Summary, convergence, named
from southbound.wire.keys import parse_scope_text, scope_text
from southbound.wire.reports import Report

_PUBLIC = "p"
_SOME_WORKER = "a worker"


class Part(msgspec.Struct, frozen=True):
    """One scope's share: `scope` as scope text, `p` for public; the revision of each record key."""

    scope: str
    revisions: Mapping[bytes, int]

    @property
    def parsed(self) -> Scope:
        """The scope. Raises `WireError`."""
        return PUBLIC_SCOPE if self.scope == _PUBLIC else parse_scope_text(self.scope)


class Announcement(msgspec.Struct, frozen=True):
    """A changeset as its sender announced it, and what has been learned of its acceptance.

    `expected`: hosts that must apply a VPC's part, by scope text, once that is known.
    """

    changeset: str
    parts: tuple[Part, ...]
    sent_us: int
    accepted_us: int = 0
    refused: str = ""
    expected: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class Followed:
    """One announced changeset. `took_us`: when each host had settled all it had told of so far.

    `is_dirty`: something changed that is to be written down; mere progress is made again from the
    hosts' standings.
    """

    __slots__ = ("announcement", "given_up", "is_dirty", "took_us", "watch")

    def __init__(self, announcement: Announcement, watch: Watch) -> None:
        self.announcement = announcement
        self.watch = watch
        self.took_us: dict[str, int] = {}
        self.given_up = False
        self.is_dirty = True


def part_text(scope: Scope) -> str:
    """Return a scope as a part names it."""
    return _PUBLIC if scope.cls is ScopeClass.PUBLIC else scope_text(scope)


class Board:
    """At most `tracked_max` changesets by id. For one thread at a time.

    `on_settled` gets the seconds of each host that settled, from the sending.
    """

    def __init__(self, tracked_max: int, on_settled: Callable[[float], None]) -> None:
        self._tracked_max = tracked_max
        self._core = TrackerCore(tracked_max, self._host_settled)
        self._on_settled = on_settled
        self._by_id: dict[str, Followed] = {}
        self._by_watch: dict[Watch, Followed] = {}
        self._touched: dict[Followed, None] = {}
        self._is_news = True

    def __len__(self) -> int:
        """Return how many are followed."""
        return len(self._by_id)

    def get(self, id: str) -> Followed | None:
        """Return one that is followed."""
        return self._by_id.get(id)

    @property
    def open(self) -> int:
        """How many are not settled."""
        return sum(self._core.is_open(one.watch) for one in self._by_id.values())

    def announce(self, announcement: Announcement) -> tuple[Followed, list[Followed]]:
        """Follow a changeset, in place of an earlier one of that id; return it, and those given up.

        Raises `WireError` for a scope that is none.
        """
        parts = [TrackedPart(part.parsed, part.revisions) for part in announcement.parts]
        before = self._by_id.get(announcement.changeset)
        if before is not None:
            self._drop(before)
            self._touched.pop(before, None)
        followed = Followed(announcement, self._core.watch(announcement.changeset, parts))
        self._by_id[announcement.changeset] = self._by_watch[followed.watch] = followed
        self._touch(followed)
        for scope, hosts in announcement.expected.items():
            self._core.expect(followed.watch, parse_scope_text(scope), hosts)
        return followed, self._overflow()

    def accepted(self, followed: Followed, at_us: int) -> list[Scope]:
        """Note that it is accepted; return the VPCs of which nobody knows yet who must apply them."""
        followed.announcement = msgspec.structs.replace(followed.announcement, accepted_us=at_us)
        self._touch(followed)
        return self.unexpected(followed)

    def unexpected(self, followed: Followed) -> list[Scope]:
        """Return the VPCs of which nobody knows yet who must apply them."""
        known = followed.announcement.expected
        return [
            part.parsed
            for part in followed.announcement.parts
            if part.parsed.cls is ScopeClass.VPC and part.scope not in known
        ]

    def refused(self, followed: Followed, why: str) -> None:
        """Note that it was not accepted, and follow it no more."""
        followed.announcement = msgspec.structs.replace(followed.announcement, refused=why)
        self._drop(followed)
        self._touch(followed)

    def expect(self, followed: Followed, scope: Scope, hosts: Iterable[str]) -> None:
        """Say who must apply a VPC's part."""
        expected = {
            **followed.announcement.expected,
            scope_text(scope): tuple(sorted(hosts)),
        }
        followed.announcement = msgspec.structs.replace(followed.announcement, expected=expected)
        self._touch(followed)
        if followed.watch in self._core:
            self._core.expect(followed.watch, scope, hosts)

    def wanted(self, followed: Followed) -> list[tuple[str, list[bytes]]]:
        """Return whose standings matter: hosts that are expected, and the record keys."""
        wanted: list[tuple[str, list[bytes]]] = []
        for part in followed.announcement.parts:
            scope, keys = part.parsed, list(part.revisions)
            if scope.cls is ScopeClass.VPC:
                hosts: Sequence[str] = followed.announcement.expected.get(part.scope, ())
            else:
                hosts = (scope.id,)
            wanted += [(host, keys) for host in hosts]
        return wanted

    def recall(self, host: str, standings: Iterable[Standing]) -> None:
        """Hear again what stands on a host."""
        for standing in standings:
            for entry in standing.entries():
                self.heard(Report(host or _SOME_WORKER, entry.at_us, (entry,)), is_news=False)

    def heard(self, report: Report, *, is_news: bool = True) -> None:
        """Take a report."""
        self._is_news = is_news
        for watch in self._core.heard(report):
            self._touch(self._by_watch[watch])

    def state(self, followed: Followed) -> Applied:
        """Return what stands, with every name."""
        return self._core.state(followed.watch)

    def is_settled(self, followed: Followed) -> bool:
        """Tell whether every host that must has said what became of it."""
        return not self._core.is_open(followed.watch) and not followed.given_up

    def is_final(self, followed: Followed) -> bool:
        """Tell whether nothing can change any more."""
        return followed.watch not in self._core

    def summary(self, followed: Followed, names_max: int) -> Summary:
        """Return what stands, with at most so many names of each kind."""
        announcement, applied = followed.announcement, self.state(followed)
        summary = Summary(
            announcement.changeset,
            _standing(announcement),
            announcement.refused,
            announcement.sent_us,
            announcement.accepted_us,
            settled=not announcement.refused and self.is_settled(followed),
            given_up=followed.given_up,
            convergence=self._convergence(followed, applied),
        )
        return named(summary, applied, names_max)

    def expire(self, before_us: int) -> int:
        """Give up what was sent before that time; return how many were still open."""
        late = [one for one in self._by_id.values() if one.announcement.sent_us < before_us]
        for one in late:
            one.given_up = self._core.is_open(one.watch)
            self._drop(one)
            self._touch(one)
        return sum(one.given_up for one in late)

    def touched(self) -> list[Followed]:
        """Return those of which something changed and is not written yet."""
        return list(self._touched)

    def written(self, touched: Iterable[Followed]) -> None:
        """Take note that these are committed as they stand; the final ones go now, and none before:
        what the disk refused must be there to be written again.
        """
        for one in touched:
            one.is_dirty = False
            self._touched.pop(one, None)
            if self.is_final(one):
                self._drop(one)

    def _convergence(self, followed: Followed, applied: Applied) -> Convergence | None:
        done = {*applied.applied, *applied.superseded}
        took = {host: at_us for host, at_us in followed.took_us.items() if host in done}
        return convergence(took, followed.announcement.sent_us, "sent")

    def _host_settled(self, watch: Watch, report: Report) -> None:
        followed = self._by_watch[watch]
        before_us = followed.took_us.get(report.host, 0)
        followed.took_us[report.host] = max(before_us, report.sent_us)
        self._touched[followed] = None
        followed.is_dirty |= not self._core.is_open(watch)
        if self._is_news:
            self._on_settled(max(report.sent_us - followed.announcement.sent_us, 0) / 1e6)

    def _touch(self, followed: Followed) -> None:
        followed.is_dirty = True
        self._touched[followed] = None

    def _overflow(self) -> list[Followed]:
        given_up = [self._by_watch[watch] for watch in self._core.overflow()]
        for one in given_up:
            one.given_up = True
            self._touch(one)
        if len(self._core) < len(self._by_id):
            # Settled ones that could still have turned better go first, and silently; those that
            # are still to be written stay until then, unless as many again wait for it.
            crowded = len(self._by_id) > 2 * self._tracked_max
            for one in [one for one in self._by_id.values() if self.is_final(one)]:
                if crowded or one.given_up or not one.is_dirty:
                    self._drop(one)
                self._touch(one)
        return given_up

    def _drop(self, followed: Followed) -> None:
        self._core.forget(followed.watch)
        self._by_watch.pop(followed.watch, None)
        if self._by_id.get(followed.announcement.changeset) is followed:
            del self._by_id[followed.announcement.changeset]


def _standing(announcement: Announcement) -> str:
    if announcement.refused:
        return "refused"
    return "accepted" if announcement.accepted_us else "sent"
