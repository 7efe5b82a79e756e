"""How one resource stands on one host, and whether a launch may rely on it. Pure.

The rule: what is applied and what is open are two facts, since a node keeps revision 5 while 6 is
refused. A gate opens only when the resource is applied, everything that it refers to is, and nothing
that belongs to what it refers to (a rule of its security group) is open; what nobody told of is not
there.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator

import msgspec

from southbound.resources import KINDS, ResourceKey, rank_of
from southbound.wire.keys import decode_key
from southbound.wire.reports import Outcome, ReportEntry


class Standing(msgspec.Struct, frozen=True, gc=False):
    """One resource on one host, as last told.

    `revision` is the highest that is applied (0: none), since `since_us`, put there by `changeset`;
    `deleted`: that revision is a delete. `open_revision` (0: none) is one that failed or waits
    (`open`), `detail` says why or for what. `superseded`: the highest revision of which the host said
    that a later one stands. Times are in microseconds since 1970, by the host's clock.
    """

    key: bytes
    revision: int = 0
    changeset: str = ""
    since_us: int = 0
    deleted: bool = False
    superseded: int = 0
    open: Outcome = Outcome.APPLIED
    open_revision: int = 0
    open_changeset: str = ""
    open_us: int = 0
    detail: str = ""
    needs: tuple[bytes, ...] = ()
    told_us: int = 0

    @property
    def resource(self) -> ResourceKey:
        """Identity of the resource."""
        return decode_key(self.key)

    @property
    def is_open(self) -> bool:
        """Whether a revision failed or waits."""
        return self.open_revision > 0

    def entries(self) -> Iterator[ReportEntry]:
        """Yield the lines of a report that would lead to this."""
        if self.superseded:
            yield ReportEntry("", self.key, self.superseded, Outcome.SUPERSEDED, self.told_us)
        if self.revision:
            yield ReportEntry(
                self.changeset, self.key, self.revision, Outcome.APPLIED, self.since_us
            )
        if self.is_open:
            yield ReportEntry(
                self.open_changeset,
                self.key,
                self.open_revision,
                self.open,
                self.open_us,
                self.detail,
            )


class GateOutcome(enum.StrEnum):
    """What a gate found.

    `READY`: applied with everything that it needs. `PENDING`: it, or something that it needs, waits
    or was not told of. `FAILED`: the applier refused it or something that it needs. `OLDER`: an
    earlier revision stands. `DELETED`: its delete is applied. `UNKNOWN`: nothing was told of it.
    """

    READY = "ready"
    PENDING = "pending"
    FAILED = "failed"
    OLDER = "older"
    DELETED = "deleted"
    UNKNOWN = "unknown"


class Gate(msgspec.Struct, frozen=True):
    """A gate's answer. `revision`, `changeset` and `since_us` are of what is applied."""

    host: str
    resource: str
    outcome: GateOutcome
    why: str = ""
    revision: int = 0
    changeset: str = ""
    since_us: int = 0

    @property
    def ready(self) -> bool:
        """Whether the launch may go on."""
        return self.outcome is GateOutcome.READY


Look = Callable[[bytes], Standing | None]
_Finding = tuple[GateOutcome, str]


def judge_gate(
    host: str, key: bytes, revision: int | None, look: Look, troubled: Iterable[Standing]
) -> Gate:
    """Tell whether a resource is fully programmed on a host.

    `revision`: the least that will do; None: whatever was told last. `look` finds what stands on the
    host by record key; `troubled` is everything of the host that is open.
    """
    resource = decode_key(key)
    own = look(key)
    finding = _own(own, revision)
    if finding is None:
        assert own is not None
        finding = _worst(_found(own, look, troubled))
    outcome, why = finding or (GateOutcome.READY, "")
    if own is None:
        return Gate(host, str(resource), outcome, why)
    return Gate(host, str(resource), outcome, why, own.revision, own.changeset, own.since_us)


def _own(own: Standing | None, revision: int | None) -> _Finding | None:
    if own is None:
        return GateOutcome.UNKNOWN, "nothing was told of it"
    is_enough = own.revision > 0 if revision is None else own.revision >= revision
    if own.is_open and not (revision is not None and is_enough):
        return _open(own)
    if not own.revision:
        return GateOutcome.PENDING, f"nothing was told of what came after {own.superseded}"
    if own.deleted and is_enough:
        return GateOutcome.DELETED, f"revision {own.revision} deleted it"
    if not is_enough:
        return GateOutcome.OLDER, f"revision {own.revision} stands, not {revision or 1}"
    return None


def _found(own: Standing, look: Look, troubled: Iterable[Standing]) -> Iterator[_Finding]:
    """Yield what is amiss with whatever a resource needs, directly or not."""
    needed = dict.fromkeys(own.needs)
    pending = list(needed)
    for key in pending:  # grows while it is walked
        standing = look(key)
        if standing is not None:
            new = [one for one in dict.fromkeys(standing.needs) if one not in needed]
            needed.update(dict.fromkeys(new))
            pending += new
        finding = _need(key, standing)
        if finding is not None:
            yield finding
    # What it could name itself, and does not, is none of its business; a rule of its group is.
    known = KINDS.get(own.resource.kind)
    named = {reference.kind for reference in known.references} if known is not None else set()
    rank = rank_of(own.resource.kind)
    for one in troubled:
        kind = one.resource.kind
        belongs = kind not in named and any(need in needed for need in one.needs)
        if belongs and one.key not in needed and rank_of(kind) < rank:
            yield _open(one)


def _need(key: bytes, standing: Standing | None) -> _Finding | None:
    if standing is None:
        return GateOutcome.PENDING, f"nothing was told of {decode_key(key)}"
    if standing.is_open:
        return _open(standing)
    if standing.deleted or not standing.revision:
        return GateOutcome.PENDING, f"{decode_key(key)} is not there"
    return None


def _open(standing: Standing) -> _Finding:
    outcome = GateOutcome.FAILED if standing.open is Outcome.FAILED else GateOutcome.PENDING
    return outcome, f"{standing.resource} revision {standing.open_revision}: {standing.detail}"


def _worst(findings: Iterable[_Finding]) -> _Finding | None:
    found = list(findings)
    failed = [one for one in found if one[0] is GateOutcome.FAILED]
    return next(iter(failed or found), None)
