"""Announced changesets: who settled when, what is given up, and how they begin again."""

from __future__ import annotations

import pytest

from southbound.errors import WireError
from southbound.resources import vpc_scope
from southbound.tracker.board import Announcement, Board, Followed
from southbound.tracker.standing import Standing
from southbound.wire.keys import scope_text
from tests.tracker.desk import FAILED, PENDING, announcement, line, of_vpc, port, report

VPC = vpc_scope("v")
TEXT = scope_text(VPC)
RULE = of_vpc("v", "security_group_rule", "r")


@pytest.fixture
def seconds() -> list[float]:
    """Return where the board says how long hosts took."""
    return []


@pytest.fixture
def board(seconds: list[float]) -> Board:
    """Return an empty board for three changesets."""
    return Board(3, seconds.append)


def _host(changeset: str, host: str = "h", revision: int = 1, sent_us: int = 0) -> Announcement:
    return announcement(changeset, (f"h\x1f{host}", {port(host): revision}), sent_us=sent_us)


def _vpc(board: Board, *hosts: str) -> Followed:
    followed, _ = board.announce(announcement("rule", (TEXT, {RULE: 2}), sent_us=1_000_000))
    assert board.accepted(followed, 1_500_000) == [VPC]
    board.expect(followed, VPC, hosts)
    return followed


def test_a_hosts_change_is_settled_by_its_host(board: Board, seconds: list[float]) -> None:
    """It is final then, and leaves the board; how long it took is told."""
    followed, _ = board.announce(_host("c", sent_us=1_000_000))
    assert not board.is_settled(followed)
    board.heard(report("h", line(port("h"), 1, at_us=1_250_000)))
    assert board.touched() == [followed]
    assert len(board) == 1, "it may have to be written again"
    board.written(board.touched())
    assert len(board) == 0
    summary = board.summary(followed, 9)
    assert summary.complete
    assert summary.applied == ("h",)
    assert seconds == [0.25]
    assert summary.convergence is not None
    assert summary.convergence.p50_s == 0.25


def test_a_vpcs_change_names_who_lags_behind(board: Board) -> None:
    """Applied, failed, pending and silent hosts, each with its reason, and the slowest by name."""
    followed = _vpc(board, "a", "b", "c", "d")
    board.heard(report("a", line(RULE, 2, at_us=2_000_000)))
    board.heard(report("b", line(RULE, 2, FAILED, at_us=2_000_000, detail="no room")))
    board.heard(report("c", line(RULE, 2, PENDING, at_us=2_000_000, detail="waits for x")))
    summary = board.summary(followed, 9)
    assert not summary.settled
    assert summary.standing == "accepted"
    assert dict(summary.counts) == {
        "applied": 1, "superseded": 0, "failed": 1, "pending": 1, "silent": 1,
    }  # fmt: skip
    assert "no room" in summary.failed["b"]
    assert "waits for x" in summary.pending["c"]
    assert summary.silent == ("d",)
    assert summary.convergence is not None
    assert summary.convergence.slowest == (("a", 1.0),)
    assert summary.convergence.hosts == 1


def test_a_settled_failure_may_still_turn(board: Board) -> None:
    """It stays on the board, and is written again when it does."""
    followed = _vpc(board, "a")
    board.heard(report("a", line(RULE, 2, FAILED, at_us=2_000_000, detail="no room")))
    assert board.is_settled(followed)
    board.written(board.touched())
    assert board.touched() == []
    board.heard(report("a", line(RULE, 2, at_us=9_000_000)))
    assert followed.is_dirty
    assert board.summary(followed, 9).complete
    assert board.touched() == [followed]
    board.written([followed])
    assert len(board) == 0


def test_mere_progress_needs_no_writing(board: Board) -> None:
    """What one of many hosts says is found again in its standings."""
    followed = _vpc(board, "a", "b")
    board.written(board.touched())
    board.heard(report("a", line(RULE, 2, at_us=2_000_000)))
    assert not followed.is_dirty
    assert board.touched() == [followed]


def test_it_begins_again_from_the_announcement_and_what_stands(board: Board) -> None:
    """A second board, after a restart, says the same and goes on."""
    followed = _vpc(board, "a", "b")
    board.heard(report("a", line(RULE, 2, at_us=3_000_000)))
    again = Board(3, lambda _seconds: None)
    recalled, _ = again.announce(followed.announcement)
    assert again.unexpected(recalled) == []
    for host, keys in again.wanted(recalled):
        standings = [Standing(RULE, 2, since_us=3_000_000)] if host == "a" else []
        assert keys == [RULE]
        again.recall(host, standings)
    assert again.summary(recalled, 9) == board.summary(followed, 9)
    again.heard(report("b", line(RULE, 2, at_us=4_000_000)))
    assert again.summary(recalled, 9).complete


def test_names_are_bounded_and_counts_are_not(board: Board) -> None:
    """A long list is cut; how many there are is still said."""
    followed = _vpc(board, *(f"h{number}" for number in range(50)))
    summary = board.summary(followed, 3)
    assert len(summary.silent) == 3
    assert summary.counts["silent"] == 50


def test_too_many_give_up_the_oldest(board: Board) -> None:
    """Which says that it was given up, and is followed no more."""
    first, _ = board.announce(_host("c0"))
    for number in (1, 2):
        board.announce(_host(f"c{number}"))
    _, given_up = board.announce(_host("c3"))
    assert given_up == [first]
    assert first.given_up
    assert board.get("c0") is None
    assert not board.summary(first, 9).settled
    assert len(board) == 3


def test_what_nobody_settles_is_given_up_in_time(board: Board) -> None:
    """Its sender may have died; what is younger stays."""
    old, _ = board.announce(_host("old", sent_us=10))
    young, _ = board.announce(_host("young", sent_us=20))
    assert board.expire(20) == 1
    assert old.given_up
    assert not young.given_up
    assert len(board) == 1


def test_an_id_that_is_announced_again_is_followed_anew(board: Board) -> None:
    """The earlier one is let go of, and reports count for the later one."""
    board.announce(_host("c", revision=1))
    second, _ = board.announce(_host("c", revision=2))
    board.heard(report("h", line(port("h"), 1)))
    assert not board.is_settled(second)
    board.heard(report("h", line(port("h"), 2)))
    assert board.is_settled(second)
    assert len(board.touched()) == 1


def test_what_was_refused_is_followed_no_more(board: Board) -> None:
    """And says why."""
    followed, _ = board.announce(_host("c"))
    board.refused(followed, "the fence is away")
    summary = board.summary(followed, 9)
    assert (summary.standing, summary.why) == ("refused", "the fence is away")
    assert not summary.settled
    assert len(board) == 0


def test_a_public_resource_is_settled_by_whichever_worker(board: Board) -> None:
    """The worker that served it is named."""
    key = b"p\x1felb\x1fe"
    followed, _ = board.announce(announcement("c", ("p", {key: 1})))
    board.heard(report("worker-7", line(key, 1, at_us=5)))
    assert board.summary(followed, 9).applied == ("worker-7",)


def test_a_scope_that_is_none_is_refused(board: Board) -> None:
    """Nothing is followed then."""
    with pytest.raises(WireError):
        board.announce(announcement("c", ("x\x1fy", {b"k": 1})))
    assert len(board) == 0
