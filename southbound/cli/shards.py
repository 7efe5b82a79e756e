"""`southbound shards`: moving hosts and VPCs between slots, pools and clusters.

The rule: desired state, plan, look, apply. A plan is a file; what `apply` shows before it asks is
what `plan` has shown. Nothing that is under way is lost by ending a command anywhere: `resume` goes
on, `rollback` goes back, on any machine.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from southbound.cli.commands import INTERRUPTED, Verb, noun, session_of
from southbound.cli.progress import counting, say
from southbound.cli.session import Session
from southbound.cli.shard_tables import (
    goal_text,
    show_leftovers,
    show_plan,
    show_result,
    show_standings,
    standing_of,
)
from southbound.errors import ConfigError, Fault, PlanError, Unfinished, WireError

if TYPE_CHECKING:
    from southbound.directory import Directory
    from southbound.partitioning.draft import Snapshot
    from southbound.partitioning.plan import Goal, Plan
    from southbound.rebalance.executor import Executor, Progress
    from southbound.settings import RebalanceSettings

app = noun("Moving hosts and VPCs: plans, and carrying them out under traffic.")

_WATCH_S = 1.0

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
PlanId = Annotated[
    str | None, typer.Argument(help="The plan's id; the only unfinished one where left out.")
]
HostsPerRound = Annotated[
    int, typer.Option(min=1, help="Streams that are moved together; more mean longer pauses.")
]
RecordsPerSecond = Annotated[
    float, typer.Option(min=0, help="Bound of the copies, on average; 0 is none.")
]
Pause = Annotated[float, typer.Option(min=0, help="Seconds between rounds.")]


@app.command(cls=Verb)
def plan(
    ctx: typer.Context,
    drain_cluster: Annotated[str | None, typer.Option(help="Empty this cluster.")] = None,
    drain_pool: Annotated[str | None, typer.Option(help="Empty this pool.")] = None,
    drain_slot: Annotated[
        str | None, typer.Option(help="Empty this slot: pool/topic/partition.")
    ] = None,
    fill: Annotated[
        str | None, typer.Option(help="Give this pool, or cluster, its fair share.")
    ] = None,
    even: Annotated[bool, typer.Option("--even", help="Even out what is there.")] = False,
    by: Annotated[str, typer.Option(help="occupancy, or measured traffic.")] = "occupancy",
    sample: Annotated[
        float, typer.Option(min=1, help="Seconds for which traffic is measured.")
    ] = 30.0,
    host: Annotated[list[str] | None, typer.Option(help="Move this host (repeatable).")] = None,
    vpc: Annotated[list[str] | None, typer.Option(help="Move this VPC (repeatable).")] = None,
    to: Annotated[str, typer.Option(help="Where to: a cluster or a pool.")] = "",
    pin_vpc: Annotated[str | None, typer.Option(help="Give this VPC slots of its own.")] = None,
    replicas: Annotated[
        bool,
        typer.Option("--replicas", help="Drop VPCs' replicas without ports; add lacking ones."),
    ] = False,
    replica_grace: Annotated[
        float, typer.Option(min=0, help="Seconds for which a replica without ports stays.")
    ] = 3_600.0,
    out: Annotated[Path | None, typer.Option(help="Write the plan's file here.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, write no file.")
    ] = False,
) -> None:
    """Make a plan, show it, and write it down."""
    from southbound.partitioning.plan import Goal, encode_plan
    from southbound.partitioning.planner import make_plan

    session = session_of(ctx)
    named = {
        "drain-cluster": drain_cluster,
        "drain-pool": drain_pool,
        "drain-slot": drain_slot,
        "fill": fill,
        "pin": pin_vpc,
    }
    goals = [Goal(kind=kind, what=(name,)) for kind, name in named.items() if name]
    goals += [Goal(kind="even", by=by)] if even else []
    goals += [Goal(kind="replicas")] if replicas else []
    for kind, ids in (("hosts", host), ("vpcs", vpc)):
        goals += [Goal(kind=kind, what=tuple(sorted(set(ids))), to=to)] if ids else []
    goal = _only_goal(goals, to, by)
    with session.directory() as directory:
        snapshot = _snapshot(directory, sample if goal.by == "traffic" else 0.0)
        if goal.kind == "replicas":
            snapshot = _with_ports(snapshot, replica_grace)
        made = make_plan(snapshot, goal)
        show_plan(session, made, directory.topology)
    if not made.moves:
        say("nothing needs to move")
    elif out is not None and not dry_run:
        out.write_bytes(encode_plan(made))
        say(f"written to {out}: southbound shards apply {out}")
    else:
        say("no file was written" + ("" if dry_run else " (--out FILE)"))


def _only_goal(goals: list[Goal], to: str, by: str) -> Goal:
    """Raise `ConfigError` unless there is one goal, and it has what it needs."""
    faults = []
    if len(goals) != 1:
        faults.append(
            Fault(
                "goal", len(goals), "name one: --drain-..., --fill, --even, --replicas, --host, ..."
            )
        )
    elif goals[0].kind in {"hosts", "vpcs"} and not to:
        faults.append(Fault("--to", to, "is needed: a cluster or a pool"))
    elif goals[0].kind not in {"hosts", "vpcs"} and to:
        faults.append(Fault("--to", to, "goes with --host and --vpc only"))
    if by not in {"occupancy", "traffic"}:
        faults.append(Fault("--by", by, "must be occupancy or traffic"))
    if faults:
        raise ConfigError("not a goal", faults)
    return goals[0]


def _snapshot(directory: Directory, sample_s: float) -> Snapshot:
    from southbound.rebalance.mapping import snapshot_of
    from southbound.rebalance.traffic import measure

    if not sample_s:
        return snapshot_of(directory)
    say(f"measuring the slots' traffic for {sample_s:g} s")
    return snapshot_of(directory, measure(directory.topology, sample_s))


def _with_ports(snapshot: Snapshot, grace_s: float) -> Snapshot:
    from southbound.rebalance.unused import with_ports

    say("reading which ports there are")
    return with_ports(snapshot, grace_s, time.time_ns() // 1000)


@app.command(cls=Verb)
def apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The plan's file.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    hosts_per_round: HostsPerRound = 100,
    records_per_second: RecordsPerSecond = 0.0,
    pause: Pause = 0.0,
) -> None:
    """Carry a plan out, in rounds; refuse one whose streams are elsewhere by now."""
    session = session_of(ctx)
    made = _read_plan(file)
    settings = _settings(hosts_per_round, records_per_second, pause)
    with _executor(session, settings) as (directory, executor):
        if not session.is_json or dry_run:
            show_plan(session, made, directory.topology)
        executor.check(made)
        version = directory.map_version()
        if version != made.map_version:
            say(f"the map is at version {version}; nothing of this plan has changed since")
        if dry_run or not made.moves:
            say("dry run: nothing was changed" if dry_run else "nothing needs to move")
            return
        _ask(f"move {len(made.moves)} streams?", yes)
        _run(session, executor, executor.begin(made))


def _read_plan(file: Path) -> Plan:
    from southbound.documents.text import read_bounded
    from southbound.partitioning.plan import decode_plan
    from southbound.settings import DocumentSettings

    limit = DocumentSettings().bytes_max
    try:
        with file.open("rb") as opened:
            data = read_bounded(opened, limit)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    if len(data) > limit:
        fault = Fault(str(file), f"{len(data)} bytes or more", f"at most {limit} bytes")
        raise ConfigError("the plan cannot be read", [fault])
    try:
        return decode_plan(data)
    except WireError as error:
        raise WireError(f"{file}: {error}") from error


@app.command(cls=Verb)
def resume(
    ctx: typer.Context,
    plan_id: PlanId = None,
    dry_run: DryRun = False,
    hosts_per_round: HostsPerRound = 100,
    records_per_second: RecordsPerSecond = 0.0,
    pause: Pause = 0.0,
) -> None:
    """Carry on a plan that was interrupted, whoever began it."""
    session = session_of(ctx)
    settings = _settings(hosts_per_round, records_per_second, pause)
    with _executor(session, settings) as (_, executor):
        id = _named(executor, plan_id)
        if dry_run:
            show_standings(session, [standing_of(executor.plan(id))])
            say("dry run: nothing was changed")
            return
        _run(session, executor, id)


@app.command(cls=Verb)
def status(
    ctx: typer.Context,
    plan_id: Annotated[str | None, typer.Argument(help="Only this plan.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Say so again and again until all are finished.")
    ] = False,
) -> None:
    """Show plans that were begun, and how far they are."""
    session = session_of(ctx)
    with _executor(session, _settings(1, 0.0, 0.0)) as (_, executor):
        while True:
            states = executor.plans() if plan_id is None else [executor.plan(plan_id)]
            show_standings(session, [standing_of(state) for state in states])
            if not watch or not any(state.rest() for state in states):
                return
            time.sleep(_WATCH_S)


@app.command(cls=Verb)
def rollback(
    ctx: typer.Context,
    plan_id: PlanId = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    hosts_per_round: HostsPerRound = 100,
    records_per_second: RecordsPerSecond = 0.0,
    pause: Pause = 0.0,
) -> None:
    """Move back what a plan has moved; what it has not is left where it is."""
    session = session_of(ctx)
    settings = _settings(hosts_per_round, records_per_second, pause)
    with _executor(session, settings) as (_, executor):
        id = _named(executor, plan_id)
        state = executor.plan(id)
        if not session.is_json or dry_run:
            show_standings(session, [standing_of(state)])
        if dry_run:
            say("dry run: nothing was changed")
            return
        _ask(f"take plan {id} ({goal_text(state.header.goal)}) back?", yes)
        with _interruptible(executor), counting("streams") as advance:
            done = executor.roll_back(id, lambda one: advance(one.done, one.total))
        _end(session, executor, done)


@app.command(cls=Verb)
def recover(
    ctx: typer.Context,
    yes: Yes = False,
    dry_run: DryRun = False,
    hosts_per_round: HostsPerRound = 100,
    records_per_second: RecordsPerSecond = 0.0,
    pause: Pause = 0.0,
) -> None:
    """End moves of plans that are gone (sb.rebalance cut, or made anew); free what they had reserved."""
    session = session_of(ctx)
    settings = _settings(hosts_per_round, records_per_second, pause)
    with _executor(session, settings) as (_, executor):
        say("reading the slots of everything that has moved")
        found = executor.leftovers()
        if found.is_empty:
            say("nothing was left behind")
            return
        if not session.is_json or dry_run:
            show_leftovers(session, found)
        if dry_run:
            say("dry run: nothing was changed")
            return
        kept = sum(map(len, found.kept.values()))
        ends = len(found.moves) + len(found.stays)
        if ends or kept:
            _ask(f"end {ends} moves and give up {kept} reservations?", yes)
        plan_id = executor.begin_recovery(found)
        say(f"{kept} reservations given up")
        if plan_id:
            _run(session, executor, plan_id)
    if found.doubts:
        raise Unfinished(
            f"{len(found.doubts)} streams cannot be ended from here, such as {found.doubts[0].scope} "
            f"({found.doubts[0].why}): start the agents that read them again, then publish anew what "
            "was sent to them since they have left"
        )


def _settings(hosts_per_round: int, records_per_second: float, pause: float) -> RebalanceSettings:
    from southbound.settings import RebalanceSettings

    return RebalanceSettings(
        hosts_per_round=hosts_per_round, records_per_second=records_per_second, pause_s=pause
    )


@contextmanager
def _executor(
    session: Session, settings: RebalanceSettings
) -> Iterator[tuple[Directory, Executor]]:
    from southbound.rebalance.executor import Executor

    with session.directory() as directory, Executor(directory, settings) as executor:
        yield directory, executor


def _named(executor: Executor, id: str | None) -> str:
    """Return the plan that was named, or the only one that is not finished."""
    if id is not None:
        return id
    open_ = [state.header.id for state in executor.plans() if state.rest()]
    if len(open_) != 1:
        raise PlanError(
            f"{len(open_)} plans are not finished ({', '.join(open_) or 'none'}): name one"
        )
    return open_[0]


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody can answer here: give --yes")
    typer.confirm(question, abort=True, err=True)


def _run(session: Session, executor: Executor, id: str) -> None:
    with _interruptible(executor), counting("streams") as advance:
        done = executor.run(id, lambda one: advance(one.done, one.total))
    _end(session, executor, done)


def _end(session: Session, executor: Executor, done: Progress) -> None:
    """Show what it came to, and end with its exit code."""
    standing = standing_of(executor.plan(done.plan), done.failed)
    show_result(session, done, standing)
    if done.failed:
        raise Unfinished(
            f"{len(done.failed)} batches of plan {done.plan} do not go: "
            f"{next(iter(done.failed.values()))}"
        )
    if done.done < done.total:
        say(f"stopped between rounds: southbound shards resume {done.plan}")
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _interruptible(executor: Executor) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the work after the round under way; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(_number: int, _frame: object) -> None:
        if executor.is_stopping:
            raise KeyboardInterrupt
        say("ending after this round; once more to end at once")
        executor.stop()

    before = {one: signal.signal(one, take) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
