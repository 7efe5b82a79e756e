"""What one agent costs its node: memory, CPU while nothing happens, and time until it is ready.

The rule: the agent is measured from outside, as the process that a node runs (`python -m
southbound.nca agent`), with the file applier and without metrics. Requests are counted by a second
agent beside it, whose client library writes down what it sends (`agent_heard`), so that the measured
one carries no such load. The baseline is a bare consumer of one partition, in a
process that imports confluent-kafka and nothing else, treated in the same way.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from southbound.bench.agent_heard import SPOKEN
from southbound.bench.crew import scratch
from southbound.bench.process import Memory, cpu_s_of, memory_of, threads_of
from southbound.bench.readers import Reading, reader_config, readings_of
from southbound.bench.result import BenchResult, Row
from southbound.bench.tenants import Tenants, settle
from southbound.directory import Directory
from southbound.edge.kafka import consumer_config
from southbound.errors import EdgeError
from southbound.partitioning.topology import Topology
from southbound.settings import AgentSettings

Progress = Callable[[str], None]

MEMORY_AIM, FETCH_AIM, READY_AIM = "<= 45", "<= 0.2", "<= 0.5"
_MIB = 1 << 20
_LOOK_S = 0.001
_END_S = 15.0
_SENT = "Sent "
_REQUEST = "Request"

_BARE = """
import sys
from confluent_kafka import Consumer, TopicPartition
settings = dict(pair.split("=", 1) for pair in sys.argv[3:])
consumer = Consumer(settings)
place = TopicPartition(sys.argv[1], int(sys.argv[2]), 0)
low, high = consumer.get_watermark_offsets(place)
consumer.assign([place])
read = low
while read < high:
    message = consumer.poll(1.0)
    if message is not None and message.error() is None:
        read = message.offset() + 1
open(settings["client.id"], "w").close()
while True:
    consumer.poll(1.0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBench:
    """What is measured: one agent of a host with `ports` ports in one VPC.

    `starts`: how often it starts without state; the median is told. `rest_s`: how long it stands
    before it counts as idle; `idle_s`: how long it is watched then. `timeout_s` bounds each start.
    """

    ports: int = 20
    starts: int = 7
    rest_s: float = 20.0
    idle_s: float = 60.0
    timeout_s: float = 30.0


class Idle(NamedTuple):
    """A process that nothing happens to: its memory, and what it took each second."""

    memory: Memory
    threads: int
    cpu_share: float
    requests: Mapping[str, float]


class _Place(NamedTuple):
    """Where processes of one run live: a folder, and the Redis that agents ask."""

    folder: Path
    redis_url: str


def run_agent_bench(
    directory: Directory,
    redis_url: str,
    bench: AgentBench,
    *,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure on the fleet of an open directory, whose topics exist.

    Raises `EdgeError` where a process does not become ready, or ends.
    """
    say = progress or (lambda _line: None)
    tenants = Tenants(hosts=2, ports=bench.ports, vpcs=1)
    settle(directory, tenants)
    measured, heard = readings_of(directory, tenants)
    with scratch() as folder:
        place = _Place(folder, redis_url)
        say(f"starting an agent {bench.starts} times, and a bare consumer as often")
        starts = [_agent_start(place, tenants.ids[0], bench) for _ in range(bench.starts)]
        bare_starts = [_bare_start(place, measured, bench) for _ in range(bench.starts)]
        say(f"watching them idle for {bench.idle_s:g} s, after {bench.rest_s:g} s")
        ours, bare = _idle(place, tenants, (measured, heard), bench)
        parts = _parts(measured)
    settings = _settings(directory.topology, bench)
    rows = [*_rows("agent", starts, ours, aimed=True), *_part_rows(parts, ours.memory.resident)]
    baseline = _rows("bare consumer", bare_starts, bare, aimed=False)
    return BenchResult("agent", tuple(rows), tuple(baseline), _ratios(rows, baseline), settings)


# Processes.


def _agent_command(
    place: _Place, host: str, name: str, module: str = "southbound.nca"
) -> list[str]:
    home = place.folder / name
    return [
        *(sys.executable, "-m", module, "agent", "--host", host),
        *("--redis", place.redis_url, "--state-dir", str(home / "state")),
        *("--files", str(home / "files")),
    ]


def _bare_command(place: _Place, reading: Reading, name: str, more: Mapping[str, str]) -> list[str]:
    marker = str(place.folder / name)
    settings = {**consumer_config(reading.cluster, marker), **reader_config(), **more}
    own = reading.addresses[0]
    words = [f"{key}={value}" for key, value in settings.items()]
    return [sys.executable, "-c", _BARE, own.topic, str(own.partition), *words]


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(  # our own interpreter and code
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], bench: AgentBench) -> None:
    deadline_s = time.monotonic() + bench.timeout_s
    while not ready():
        if process.poll() is not None:
            raise EdgeError(f"a process ended with {process.returncode}", retryable=False)
        if time.monotonic() > deadline_s:
            raise EdgeError(f"a process is not ready in {bench.timeout_s:g} s", retryable=True)
        time.sleep(_LOOK_S)


def _has_ports(place: _Place, name: str, ports: int) -> Callable[[], bool]:
    folder = place.folder / name / "files" / "host" / "port"
    return lambda: folder.is_dir() and sum(1 for _ in folder.iterdir()) >= ports


# Starts.


def _agent_start(place: _Place, host: str, bench: AgentBench) -> float:
    """Return the seconds from exec until every port stands in the node's files."""
    name = f"start-{time.monotonic_ns()}"
    began_s = time.perf_counter()
    with _running(_agent_command(place, host, name), place.folder / f"{name}.log") as process:
        _wait(process, _has_ports(place, name, bench.ports), bench)
        return time.perf_counter() - began_s


def _bare_start(place: _Place, reading: Reading, bench: AgentBench) -> float:
    """Return the seconds from exec until the watermark."""
    name = f"bare-{time.monotonic_ns()}"
    began_s = time.perf_counter()
    command = _bare_command(place, reading, name, {})
    with _running(command, place.folder / f"{name}.log") as process:
        _wait(process, (place.folder / name).exists, bench)
        return time.perf_counter() - began_s


# Idle.


def _idle(
    place: _Place, tenants: Tenants, readings: Sequence[Reading], bench: AgentBench
) -> tuple[Idle, Idle]:
    """Watch an agent and a bare consumer, and beside each a second one that tells what it sends."""
    logs = [place.folder / f"idle-{number}.log" for number in range(4)]
    quiet, heard = tenants.ids
    commands = (
        _agent_command(place, quiet, "quiet"),
        _bare_command(place, readings[0], "quiet-bare", {}),
        _agent_command(place, heard, "heard", module="southbound.bench.agent_heard"),
        _bare_command(place, readings[1], "heard-bare", SPOKEN),
    )
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_running(command, log))
            for command, log in zip(commands, logs, strict=True)
        ]
        for process, ready in zip(
            processes,
            (
                _has_ports(place, "quiet", bench.ports),
                (place.folder / "quiet-bare").exists,
                _has_ports(place, "heard", bench.ports),
                (place.folder / "heard-bare").exists,
            ),
            strict=True,
        ):
            _wait(process, ready, bench)
        return _watched(processes[:2], logs[2:], bench)


