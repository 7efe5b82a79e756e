"""An agent or a worker as a process: its applier, its health over HTTP, its log.

The rule: what runs a million times loads only what it needs, so nothing of the command line is in
here; `python -m southbound.nca` and `southbound agent run` are the same process.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from southbound.errors import ConfigError, Fault
from southbound.nca.appliers.base import Applier
from southbound.nca.deferred import defer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from southbound.nca.appliers.timed import TimedApplier
    from southbound.nca.service import Agent
    from southbound.nca.worker import Worker

log = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS = ("debug", "info", "warning", "error")
_SCHEMES = ("redis://", "rediss://", "unix://")
_PORT_DIGITS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What an agent and a worker have in common as processes.

    `files`: root of the tree that the file applier keeps; `command`: line of the command applier,
    which then takes its place. `health`: `HOST:PORT` to answer on, empty for nowhere.
    """

    redis_url: str
    files: Path
    command: str = ""
    command_timeout_s: float = 30.0
    health: str = ""
    log_level: str = "info"


def run_agent(host: str, az: str | None, state_dir: Path, settings: ProcessSettings) -> None:
    """Run an agent until it is told to stop. Raises `ConfigError`, `EdgeError`."""
    defer("asyncio")
    from southbound.nca.service import Agent

    _check_redis(settings.redis_url)
    log_to_stderr(settings.log_level)
    applier, registry = _applier(settings), _registry(settings)
    agent = Agent(
        host=host,
        az=az,
        state_dir=state_dir,
        redis_url=settings.redis_url,
        applier=applier,
        registry=registry,
    )
    with _health(agent, applier, registry, settings.health):
        agent.run()


def run_worker(kind: str, worker_id: str, settings: ProcessSettings) -> None:
    """Run a worker of a public kind until it is told to stop. Raises `ConfigError`, `EdgeError`."""
    defer("asyncio")
    from southbound.nca.worker import Worker

    _check_redis(settings.redis_url)
    log_to_stderr(settings.log_level)
    applier, registry = _applier(settings), _registry(settings)
    worker = Worker(
        kind=kind,
        worker_id=worker_id,
        redis_url=settings.redis_url,
        applier=applier,
        registry=registry,
    )
    with _health(worker, applier, registry, settings.health):
        worker.run()


def _applier(settings: ProcessSettings) -> Applier:
    applier = _plain_applier(settings)
    if not settings.health:
        return applier
    from southbound.nca.appliers.timed import TimedApplier

    return TimedApplier(applier)


def _plain_applier(settings: ProcessSettings) -> Applier:
    if not settings.command:
        from southbound.nca.appliers.file import FileApplier

        return FileApplier(settings.files)
    from southbound.nca.appliers.command import CommandApplier

    try:
        words = shlex.split(settings.command)
    except ValueError as error:
        fault = Fault("command", settings.command, str(error))
        raise ConfigError("the command cannot be read", [fault]) from error
    return CommandApplier(words, settings.command_timeout_s)


def _registry(settings: ProcessSettings) -> CollectorRegistry | None:
    if not settings.health:
        return None
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


@contextmanager
def _health(
    subject: Agent | Worker,
    applier: Applier | TimedApplier,
    registry: CollectorRegistry | None,
    address: str,
) -> Iterator[None]:
    if registry is None:
        yield
        return
    from southbound.nca.appliers.timed import TimedApplier
    from southbound.nca.health import HealthServer, ServerSettings
    from southbound.nca.metrics import ApplierCollector

    if isinstance(applier, TimedApplier):
        registry.register(ApplierCollector(applier))
    host, port = address_of(address)
    server = HealthServer(subject.status, registry, ServerSettings(host=host, port=port))
    server.start()
    log.info("health and metrics on http://%s:%d", *server.address)
    try:
        yield
    finally:
        server.close()


def address_of(text: str, option: str = "health") -> tuple[str, int]:
    """Read `HOST:PORT`. Raises `ConfigError` naming the option."""
    host, colon, port = text.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS_MAX
    if not colon or not is_number or int(port) > 65_535:
        fault = Fault(option, text, "must be HOST:PORT, such as 127.0.0.1:9464")
        raise ConfigError("no address to listen on", [fault])
    return host.strip("[]") or "127.0.0.1", int(port)


def _check_redis(url: str) -> None:
    """Refuse an address that no directory has: an agent would wait for it for ever."""
    if not url.startswith(_SCHEMES):
        shown = url.rpartition("@")[2]
        fault = Fault("redis", shown, f"must begin with {', '.join(_SCHEMES)}")
        raise ConfigError("unusable address of Redis", [fault])


def log_to_stderr(level: str) -> None:
    """Let the log go to standard error. Raises `ConfigError` for a level that is none."""
    if level.lower() not in _LEVELS:
        fault = Fault("log level", level, f"must be one of {', '.join(_LEVELS)}")
        raise ConfigError("no such log level", [fault])
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format=_FORMAT)
