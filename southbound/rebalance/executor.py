"""Carrying plans out, round by round.

The rule: whatever is done can be seen in the ledger before anything that rests on it is done, so any
process carries a plan on from wherever another has left it. A round takes batches of one phase (hosts,
replicas, homes, what is dropped) through all steps side by side; only between rounds does an executor
pause or stop. Two executors of one plan fence each other: the one that is told that its batch was
taken over stops at once.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from types import TracebackType
from typing import Self

import msgspec

from southbound import failpoints
from southbound.directory.directory import Directory
from southbound.edge.log_time import LogTime
from southbound.errors import ConfigError, EdgeError, PlanError, SouthboundError, StaleMap
from southbound.partitioning.draft import Snapshot
from southbound.partitioning.handover import (
    Move,
    Step,
    abandon,
    advance,
    claim,
    next_action,
    note_error,
)
from southbound.partitioning.placement import parse_placement, parse_vpc_placement
from southbound.partitioning.plan import (
    Goal,
    Plan,
    PlannedMove,
    batches,
    check_topology,
    drift,
    in_order,
)
from southbound.partitioning.planner import back
from southbound.partitioning.steps import Outcome
from southbound.partitioning.topology import REBALANCE_TOPIC
from southbound.rebalance.announcing import Announcer
from southbound.rebalance.backlog import Backlog
from southbound.rebalance.hands import Hands, Task
from southbound.rebalance.ledger import Batch, Ledger, Note, PlanState
from southbound.rebalance.patience import Patience
from southbound.rebalance.recovery import Leftovers, Recovery
from southbound.rebalance.rehoming import Rehomer
from southbound.rebalance.rounds import next_group, record_of, scope_of, undoing, without
from southbound.rebalance.seeding import Seeder
from southbound.rebalance.slots import Slots
from southbound.resources import Scope, ScopeClass
from southbound.settings import RebalanceSettings

_STORED = frozenset({Step.PRECOPIED, Step.MARKED, Step.DONE, Step.ABANDONED})
"""After these the record is stored. Between the decision and the marker publishers write where the
agent does not read yet, so nothing is waited for there; a record that has fallen back does no harm.
"""
_UNDECIDED = frozenset({Step.PLANNED, Step.RESERVED, Step.PRECOPIED})
_FAULTS_SHOWN = 20


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a plan is: streams done, of how many; records copied; why batches do not go."""

    plan: str
    done: int
    total: int
    copied: int
    failed: Mapping[int, str] = msgspec.field(default_factory=dict)


Told = Callable[[Progress], None]


