from __future__ import annotations

from southbound.nca.interest import Interest
from tests.nca.records import port

P, Q = port("h", "p", 1).key, port("h", "q", 1).key


def test_a_vpc_is_wanted_while_it_has_ports_and_a_grace_longer() -> None:
    """The last port's leaving starts the grace period."""
    interest = Interest(10.0)
    interest.note(P, "v", 0.0)
    interest.note(Q, "v", 0.0)
    interest.note(P, None, 1.0)
    assert interest.deadline_s() is None
    interest.note(Q, None, 2.0)
    assert (interest.wanted(), interest.deadline_s()) == (["v"], 12.0)
    assert interest.expired(11.9) == []
    assert interest.expired(12.0) == ["v"]
    assert interest.wanted() == []


def test_a_port_that_changes_its_vpc_leaves_the_old_one() -> None:
    """The new one is news, the old one is in its grace period."""
    interest = Interest(10.0)
    interest.note(P, "v", 0.0)
    interest.changed = False
    interest.note(P, "w", 1.0)
    assert interest.changed
    assert sorted(interest.wanted()) == ["v", "w"]
    assert interest.expired(20.0) == ["v"]


def test_coming_back_ends_the_grace_period() -> None:
    """And is news, since whoever looks for VPCs may have given up on it."""
    interest = Interest(10.0)
    interest.note(P, "v", 0.0)
    interest.note(P, None, 1.0)
    interest.note(Q, "v", 2.0)
    assert interest.expired(100.0) == []


def test_a_vpc_kept_without_a_port_gets_its_grace_period_once() -> None:
    """As after a restart; one with a port is not touched."""
    interest = Interest(10.0)
    interest.keep("v", 5.0)
    interest.keep("v", 9.0)
    interest.note(P, "w", 0.0)
    interest.keep("w", 5.0)
    assert interest.expired(15.0) == ["v"]
    assert interest.wanted() == ["w"]


def test_what_is_repeated_is_no_news() -> None:
    """A new revision of a port in the same VPC changes nothing."""
    interest = Interest(10.0)
    interest.note(P, "v", 0.0)
    interest.changed = False
    interest.note(P, "v", 1.0)
    interest.note(Q, "v", 1.0)
    assert not interest.changed
