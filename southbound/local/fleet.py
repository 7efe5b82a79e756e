"""A fleet on this machine: Kafka clusters of one node each, and a Redis-compatible server.

The rule: the record is written before the first process starts, one command at a time works on a
fleet, and every call ends with the fleet in a state that `down` can end, whatever crashed when.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from southbound.errors import ConfigError, EdgeError, Fault
from southbound.local import layout
from southbound.local.broker import Broker, BrokerSettings, KafkaProgram
from southbound.local.jars import kafka_jars
from southbound.local.java import find_java
from southbound.local.ports import is_free
from southbound.local.record import (
    REDIS,
    FleetRecord,
    planned,
    read_record,
    write_record,
    write_whole,
)
from southbound.local.redis import RedisServer, RedisSettings, find_redis

Progress = Callable[[str], None]
Server = Broker | RedisServer

VARIABLE = "SOUTHBOUND_LOCAL_DIR"
_STARTS_AT_ONCE = 4
_STOPS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How the servers of a fleet are started, and what the topology of a new one holds.

    They are not recorded: they hold for what this process starts.
    """

    region: str = "local"
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    layout: layout.LayoutSettings = field(default_factory=layout.LayoutSettings)


@dataclass(frozen=True, slots=True)
class Programs:
    """What servers are started from, as found on this machine."""

    kafka: KafkaProgram
    redis: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One server: `kind` is `kafka` or `redis`, `up` means that it answers."""

    name: str
    kind: str
    pid: int | None
    port: int
    up: bool
    rss_bytes: int | None
    data_dir: Path


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of the fleet that a person works with."""
    return Path(environ.get(VARIABLE) or Path("var") / "local")


def quiet(_line: str) -> None:
    """Take a line of progress and show it to nobody."""


def find_programs(environ: Mapping[str, str], progress: Progress = quiet) -> Programs:
    """Find, or fetch, all that a fleet is started from; one clear sentence for what is missing."""
    java = find_java(environ)
    progress(f"Java: {java}")
    redis = find_redis(environ)
    progress(f"Redis: {redis}")
    jars = kafka_jars(environ, progress)
    progress(f"Kafka: {len(jars)} jars in {jars[0].parent}")
    return Programs(KafkaProgram(java, jars), redis)


