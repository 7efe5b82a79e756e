"""A one-node Kafka cluster on this machine: broker and controller in one process.

The rule: small in memory and threads, but as durable in what it promises as its single node can be.
Folder, ports and cluster id are given; the same ones bring the same data back.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from southbound.edge import kafka
from southbound.errors import ConfigError, EdgeError
from southbound.local.daemon import Daemon
from southbound.local.java import Java
from southbound.local.ports import LOOPBACK, answers
from southbound.partitioning.topology import Cluster

_FORMAT_TIMEOUT_S = 120.0
_POLL_S = 0.05
_LIGHT_COMPILING = "-XX:TieredStopAtLevel=1"
_ASK_TIMEOUT_S = 5.0
# ListOffsets takes this in place of a time, and answers with the end.
_LATEST = -1

_DEFAULTS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Topics are made by `topology apply`, with their settings, and never by a typing error.
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    # 1 MiB records with their batch around them.
    "message.max.bytes": str((1 << 20) + (64 << 10)),
    # One node has one copy of everything.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A few threads and a few internal partitions: several of these share two cores.
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "metadata.max.idle.interval.ms": "5000",
    # After a crash the node waits this long before it trusts that its former self is gone.
    "broker.session.timeout.ms": "9000",
    # A machine that is busy starting others is slow, not dead.
    "initial.broker.registration.timeout.ms": "300000",
    # Every partition maps its indexes: ten thousand of them must fit.
    "log.index.size.max.bytes": "65536",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.cleaner.backoff.ms": "5000",
    "log.retention.check.interval.ms": "30000",
    "auto.leader.rebalance.enable": "false",
    # Workers of a public kind share their topic at once.
    "group.initial.rebalance.delay.ms": "0",
}


@dataclass(frozen=True, slots=True)
class KafkaProgram:
    """What a broker's process is made of."""

    java: Java
    jars: tuple[Path, ...]

    @property
    def class_path(self) -> str:
        """Value of Java's -cp."""
        return ":".join(str(jar) for jar in self.jars)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Limits of a broker; `overrides` are lines of server.properties that replace the defaults.

    `quick_start` lets Java compile lightly: up in two thirds of the time, at the cost of the highest
    throughput. For tests and short demos.
    """

    heap_mib: int = 768
    quick_start: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)
    ready_timeout_s: float = 120.0
    stop_timeout_s: float = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One broker: `name` is the cluster's id, `directory` holds all that it keeps."""

    name: str
    directory: Path
    port: int
    controller_port: int
    kafka_id: str
    settings: BrokerSettings = field(default_factory=BrokerSettings)

    kind = "kafka"

    @property
    def daemon(self) -> Daemon:
        """The broker's process."""
        return Daemon(self.name, self.directory)

    @property
    def data_dir(self) -> Path:
        """Folder of the partitions."""
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        """Kafka's own log."""
        return self.directory / "logs" / "server.log"

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that the process listens on."""
        return (self.port, self.controller_port)

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"{LOOPBACK}:{self.port}"

    def properties(self) -> dict[str, str]:
        """Return the lines of server.properties."""
        client, controller = self.bootstrap, f"{LOOPBACK}:{self.controller_port}"
        return {
            **_DEFAULTS,
            "listeners": f"BROKER://{client},CONTROLLER://{controller}",
            "advertised.listeners": f"BROKER://{client},CONTROLLER://{controller}",
            "controller.quorum.bootstrap.servers": controller,
            "log.dirs": str(self.data_dir.absolute()),
            **self.settings.overrides,
        }

    def start(self, program: KafkaProgram) -> None:
        """Format the data folder if it is new, and start the process; see `wait_ready`."""
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        config = self.directory / "server.properties"
        lines = [f"{key}={value}" for key, value in sorted(self.properties().items())]
        config.write_text("\n".join(lines) + "\n")
        if not (self.data_dir / "meta.properties").is_file():
            self._format(program, config)
        self.daemon.start(self._command(program, config))

    def _format(self, program: KafkaProgram, config: Path) -> None:
        # A folder without its meta.properties was left by a format that was cut short.
        shutil.rmtree(self.data_dir, ignore_errors=True)
        flags = ["-Xmx128m", "-XX:+UseSerialGC", _LIGHT_COMPILING]
        tool = ["kafka.tools.StorageTool", "format", "-t", self.kafka_id, "--standalone"]
        done = subprocess.run(
            [program.java.program, *flags, "-cp", program.class_path, *tool, "-c", config],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_FORMAT_TIMEOUT_S,
        )
        if done.returncode != 0:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise EdgeError(f"Kafka could not format {self.data_dir}:\n{said}", retryable=False)

    def _command(self, program: KafkaProgram, config: Path) -> list[str | Path]:
        log_config = resources.files("southbound.local").joinpath("log4j2.properties")
        return [
            program.java.program,
            "-Xms64m",
            f"-Xmx{self.settings.heap_mib}m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            *([_LIGHT_COMPILING] if self.settings.quick_start else []),
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={log_config}",
            f"-Dsouthbound.logs={self.log_file.parent.absolute()}",
            "-cp",
            program.class_path,
            "kafka.Kafka",
            config.absolute(),
        ]

    def wait_ready(self) -> None:
        """Wait until the broker answers as the cluster that it should be, and leads all it holds.

        A broker that comes back answers for some time before it leads its partitions, and refuses
        those who write to them or ask for their ends. Raises `EdgeError` with the end of its log when it has ended or takes too long.
        """
        deadline = time.monotonic() + self.settings.ready_timeout_s
        cluster = Cluster(id=self.name, az="", bootstrap=(self.bootstrap,))
        client = kafka.new_consumer(cluster, "local-ready", {"socket.timeout.ms": 10_000})
        try:
            while not self._answered(client):
                if self.daemon.pid() is None:
                    raise self._failed("ended")
                if time.monotonic() > deadline:
                    raise self._failed(f"did not answer in {self.settings.ready_timeout_s:.0f} s")
                time.sleep(_POLL_S)
        finally:
            client.close()

    def _answered(self, client: kafka.Consumer) -> bool:
        # Looked at first: the client backs off after each refusal, a bare connection does not.
        if not answers(self.port):
            return False
        try:
            told = client.list_topics(timeout=_ASK_TIMEOUT_S)
        except kafka.KafkaException:
            return False
        if told.cluster_id != self.kafka_id:
            raise ConfigError(
                f"port {self.port} of {self.name} is held by another Kafka cluster, "
                f"{told.cluster_id} (expected {self.kafka_id})"
            )
        held = [
            kafka.TopicPartition(name, number, _LATEST)
            for name, topic in told.topics.items()
            for number in topic.partitions
        ]
        return bool(told.brokers) and _leads(client, held)

    def _failed(self, how: str) -> EdgeError:
        words = self.daemon.last_words(self.log_file)
        return EdgeError(f"Kafka broker {self.name} {how}; it last wrote:\n{words}", retryable=True)

    def answers(self) -> bool:
        """Tell whether the running process accepts connections."""
        return answers(self.port)


def _leads(client: kafka.Consumer, held: list[kafka.TopicPartition]) -> bool:
    """Tell whether the broker gives the end of every partition: only a leader does."""
    if not held:
        return True
    try:
        ends = client.offsets_for_times(held, timeout=_ASK_TIMEOUT_S)
    except kafka.KafkaException:
        return False
    return all(end.error is None for end in ends)
