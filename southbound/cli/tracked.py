"""What a tracker said, for people and for programs.

The rule: JSON has every field of the answer; tables leave out what says nothing, and times are local.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from southbound.cli.progress import say
from southbound.cli.session import Session
from southbound.cli.table import show, show_json
from southbound.errors import NotConverged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from southbound.tracker.messages import EffectiveHost, EffectiveResource
    from southbound.tracker.standing import Gate
    from southbound.tracker.summary import Summary

_ROWS_MAX = 200


def moment(at_us: int) -> str | None:
    """Return a time of microseconds since 1970 as text, or None for none.

    A node whose clock is wrong by millennia may tell one that no calendar holds.
    """
    if not at_us:
        return None
    try:
        at = datetime.fromtimestamp(at_us / 1e6, UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{at_us} us since 1970"
    return at.isoformat(" ", "milliseconds")


def show_host(session: Session, host: EffectiveHost) -> None:
    """Print what stands on a host."""
    if session.is_json:
        show_json(host)
        return
    columns = ("scope", "kind", "id", "state", "revision", "since", "changeset", "open", "why")
    show(session, columns, [_resource_row(one) for one in host.resources])
    say(f"heard of at {moment(host.heard_us)}, in cluster {host.cluster or 'unknown'}")
    if not host.inventory_us:
        say("note: it has told no inventory yet, so more may stand there")


def check_gate(session: Session, gate: Gate) -> None:
    """Print what a gate found. Raises `NotConverged` when it stays shut."""
    if session.is_json:
        show_json({**msgspec.to_builtins(gate), "ready": gate.ready})
    else:
        row = (gate.host, gate.resource, gate.outcome.value, gate.revision, gate.changeset or None)
        columns = ("host", "resource", "outcome", "revision", "changeset", "since", "why")
        show(session, columns, [(*row, moment(gate.since_us), gate.why or None)])
    if not gate.ready:
        why = f": {gate.why}" if gate.why else ""
        raise NotConverged(f"{gate.resource} on {gate.host} is {gate.outcome.value}{why}")


def show_changeset(session: Session, summary: Summary) -> None:
    """Print what became of a changeset: numbers, then who lags behind."""
    if session.is_json:
        show_json({**msgspec.to_builtins(summary), "complete": summary.complete})
        return
    show(session, ("what", "value"), list(_facts(summary)))
    rows = list(_laggards(summary))
    if rows:
        say("")
        show(session, ("host", "state", "why"), rows[:_ROWS_MAX])
    left = sum(summary.counts.get(word, 0) for word in ("failed", "pending", "silent"))
    if left > min(len(rows), _ROWS_MAX):
        say(f"... and {left - min(len(rows), _ROWS_MAX)} more")


def _facts(summary: Summary) -> Iterator[tuple[str, object]]:
    yield "changeset", summary.changeset
    yield "standing", f"{summary.standing}{': ' + summary.why if summary.why else ''}"
    yield "sent", moment(summary.sent_us)
    yield "accepted", moment(summary.accepted_us)
    yield "settled", summary.settled
    for word, count in summary.counts.items():
        yield f"hosts {word}", count
    took = summary.convergence
    if took is not None:
        yield f"seconds since {took.of}, of hosts", took.hosts
        for name in ("p50_s", "p90_s", "p99_s", "max_s"):
            yield f"  {name.removesuffix('_s')}", f"{getattr(took, name):.3f}"
        slowest = ", ".join(f"{host} {seconds:.3f}" for host, seconds in took.slowest[:5])
        yield "  slowest", slowest


def _laggards(summary: Summary) -> Iterator[tuple[str, str, str | None]]:
    for host, why in summary.failed.items():
        yield host, "failed", why
    for host, why in summary.pending.items():
        yield host, "pending", why
    for host in summary.silent:
        yield host, "silent", None


def _resource_row(one: EffectiveResource) -> tuple[object, ...]:
    waiting = f"{one.open_revision} of {one.open_changeset}" if one.open_revision else None
    return (
        one.scope,
        one.kind,
        one.id,
        one.state,
        one.revision or None,
        moment(one.since_us),
        one.changeset or None,
        waiting,
        one.why or None,
    )