class LocalFleet:
    """The fleet whose state is in one folder. Making this object reads and starts nothing."""

    def __init__(
        self, state_dir: Path | None = None, settings: LocalSettings | None = None
    ) -> None:
        self.state_dir = (state_dir or default_state_dir(os.environ)).absolute()
        self._settings = settings or LocalSettings()

    @property
    def topology_file(self) -> Path:
        """The fleet's topology, in YAML, for `southbound topology apply`."""
        return self.state_dir / "topology.yaml"

    @property
    def record_file(self) -> Path:
        """What the fleet consists of."""
        return self.state_dir / "fleet.json"

    @property
    def redis_url(self) -> str:
        """Address of the Redis server."""
        return self._redis(self._known()).url

    def bootstrap(self, name: str) -> str:
        """Return the address of one Kafka cluster."""
        server = self._server(name)
        if not isinstance(server, Broker):
            raise ConfigError("no such cluster", [Fault("name", name, "is not a Kafka cluster")])
        return server.bootstrap

    def topology_document(self) -> dict[str, Any]:
        """Return the topology document as it stands in the state folder."""
        self._known()
        document = self._read_topology()
        if document is None:
            raise ConfigError(f"{self.topology_file} is gone: start the fleet to have it again")
        return document

    def log_files(self) -> dict[str, Path]:
        """Return the log of each server, by its name."""
        record = read_record(self.record_file)
        return {server.name: server.log_file for server in self._servers(record)}

    def up(self, clusters: int, azs: int | None = None, *, progress: Progress = quiet) -> None:
        """Start the fleet, or what of it does not run, and return when every server answers.

        A folder that holds a fleet already gives the same ports and data again, and may be grown.
        `azs` is at most 2 unless told. Raises `ConfigError` (something is missing or taken) or
        `EdgeError` (a server failed: what this call started is stopped again).
        """
        with self._alone():
            programs = find_programs(os.environ, progress)
            record = planned(read_record(self.record_file), clusters, azs, self._settings.region)
            write_record(self.record_file, record)
            self._write_topology(record)
            asleep = [server for server in self._servers(record) if server.daemon.pid() is None]
            _check_ports(asleep)
            _start_all(asleep, programs, progress)
            for server in self._servers(record):
                server.wait_ready()

    def down(self, wipe: bool = False, *, progress: Progress = quiet) -> None:  # noqa: FBT001, FBT002  # reads well with its name
        """Stop every server; with `wipe` remove its data, the record and the topology too.

        A fleet that crashed, or does not run, or was never there, is as fine.
        """
        if not self.state_dir.is_dir():
            return
        with self._alone():
            _stop_all(self._servers(read_record(self.record_file)), progress)
            if wipe:
                shutil.rmtree(self.state_dir / "servers", ignore_errors=True)
                self.topology_file.unlink(missing_ok=True)
                self.record_file.unlink(missing_ok=True)
                progress(f"removed the fleet's data from {self.state_dir}")

    def status(self) -> list[ServerStatus]:
        """Return how each server is, Redis last; empty when the folder holds no fleet."""
        return [_status(server) for server in self._servers(read_record(self.record_file))]

    def start(self, name: str) -> None:
        """Start one server that was stopped or killed, and wait until it answers."""
        server = self._server(name)
        if server.daemon.pid() is None:
            _start_all([server], find_programs(os.environ), quiet)

    def stop(self, name: str) -> None:
        """Stop one server politely."""
        _stop(self._server(name))

    def kill(self, name: str) -> None:
        """End one server at once, as a crash would."""
        self._server(name).daemon.kill()

    def pause(self, name: str) -> None:
        """Freeze one server: its connections stay open and nothing answers."""
        self._server(name).daemon.signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen server go on."""
        self._server(name).daemon.signal(signal.SIGCONT)

    def _known(self) -> FleetRecord:
        record = read_record(self.record_file)
        if record is None:
            raise ConfigError(f"{self.state_dir} holds no local fleet: start one first")
        return record

    def _servers(self, record: FleetRecord | None) -> list[Server]:
        if record is None:
            return []
        brokers = [
            Broker(
                name=broker.name,
                directory=self.state_dir / "servers" / broker.name,
                port=broker.port,
                controller_port=broker.controller_port,
                kafka_id=broker.kafka_id,
                settings=self._settings.broker,
            )
            for broker in record.brokers
        ]
        return [*brokers, self._redis(record)]

    def _redis(self, record: FleetRecord) -> RedisServer:
        return RedisServer(
            name=REDIS,
            directory=self.state_dir / "servers" / REDIS,
            port=record.redis_port,
            settings=self._settings.redis,
        )

    def _server(self, name: str) -> Server:
        servers = {server.name: server for server in self._servers(self._known())}
        if name not in servers:
            fault = Fault("name", name, f"this fleet has {', '.join(servers)}")
            raise ConfigError("no such server", [fault])
        return servers[name]

    def _write_topology(self, record: FleetRecord) -> None:
        wanted = layout.document(record, self._settings.layout)
        existing = self._read_topology()
        if existing is not None:
            wanted = layout.extended(existing, wanted)
        if wanted != existing:
            text = yaml.safe_dump(wanted, sort_keys=False)
            write_whole(self.topology_file, text.encode())

    def _read_topology(self) -> dict[str, Any] | None:
        """Return the file as plain data (its meaning is judged by whoever applies it)."""
        try:
            return layout.read_document(self.topology_file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            fault = Fault(str(self.topology_file), "unreadable", str(error))
            raise ConfigError("the fleet's topology cannot be read", [fault]) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the fleet against other commands; the lock ends with this process at the latest."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with (self.state_dir / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EdgeError(
                    f"another command is at work on the fleet in {self.state_dir}", retryable=True
                ) from None
            yield


def _check_ports(servers: Sequence[Server]) -> None:
    faults = [
        Fault(
            server.name, port, "its port is taken by another program: end that, or wipe the fleet"
        )
        for server in servers
        for port in server.ports
        if not is_free(port)
    ]
    if faults:
        raise ConfigError("the fleet cannot be started on its ports", faults)


def _start_all(servers: Sequence[Server], programs: Programs, progress: Progress) -> None:
    """Start servers side by side; when one fails, or the caller is interrupted, stop them all."""
    try:
        with ThreadPoolExecutor(_STARTS_AT_ONCE) as pool:
            starts = [pool.submit(_start, server, programs, progress) for server in servers]
            try:
                for start in as_completed(starts):
                    start.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                # Those that wait for an answer now see that there will be none.
                _stop_all(servers, quiet)
                raise
    except BaseException:
        # Whatever was between its format and its start meanwhile.
        _stop_all(servers, quiet)
        raise


def _start(server: Server, programs: Programs, progress: Progress) -> None:
    if isinstance(server, Broker):
        server.start(programs.kafka)
    else:
        server.start(programs.redis)
    server.wait_ready()
    progress(f"{server.name} ({server.kind}) answers on port {server.port}")


def _stop_all(servers: Sequence[Server], progress: Progress) -> None:
    with ThreadPoolExecutor(_STOPS_AT_ONCE) as pool:
        for server, stopped in zip(servers, pool.map(_stop, servers), strict=True):
            if stopped:
                progress(f"{server.name} ({server.kind}) stopped")


def _stop(server: Server) -> bool:
    return server.daemon.stop(server.settings.stop_timeout_s)


def _status(server: Server) -> ServerStatus:
    pid = server.daemon.pid()
    return ServerStatus(
        name=server.name,
        kind=server.kind,
        pid=pid,
        port=server.port,
        up=pid is not None and server.answers(),
        rss_bytes=server.daemon.rss_bytes(),
        data_dir=server.data_dir,
    )
