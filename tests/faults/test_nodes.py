"""What goes wrong around an agent and a tracker: disks, limits, clocks, versions, logs, appliers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from southbound.edge.kafka import new_producer
from southbound.nca import service as agent_service
from southbound.nca.events import Now
from southbound.nca.plan import Plan
from southbound.partitioning.placement import address_of
from southbound.partitioning.topology import STATUS_TOPIC
from southbound.producer import publisher as publisher_module
from southbound.resources import Op, ResourceKey, host_scope
from southbound.wire.envelope import EMPTY_SPEC, Envelope, encode
from southbound.wire.keys import encode_key
from tests.faults import disks
from tests.faults.disks import full
from tests.faults.record import Cell
from tests.faults.stage import HOLDS, ROOT, Child, Host, Stage
from tests.live.directory_kit import eventually
from tests.live.shards_kit import Node

EARLIER = "966ce90"
"""An earlier state of this repository, whose agents and publishers must get on with today's."""

_YEAR_S = 365.25 * 86_400.0


# Disks.


@contextmanager
def small_disk(folder: Path, mib: int, *options: str) -> Iterator[None]:
    """Have a small file system at a folder; skips where nobody may mount one."""
    with ExitStack() as stack:
        try:
            stack.enter_context(disks.small_disk(folder, mib, *options))
        except disks.NoDisk:
            pytest.skip("no file system can be mounted here")
        yield


@pytest.mark.parametrize("where", ["state", "files"])
def test_a_full_disk_under_an_agent(stage: Stage, cell: Cell, where: str) -> None:
    """Its store, or the tree that it keeps, cannot grow for some seconds."""
    cell.is_about("agent", "disk full", f"ENOSPC below {where}, 3 s", holds=HOLDS, promises=(1, 2))
    host = stage.host()
    with (
        small_disk(host.folder / where, 3),
        host.agent() as child,
        stage.traffic(host_scope(host.id)),
    ):
        eventually(lambda: bool(host.tree()))
        with full(host.folder / where):
            time.sleep(3)
            assert child.is_running
            assert host.is_whole()
        _judge(stage, host, cell)
        assert child.is_running


def _judge(stage: Stage, host: Host, cell: Cell) -> None:
    """Judge a host to which traffic still goes: what is accepted now must come."""
    wanted = dict(stage.shards.history.wanted({host_scope(host.id)}))
    key = ResourceKey(host_scope(host.id), "gateway", "one")
    seen = host.tree().get(key, 0)
    stage.has(host, {**wanted, key: seen + 10}, within_s=60)
    assert host.faults() == []
    cell.count(operations=seen + 10, faults=1)


def test_a_read_only_disk_under_an_agent(stage: Stage, cell: Cell) -> None:
    """It does not start, says why, and starts once the disk can be written."""
    cell.is_about(
        "agent",
        "disk read-only",
        "EROFS at the start",
        holds="an error that names the path, nothing applied; later everything is",
        promises=(2, 4),
    )
    host = stage.host()
    with stage.traffic(host_scope(host.id)):
        with small_disk(host.folder / "state", 3, "ro"), host.agent() as child:
            assert child.wait() != 0
            assert "readonly" in "".join(child.cried) or "unable to open" in "".join(child.cried)
        with host.agent():
            _judge(stage, host, cell)


def test_a_full_disk_under_a_tracker(stage: Stage, cell: Cell, tmp_path: Path) -> None:
    """It reads again what it could not write, and answers for it later."""
    cell.is_about(
        "tracker",
        "disk full",
        "ENOSPC below its store, 3 s",
        holds="nothing that was reported is forgotten",
        promises=(3,),
    )
    host, folder = stage.host(), tmp_path / "tracker"
    client, tracker = stage.tracker(folder)
    with small_disk(folder, 4), tracker("") as child, host.agent():
        eventually(lambda: stage.is_answering(client), within_s=30)
        with stage.traffic(host_scope(host.id)):
            time.sleep(1)
            with full(folder):
                time.sleep(3)
                assert child.is_running
        wanted = {
            key.id: n for key, n in stage.shards.history.wanted({host_scope(host.id)}).items()
        }

        def told() -> dict[str, int]:
            found = client.host(host.id)
            return {} if found is None else {one.id: one.revision for one in found.resources}

        eventually(
            lambda: (
                {id: n for id, n in told().items() if wanted.get(id, 0) <= n}.keys()
                == wanted.keys()
            ),
            within_s=40,
            saying=told,
        )
    cell.count(operations=sum(wanted.values()), faults=1)


# Limits.


