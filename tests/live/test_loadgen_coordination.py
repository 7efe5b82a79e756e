"""Workers and their leader through a real Redis: nobody waits for ever, whoever dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from loadgen.coordination import (
    Board,
    Leader,
    LeaderSettings,
    LostWorker,
    Outpost,
    OutpostSettings,
)
from loadgen.coordination.clock import ask_clock
from loadgen.coordination.messages import Beat, Card
from southbound import __version__
from southbound.errors import ConfigError, EdgeError
from southbound.local.fleet import LocalFleet
from tests.live.directory_kit import eventually
from tests.live.loadgen_kit import ROLES

Unique = Callable[[str], str]


class Team:
    """A team's name on the shared Redis, and how to come to it quickly."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.said: list[str] = []

    def outpost(self, seats: int) -> Outpost:
        """Return workers that beat often."""
        settings = OutpostSettings(
            redis_url=self.url, team=self.name, seats=seats, beat_s=0.1, lease_s=6.0, closing_s=5.0
        )
        return Outpost(settings, ROLES)

    @contextmanager
    def led(self, count: int, gather_timeout_s: float = 60.0) -> Iterator[Leader]:
        """Lead, with so many workers that have hands."""
        settings = LeaderSettings(
            redis_url=self.url,
            team=self.name,
            lease_s=6.0,
            gather_timeout_s=gather_timeout_s,
            say_every_s=0.2,
        )
        with Leader(settings, self.said.append) as leader:
            leader.gather(count)
            leader.begin("test", leader.workers, 30)
            yield leader


@pytest.fixture
def team(fleet: LocalFleet, unique: Unique) -> Team:
    """Return a team of this test's own."""
    return Team(fleet.redis_url, unique("team"))


def test_each_worker_has_a_process_and_answers_in_its_share(team: Team) -> None:
    """Every worker is given its own arguments; its hand keeps its state between orders."""
    with team.outpost(2), team.led(2) as leader:
        shares = {worker: (number, 10) for number, worker in enumerate(leader.workers)}
        leader.ask("add", shares, 20)
        answers = leader.ask("add", shares, 20)
    assert [answers[worker]["sum"] for worker in shares] == [10, 11]
    assert [one["calls"] for one in answers.values()] == [2, 2]
    assert len({one["pid"] for one in answers.values()} | {os.getpid()}) == 3


def test_workers_serve_one_run_after_another_with_fresh_hands(team: Team) -> None:
    """A second run finds the same workers idle, and nothing of the first in their hands."""
    with team.outpost(1):
        calls = []
        for _ in range(2):
            with team.led(1) as leader:
                answers = leader.ask("add", {leader.workers[0]: (1, 1)}, 20)
                calls.append(next(iter(answers.values()))["calls"])
        assert calls == [1, 1]


def test_what_a_hand_raises_is_told_with_the_workers_name(team: Team) -> None:
    """The leader gets its words, and the hand can go on."""
    with team.outpost(1), team.led(1) as leader:
        worker = leader.workers[0]
        with pytest.raises(EdgeError, match=rf"{worker}.*fail failed: .*as it was told"):
            leader.ask("fail", {worker: ()}, 20)
        with pytest.raises(EdgeError, match="cannot '_begun'"):
            leader.ask("_begun", {worker: ()}, 20)
        assert leader.ask("add", {worker: (1, 2)}, 20)[worker]["sum"] == 3


def test_a_hand_that_is_killed_is_named_at_once(team: Team) -> None:
    """Nobody waits for its lease: its worker saw it die."""
    with team.outpost(2), team.led(2) as leader:
        victim, other = leader.workers
        began_s = time.monotonic()
        with pytest.raises(EdgeError, match=rf"{victim}.*ended by signal 9 during die"):
            leader.ask("die", {victim: ()}, 30)
        assert time.monotonic() - began_s < 10
        assert leader.ask("add", {other: (1, 2)}, 20)[other]["sum"] == 3


