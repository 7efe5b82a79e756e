"""What a node notices of being moved: the pause of its changes, and how many hosts move a second.

The rule: an open loop goes on through all of it, over real agents, and what counts is the change that
was due while its host was being moved: how long it took until applied, less what changes take when
nothing is moved. The baseline does what one does without a handover, in the same run and with the
same copies: it stops a host's changes, drains them, moves the host, and lets them go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from southbound.bench.crew import Crew, scratch
from southbound.bench.latency import standing
from southbound.bench.mover import Mover, Moving
from southbound.bench.nodes import Nodes
from southbound.bench.quantiles import quantile, quantile_rows
from southbound.bench.result import BenchResult, Row
from southbound.bench.schedule import Schedule
from southbound.bench.tenants import Tenants, settle
from southbound.directory import Directory
from southbound.errors import EdgeError
from southbound.partitioning.plan import Goal
from southbound.producer import Accepted, Publisher
from southbound.resources import Changeset
from southbound.settings import PublisherSettings

Say = Callable[[str], None]

PAUSE_AIM = "<= 100"
_MS = 1e-3
_LOOK_S = 0.01
_PREFIX = "bench-handover-"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverBench:
    """What is measured: `hosts` hosts moved to another cluster, with `rate` changes a second to them.

    `singles`: how many are moved one by one; `stopped`: how many of these by the baseline.
    `batch_parts`: how many share a record in the one batch. `processes`: how many the agents are
    dealt to. `rest_s`: how long changes are sent with nothing moved. `timeout_s` bounds each wait.
    """

    hosts: int = 1_000
    singles: int = 1_000
    stopped: int = 50
    vpcs: int = 20
    rate: float = 500.0
    batch_parts: int = 50
    rest_s: float = 15.0
    processes: int = 4
    timeout_s: float = 300.0
    publisher: PublisherSettings = field(
        default_factory=lambda: PublisherSettings(client_id="bench-handover", validate_specs=False)
    )


class Window(NamedTuple):
    """When a host was being moved, in microseconds since 1970."""

    host: int
    begin_us: int
    end_us: int


class Moved(NamedTuple):
    """Hosts moved in one way: when each was, and how long all of it took."""

    windows: Sequence[Window]
    seconds: float


class MovingNodes(Nodes):
    """Agents that can say whether they have applied a change."""

    def lack(self, last: Mapping[str, int]) -> int:
        """Return how many of the hosts here have not applied the change of that number, or later."""
        return sum(self._last(host) < number for host, number in last.items())

    def _last(self, host: str) -> int:
        applier = self._appliers.get(host)
        if applier is None:
            return 1 << 62
        return number_of(applier.applied[-1][0]) if applier.applied else -1


def run_handover(
    directory: Directory, redis_url: str, bench: HandoverBench, *, progress: Say | None = None
) -> BenchResult:
    """Measure on the fleet of an open directory, whose topics exist: two clusters of one zone.

    Raises `CapacityError` where a pool does not hold the hosts, `EdgeError` where a run fails.
    """
    say = progress or (lambda _line: None)
    tenants = Tenants(hosts=bench.hosts, vpcs=bench.vpcs)
    home, away = (cluster.id for cluster in directory.topology.clusters[:2])
    say(f"preparing {bench.hosts} hosts in {home}")
    settle(directory, tenants)
    with scratch() as folder, Crew(1, Mover, redis_url) as mover:
        mover.ask("move", [(_to(tenants.ids, home), bench.hosts, bench.batch_parts)])
        with _Stage(redis_url, folder, directory, tenants, bench) as stage:
            run = _Run(stage, mover, tenants, bench, say)
            found = run.all(home, away)
        return _result(bench, directory, found)


class _Stage:
    """Agents, and a publisher that never rests. A context manager."""

    def __init__(
        self,
        redis_url: str,
        folder: Path,
        directory: Directory,
        tenants: Tenants,
        bench: HandoverBench,
    ) -> None:
        self.crew = Crew(bench.processes, MovingNodes, redis_url, folder)
        self.shares = self.crew.deal(tenants.ids)
        self._bench = bench
        self._tenants = tenants
        self._publisher = Publisher(directory, bench.publisher)
        self.traffic = Traffic(self._publisher, tenants, bench)

    def __enter__(self) -> Self:
        self.crew.__enter__()
        try:
            orders = [(share, self._tenants.ports, self._bench.timeout_s) for share in self.shares]
            self.crew.ask("start", orders)
            self._publisher.start()
            self.traffic.start()
        except BaseException:
            self.crew.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_why: object) -> None:
        self.traffic.stop()
        self._publisher.close()
        self.crew.__exit__(None, None, None)

    def drain(self, hosts: Iterable[int]) -> None:
        """Wait until nodes have applied what was sent to them. Raises `EdgeError`."""
        last = {f"bench-host-{host:06d}": self.traffic.last(host) for host in hosts}
        deadline_s = time.monotonic() + self._bench.timeout_s
        while any(self.crew.ask_all("lack", last)):
            if time.monotonic() > deadline_s:
                raise EdgeError("nodes lack what was sent to them", retryable=True)
            time.sleep(_LOOK_S)

    def applied(self) -> dict[int, int]:
        """Return when each change was applied; one that a newer overtook has no time of its own."""
        return {
            number_of(changeset): at_us
            for notes in self.crew.ask_all("applied")
            for changeset, at_us in notes
            if changeset.startswith(_PREFIX)
        }


class Traffic:
    """An open loop of changes to all hosts, until it is stopped. Hosts may be held for a while."""

    def __init__(self, publisher: Publisher, tenants: Tenants, bench: HandoverBench) -> None:
        self._publisher = publisher
        self._tenants = tenants
        self._bench = bench
        self._lock = threading.Lock()
        self._held: dict[int, list[int]] = {}
        self._last: dict[int, int] = {}
        self._open = 0
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-traffic", daemon=True)
        self.schedule = Schedule(0, bench.rate, 0, bench.hosts)

    def start(self) -> None:
        """Begin."""
        self.schedule = self.schedule._replace(start_us=_now_us() + 50_000)
        self._thread.start()

    def stop(self) -> None:
        """End; everything due by then was sent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def settled(self) -> None:
        """Wait until all that was sent is accepted. Raises `EdgeError` when it was not."""
        self._publisher.flush(self._bench.timeout_s)
        if self._failures:
            raise EdgeError(f"not accepted: {self._failures[0]}", retryable=True)

    def last(self, host: int) -> int:
        """Return the number of the last change that was sent to a host, or -1."""
        with self._lock:
            return self._last.get(host, -1)

    def hold(self, hosts: Iterable[int]) -> None:
        """Keep back what falls due for these hosts."""
        with self._lock:
            self._held.update((host, []) for host in hosts)

    def release(self) -> None:
        """Send what was kept back, and keep nothing back any more."""
        with self._lock:
            kept = sorted(number for numbers in self._held.values() for number in numbers)
            self._held = {}
            for number in kept:
                self._send(number, self.schedule.host(number))

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            ahead_us = self.schedule.due_us(number) - _now_us()
            if ahead_us > 0:
                time.sleep(ahead_us * 1e-6)
            host = self.schedule.host(number)
            with self._lock:
                if host in self._held:
                    self._held[host].append(number)
                else:
                    self._send(number, host)
            number += 1
        self.schedule = self.schedule._replace(changes=number)

    def _send(self, number: int, host: int) -> None:
        self._last[host] = number
        # A revision of its own for each, above that of the port's first.
        port = self._tenants.port(host, 0, number + 2)
        changeset = Changeset(f"{_PREFIX}{number}", (port,))
        receipt = self._publisher.publish(changeset, sent_us=self.schedule.due_us(number))
        receipt.accepted.add_done_callback(self._note)

    def _note(self, done: Future[Accepted]) -> None:
        error = done.exception()
        if error is not None:
            self._failures.append(error)