@pytest.mark.parametrize(
    ("limits", "words"),
    [("-n 24", "24 open files"), ("-n 48", "48 open files"), ("-v 300000", "300 MB of addresses")],
)
def test_an_agent_with_little(stage: Stage, cell: Cell, limits: str, words: str) -> None:
    """It works or ends; either way the node is right, and nothing keeps a later start from it."""
    cell.is_about(
        "agent",
        "limit",
        words,
        holds="it works, or ends, or waits; never a wrong state; without the limit it goes on",
        promises=(2, 4),
    )
    host = stage.host()
    with stage.traffic(host_scope(host.id)):
        with host.agent(limits=limits) as child:
            time.sleep(4)
            cell.count(worked=float(child.is_running and bool(host.tree())))
        assert host.is_whole()
        with host.agent():
            _judge(stage, host, cell)


# Clocks.


class Skewed:
    """Stands in for the module `time` in a module of the product: its wall clock is wrong."""

    def __init__(self, by_s: float) -> None:
        self.by_s = by_s

    def time_ns(self) -> int:
        """Return what a clock that is wrong says."""
        return time.time_ns() + int(self.by_s * 1e9)

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


_JUMPS = {"+1 h": 3_600.0, "-1 h": -3_600.0, "+10 y": 10 * _YEAR_S, "-10 y": -10 * _YEAR_S}


@pytest.mark.parametrize("words", _JUMPS)
def test_a_clock_that_jumps_under_an_agent(
    stage: Stage, cell: Cell, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it works, across a restart, and back."""
    cell.is_about("agent", "clock", f"{words}, and back", holds=HOLDS, promises=(1, 2, 4))
    shards, host = stage.shards, stage.host_id()
    shards.agent(host)
    jump_us = int(_JUMPS[words] * 1e6)

    def wrong() -> Now:
        return Now(time.monotonic(), time.time_ns() // 1000 + jump_us)

    right = agent_service._now
    try:
        with stage.traffic(host_scope(host)):
            eventually(lambda: bool(shards.agents[host].node.state))
            for clock in (wrong, right, wrong, right):
                monkeypatch.setattr(agent_service, "_now", clock)
                _goes_on(stage, host)
                node = shards.stop(host)
                shards.agent(host, node)
                _goes_on(stage, host)
        shards.check()
    finally:
        monkeypatch.undo()
        shards.stop(host)
    cell.count(operations=sum(shards.history.wanted({host_scope(host)}).values()), faults=4)


def _goes_on(stage: Stage, host: str) -> None:
    """Wait until a node in this process has got more than it has."""
    node = stage.shards.agents[host].node
    before = sum(node.state.values())
    eventually(lambda: sum(node.state.values()) > before + 20)


@pytest.mark.parametrize("words", _JUMPS)
def test_a_clock_that_jumps_under_a_publisher(
    stage: Stage, cell: Cell, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sending times are wrong; agents that run and agents that start take them all the same."""
    cell.is_about("publisher", "clock", f"{words}, and back", holds=HOLDS, promises=(1, 2))
    shards, host = stage.shards, stage.host_id()
    shards.agent(host)
    try:
        with stage.traffic(host_scope(host)):
            for by_s in (_JUMPS[words], 0.0):
                monkeypatch.setattr(publisher_module, "time", Skewed(by_s))
                _goes_on(stage, host)
            monkeypatch.setattr(publisher_module, "time", Skewed(_JUMPS[words]))
            _goes_on(stage, host)
        shards.check()
        shards.stop(host)
        # One without any state, for which every sending time is new.
        shards.agent(host, fresh=True)
        shards.check()
    finally:
        monkeypatch.undo()
        shards.stop(host)
    cell.count(operations=sum(shards.history.wanted({host_scope(host)}).values()), faults=3)


# Appliers.


class SlowNode(Node):
    """A node whose every plan takes long."""

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Apply, in the end."""
        time.sleep(0.4)
        return super().apply(plan)


def test_a_slow_applier(stage: Stage, cell: Cell) -> None:
    """It takes what has gathered meanwhile in one plan, and holds up nobody else."""
    cell.is_about("applier", "slow", "400 ms for each plan", holds=HOLDS, promises=(1, 2))
    shards = stage.shards
    slow, other = stage.host_id(), stage.host_id()
    shards.agent(slow, SlowNode(slow))
    shards.agent(other)
    try:
        with stage.traffic(host_scope(slow), host_scope(other)):
            _goes_on(stage, other)
            time.sleep(4)
            behind = sorted(shards.agents[other].node.delays)
        shards.check()
    finally:
        for host in (slow, other):
            shards.stop(host)
    cell.count(
        operations=sum(shards.history.wanted({host_scope(slow)}).values()),
        faults=1,
        other_p50_ms=round(behind[len(behind) // 2] * 1e3, 1),
    )
    assert behind[len(behind) // 2] < 0.4


# Logs.


def test_reports_that_are_gone_before_they_are_read(
    stage: Stage, cell: Cell, tmp_path: Path
) -> None:
    """A tracker was away for longer than reports are kept: inventories tell it what it missed."""
    cell.is_about(
        "tracker",
        "retention",
        "every report deleted while the tracker was away",
        holds="the next inventories bring it to what nodes have",
        promises=(3,),
    )
    host = stage.host()
    client, tracker = stage.tracker(tmp_path)
    with stage.traffic(host_scope(host.id)), host.agent():
        with tracker(""):
            eventually(lambda: stage.is_answering(client), within_s=30)
            eventually(lambda: client.host(host.id) is not None)
        eventually(lambda: len(host.tree()) >= 3)
    for cluster in stage.shards.topology.clusters:
        admin = AdminClient({"bootstrap.servers": ",".join(cluster.bootstrap)})
        ends = [TopicPartition(STATUS_TOPIC, n, -1) for n in range(cluster.status_partitions)]
        for answer in admin.delete_records(ends).values():
            answer.result(20)
    with host.agent(), tracker(""):
        eventually(lambda: stage.is_answering(client), within_s=30)
        count = stage.check(host)

        def told() -> dict[str, int]:
            found = client.host(host.id)
            return {} if found is None else {one.id: one.revision for one in found.resources}

        wanted = {key.id: revision for key, revision in host.tree().items()}
        eventually(lambda: told() == wanted, within_s=40, saying=lambda: (told(), wanted))
    cell.count(operations=count, faults=1)


# Versions.


@pytest.fixture(scope="module")
def earlier() -> Iterator[Path]:
    """Return an earlier state of the product, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="faults-earlier-") as folder:
        packed = subprocess.run(
            ["git", "archive", EARLIER], cwd=ROOT, capture_output=True, check=False
        )
        if packed.returncode != 0:
            pytest.skip(f"this copy of the repository has no {EARLIER}")
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
        yield Path(folder)