def _watched(
    processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path], bench: AgentBench
) -> tuple[Idle, Idle]:
    time.sleep(bench.rest_s)
    began_s = time.perf_counter()
    before = [cpu_s_of(process.pid) for process in processes]
    sizes = [log.stat().st_size for log in logs]
    time.sleep(bench.idle_s)
    took_s = time.perf_counter() - began_s
    ours, bare = (
        Idle(
            memory_of(process.pid),
            threads_of(process.pid),
            max(0.0, cpu_s_of(process.pid) - cpu_s) / took_s,
            {name: count / took_s for name, count in requests_in(log.read_text()[size:]).items()},
        )
        for process, cpu_s, log, size in zip(processes, before, logs, sizes, strict=True)
    )
    return ours, bare


def requests_in(log: str) -> Counter[str]:
    """Count the requests of each kind that a client library says it has sent."""
    found: Counter[str] = Counter()
    for line in log.splitlines():
        _, sent, rest = line.partition(_SENT)
        name = rest.partition(" ")[0]
        if sent and name.endswith(_REQUEST):
            found[name.removesuffix(_REQUEST)] += 1
    return found


# What memory consists of.


def _parts(reading: Reading) -> list[tuple[str, int]]:
    """Return the resident bytes of a process after each part that it has loaded."""
    own = reading.addresses[0]
    done = subprocess.run(  # our own interpreter and module
        [
            *(sys.executable, "-m", "southbound.bench.agent_parts"),
            *(reading.cluster.bootstrap[0], own.topic, str(own.partition)),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return [(name, int(resident)) for resident, _, name in lines]


def _part_rows(parts: Sequence[tuple[str, int]], agent: int) -> list[Row]:
    rows = []
    before = 0
    for name, resident in (*parts, ("its state, threads and buffers", agent)):
        rows.append(Row(f"of which {name}", (resident - before) / _MIB, "MiB"))
        before = resident
    return rows


# What came of it.


def _rows(who: str, starts: Sequence[float], idle: Idle, *, aimed: bool) -> list[Row]:
    fetches = idle.requests.get("Fetch", 0.0)
    return [
        Row(f"{who}, exec to snapshot applied" if aimed else f"{who}, exec to watermark",
            statistics.median(starts), "s", READY_AIM if aimed else ""),
        Row(f"{who}, the slowest of them", max(starts), "s"),
        Row(f"{who}, fetches while idle", fetches, "1/s", FETCH_AIM if aimed else ""),
        Row(f"{who}, other requests", sum(idle.requests.values()) - fetches, "1/s"),
        Row(f"{who}, CPU while idle", idle.cpu_share * 1e6, "us/s"),
        Row(f"{who}, threads", idle.threads, "threads"),
        Row(f"{who}, private memory", idle.memory.private / _MIB, "MiB"),
        Row(f"{who}, resident memory", idle.memory.resident / _MIB, "MiB",
            MEMORY_AIM if aimed else ""),
    ]  # fmt: skip


def _ratios(rows: Sequence[Row], baseline: Sequence[Row]) -> tuple[Row, ...]:
    named = (("exec to ready", 0), ("CPU while idle", 4), ("resident memory", 7))
    return tuple(
        Row(f"{name}, agent / bare consumer", rows[at].value / baseline[at].value, "x")
        for name, at in named
        if baseline[at].value
    )


def _settings(topology: Topology, bench: AgentBench) -> dict[str, str]:
    agent = AgentSettings()
    return {
        "agent": "python -m southbound.nca agent, file applier, no health server",
        "holds": f"{bench.ports} ports in one VPC, its VPC, subnet and security group",
        "starts": f"{bench.starts} without state, the median",
        "idle": f"for {bench.idle_s:g} s, after {bench.rest_s:g} s",
        "clusters": f"{len(topology.clusters)}",
        "requests": "as librdkafka's protocol log tells them, of a second process beside",
        "poll": f"{agent.poll_s:g} s",
        "asks whether its cluster is there": f"every {agent.alive_every_s:g} s",
        **{f"consumer {name}": f"{value}" for name, value in reader_config().items()},
        "bare consumer": "one partition, the same settings, poll(1.0)",
    }