class Found(NamedTuple):
    """What the run brought: lags by change number, and how hosts were moved in each way."""

    schedule: Schedule
    lags_ms: Sequence[float]
    rest: tuple[int, int]
    ways: Mapping[str, Moved]


class _Run:
    """The phases, one after another."""

    def __init__(
        self, stage: _Stage, mover: Crew, tenants: Tenants, bench: HandoverBench, say: Say
    ) -> None:
        self._stage = stage
        self._mover = mover
        self._ids = tenants.ids
        self._number = {id_: number for number, id_ in enumerate(tenants.ids)}
        self._bench = bench
        self._say = say

    def all(self, home: str, away: str) -> Found:
        """Go through all phases; return what was found."""
        bench, ids = self._bench, self._ids
        self._say(f"{bench.rate:g} changes a second, nothing moved")
        begin_us = _now_us()
        time.sleep(bench.rest_s)
        rest = (begin_us, _now_us())
        ways = {}
        self._say(f"{min(bench.singles, len(ids))} hosts, one by one")
        ways["one by one"] = self._move(ids[: bench.singles], away, 1, 1)
        self._say("all hosts, in one batch")
        self._move(ids[bench.singles :], away, len(ids), bench.batch_parts)
        ways["one batch"] = self._move(ids, home, len(ids), bench.batch_parts)
        self._say(f"the baseline: {bench.stopped} hosts one by one, then all")
        ways["stopped, one by one"] = self._stopped([[id_] for id_ in ids[: bench.stopped]], away)
        self._move(ids[bench.stopped :], away, len(ids), bench.batch_parts)
        ways["stopped, one batch"] = self._stopped([ids], home)
        traffic = self._stage.traffic
        traffic.stop()
        traffic.settled()
        schedule = traffic.schedule
        self._stage.drain(range(len(ids)))
        at_us, _ = standing(schedule, self._stage.applied())
        lags = [(at_us[n] - schedule.due_us(n)) * _MS for n in range(schedule.changes)]
        return Found(schedule, lags, rest, ways)

    def _move(self, ids: Sequence[str], to: str, per_round: int, parts: int) -> Moved:
        if not ids:
            return Moved((), 0.0)
        began = time.monotonic()
        moving: Moving = self._mover.ask("move", [(_to(ids, to), per_round, parts)])[0]
        took = time.monotonic() - began
        windows = [
            Window(self._number[id_], one.begin_us, one.end_us)
            for one in moving.rounds
            for id_ in one.hosts
        ]
        return Moved(windows, took)

    def _stopped(self, turns: Sequence[Sequence[str]], to: str) -> Moved:
        """Stop, drain, move, go on: so many hosts at a time."""
        traffic = self._stage.traffic
        windows = []
        began = time.monotonic()
        for ids in turns:
            hosts = [self._number[id_] for id_ in ids]
            begin_us = _now_us()
            traffic.hold(hosts)
            self._stage.drain(hosts)
            self._move(ids, to, len(ids), self._bench.batch_parts)
            traffic.release()
            windows += [Window(host, begin_us, _now_us()) for host in hosts]
        return Moved(windows, time.monotonic() - began)


