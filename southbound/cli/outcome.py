"""What became of each changeset that was published, for people and for programs.

The rule: a changeset is accepted, refused or unknown, and nothing is rounded up: `applied` is said
of a host only when that host said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from southbound.cli.progress import say
from southbound.cli.session import Session
from southbound.cli.table import show, show_json
from southbound.errors import NotConverged, OutcomeUnknown, SouthboundError
from southbound.resources import Changeset, ScopeClass

if TYPE_CHECKING:
    from southbound.documents.imported import Imported, Unplaced
    from southbound.producer import Receipt
    from southbound.tracker.summary import Summary

_ROWS_MAX = 200
_NAMED_MAX = 20


class Said(msgspec.Struct, frozen=True):
    """What is known of one changeset.

    `standing`: `accepted`, `refused`, `unknown`, or `not sent`. `failed` and `pending` are host to
    reason; `silent` are hosts that have not said anything yet.
    """

    changeset: str
    resources: int
    scopes: tuple[str, ...]
    standing: str
    why: str = ""
    applied: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    failed: Mapping[str, str] = msgspec.field(default_factory=dict)
    pending: Mapping[str, str] = msgspec.field(default_factory=dict)
    silent: tuple[str, ...] = ()
    converged: bool = False


class Report:
    """Everything that one `publish` has to say. `errors`: of those that were not accepted."""

    def __init__(
        self,
        said: Sequence[tuple[Said, SouthboundError | None]],
        unplaced: Sequence[Unplaced] = (),
        *,
        waited_applied: bool = False,
    ) -> None:
        self.said = [one for one, _ in said]
        self.errors = [error for _, error in said if error is not None]
        self.unplaced = unplaced
        self.waited_applied = waited_applied

    @classmethod
    def unsent(cls, imported: Imported) -> Report:
        """Return the report of an import of which nothing is sent."""
        said = [(_unsent(changeset), None) for changeset in imported.changesets]
        return cls(said, imported.unplaced)

    def check(self) -> None:
        """Raise what the command ends with, if it does not end well."""
        if self.errors:
            raise self.errors[0]
        if self.waited_applied and not all(one.converged for one in self.said):
            raise NotConverged(self._unconverged())

    def _unconverged(self) -> str:
        left = [one for one in self.said if not one.converged]
        hosts = sorted({host for one in left for host in (*one.failed, *one.pending, *one.silent)})
        named = ", ".join(hosts[:_NAMED_MAX]) + (" ..." if len(hosts) > _NAMED_MAX else "")
        return (
            f"{len(left)} of {len(self.said)} changesets are not applied everywhere; not by:"
            f" {named or 'nobody known'}"
        )


def said_of(
    changeset: Changeset, receipt: Receipt, *, applied: bool
) -> tuple[Said, SouthboundError | None]:
    """Return what a receipt knows by now, and the error of one that was not accepted."""
    error = receipt.error() if receipt.settled else None
    if not receipt.settled:
        error = OutcomeUnknown(f"changeset {changeset.id}: no answer in time")
    said = _unsent(changeset)
    if error is not None:
        standing = "unknown" if isinstance(error, OutcomeUnknown) else "refused"
        return msgspec.structs.replace(said, standing=standing, why=str(error)), error
    said = msgspec.structs.replace(said, standing="accepted")
    return (_with_hosts(said, receipt) if applied else said), None


def _with_hosts(said: Said, receipt: Receipt) -> Said:
    status = receipt.status()
    return msgspec.structs.replace(
        said,
        applied=tuple(sorted(status.applied)),
        superseded=tuple(sorted(status.superseded)),
        failed=dict(sorted(status.failed.items())),
        pending=dict(sorted(status.pending.items())),
        silent=tuple(sorted(status.silent)),
        converged=receipt.applied.done() and not status.failed and not status.pending,
    )


def said_by(changeset: Changeset, summary: Summary | None) -> Said:
    """Return what a tracker service knows of a changeset that was accepted."""
    said = msgspec.structs.replace(_unsent(changeset), standing="accepted")
    if summary is None:
        return msgspec.structs.replace(said, why="the tracker has forgotten it")
    return msgspec.structs.replace(
        said,
        applied=tuple(sorted(summary.applied)),
        superseded=tuple(sorted(summary.superseded)),
        failed=dict(sorted(summary.failed.items())),
        pending=dict(sorted(summary.pending.items())),
        silent=tuple(sorted(summary.silent)),
        converged=summary.complete,
    )


def _unsent(changeset: Changeset) -> Said:
    scopes = dict.fromkeys(
        "public" if one.scope.cls is ScopeClass.PUBLIC else f"{one.scope.cls}:{one.scope.id}"
        for one in changeset.resources
    )
    return Said(changeset.id, len(changeset.resources), tuple(scopes), "not sent")


def show_report(session: Session, report: Report) -> None:
    """Print a report: JSON as one document, tables for people."""
    if session.is_json:
        unplaced = [one._asdict() for one in report.unplaced]
        show_json({"changesets": report.said, "unplaced": unplaced})
        return
    if report.unplaced:
        say(f"not placed, {len(report.unplaced)}:")
        shown = report.unplaced[:_ROWS_MAX]
        show(session, ("kind", "id", "why", "source"), shown)
        _say_rest(len(report.unplaced))
    show(session, _columns(report), [_row(report, one) for one in report.said[:_ROWS_MAX]])
    _say_rest(len(report.said))
    if report.waited_applied:
        _show_hosts(session, report)


def _say_rest(count: int) -> None:
    if count > _ROWS_MAX:
        say(f"... and {count - _ROWS_MAX} more (--output json has all)")


def _columns(report: Report) -> tuple[str, ...]:
    plain = ("changeset", "resources", "scopes", "standing")
    return (*plain, "applied", "not_yet") if report.waited_applied else (*plain, "why")


def _row(report: Report, one: Said) -> tuple[object, ...]:
    scopes = one.scopes[0] if len(one.scopes) == 1 else f"{len(one.scopes)} scopes"
    plain = (one.changeset, one.resources, scopes, one.standing)
    if not report.waited_applied:
        return (*plain, one.why)
    done = len(one.applied) + len(one.superseded)
    late = len(one.failed) + len(one.pending) + len(one.silent)
    return (*plain, done, late or None)


def _show_hosts(session: Session, report: Report) -> None:
    """Print who has applied and who has not, a host in each row."""
    done: dict[str, int] = {}
    wrong: dict[str, str] = {}
    for one in report.said:
        for host in (*one.applied, *one.superseded):
            done[host] = done.get(host, 0) + 1
        wrong.update(dict.fromkeys(one.silent, "has not answered"))
        wrong.update({host: f"pending: {why}" for host, why in one.pending.items()})
        wrong.update({host: f"failed: {why}" for host, why in one.failed.items()})
    hosts = sorted({*done, *wrong}, key=lambda host: (host not in wrong, host))
    rows = [(host, done.get(host, 0), wrong.get(host)) for host in hosts[:_ROWS_MAX]]
    show(session, ("host", "applied", "not_yet"), rows)
    _say_rest(len(hosts))