def agent_of(code: Path, stage: Stage, host: Host) -> Child:
    """Start an agent of some state of the product; its tree is the host's."""
    words = (
        "-m", "southbound.nca", "agent", "--host", host.id, "--redis", stage.redis_url,
        "--state-dir", str(host.folder / "state"), "--files", str(host.folder / "files"),
    )  # fmt: skip
    return Child(command=("env", f"--chdir={code}", sys.executable, *words))


def test_an_agent_of_earlier_and_records_of_today(stage: Stage, cell: Cell, earlier: Path) -> None:
    """With fields at the end that it cannot know; then today's agent takes its state over."""
    cell.is_about(
        "agent",
        "version",
        f"code of {EARLIER} with today's records, and with fields of tomorrow",
        holds="it applies them; today's agent goes on from its state without a snapshot",
        promises=(1, 2, 4),
    )
    host = stage.host()
    with stage.traffic(host_scope(host.id)):
        with agent_of(earlier, stage, host):
            _tomorrow(stage, host, 7)
            stage.has(host, {ResourceKey(host_scope(host.id), "router", "later"): 7})
            stage.has(host, {ResourceKey(host_scope(host.id), "gateway", "one"): 20})
        with agent_of(ROOT, stage, host):
            _tomorrow(stage, host, 8)
            stage.has(host, {ResourceKey(host_scope(host.id), "router", "later"): 8})
            _judge(stage, host, cell)


def _tomorrow(stage: Stage, host: Host, revision: int) -> None:
    """Write a record with fields that nobody knows yet."""
    scope = host_scope(host.id)
    address = address_of("host", host.id, stage.shards.place(host.id), stage.shards.topology)
    sent_us = time.time_ns() // 1000
    value = encode(Envelope(revision, Op.UPSERT, 1, "later", 0, 1, sent_us, 0, EMPTY_SPEC))
    fields = [*msgspec.msgpack.decode(value[1:]), {"a": [1, 2]}, "tomorrow"]
    producer = new_producer(stage.shards.topology.cluster(address.cluster), "tomorrow", {})
    producer.produce(
        address.topic,
        value[:1] + msgspec.msgpack.encode(fields),
        encode_key(ResourceKey(scope, "router", "later")),
        partition=address.partition,
    )
    assert producer.flush(20) == 0


def test_a_publisher_of_earlier_and_agents_of_today(
    stage: Stage, cell: Cell, earlier: Path
) -> None:
    """What it calls accepted is applied."""
    cell.is_about(
        "publisher",
        "version",
        f"code of {EARLIER} with today's agent and directory",
        holds="what it calls accepted is applied",
        promises=(1, 2),
    )
    host = stage.host()
    words = ("-m", "tests.live.publisher_child", stage.redis_url, host.id)
    with host.agent():
        with Child(command=("env", f"--chdir={earlier}", sys.executable, *words)) as child:
            eventually(lambda: len(child.said) > 100, saying=lambda: child.cried[-5:])
        told = {int(line) for line in child.said}
        stage.has(host, {ResourceKey(host_scope(host.id), "router", "child"): max(told)})
    assert host.faults() == []
    cell.count(operations=len(told), faults=1)