def pauses(
    schedule: Schedule, lags_ms: Sequence[float], windows: Iterable[Window], usual_ms: float
) -> list[float]:
    """Return for each window the longest lag of its host's changes that were due in it, less `usual_ms`.

    In milliseconds, at least 0. A window in which no change was due has nothing to say.
    """
    numbers_of: dict[int, list[int]] = {}
    for number in range(min(schedule.hosts, schedule.changes)):
        host = schedule.host(number)
        numbers_of[host] = list(range(number, schedule.changes, schedule.hosts))
    found = []
    for window in windows:
        lags = [
            lags_ms[number]
            for number in numbers_of.get(window.host, ())
            if window.begin_us <= schedule.due_us(number) <= window.end_us
        ]
        if lags:
            found.append(max(0.0, max(lags) - usual_ms))
    return found


def _to(ids: Sequence[str], cluster: str) -> Goal:
    return Goal(kind="hosts", what=tuple(ids), to=cluster)


def number_of(changeset: str) -> int:
    """Return the number of a change of this benchmark; -1 for another changeset."""
    return int(changeset.removeprefix(_PREFIX)) if changeset.startswith(_PREFIX) else -1


def _result(bench: HandoverBench, directory: Directory, found: Found) -> BenchResult:
    schedule, lags = found.schedule, found.lags_ms
    begin_us, end_us = found.rest
    still = [lags[n] for n in range(schedule.changes) if begin_us <= schedule.due_us(n) <= end_us]
    usual_ms = quantile(sorted(still), 0.5)
    rows = quantile_rows("lag, nothing moved", still, "ms")
    baseline: list[Row] = []
    p99: dict[str, float] = {}
    for way, moved in found.ways.items():
        side = baseline if way.startswith("stopped") else rows
        seen = sorted(pauses(schedule, lags, moved.windows, usual_ms))
        if seen:
            p99[way] = quantile(seen, 0.99)
            aims = {} if side is baseline else {"p99": PAUSE_AIM}
            side += quantile_rows(f"pause, {way}", seen, "ms", aims)
        side.append(Row(f"hosts with a change meanwhile, {way}", len(seen), "hosts"))
        side.append(Row(f"moved, {way}", len(moved.windows) / moved.seconds, "hosts/s"))
    ratios = [
        Row(
            f"stopped / handed over, p99 of the pause, {way}",
            p99[f"stopped, {way}"] / p99[way],
            "x",
        )
        for way in ("one by one", "one batch")
        if p99.get(way) and f"stopped, {way}" in p99
    ]
    return BenchResult(
        "handover", tuple(rows), tuple(baseline), tuple(ratios), _settings(bench, directory)
    )


def _settings(bench: HandoverBench, directory: Directory) -> dict[str, str]:
    return {
        "hosts": f"{bench.hosts}, each with a real agent, in {bench.vpcs} VPCs",
        "clusters": f"{len(directory.topology.clusters)}, of one zone",
        "changes": f"{bench.rate:g}/s, all of it to hosts that are moved",
        "one by one": f"{min(bench.singles, bench.hosts)}; of the baseline {bench.stopped}",
        "one batch": f"all in one round, {bench.batch_parts} of one pair of slots to a record",
        "pause": "longest lag of changes due while the host was moved, less the median without",
        "processes": f"1 that publishes, 1 that moves; agents dealt to {bench.processes}",
        "publisher linger.ms": f"{bench.publisher.linger_ms:g}",
    }


def _now_us() -> int:
    return time.time_ns() // 1000
