"""What became of a changeset, in numbers and names. Pure.

The rule: numbers are complete, names are bounded: whoever lags behind or failed is named first, and
what was left out is counted. Convergence is measured from the announced sending to each host's word
that it has settled; where nobody announced it, from the first host's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from southbound.producer.tracker_core import Applied

SLOWEST_MAX = 10


class Convergence(msgspec.Struct, frozen=True):
    """Seconds until hosts had applied it, or something later. `of`: `sent` or `first report`."""

    of: str
    hosts: int
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    slowest: tuple[tuple[str, float], ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """One changeset. `standing`: `sent`, `accepted`, `refused`, or `heard` when nobody announced it.

    `settled`: every host that must has said what became of it. `given_up`: too many were followed,
    and this is how it stood then. Times are in microseconds since 1970; 0: not known. The lists and
    mappings of hosts hold at most as many as were asked for; `counts` hold all.
    """

    changeset: str
    standing: str
    why: str = ""
    sent_us: int = 0
    accepted_us: int = 0
    settled: bool = False
    given_up: bool = False
    counts: Mapping[str, int] = msgspec.field(default_factory=dict)
    failed: Mapping[str, str] = msgspec.field(default_factory=dict)
    pending: Mapping[str, str] = msgspec.field(default_factory=dict)
    silent: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    convergence: Convergence | None = None

    @property
    def complete(self) -> bool:
        """Whether nobody failed, waits or keeps silent."""
        return self.settled and not any(
            self.counts.get(word) for word in ("failed", "pending", "silent")
        )

    def applied_state(self) -> Applied:
        """Return it as the library's trackers do; hosts that are not named here are missing."""
        return Applied(
            self.changeset, self.applied, self.superseded, self.failed, self.pending, self.silent
        )


def counted(applied: Applied) -> dict[str, int]:
    """Return how many hosts stand where."""
    return {
        "applied": len(applied.applied),
        "superseded": len(applied.superseded),
        "failed": len(applied.failed),
        "pending": len(applied.pending),
        "silent": len(applied.silent),
    }


def named(summary: Summary, applied: Applied, names_max: int) -> Summary:
    """Return a summary with the counts of what stands, and at most so many names of each kind."""
    return msgspec.structs.replace(
        summary,
        counts=counted(applied),
        failed=_first(applied.failed, names_max),
        pending=_first(applied.pending, names_max),
        silent=applied.silent[:names_max],
        applied=applied.applied[:names_max],
        superseded=applied.superseded[:names_max],
    )


def shortened(summary: Summary, names_max: int) -> Summary:
    """Return a summary with at most so many names of each kind."""
    return msgspec.structs.replace(
        summary,
        failed=_first(summary.failed, names_max),
        pending=_first(summary.pending, names_max),
        silent=summary.silent[:names_max],
        applied=summary.applied[:names_max],
        superseded=summary.superseded[:names_max],
    )


def convergence(took_us: Mapping[str, int], since_us: int, of: str) -> Convergence | None:
    """Return how long hosts took; `took_us` is when each had settled. None when nobody has."""
    seconds = sorted((max(at_us - since_us, 0) / 1e6, host) for host, at_us in took_us.items())
    if not seconds:
        return None
    values = [one for one, _ in seconds]
    return Convergence(
        of,
        len(values),
        percentile(values, 0.5),
        percentile(values, 0.9),
        percentile(values, 0.99),
        values[-1],
        tuple((host, one) for one, host in reversed(seconds[-SLOWEST_MAX:])),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share does not exceed (nearest rank)."""
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def _first(reasons: Mapping[str, str], count: int) -> dict[str, str]:
    return dict(list(reasons.items())[:count])