def test_a_worker_that_leaves_ends_the_wait_with_its_name(team: Team) -> None:
    """Workers that are stopped in the midst of an order are named; nobody waits for them."""
    with ExitStack() as stack:
        stack.enter_context(team.outpost(1))
        with team.led(1) as leader:
            worker = leader.workers[0]
            leaving = threading.Timer(0.5, stack.close)
            leaving.start()
            with pytest.raises(EdgeError, match=worker):
                leader.ask("linger", {worker: (30.0,)}, 60)
            leaving.join()


def test_a_silent_worker_is_lost_when_its_lease_runs_out(team: Team) -> None:
    """A card whose worker does not beat: gathered while it was believed, then named."""
    board = Board(team.url, team.name)
    card = Card(worker="ghost", machine="nowhere", pid=1, cores=1, version=__version__)
    board.join(card, 5.0)
    settings = LeaderSettings(redis_url=team.url, team=team.name, lease_s=2.0)
    with Leader(settings, team.said.append) as leader:
        leader.gather(1)
        with pytest.raises(LostWorker, match=r"ghost .process 1 on nowhere. is lost"):
            leader.begin("test", leader.workers, 30)
    board.close()


def test_an_order_that_takes_too_long_ends_the_run(team: Team) -> None:
    """The time given is the end of the wait; the hand is told off with the run."""
    with team.outpost(1) as outpost:
        with team.led(1) as leader:
            with pytest.raises(EdgeError, match=r"no answer to linger in 3 s"):
                leader.ask("linger", {leader.workers[0]: (30.0,)}, 3.0)
            assert "lingering" in team.said
        # The leader is gone: the worker gives the hand up in the midst of what it does.
        eventually(lambda: not outpost.pids())
        with team.led(1) as leader:
            assert leader.ask("add", {leader.workers[0]: (1, 2)}, 20)


def test_a_dead_leader_frees_its_workers(team: Team) -> None:
    """Its lease runs out, hands are ended, and the next leader gets the workers."""
    with team.outpost(1) as outpost:
        settings = LeaderSettings(redis_url=team.url, team=team.name, lease_s=4.0)
        dead = Leader(settings, team.said.append).__enter__()
        dead.gather(1)
        dead.begin("test", dead.workers, 30)
        assert outpost.pids()
        dead._over.set()
        with pytest.raises(EdgeError, match="another run leads the team"), team.led(1):
            pass
        eventually(lambda: dead.board.leader() == "")
        with team.led(1) as leader:
            assert leader.ask("add", {leader.workers[0]: (1, 2)}, 20)
        dead.board.close()


def test_too_few_workers_are_counted(team: Team) -> None:
    """A run that waits for workers that do not come ends and says how many came."""
    with (
        team.outpost(1),
        pytest.raises(EdgeError, match="1 of 3 workers joined"),
        team.led(3, gather_timeout_s=1.0),
    ):
        pass


def test_workers_of_another_version_are_refused(team: Team) -> None:
    """Whoever would do something else than this version is named."""
    board = Board(team.url, team.name)
    board.join(Card(worker="old", machine="m", pid=1, cores=1, version="0.0.1"), 5.0)
    with pytest.raises(ConfigError, match=r"old.*0\.0\.1"), team.led(1):
        pass
    board.close()


def test_what_is_told_twice_is_done_once(team: Team) -> None:
    """A lead that is taken again by its own run is taken; another run's is not."""
    board = Board(team.url, team.name)
    assert board.lead("one", 5.0)
    assert board.lead("one", 5.0)
    assert not board.lead("two", 5.0)
    board.beat("w", Beat("one", "x"), 5.0)
    assert board.beats(["w", "nobody"]) == [Beat("one", "x"), None]
    board.end("two")
    assert board.leader() == "one"
    board.end("one")
    assert board.leader() == ""
    board.close()


def test_clocks_of_one_machine_are_one(team: Team) -> None:
    """Redis on this machine reads this machine's clock, to half a round trip."""
    board = Board(team.url, team.name)
    clock = ask_clock(board)
    error_us = max(2_000, 2 * clock.error_us)
    before_us = time.time_ns() // 1000
    now_us = clock.now_us()
    after_us = time.time_ns() // 1000
    assert before_us - error_us <= now_us <= after_us + error_us
    board.close()
