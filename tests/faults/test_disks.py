"""Disks that are full or cannot be written: under a broker, under who publishes, under who keeps plans."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from southbound.edge.admin import apply_topics
from southbound.local.broker import Broker
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import ResourceKey, host_scope
from tests.faults import disks
from tests.faults.record import Cell
from tests.faults.servers import broker_of, kafka_program, redis_of, start_redis
from tests.faults.stage import ROOT, Stage, stage_on
from tests.faults.test_nodes import small_disk
from tests.live.directory_kit import eventually

_DOCUMENT = """
kind: router
host: {host}
id: one
revision: {revision}
spec: {{name: one}}
"""


# The publisher's side: it keeps nothing on disk.


def publish(
    stage: Stage, host: str, revision: int, *words: str, cwd: Path, stdout: str
) -> subprocess.CompletedProcess[str]:
    """Run `southbound publish` where nothing can be written, its stdout on some file."""
    file = stage.path / f"{host}-{revision}.yaml"
    file.write_text(_DOCUMENT.format(host=host, revision=revision))
    environment: Mapping[str, str] = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(cwd),
        "HOME": str(cwd),
    }
    with open(stdout, "w") as sink:  # noqa: PTH123  # a device
        return subprocess.run(
            [
                sys.executable, "-m", "southbound.cli", "--redis", stage.redis_url,
                "publish", str(file), "--wait", *words,
            ],
            cwd=cwd,
            env=environment,
            stdout=sink,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("output", "wait"), [("table", "accepted"), ("json", "applied"), ("json", "accepted")]
)
def test_publishing_where_nothing_can_be_written(
    stage: Stage, cell: Cell, tmp_path: Path, output: str, wait: str
) -> None:
    """The receipt cannot be told, and the exit code says so; the change is accepted all the same."""
    cell.is_about(
        "publisher",
        "disk full",
        f"southbound publish --wait {wait} with stdout on /dev/full ({output}); "
        "TMPDIR, HOME and its folder read-only",
        holds="an exit code that is not 0, one line that names it; the change is applied",
        promises=(1, 3),
    )
    host = stage.host()
    scope = host_scope(host.id)
    folder = tmp_path / "read-only"
    with small_disk(folder, 1, "ro"), host.agent():
        words = (wait, "--output", output)
        done = publish(stage, host.id, 1, *words, cwd=folder, stdout="/dev/null")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        stage.has(host, {ResourceKey(scope, "router", "one"): 1})
        done = publish(stage, host.id, 2, *words, cwd=folder, stdout="/dev/full")
        assert done.returncode not in {0, 120}, done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr
        complaints = [line for line in done.stderr.splitlines() if "No space left" in line]
        assert len(complaints) == 1, done.stderr
        assert "stdout" in complaints[0] or "standard output" in complaints[0]
        stage.has(host, {ResourceKey(scope, "router", "one"): 2})
    cell.count(operations=2, faults=1)


# Under a broker.


def test_a_full_disk_under_a_broker(server_dir: Path, cell: Cell) -> None:
    """It ends when it cannot write any more; with room again it is started, and all goes on."""
    cell.is_about(
        "broker",
        "disk full",
        "ENOSPC below the log folder of the only broker of a cluster, until it ends",
        holds="no outcome is told that is not so; with room again all that was accepted is applied",
        promises=(1, 2),
    )
    redis, broker = redis_of(server_dir), broker_of(server_dir, "c1", _SMALL)
    broker.data_dir.mkdir(parents=True)
    with small_disk(broker.data_dir, _MIB):
        start_redis(redis)
        broker.start(kafka_program())
        broker.wait_ready()
        topology = _one_cluster(broker.bootstrap, broker.kafka_id)
        apply_topics(topology)
        try:
            with stage_on(None, topology, redis.url) as stage:
                _fill_and_free(stage, broker, cell)
        finally:
            broker.daemon.kill()
            redis.daemon.stop(5)


_MIB = 96
_SMALL = {
    # Else the first segment of each log takes its size of the disk from the start.
    "log.preallocate": "false",
    "log.segment.bytes": str(1 << 20),
    "log.index.size.max.bytes": "4096",
}


def _one_cluster(bootstrap: str, kafka_id: str) -> Topology:
    classes: tuple[Literal["host", "vpc"], ...] = ("host", "vpc")
    return Topology(
        region="test",
        azs=(Az(id="az-a", journal="c1"),),
        clusters=(Cluster(id="c1", az="az-a", bootstrap=(bootstrap,), kafka_id=kafka_id),),
        pools=tuple(
            Pool(id=f"c1-{cls[0]}", cluster="c1", cls=cls, topics=1, partitions=2, max_per_slot=60)
            for cls in classes
        ),
    )


def _fill_and_free(stage: Stage, broker: Broker, cell: Cell) -> None:
    shards = stage.shards
    with stage.served(2):
        with disks.full(broker.data_dir):
            eventually(lambda: broker.daemon.pid() is None, within_s=60)
            before = len(shards.history.sent_at)
            # Who publishes meanwhile is not told that it is accepted.
            eventually(lambda: len(shards.history.sent_at) > before + 20)
        broker.start(kafka_program())
        broker.wait_ready()
        published = len(shards.history.sent_at)
        eventually(lambda: len(shards.history.sent_at) > published + 50, within_s=60)
    refused, shards.history.failures = list(shards.history.failures), []
    shards.check()
    assert stage.accepted > 60
    cell.count(operations=stage.accepted, faults=1, refused=float(len(refused)))
    assert refused == []
