"""Gates: what a launch may rely on."""

from __future__ import annotations

import pytest

from southbound.tracker.standing import Gate, GateOutcome, Standing, judge_gate
from tests.tracker.desk import APPLIED, FAILED, PENDING, of_vpc, port

PORT = port("h")
VPC, SUBNET = of_vpc("v", "vpc", "v"), of_vpc("v", "subnet", "s")
GROUP, RULE = of_vpc("v", "security_group", "g"), of_vpc("v", "security_group_rule", "r")
FINE = (
    Standing(PORT, 5, "launch", 77, needs=(VPC, SUBNET, GROUP)),
    Standing(VPC, 1),
    Standing(SUBNET, 1, needs=(VPC,)),
    Standing(GROUP, 1),
    Standing(RULE, 1, needs=(GROUP,)),
)


def _gate(*instead: Standing, revision: int | None = None, without: bytes = b"") -> Gate:
    standings = {one.key: one for one in (*FINE, *instead) if one.key != without}
    troubled = [one for one in standings.values() if one.is_open]
    return judge_gate("h", PORT, revision, standings.get, troubled)


@pytest.mark.parametrize("revision", [None, 1, 5])
def test_a_port_with_all_that_it_needs_is_ready(revision: int | None) -> None:
    """The answer says which revision stands, since when, and what put it there."""
    gate = _gate(revision=revision)
    assert gate.ready
    assert (gate.revision, gate.changeset, gate.since_us) == (5, "launch", 77)
    assert gate.resource == "host:h/port/p"


@pytest.mark.parametrize(
    ("instead", "outcome", "why"),
    [
        (Standing(PORT, 0, open=PENDING, open_revision=5, detail="waits for x"), "pending", "x"),
        (Standing(PORT, 4, open=FAILED, open_revision=5, detail="no device"), "failed", "device"),
        (Standing(PORT, 6, deleted=True), "deleted", "6"),
        (Standing(PORT, superseded=7), "pending", "7"),
        (Standing(VPC, 2, deleted=True), "pending", "vpc:v/vpc/v is not there"),
        (Standing(SUBNET, 1, open=FAILED, open_revision=2, detail="full"), "failed", "full"),
        (Standing(RULE, open=FAILED, open_revision=1, detail="bad", needs=(GROUP,)), "failed", "bad"),
        (Standing(GROUP, open=PENDING, open_revision=1, detail="soon"), "pending", "soon"),
    ],
    ids=["parked", "refused", "gone", "overtaken", "no vpc", "bad subnet", "bad rule", "no group"],
)  # fmt: skip
def test_whatever_is_amiss_keeps_the_gate_shut(instead: Standing, outcome: str, why: str) -> None:
    """The outcome and the reason name what it is."""
    gate = _gate(instead)
    assert not gate.ready
    assert gate.outcome == outcome
    assert why in gate.why


def test_an_earlier_revision_is_not_enough() -> None:
    """It stands, and the gate says so."""
    assert _gate(revision=6).outcome is GateOutcome.OLDER
    assert "revision 5 stands" in _gate(revision=6).why


def test_a_later_revision_that_fails_does_not_shut_what_was_asked_for() -> None:
    """Revision 5 is what the launch needs, and it stands, while 6 is refused."""
    later = Standing(PORT, 5, open=FAILED, open_revision=6, needs=(VPC,))
    assert _gate(later, revision=5).ready
    assert _gate(later).outcome is GateOutcome.FAILED


def test_what_nobody_told_of_is_not_there() -> None:
    """Neither the port itself nor what it needs is taken for granted."""
    assert _gate(without=PORT).outcome is GateOutcome.UNKNOWN
    shut = _gate(without=SUBNET)
    assert (shut.outcome, shut.why) == ("pending", "nothing was told of vpc:v/subnet/s")


def test_needs_of_needs_count_and_strangers_do_not() -> None:
    """A failed subnet of another port, or a rule of another group, concerns nobody else."""
    other = of_vpc("v", "subnet", "other")
    stranger = Standing(other, open=FAILED, open_revision=1, needs=(VPC,), detail="alien")
    neighbor = Standing(
        of_vpc("v", "neighbor", "n"), open=FAILED, open_revision=1, needs=(VPC,), detail="late"
    )
    assert _gate(neighbor).ready
    assert _gate(stranger).ready
    rule = Standing(
        of_vpc("v", "security_group_rule", "q"),
        open=FAILED,
        open_revision=1,
        needs=(of_vpc("v", "security_group", "other"),),
    )
    assert _gate(rule).ready


def test_a_failure_is_named_before_what_only_waits() -> None:
    """Whoever reads one reason should read the one that needs a hand."""
    waits = Standing(VPC, open=PENDING, open_revision=1, detail="soon")
    fails = Standing(GROUP, open=FAILED, open_revision=1, detail="broken")
    assert "broken" in _gate(waits, fails).why


def test_the_same_reports_are_made_again() -> None:
    """Lines of what is applied and of what is open, in that order."""
    one = Standing(PORT, 5, "a", 7, open=FAILED, open_revision=6, open_changeset="b", open_us=9)
    assert [(line.changeset, line.revision, line.outcome) for line in one.entries()] == [
        ("a", 5, APPLIED),
        ("b", 6, FAILED),
    ]
