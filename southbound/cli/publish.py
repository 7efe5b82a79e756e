"""`southbound publish`: documents to nodes, and what became of them.

The rule: what could not be placed is listed before anything is sent; what is said of a changeset is
known (accepted, refused, unknown), and who has applied it is named host by host.
"""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from southbound.cli.commands import session_of
from southbound.cli.outcome import Report, Said, said_by, said_of, show_report
from southbound.cli.progress import Advance, counting, say
from southbound.cli.session import Session
from southbound.errors import ConfigError, Fault, OutcomeUnknown, SouthboundError

if TYPE_CHECKING:
    from southbound.documents.imported import Imported
    from southbound.producer import Receipts
    from southbound.resources import Changeset
    from southbound.tracker.client import TrackerClient

_LOOK_S = 0.05
_FAULTS_MAX = 50
_NAMES_MAX = 10_000


class Wait(enum.StrEnum):
    """What `publish` waits for."""

    ACCEPTED = "accepted"
    APPLIED = "applied"


def publish(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="YAML or JSON: Southbound's own, Networking API, GoalState; - is stdin."
        ),
    ],
    wait: Annotated[Wait, typer.Option(help="Until the log has it, or until nodes have it.")] = (
        Wait.ACCEPTED
    ),
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for that.")] = 30.0,
    router_host: Annotated[
        list[str] | None, typer.Option(help="Host for routers that name none; may be repeated.")
    ] = None,
    security_group_vpc: Annotated[
        str | None, typer.Option(help="VPC of security groups that no port uses.")
    ] = None,
    revision_offset: Annotated[
        int, typer.Option(help="Added to each revision_number of other control planes.")
    ] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Publish nothing when anything cannot be placed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read, and show what would be published.")
    ] = False,
) -> None:
    """Publish documents, several to a file. Publishing the same again is always safe."""
    from southbound.documents.options import ImportOptions

    session = session_of(ctx)
    options = ImportOptions(
        router_hosts=tuple(router_host or ()),
        security_group_vpc=security_group_vpc,
        revision_offset=revision_offset,
    )
    imported = _read(files, options)
    _refuse_unplaced(imported, strict=strict)
    if dry_run or not imported.changesets:
        show_report(session, Report.unsent(imported))
        say(f"{_sum(imported)}; nothing was published")
        return
    report = _send(session, imported, wait, timeout)
    show_report(session, report)
    report.check()


def _read(files: Sequence[Path], options: object) -> Imported:
    from southbound.documents.options import ImportOptions
    from southbound.documents.reading import STDIN, read_files
    from southbound.documents.text import read_bounded
    from southbound.settings import DocumentSettings

    assert isinstance(options, ImportOptions)
    limit = DocumentSettings().bytes_max
    is_piped = any(str(file) == STDIN for file in files)
    piped = read_bounded(sys.stdin.buffer, limit) if is_piped else b""
    imported = read_files(files, options, stdin=piped)
    for warning in imported.warnings:
        say(f"note: {warning}")
    return imported


def _refuse_unplaced(imported: Imported, *, strict: bool) -> None:
    if strict and imported.unplaced:
        faults = [
            Fault(f"{one.source}: {one.kind}", one.id, one.why)
            for one in imported.unplaced[:_FAULTS_MAX]
        ]
        raise ConfigError(f"{len(imported.unplaced)} resources cannot be placed", faults)


def _sum(imported: Imported) -> str:
    return (
        f"{imported.resources} resources in {len(imported.changesets)} changesets,"
        f" {len(imported.unplaced)} not placed"
    )


def _send(session: Session, imported: Imported, wait: Wait, timeout_s: float) -> Report:
    from southbound.producer import Publisher
    from southbound.settings import PublisherSettings

    applied = wait is Wait.APPLIED
    # Whoever names a tracker has it follow the changesets, so that others can ask for them too.
    tracker = session.tracker_client() if session.tracker else None
    say(_sum(imported))
    with session.directory() as directory:
        publisher = Publisher(
            directory, PublisherSettings(client_id="southbound-cli", fence_timeout_s=timeout_s)
        )
        publisher.start()
        try:
            deadline = time.monotonic() + timeout_s
            track = applied and tracker is None
            with _announced(tracker, imported.changesets):
                receipts = publisher.publish_many(imported.changesets, track=track)
            with counting("accepted") as advance:
                _wait(lambda: receipts.settled, len(receipts), deadline, advance)
            said = [
                said_of(one, receipt, applied=False)
                for one, receipt in zip(imported.changesets, receipts, strict=True)
            ]
            if tracker is not None:
                _tell(tracker, said)
            if applied and tracker is not None:
                said = _follow(tracker, imported.changesets, said, deadline)
            elif applied:
                with counting("applied") as advance:
                    _wait(lambda: _applied(receipts), len(receipts), deadline, advance)
                said = [
                    said_of(one, receipt, applied=True)
                    for one, receipt in zip(imported.changesets, receipts, strict=True)
                ]
            return Report(said, imported.unplaced, waited_applied=applied)
        finally:
            publisher.close(1.0)


_Judged = tuple[Said, SouthboundError | None]


@contextmanager
def _announced(tracker: TrackerClient | None, changesets: Sequence[Changeset]) -> Iterator[None]:
    """Announce changesets before they are sent; take it back when nothing could be."""
    if tracker is None:
        yield
        return
    tracker.announce(changesets)
    try:
        yield
    except SouthboundError as error:
        tracker.settle([], dict.fromkeys((one.id for one in changesets), str(error)))
        raise


def _tell(tracker: TrackerClient, said: Sequence[_Judged]) -> None:
    """Tell the tracker what was accepted; what is unknown may still turn out to be."""
    accepted = [one.changeset for one, error in said if error is None]
    refused = {
        one.changeset: str(error)
        for one, error in said
        if error is not None and not isinstance(error, OutcomeUnknown)
    }
    tracker.settle(accepted, refused)


def _follow(
    tracker: TrackerClient,
    changesets: Sequence[Changeset],
    said: Sequence[_Judged],
    deadline: float,
) -> list[_Judged]:
    """Wait for the tracker's word on what was accepted."""
    found: list[_Judged] = []
    with counting("applied") as advance:
        for changeset, (one, error) in zip(changesets, said, strict=True):
            if error is None:
                rest_s = max(deadline - time.monotonic(), 0.0)
                summary = tracker.changeset(changeset.id, names=_NAMES_MAX, timeout_s=rest_s)
                found.append((said_by(changeset, summary), None))
            else:
                found.append((one, error))
            advance(len(found), len(changesets))
    return found


def _wait(done: Callable[[], int], total: int, deadline: float, advance: Advance) -> None:
    while True:
        count = done()
        advance(count, total)
        if count >= total or time.monotonic() >= deadline:
            return
        time.sleep(_LOOK_S)


def _applied(receipts: Receipts) -> int:
    return sum(receipt.applied.done() for receipt in receipts)
