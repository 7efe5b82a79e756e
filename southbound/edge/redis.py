"""Redis, as the directory speaks to it: scripts, a few commands, and whether it is still the same.

The rule: a client must notice that it may be speaking to another memory than before. Every new
connection after a broken one, and every server that names itself differently, raises `generation`;
whoever keeps what Redis told him compares it and starts anew (docs/design.md §4).

All that is sent here may be sent twice, so one broken connection is retried; what fails then is an
`EdgeError`. redis-py is imported at the first connection; agents mostly do without it (`resp`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import sha1
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import msgspec

from southbound.errors import ConfigError, EdgeError, Fault

if TYPE_CHECKING:
    import redis

ATTEMPTS = 2
_CONNECTIONS_MAX = 16
_SCHEMES = ("redis://", "rediss://", "unix://")
FINGERPRINT = ("run_id", "master_replid")

Argument = str | bytes | int | float


class Script:
    """A Lua script, known to the server by its digest once it was sent."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"Script({self.name})"


class RedisLink:
    """Connections to one Redis. Thread-safe; making it does no IO.

    `timeout_s` bounds connecting and each answer. Errors: `ConfigError` for a bad address,
    `EdgeError` for everything else.
    """

    def __init__(self, url: str, *, timeout_s: float, client_name: str) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._client_name = client_name
        self._lock = threading.Lock()
        self._client: redis.Redis | None = None
        self._generation = 0
        self._fingerprint = ""
        self._broken = True
        self._connections: WeakSet[Any] = WeakSet()

    @property
    def generation(self) -> int:
        """Rises with each connection that may lead to another memory; 0 before the first."""
        return self._generation

    @property
    def address(self) -> str:
        """The server's address without credentials, for messages."""
        scheme, _, rest = self._url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send one command and return the answer, strings as bytes.

        `timeout_s` is for commands that wait at the server: it is added to the usual patience.
        """
        client = self._open()
        return self._retried(lambda: _send(client, command, timeout_s), str(command[0]))

    def time_us(self) -> int:
        """Return the server's time in microseconds since 1970."""
        told = self.call("TIME")
        try:
            seconds, micros = (int(one) for one in told)
        except (TypeError, ValueError) as problem:
            raise EdgeError(
                f"what answers at {self.address} is no Redis: {problem}", retryable=False
            ) from problem
        return seconds * 1_000_000 + micros

    def run(self, script: Script, key: str, argument: object) -> Any:
        """Run a script with one key and one msgpack argument; return what it packed or answered."""
        client = self._open()
        packed = msgspec.msgpack.encode(argument)
        return self._retried(lambda: _run(client, script, key, packed), script.name)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
            self._broken = True
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    def _retried(self, send: Callable[[], Any], doing: str) -> Any:
        import redis

        for attempt in range(1, ATTEMPTS + 1):
            try:
                return send()
            except (redis.RedisError, ValueError) as raised:
                error = _as_redis_error(raised)
                made = _edge_error(error, f"Redis at {self.address} ({doing})")
                if self._lost(error) and attempt < ATTEMPTS and made.retryable:
                    continue
                raise made from error
        raise AssertionError("a loop of attempts ends by returning or raising")

    def _lost(self, error: Exception) -> bool:
        """Note a connection that can no longer be trusted; tell whether the error was of that sort."""
        import redis

        lost = isinstance(error, redis.ConnectionError | redis.TimeoutError | redis.ReadOnlyError)
        if lost:
            with self._lock:
                self._broken = True
                client = self._client
            if client is not None:
                client.connection_pool.disconnect(inuse_connections=False)
        return lost

    def _open(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> redis.Redis:
        if not self._url.startswith(_SCHEMES):
            fault = Fault("redis_url", self.address, f"must begin with {' or '.join(_SCHEMES)}")
            raise ConfigError("unusable address of Redis", [fault])
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        try:
            pool = redis.BlockingConnectionPool.from_url(
                self._url,
                max_connections=_CONNECTIONS_MAX,
                timeout=self._timeout_s,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                client_name=self._client_name,
                # Retries are counted here, where a new connection is also noticed.
                retry=Retry(NoBackoff(), 0),
                redis_connect_func=self._connected,
            )
        except (ValueError, TypeError) as error:
            fault = Fault("redis_url", self.address, str(error))
            raise ConfigError("unusable address of Redis", [fault]) from error
        return redis.Redis(connection_pool=pool)

    def _connected(self, connection: Any) -> None:
        """Greet a new connection's server, and see whether it is who was there before."""
        connection.on_connect()
        told = _fingerprint(connection)
        with self._lock:
            # A connection that had been made before was broken in between. A server that does
            # not say who it is may be another one each time.
            again = self._broken or connection in self._connections
            if again or not told or told != self._fingerprint:
                self._generation += 1
            self._connections.add(connection)
            self._broken = False
            self._fingerprint = told


def _fingerprint(connection: Any) -> str:
    """Return what names this server's memory: its process and its replication history."""
    import redis

    told: dict[str, str] = {}
    for section in ("server", "replication"):
        connection.send_command("INFO", section)
        try:
            answer = connection.read_response()
        except redis.exceptions.NoPermissionError:
            # Without that right only a broken connection tells of another server.
            continue
        text = answer.decode() if isinstance(answer, bytes) else str(answer)
        for line in text.splitlines():
            field, _, value = line.partition(":")
            told[field] = value
    return " ".join(told[field] for field in FINGERPRINT if field in told)


def _send(client: redis.Redis, command: tuple[Argument, ...], timeout_s: float | None) -> Any:
    if timeout_s is None:
        return _execute(client, *command)
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        answer = connection.read_response(timeout=timeout_s + (connection.socket_timeout or 0.0))
    except Exception:
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)
    return answer


def _execute(client: Any, *command: Argument) -> Any:
    return client.execute_command(*command)


def _run(client: redis.Redis, script: Script, key: str, packed: bytes) -> Any:
    import redis

    try:
        return _execute(client, "EVALSHA", script.digest, 1, key, packed)
    except redis.exceptions.NoScriptError:
        return _execute(client, "EVAL", script.text, 1, key, packed)


def _as_redis_error(error: Exception) -> Exception:
    """Return what the client library means: it looks into a buffer that a lost connection closed."""
    import redis

    if not isinstance(error, ValueError):
        return error
    if "closed file" not in str(error):
        raise error
    return redis.ConnectionError(str(error))


def _edge_error(error: Exception, doing: str) -> EdgeError:
    import redis

    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return EdgeError(f"{doing}: {error}", retryable=False)
    passing = redis.ConnectionError | redis.TimeoutError | redis.ReadOnlyError
    words = str(error)
    retryable = isinstance(error, passing) or words.startswith(PASSING)
    return EdgeError(f"{doing}: {words or type(error).__name__}", retryable=retryable)


# What a Redis says that is being promoted, loaded, filled up or that has lost its replicas.
PASSING = (
    "LOADING",
    "TRYAGAIN",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOREPLICAS",
    "OOM",
    "BUSY",
    "UNKILLABLE",
)
