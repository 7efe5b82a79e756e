"""What `doctor` finds: how bad it is, what it is, and how to mend it.

The rule: a finding names what was looked at, and what to do; `ok` ones are kept, so that one sees
what was looked at.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Severity(enum.StrEnum):
    """How bad a finding is. Only `error` makes `doctor` end with 1."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """One thing that was looked at: `subject` is a cluster, a service, `redis`, or `machine`."""

    severity: Severity
    subject: str
    what: str
    how: str = ""


def ok(subject: str, what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Severity.OK, subject, what)


def note(subject: str, what: str, how: str = "") -> Finding:
    """Return something worth knowing."""
    return Finding(Severity.NOTE, subject, what, how)


def warning(subject: str, what: str, how: str) -> Finding:
    """Return something that will hurt some day."""
    return Finding(Severity.WARNING, subject, what, how)


def error(subject: str, what: str, how: str) -> Finding:
    """Return something that keeps Southbound from working, or from keeping its promises."""
    return Finding(Severity.ERROR, subject, what, how)