class Executor:
    """Carries plans out. For one thread, but `stop`; making it does no IO.

    All calls raise `EdgeError` when a cluster or Redis stays away, and `StaleMap` when another
    executor has taken the plan over; each may be repeated after any error.
    """

    def __init__(self, directory: Directory, settings: RebalanceSettings | None = None) -> None:
        self.settings = settings or RebalanceSettings()
        self.owner = f"{self.settings.client_id}-{uuid.uuid4().hex[:8]}"
        self._directory = directory
        client_id, timeout_s = self.settings.client_id, self.settings.timeout_s
        # What it writes first, always, is the ledger: from then on the time is the brokers'.
        self._log_time = LogTime()
        self._seeder = Seeder(directory, client_id=client_id, timeout_s=timeout_s)
        self._announcer = Announcer(client_id, timeout_s, log_time=self._log_time)
        self._slots = Slots(
            lambda: directory.topology,
            client_id=client_id,
            timeout_s=timeout_s,
            log_time=self._log_time,
        )
        self._hands = Hands(directory, self._seeder, self._announcer, self._slots)
        self._rehomer = Rehomer(directory, self._seeder, self._announcer, self._slots)
        self._ledger: Ledger | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all clients."""
        self.stop()
        self._slots.close()
        self._announcer.close()
        self._seeder.close()
        if self._ledger is not None:
            self._ledger.close()

    def stop(self) -> None:
        """Let `run` end after the round that it is in. For any thread."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    # Plans.

    def plans(self) -> list[PlanState]:
        """Return all plans that the ledger knows, the oldest first."""
        return self._fresh().plans()

    def plan(self, id: str) -> PlanState:
        """Return one. Raises `PlanError` when there is none of that id."""
        found = self._fresh().plan(id)
        if found is None:
            raise PlanError(f"no plan {id!r} was begun")
        return found

    def check(self, plan: Plan) -> None:
        """Raise what stands in the way of beginning a plan.

        `StaleMap` when one of its streams is elsewhere by now, or it was begun before; `PlanError`
        when the topology has not what it names, or an unfinished plan has one of its streams.
        """
        check_topology(plan, self._directory.topology)
        ledger = self._fresh()
        if ledger.plan(plan.id) is not None:
            raise StaleMap(f"plan {plan.id} was begun already: resume it, or make a new one")
        mine = {scope_of(move) for move in plan.moves}
        for state in ledger.plans():
            taken = {scope_of(move) for batch in state.rest() for move in batch.moves}
            if taken & mine:
                raise PlanError(
                    f"plan {state.header.id} is not finished and moves {min(taken & mine)} too: "
                    "resume it or roll it back first"
                )
        self._check_drift(plan)

    def _check_drift(self, plan: Plan) -> None:
        rows = self._directory.rows({scope_of(move) for move in plan.moves})
        hosts = {s.id: parse_placement(row) for s, row in rows.items() if s.cls is ScopeClass.HOST}
        vpcs = {s.id: parse_vpc_placement(r) for s, r in rows.items() if s.cls is ScopeClass.VPC}
        faults = drift(plan, hosts, vpcs)
        if faults:
            shown = "\n".join(f"  {fault}" for fault in faults[:_FAULTS_SHOWN])
            raise StaleMap(
                f"the map has changed since the plan was made from version {plan.map_version}: "
                f"{len(faults)} of its streams are elsewhere; make it anew\n{shown}"
            )

    def begin(self, plan: Plan, undoes: str = "") -> str:
        """Write a plan into the ledger; return its id. Raises what `check` raises."""
        self.check(plan)
        return self._write(plan, undoes)

    def _write(self, plan: Plan, undoes: str) -> str:
        runs = batches(plan.moves, self._directory.topology, self.settings.batch_parts)
        self._forgetting().begin(plan, list(starmap(Batch, enumerate(runs))), undoes)
        return plan.id

    def _forgetting(self) -> Ledger:
        ledger = self._opened()
        ledger.forget(self._log_time.now_us() - int(self.settings.keep_s * 1e6))
        return ledger

    def _opened(self) -> Ledger:
        if self._ledger is None:
            topology = self._directory.topology
            # Of several journals the first AZ's, as for the topology itself.
            cluster = topology.cluster(topology.azs[0].journal)
            self._ledger = Ledger(
                cluster,
                client_id=self.settings.client_id,
                timeout_s=self.settings.timeout_s,
                log_time=self._log_time,
            )
        return self._ledger

    def _fresh(self) -> Ledger:
        ledger = self._opened()
        try:
            ledger.refresh()
        except EdgeError as error:
            if "UNKNOWN_TOPIC" in str(error):
                raise ConfigError(
                    f"there is no topic {REBALANCE_TOPIC} yet: southbound topology apply makes it"
                ) from error
            raise
        return ledger

    # What plans have left behind that are gone.

    def leftovers(self) -> Leftovers:
        """Look for moves, and reservations, that no plan carries on. Reads the slots of all that has moved."""
        return Recovery(self._directory, self._slots).find(self._busy)

    def _busy(self) -> set[Scope]:
        """Return the streams of plans that are not finished. Raises `WireError` for one in doubt."""
        ledger = self._fresh()
        ledger.check()
        return {
            scope_of(move)
            for state in ledger.plans()
            for batch in state.rest()
            for move in batch.moves
        }

    def begin_recovery(self, found: Leftovers) -> str:
        """Give up the reservations, seal what stays, and begin the plan that ends the moves.

        Return its id, empty when no move is to be ended. May be repeated after any error.
        """
        self._directory.release(found.kept)
        topology = self._directory.topology
        moves = in_order(found.moves, topology)
        goal = Goal(kind="recover")
        plan = Plan(
            goal=goal,
            map_version=found.map_version,
            topology_version=topology.version,
            moves=moves,
        )
        ledger = self._forgetting()
        if found.stays:
            Recovery(self._directory, self._slots).seal(found.stays)
        if not moves:
            return ""
        parts = {one.planned: one for one in found.abandoned}
        records = {n: parts[one].record(plan.id, n, topology) for n, one in enumerate(moves)}
        begun = {n: record for n, record in records.items() if record is not None}
        ledger.begin(plan, [Batch(n, (one,)) for n, one in enumerate(moves)], records=begun)
        return plan.id

    # Running.

    def run(self, id: str, told: Told = lambda _: None) -> Progress:
        """Carry a plan on until it is done, or `stop` is called, or nothing of it goes any more.

        Batches that cannot be carried on are in the result's `failed`; the rest of their phase is
        carried out, and what comes after it is not begun.
        """
        state = self.plan(id)
        backlog = Backlog(state)
        failed: dict[int, str] = {}
        told(self._progress(state, backlog, failed))
        while not self._stopping.is_set():
            turn = backlog.next(self.settings.hosts_per_round, failed)
            if not turn:
                break
            began, copied = time.monotonic(), self._hands.copied
            failed.update(self._round(state, turn))
            for batch in turn:
                if state.is_final(batch.number):
                    backlog.drop(batch)
            told(self._progress(state, backlog, failed))
            self._rest(time.monotonic() - began, self._hands.copied - copied)
        if not backlog.moves and not state.header.finished_us:
            self._finish(state)
        return self._progress(state, backlog, failed)

    def _finish(self, state: PlanState) -> None:
        done = msgspec.structs.replace(state.header, finished_us=self._log_time.now_us())
        self._opened().put_header(done)

    def _progress(self, state: PlanState, backlog: Backlog, failed: Mapping[int, str]) -> Progress:
        return Progress(
            plan=state.header.id,
            done=state.header.moves - backlog.moves,
            total=state.header.moves,
            copied=self._hands.copied,
            failed=dict(failed),
        )

    def _rest(self, took_s: float, copied: int) -> None:
        rate = self.settings.records_per_second
        due_s = copied / rate - took_s if rate > 0 else 0.0
        self._stopping.wait(max(0.0, due_s) + self.settings.pause_s)

    def _round(self, state: PlanState, turn: Sequence[Batch]) -> dict[int, str]:
        if turn[0].moves[0].action in {"add", "home"}:
            return self._replicas(state, turn)
        records = self._records(state, turn)
        try:
            return self._carry(records)
        finally:
            self._hands.forget()

    def _replicas(self, state: PlanState, turn: Sequence[Batch]) -> dict[int, str]:
        """Add replicas and move homes: each is done at once, or done again."""
        failed = {}
        notes = []
        for batch in turn:
            move = batch.moves[0]
            self._passing(move.action, "before")
            try:
                self._place_replica(move)
            except SouthboundError as error:
                if isinstance(error, EdgeError) and error.retryable:
                    raise
                failed[batch.number] = str(error)
                continue
            self._passing(move.action, "after")
            notes.append(Note(plan=state.header.id, number=batch.number, state="done"))
        self._opened().note(notes)
        return failed

    def _place_replica(self, move: PlannedMove) -> None:
        """Add a replica, or move a home; try again while a server is away."""
        old = self._directory.topology.pool(move.old_placement.pool).cluster
        patience = Patience(self.settings.patience_s)
        while True:
            try:
                if move.action == "add":
                    self._seeder.ensure(move.id, move.cluster)
                else:
                    self._rehomer.rehome(move.id, move.cluster, old)
            except EdgeError as error:
                if not error.retryable or not patience.has_more:
                    raise
                patience.wait()
            else:
                return

    def _records(self, state: PlanState, turn: Sequence[Batch]) -> dict[int, Move]:
        """Return the claimed records of a round's batches, as they stand in the ledger."""
        fresh = [batch for batch in turn if batch.number not in state.moves]
        rows = self._directory.rows({scope_of(one) for batch in fresh for one in batch.moves})
        dropped = {
            (one.id, one.cluster) for batch in fresh for one in batch.moves if one.action == "drop"
        }
        needed = self._hands.needed(dropped)
        made = {
            batch.number: record_of(
                state.header.id, without(batch, needed), rows, self._directory.topology
            )
            for batch in fresh
        }
        records = {batch.number: state.moves.get(batch.number) for batch in turn}
        records.update((n, one) for n, one in made.items() if isinstance(one, Move))
        self._opened().note(one for one in made.values() if isinstance(one, Note))
        return self._store(
            {n: claim(one, self.owner) for n, one in records.items() if one is not None}
        )

    def _store(self, records: Mapping[int, Move]) -> dict[int, Move]:
        patience = Patience(self.settings.patience_s)
        while records:
            self._passing("store", "before")
            try:
                stored = self._opened().store(list(records.items()))
            except EdgeError as error:
                if not error.retryable or not patience.has_more:
                    raise
                patience.wait()
                continue
            self._passing("store", "after")
            return dict(zip(records, stored, strict=True))
        return {}

    def _carry(self, records: Mapping[int, Move]) -> dict[int, str]:
        """Carry batches to their ends, step by step; return why some of them do not go."""
        open_ = {number: move for number, move in records.items() if not move.is_final}
        failed: dict[int, str] = {}
        patience = Patience(self.settings.patience_s)
        while open_:
            group = next_group(open_, self.settings.leave_together)
            outcomes = self._perform(group, patience)
            changed = self._advance(group, outcomes)
            stuck = self._stuck(group, outcomes, patience)
            open_.update(changed)
            keep = {n: one for n, one in changed.items() if one.step in _STORED}
            keep.update((n, note_error(group[n], why)) for n, why in stuck.items())
            open_.update(self._store(keep) if keep else {})
            failed.update(stuck)
            open_ = {n: move for n, move in open_.items() if n not in failed and not move.is_final}
        return failed

    def _perform(
        self, group: Mapping[int, Move], patience: Patience
    ) -> dict[int, Outcome | SouthboundError]:
        """Perform what comes next for moves at one step; try again while a server is away."""
        tasks: list[Task] = [(move, next_action(move)) for move in group.values()]
        name = type(tasks[0][1]).__name__
        while True:
            self._passing(name, "before")
            try:
                found = self._hands.perform(tasks)
            except EdgeError as error:
                if not error.retryable or not patience.has_more:
                    raise
                patience.wait()
                continue
            self._passing(name, "after")
            return {n: found[move.id] for n, move in group.items()}

    def _passing(self, step: str, side: str) -> None:
        self.settings.failpoint(f"{step}:{side}")
        if failpoints.armed:
            failpoints.armed.reach(f"executor.{step.lower()}.{side}")

    def _advance(
        self, group: Mapping[int, Move], outcomes: Mapping[int, Outcome | SouthboundError]
    ) -> dict[int, Move]:
        return {
            n: advance(group[n], outcome)
            for n, outcome in outcomes.items()
            if not isinstance(outcome, SouthboundError)
        }

    def _stuck(
        self,
        group: Mapping[int, Move],
        outcomes: Mapping[int, Outcome | SouthboundError],
        patience: Patience,
    ) -> dict[int, str]:
        """Return the moves that this run gives up on; what may pass is waited for first."""
        errors = {n: one for n, one in outcomes.items() if isinstance(one, SouthboundError)}
        if not errors:
            return {}
        passing = {n for n, one in errors.items() if isinstance(one, EdgeError) and one.retryable}
        if passing and patience.has_more:
            patience.wait()
            errors = {n: one for n, one in errors.items() if n not in passing}
        return {n: str(one) for n, one in errors.items()}

    # Taking back.

    def roll_back(self, id: str, told: Told = lambda _: None) -> Progress:
        """Take a plan back: what was moved is moved back, what was not begun is not.

        What is under way is turned where the journal has not decided it, and finished where it has;
        then a plan back is begun and carried out. Returns that plan's progress.
        """
        state = self.plan(id)
        self._turn(state)
        self._abandon_rest(state)
        undone_by = state.header.undone_by or self._begin_back(state)
        if not undone_by:
            return self._progress(state, Backlog(state), {})
        return self.run(undone_by, told)

    def _turn(self, state: PlanState) -> None:
        """Bring everything that is under way to an end."""
        under_way = {n: one for n, one in sorted(state.moves.items()) if not one.is_final}
        numbers = list(under_way)
        size = max(1, self.settings.hosts_per_round // max(1, self.settings.batch_parts))
        for first in range(0, len(numbers), size):
            piece = {n: claim(under_way[n], self.owner) for n in numbers[first : first + size]}
            claimed = self._store(piece)
            turned = {
                n: abandon(one) if one.step in _UNDECIDED and not one.has_left else one
                for n, one in claimed.items()
            }
            try:
                failed = self._carry(self._store(turned))
            finally:
                self._hands.forget()
            for number, why in failed.items():
                raise PlanError(f"batch {number} of plan {state.header.id} does not end: {why}")

    def _abandon_rest(self, state: PlanState) -> None:
        self._opened().note(
            Note(plan=state.header.id, number=batch.number, state="abandoned")
            for batch in state.rest()
        )

    def _begin_back(self, state: PlanState) -> str:
        """Begin the plan back, and note it in what it takes back; nothing when nothing was done."""
        topology = self._directory.topology
        moves = list(undoing(state, topology))
        header = msgspec.structs.replace(
            state.header, finished_us=state.header.finished_us or self._log_time.now_us()
        )
        id = ""
        if moves:
            snapshot = Snapshot(
                topology=topology, map_version=state.header.map_version, hosts={}, vpcs={}
            )
            plan = back(state.header.id, snapshot, moves)
            id = plan.id
            if self._opened().plan(id) is None:
                self._write(plan, state.header.id)
        self._opened().put_header(msgspec.structs.replace(header, undone_by=id))
        return id
