"""Every error that Southbound raises, in one tree.

The rule: an error says by its class who can mend it. A caller's mistake (`ConfigError` and its
children) names the field and the value; a broken record (`WireError`) is never retried; a trouble
of a part outside this process (`EdgeError`) carries whether trying again can help. What only a bug
of Southbound itself could cause is an assertion, not an error of this tree.

`exit_code` is what the command line ends with for an error of that class (docs/operations.md).
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class SouthboundError(Exception):
    """Root of the tree."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where it stands, what is there, and what should be."""

    place: str
    value: object
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem} (got {_shown(self.value)})"


SHOWN_CHARS_MAX = 120
FAULTS_SHOWN_MAX = 250
"""How many faults a message lists; all are in `faults`."""


def _shown(value: object) -> str:
    """Return a value as a message shows it: cut, and never at the cost of writing all of it out."""
    if isinstance(value, str | bytes):
        shown = repr(value[: SHOWN_CHARS_MAX + 1])
    else:
        try:
            shown = _cutting.repr(value)
        except ValueError:
            # Python refuses to write out integers of thousands of digits.
            shown = f"a {type(value).__name__} too long to show"
    return shown if len(shown) <= SHOWN_CHARS_MAX else shown[: SHOWN_CHARS_MAX - 3] + "..."


_cutting = reprlib.Repr()
_cutting.maxstring = _cutting.maxlong = _cutting.maxother = 2 * SHOWN_CHARS_MAX
_cutting.maxdict = _cutting.maxlist = _cutting.maxtuple = SHOWN_CHARS_MAX


class ConfigError(SouthboundError):
    """What a person or a calling program handed in is wrong; `faults` lists everything found."""

    exit_code = 2

    def __init__(self, message: str, faults: Iterable[Fault] = ()) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        lines = [message, *(f"  {fault}" for fault in self.faults[:FAULTS_SHOWN_MAX])]
        if len(self.faults) > FAULTS_SHOWN_MAX:
            lines.append(f"  ... and {len(self.faults) - FAULTS_SHOWN_MAX} more")
        super().__init__("\n".join(lines))


class InvalidResource(ConfigError):
    """A resource or changeset that must not be sent: a bad id, revision, kind, spec or size."""


class UnknownScope(ConfigError):
    """A host that nobody has registered: publishing to it would be a guess."""

    exit_code = 3

    def __init__(self, scope_class: str, scope_id: str, hint: str = "") -> None:
        self.scope_class = scope_class
        self.scope_id = scope_id
        super().__init__(f"unknown {scope_class} {scope_id!r}" + (f": {hint}" if hint else ""))


class WireError(SouthboundError):
    """Bytes that are not a record of the wire format (docs/wire.md). Never retried."""

    exit_code = 4


class PlanError(SouthboundError):
    """A plan or an allocation that cannot be carried out, such as a full availability zone."""

    exit_code = 5


class CapacityError(PlanError):
    """No slot of any pool that may hold the scope has room left."""


class StaleMap(SouthboundError):
    """The map has changed since the caller read it; read it again and decide anew.

    `current` is what is there now, where that is known (a `Placement` or a `VpcPlacement`).
    """

    exit_code = 6

    def __init__(self, message: str, current: object = None) -> None:
        self.current = current
        super().__init__(message)


class EdgeError(SouthboundError):
    """Kafka, Redis, the disk or an applier failed. `retryable`: the same call may succeed later."""

    exit_code = 7

    def __init__(self, message: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(message)


class OutcomeUnknown(EdgeError):
    """A change was sent and no answer came in time: it may or may not be in the log.

    Publishing the same revision again is always safe.
    """

    exit_code = 8

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class BufferFull(EdgeError):
    """A bounded buffer is full, and the caller chose not to wait."""

    exit_code = 9

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class Closed(SouthboundError):
    """The object was closed before this call, or before this work was done."""

    exit_code = 10


class NotConverged(SouthboundError):
    """A wait for hosts to apply a change ended with some that failed or did not answer."""

    exit_code = 11


class Unfinished(SouthboundError):
    """A plan has streams that could not be moved; the others of their phase were."""

    exit_code = 12
