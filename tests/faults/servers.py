"""Servers that a test starts itself: brokers behind proxies, and three that are one cluster.

The rule: each lies in a folder of its own below the run's, with its pid beside it, so that a run
which was killed leaves nothing that the next one cannot end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from southbound.local.broker import Broker, BrokerSettings, KafkaProgram
from southbound.local.daemon import Daemon
from southbound.local.fleet import find_programs
from southbound.local.ports import LOOPBACK, free_ports
from southbound.local.redis import RedisServer
from southbound.partitioning.topology import Cluster
from tests.live.conftest import SETTINGS

_REPLICATED: Mapping[str, str] = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "share.coordinator.state.topic.replication.factor": "3",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "4000",
    "controller.quorum.fetch.timeout.ms": "2000",
    "controller.quorum.election.timeout.ms": "1000",
}


def end_servers(run: Path) -> None:
    """End every server below a run's folder."""
    for pid in run.glob("servers-*/*/pid"):
        daemon = Daemon(pid.parent.name, pid.parent)
        daemon.signal(signal.SIGCONT)
        daemon.kill()


def kafka_program() -> KafkaProgram:
    """Return what brokers are started from."""
    return find_programs(os.environ).kafka


def broker_of(folder: Path, name: str, overrides: Mapping[str, str]) -> Broker:
    """Return a broker that is a cluster of its own, not started yet."""
    port, controller = free_ports(2)
    settings = replace(SETTINGS.broker, overrides={**SETTINGS.broker.overrides, **overrides})
    return Broker(
        name=name,
        directory=folder / name,
        port=port,
        controller_port=controller,
        kafka_id=_new_id(),
        settings=settings,
    )


def redis_of(folder: Path) -> RedisServer:
    """Return a Redis, not started yet."""
    return RedisServer(name="redis", directory=folder / "redis", port=free_ports(1)[0])


def start_redis(server: RedisServer) -> None:
    """Start a Redis, and wait until it answers."""
    server.start(find_programs(os.environ).redis)
    server.wait_ready()


def _new_id() -> str:
    import base64

    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


class Trio:
    """Three brokers that are one cluster: every topic on all of them, written by two at least."""

    def __init__(self, folder: Path, name: str = "c1") -> None:
        ports = free_ports(6)
        voters = ",".join(f"{node}@{LOOPBACK}:{ports[2 * node - 1]}" for node in (1, 2, 3))
        kafka_id = _new_id()
        self.name = name
        self.program = kafka_program()
        self.brokers = {
            node: Broker(
                name=f"{name}-{node}",
                directory=folder / f"{name}-{node}",
                port=ports[2 * node - 2],
                controller_port=ports[2 * node - 1],
                kafka_id=kafka_id,
                settings=_member(SETTINGS.broker, node, voters),
            )
            for node in (1, 2, 3)
        }

    @property
    def cluster(self) -> Cluster:
        """The cluster, as clients reach it."""
        return Cluster(
            id=self.name,
            az="az-a",
            bootstrap=tuple(broker.bootstrap for broker in self.brokers.values()),
            kafka_id=self.brokers[1].kafka_id,
            replication=3,
            min_insync_replicas=2,
        )

    def start(self) -> None:
        """Format and start all, side by side; wait until each answers."""
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(self._begin, self.brokers.values()))
        for broker in self.brokers.values():
            broker.wait_ready()

    def _begin(self, broker: Broker) -> None:
        _format_member(broker, self.program)
        broker.start(self.program)

    def stop(self) -> None:
        """End all."""
        for broker in self.brokers.values():
            broker.daemon.signal(signal.SIGCONT)
            broker.daemon.kill()


def _member(base: BrokerSettings, node: int, voters: str) -> BrokerSettings:
    own = {"node.id": str(node), "controller.quorum.voters": voters}
    return replace(base, heap_mib=384, overrides={**base.overrides, **_REPLICATED, **own})


def _format_member(broker: Broker, program: KafkaProgram) -> None:
    """Format a member's folder: not as a cluster of its own, as `Broker.start` would."""
    (broker.directory / "logs").mkdir(parents=True, exist_ok=True)
    config = broker.directory / "server.properties"
    lines = [f"{key}={value}" for key, value in sorted(properties_of(broker).items())]
    config.write_text("\n".join(lines) + "\n")
    command: Sequence[str | Path] = (
        program.java.program, "-Xmx128m", "-XX:+UseSerialGC", "-cp", program.class_path,
        "kafka.tools.StorageTool", "format", "-t", broker.kafka_id, "-c", config,
    )  # fmt: skip
    shutil.rmtree(broker.data_dir, ignore_errors=True)
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def properties_of(broker: Broker) -> dict[str, str]:
    """Return a member's lines of server.properties."""
    return broker.properties()
