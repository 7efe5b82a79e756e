"""What a node notices of being moved: the pause of its changes, and how many hosts move a second.

The rule: an open loop goes on through all of it, and what counts is the change that was due while its
host was being moved: how long it took until a real agent had applied it, less what changes take when
nothing is moved. All hosts are moved and get changes; agents run for a sample of them, spread evenly,
since a thousand agents on one machine would measure each other; half of the changes go to the sample, so
that there is one to be measured.  The baseline does what one does without a handover, in the same run and with the
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
from southbound.settings import PublisherSettings, RebalanceSettings

Say = Callable[[str], None]

PAUSE_AIM = "<= 100"
_MS = 1e-3
_LOOK_S = 0.01
_PREFIX = "bench-handover-"
_OTHERS = "bench-others-"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverBench:
    """What is measured: `hosts` hosts moved to another cluster, with `rate` changes a second to them.

    `watched`: how many of them have a real agent; half of the changes go to these. `singles`: how many
    are moved one by one; `stopped`: how many of the watched ones by the baseline.
    `batch_parts`: how many share a record in the one batch. `processes`: how many the agents are
    dealt to. `rest_s`: how long changes are sent with nothing moved. `timeout_s` bounds each wait.
    """

    hosts: int = 1_000
    watched: int = 60
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


def sample(hosts: int, singles: int, watched: int) -> list[int]:
    """Return the numbers of the hosts that are watched, evenly spread over those moved one by one."""
    among = min(hosts, singles)
    count = min(among, watched)
    return [at * among // count for at in range(count)]


class Window(NamedTuple):
    """When a watched host, by its place among these, was being moved; microseconds since 1970."""

    host: int
    begin_us: int
    end_us: int


class Moved(NamedTuple):
    """Hosts moved in one way: when each watched one was, how many in all, and how long it took."""

    windows: Sequence[Window]
    hosts: int
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
        watched = sample(bench.hosts, bench.singles, bench.watched)
        say(f"{len(watched)} of them with a real agent")
        with _Stage(redis_url, folder, directory, tenants, bench, watched) as stage:
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
        watched: Sequence[int],
    ) -> None:
        ids = tenants.ids
        self.crew = Crew(bench.processes, MovingNodes, redis_url, folder)
        self.shares = self.crew.deal([ids[number] for number in watched])
        self.watched = watched
        self._bench = bench
        self._tenants = tenants
        self._publisher = Publisher(directory, bench.publisher)
        rest = sorted(set(range(bench.hosts)) - set(watched))
        rate = bench.rate / 2 if rest else bench.rate
        self.traffic = Traffic(self._publisher, tenants, Loop(watched, rate, _PREFIX))
        self._loops = [self.traffic]
        if rest:
            self._loops.append(Traffic(self._publisher, tenants, Loop(rest, rate, _OTHERS)))

    def __enter__(self) -> Self:
        self.crew.__enter__()
        try:
            orders = [(share, self._tenants.ports, self._bench.timeout_s) for share in self.shares]
            self.crew.ask("start", orders)
            self._publisher.start()
            for loop in self._loops:
                loop.start()
        except BaseException:
            self.crew.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_why: object) -> None:
        for loop in self._loops:
            loop.stop()
        self._publisher.close()
        self.crew.__exit__(None, None, None)

    def hold(self, hosts: Sequence[int]) -> None:
        """Keep back what falls due for these hosts."""
        for loop in self._loops:
            loop.hold(hosts)

    def release(self) -> None:
        """Send what was kept back."""
        for loop in self._loops:
            loop.release()

    def end(self) -> None:
        """Send no more, and see that all was accepted and applied. Raises `EdgeError`."""
        for loop in self._loops:
            loop.stop()
        self._publisher.flush(self._bench.timeout_s)
        for loop in self._loops:
            loop.check()
        self.drain(self.watched)

    def drain(self, hosts: Iterable[int]) -> None:
        """Wait until the watched ones of these have applied what was sent. Raises `EdgeError`."""
        watched = set(self.watched)
        last = {
            f"bench-host-{host:06d}": self.traffic.last(host) for host in hosts if host in watched
        }
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


class Loop(NamedTuple):
    """To which hosts, how many changes a second, and how their changesets' ids begin."""

    hosts: Sequence[int]
    rate: float
    prefix: str


