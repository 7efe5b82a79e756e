"""What the command line makes of goals, plans and signals."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from southbound.cli.session import Output, Session
from southbound.cli.shard_tables import goal_text, show_plan, show_standings, standing_of
from southbound.cli.shards import _ask, _interruptible, _only_goal
from southbound.errors import ConfigError
from southbound.partitioning.plan import Goal, Load, Plan, PlannedMove, PoolChange
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.rebalance.ledger import Batch, Header, Note, PlanState
from tests.cli.conftest import Run

WORLD = Topology(
    region="test",
    azs=(Az(id="az-a", journal="c1"),),
    clusters=tuple(Cluster(id=id, az="az-a", bootstrap=("127.0.0.1:1",)) for id in ("c1", "c2")),
    pools=tuple(
        Pool(id=id, cluster=cluster, cls="host", topics=1, partitions=2, max_per_slot=9)
        for id, cluster in (("h1", "c1"), ("h2", "c2"))
    ),
)


def plan_of(count: int) -> Plan:
    """Return a plan of so many hosts from h1 to h2."""
    moves = tuple(
        PlannedMove(
            cls="host",
            id=f"host-{number}",
            action="move",
            old="h1:0:1:0",
            cluster="c2",
            pool="h2",
            probe=0,
        )
        for number in range(count)
    )
    full, empty = (Load(held=n, mean=n / 2, p50=n, p99=n, max=n) for n in (count, 0))
    change = PoolChange(cluster="c1", pool="h1", cls="host", slots=2, before=full, after=empty)
    return Plan(
        goal=Goal(kind="drain-pool", what=("h1",)),
        map_version=41,
        topology_version=2,
        moves=moves,
        pools=(change,),
    )


def test_there_is_one_goal() -> None:
    """None, two, a destination too few or too many: each is named."""
    one = Goal(kind="fill", what=("h1",))
    assert _only_goal([one], "", "occupancy") is one
    for goals, to, by, word in (
        ([], "", "occupancy", "goal"),
        ([one, Goal(kind="even")], "", "occupancy", "goal"),
        ([one], "c2", "occupancy", "--to"),
        ([Goal(kind="hosts", what=("h",))], "", "occupancy", "--to"),
        ([Goal(kind="even")], "", "weight", "--by"),
    ):
        with pytest.raises(ConfigError, match=word):
            _only_goal(goals, to, by)


def test_goals_are_told_in_words() -> None:
    """What, where to, and by what."""
    assert goal_text(Goal(kind="drain-pool", what=("h1",))) == "drain-pool h1"
    assert goal_text(Goal(kind="hosts", what=("a", "b"), to="c2")) == "hosts 2 hosts to c2"
    assert goal_text(Goal(kind="even", by="traffic")) == "even by traffic"


def test_a_plan_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Pools before and after, and moves summed up by where from and where to; JSON has all."""
    show_plan(Session(), plan_of(3), WORLD)
    shown = capsys.readouterr()
    assert "version 41" in shown.err
    assert shown.out.splitlines()[-1].split()[:5] == ["move", "host", "h1", "h2", "3"]
    show_plan(Session(output=Output.JSON), plan_of(3), WORLD)
    assert '"host-2"' in capsys.readouterr().out


def test_a_plans_standing(capsys: pytest.CaptureFixture[str]) -> None:
    """Begun, under way, done, and what was passed over."""
    state = PlanState()
    plan = plan_of(2)
    state.found = Header(
        id=plan.id, goal=plan.goal, map_version=41, moves=2, chunks=1, begun_us=1_000_000
    )
    state.batches = {number: Batch(number, (move,)) for number, move in enumerate(plan.moves)}
    found = []
    for number in range(3):
        standing = standing_of(state)
        found.append((standing.state, standing.done, standing.of))
        word = "skipped" if number else "done"
        state.notes[number] = Note(plan=plan.id, number=number, state=word)  # type: ignore[arg-type]
    assert found == [("begun", 0, 2), ("under way", 1, 2), ("done, some skipped", 2, 2)]
    show_standings(Session(), [standing_of(state)])
    assert plan.id in capsys.readouterr().out


class Stoppable:
    """An executor that can be told to stop."""

    def __init__(self) -> None:
        self.is_stopping = False

    def stop(self) -> None:
        """Note it."""
        self.is_stopping = True


def test_one_interruption_ends_the_round_and_two_end_at_once() -> None:
    """The first signal lets the round end; afterwards the handlers are as before."""
    before = signal.getsignal(signal.SIGINT)
    executor = Stoppable()
    with _interruptible(executor):  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGINT)
        assert executor.is_stopping
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_terminal_nobody_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script must say --yes."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(ConfigError, match="--yes"):
        _ask("move 3 streams?", yes=False)
    _ask("move 3 streams?", yes=True)


def test_a_file_that_is_no_plan_is_named(run: Run, tmp_path: Path) -> None:
    """Whoever gave several files knows which one is meant."""
    file = tmp_path / "cut.json"
    file.write_text('{"format": 1')
    result = run("shards", "apply", str(file))
    assert result.exit_code == 4
    assert f"{file}: not a plan" in result.output.replace("\n", "")
