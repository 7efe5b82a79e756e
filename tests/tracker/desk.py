"""Reports in few words, and a tracker service that follows no cluster: tests hand it what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from southbound.edge.bookmarks import Bookmark
from southbound.partitioning.topology import Topology
from southbound.resources import ResourceKey, host_scope, vpc_scope
from southbound.settings import TrackerSettings
from southbound.tracker.board import Announcement, Part
from southbound.tracker.service import TrackerService
from southbound.tracker.store import Presence, Read
from southbound.wire.keys import encode_key
from southbound.wire.reports import Inventory, Outcome, Report, ReportEntry

APPLIED, FAILED, PENDING, SUPERSEDED = Outcome
NOWHERE = Topology(region="test", azs=(), clusters=(), pools=())


def port(host: str, id: str = "p") -> bytes:
    """Return the record key of a port."""
    return encode_key(ResourceKey(host_scope(host), "port", id))


def of_vpc(vpc: str, kind: str, id: str) -> bytes:
    """Return the record key of a VPC's resource."""
    return encode_key(ResourceKey(vpc_scope(vpc), kind, id))


def line(
    key: bytes,
    revision: int,
    outcome: Outcome = APPLIED,
    *,
    at_us: int = 1,
    changeset: str = "c",
    detail: str = "",
    deleted: bool = False,
    needs: Iterable[bytes] = (),
) -> ReportEntry:
    """Return a line of a report."""
    return ReportEntry(changeset, key, revision, outcome, at_us, detail, deleted, tuple(needs))


def report(host: str, *entries: ReportEntry) -> Report:
    """Return a report, told when its last line was."""
    return Report(host, max((entry.at_us for entry in entries), default=1), entries)


def inventory(
    host: str, at_us: int, *entries: ReportEntry, part: int = 0, parts: int = 1
) -> Report:
    """Return a part of an inventory."""
    return Report(host, at_us, entries, Inventory(at_us, part, parts))


def read(*reports: Report, presences: Iterable[Presence] = (), next_: int = 1) -> Read:
    """Return a batch of cluster `c1`."""
    return Read(
        "c1", "kafka", reports, tuple(presences), {("sb.status", 0): Bookmark(next_)}, 1_000_000
    )


def announcement(
    changeset: str, *parts: tuple[str, dict[bytes, int]], sent_us: int = 0
) -> Announcement:
    """Return an announcement; each part is a scope's text and its revisions."""
    return Announcement(changeset, tuple(Part(*part) for part in parts), sent_us)


def service(folder: Path, **settings: int) -> TrackerService:
    """Return a started service without clusters."""
    made = TrackerService(lambda: NOWHERE, folder, TrackerSettings(**settings))  # type: ignore[arg-type]
    made.start()
    return made