class Traffic:
    """An open loop of changes to some hosts, until it is stopped. Hosts may be held for a while."""

    def __init__(self, publisher: Publisher, tenants: Tenants, loop: Loop) -> None:
        self._publisher = publisher
        self._tenants = tenants
        self._loop = loop
        self._own = frozenset(loop.hosts)
        self._lock = threading.Lock()
        self._held: dict[int, list[int]] = {}
        self._last: dict[int, int] = {}
        self._open = 0
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-traffic", daemon=True)
        self.schedule = Schedule(0, loop.rate, 0, len(loop.hosts))

    def start(self) -> None:
        """Begin."""
        self.schedule = self.schedule._replace(start_us=_now_us() + 50_000)
        self._thread.start()

    def stop(self) -> None:
        """End; everything due by then was sent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raise `EdgeError` when something was not accepted."""
        if self._failures:
            raise EdgeError(f"not accepted: {self._failures[0]}", retryable=True)

    def last(self, host: int) -> int:
        """Return the number of the last change that was sent to a host, or -1."""
        with self._lock:
            return self._last.get(host, -1)

    def hold(self, hosts: Iterable[int]) -> None:
        """Keep back what falls due for these hosts."""
        with self._lock:
            self._held.update((host, []) for host in hosts if host in self._own)

    def release(self) -> None:
        """Send what was kept back, and keep nothing back any more."""
        with self._lock:
            kept = sorted(number for numbers in self._held.values() for number in numbers)
            self._held = {}
            for number in kept:
                self._send(number, self._host(number))

    def _host(self, number: int) -> int:
        return self._loop.hosts[self.schedule.host(number)]

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            ahead_us = self.schedule.due_us(number) - _now_us()
            if ahead_us > 0:
                time.sleep(ahead_us * 1e-6)
            host = self._host(number)
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
        changeset = Changeset(f"{self._loop.prefix}{number}", (port,))
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
        # A schedule counts the hosts that it is for.
        self._place = {number: at for at, number in enumerate(stage.watched)}
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
        stopped = [ids[number] for number in self._stage.watched[: bench.stopped]]
        self._say(f"the baseline: {len(stopped)} hosts one by one, then all")
        ways["stopped, one by one"] = self._stopped([[id_] for id_ in stopped], away)
        self._move(sorted(set(ids) - set(stopped)), away, len(ids), bench.batch_parts)
        ways["stopped, one batch"] = self._stopped([ids], home)
        self._stage.end()
        schedule = self._stage.traffic.schedule
        at_us, _ = standing(schedule, self._stage.applied())
        lags = [(at_us[n] - schedule.due_us(n)) * _MS for n in range(schedule.changes)]
        return Found(schedule, lags, rest, ways)

    def _move(self, ids: Sequence[str], to: str, per_round: int, parts: int) -> Moved:
        if not ids:
            return Moved((), 0, 0.0)
        began = time.monotonic()
        moving: Moving = self._mover.ask("move", [(_to(ids, to), per_round, parts)])[0]
        took = time.monotonic() - began
        windows = [
            window
            for one in moving.rounds
            for window in self._windows(one.hosts, one.begin_us, one.end_us)
        ]
        return Moved(windows, len(ids), took)

    def _windows(self, ids: Iterable[str], begin_us: int, end_us: int) -> list[Window]:
        """Return the windows of the watched ones of hosts."""
        places = (self._place.get(self._number[id_]) for id_ in ids)
        return [Window(place, begin_us, end_us) for place in places if place is not None]

    def _stopped(self, turns: Sequence[Sequence[str]], to: str) -> Moved:
        """Stop, drain, move, go on: so many hosts at a time."""
        stage = self._stage
        windows = []
        began = time.monotonic()
        for ids in turns:
            hosts = [self._number[id_] for id_ in ids]
            begin_us = _now_us()
            stage.hold(hosts)
            stage.drain(hosts)
            self._move(ids, to, len(ids), self._bench.batch_parts)
            stage.release()
            windows += self._windows(ids, begin_us, _now_us())
        return Moved(windows, sum(map(len, turns)), time.monotonic() - began)


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
        side.append(Row(f"moved, {way}", moved.hosts / moved.seconds, "hosts/s"))
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
    watched = len(sample(bench.hosts, bench.singles, bench.watched))
    return {
        "hosts": f"{bench.hosts}, all of them moved, in {bench.vpcs} VPCs",
        "watched": f"{watched}, each with a real agent, spread evenly",
        "clusters": f"{len(directory.topology.clusters)}, of one zone",
        "changes": f"{bench.rate:g}/s, half to the watched hosts, half to the others",
        "one by one": f"{min(bench.singles, bench.hosts)}; of the baseline "
        f"{min(bench.stopped, watched)}, all of them watched",
        "one batch": f"all in one round, {bench.batch_parts} of one pair of slots to a record, leaving "
        f"{RebalanceSettings().leave_together} at a time",
        "pause": "of a watched host: longest lag of changes due while it was moved, less the median "
        "without",
        "processes": f"1 that publishes, 1 that moves; agents dealt to {bench.processes}",
        "publisher linger.ms": f"{bench.publisher.linger_ms:g}",
    }


def _now_us() -> int:
    return time.time_ns() // 1000
