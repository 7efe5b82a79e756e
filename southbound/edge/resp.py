"""Redis as a visitor speaks to it: one plain connection, without redis-py.

The rule: a million agents ask the directory a few things and leave, so what they load for it must be
small: redis-py and what it brings are a quarter of an agent's memory. `LeanLink` keeps everything
that `RedisLink` promises (retries, errors, `generation`) for plain `redis://` addresses; for TLS,
sockets and other options `visitor_link` returns a `RedisLink`.

A server may be anybody, so what it says is bounded before it costs anything: the length of a line,
of a string and of a whole answer, its nesting, and the time that it takes.

Protocol: RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
"""

from __future__ import annotations

import io
import re
import socket
import threading
from collections.abc import Sequence
from typing import Any, BinaryIO, cast
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from southbound.edge.redis import (
    ATTEMPTS,
    FINGERPRINT,
    PASSING,
    Argument,
    RedisLink,
    Script,
)
from southbound.edge.timed import TimedReader
from southbound.errors import EdgeError

ANSWER_BYTES_MAX = 64 << 20
ANSWER_ITEMS_MAX = 2_000_000
LINE_BYTES_MAX = 64 << 10
DEPTH_MAX = 8
PATIENCE = 5
"""How many times the timeout of one silence a whole answer may take."""

_PIECE_BYTES = 1 << 20
_NUMBER = re.compile(rb"-?[0-9]{1,19}")
_PORT = 6379
_END = b"\r\n"
_DENIED = ("NOAUTH", "NOPERM", "WRONGPASS", "ERR invalid password", "ERR AUTH")
_OTHER_MASTER = "READONLY"
_NO_SCRIPT = "NOSCRIPT"


class RespError(Exception):
    """The server answered with an error; its text begins with the error's code."""


def visitor_link(url: str, *, timeout_s: float, client_name: str) -> RedisLink:
    """Return the leanest link that can speak to this address. Does no IO."""
    kind = LeanLink if plain_address(url) is not None else RedisLink
    return kind(url, timeout_s=timeout_s, client_name=client_name)


def plain_address(url: str) -> SplitResult | None:
    """Return the parts of `redis://[[user][:password]@]host[:port][/number]`, None for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    number = parts.path.removeprefix("/")
    plain = parts.scheme == "redis" and parts.hostname and not parts.query and not parts.fragment
    is_number = number.isascii() and number.isdigit() and len(number) < 10
    return parts if plain and port != 0 and (not number or is_number) else None


class LeanLink(RedisLink):
    """A link with one connection. Thread-safe: callers take turns. Making it does no IO."""

    def __init__(self, url: str, *, timeout_s: float, client_name: str) -> None:
        super().__init__(url, timeout_s=timeout_s, client_name=client_name)
        parts = plain_address(url)
        assert parts is not None, "not a plain address"
        self._parts = parts
        self._turn = threading.Lock()
        self._connection: Connection | None = None

    def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send one command and return the answer, strings as bytes, maps as flat lists."""
        with self._turn:
            try:
                return self._ask(command, timeout_s)
            except RespError as error:
                raise self._refused(error, str(command[0])) from error

    def run(self, script: Script, key: str, argument: object) -> Any:
        """Run a script with one key and one msgpack argument; return what it packed or answered."""
        packed = msgspec.msgpack.encode(argument)
        with self._turn:
            try:
                return self._run(script, key, packed)
            except RespError as error:
                raise self._refused(error, script.name) from error

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._turn:
            self._drop()

    def _run(self, script: Script, key: str, packed: bytes) -> Any:
        try:
            return self._ask(("EVALSHA", script.digest, 1, key, packed), None)
        except RespError as error:
            if not str(error).startswith(_NO_SCRIPT):
                raise
        return self._ask(("EVAL", script.text, 1, key, packed), None)

    def _ask(self, command: Sequence[Argument], timeout_s: float | None) -> Any:
        """Ask, on a new connection when the one that was there is broken. Raises `RespError`."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                connection = self._connection or self._connect()
                return connection.ask(command, self._timeout_s + (timeout_s or 0.0))
            except OSError as error:
                self._drop()
                if attempt == ATTEMPTS:
                    doing = f"Redis at {self.address} ({command[0]!s})"
                    raise EdgeError(f"{doing}: {error}", retryable=True) from error
            except RespError as error:
                if not str(error).startswith(_OTHER_MASTER) or attempt == ATTEMPTS:
                    raise
                self._drop()
        raise AssertionError("a loop of attempts ends by returning or raising")

    def _connect(self) -> Connection:
        made = Connection(self._parts.hostname or "", self._parts.port or _PORT, self._timeout_s)
        try:
            told = self._greet(made)
        except (OSError, RespError):
            made.close()
            raise
        if self._broken or not told or told != self._fingerprint:
            self._generation += 1
        self._broken, self._fingerprint, self._connection = False, told, made
        return made

    def _greet(self, made: Connection) -> str:
        """Say who this is, and return what names the server's memory."""
        if self._parts.password:
            user = [unquote(self._parts.username)] if self._parts.username else []
            made.ask(("AUTH", *user, unquote(self._parts.password)), self._timeout_s)
        made.ask(("CLIENT", "SETNAME", self._client_name), self._timeout_s)
        number = self._parts.path.removeprefix("/")
        if number and int(number):
            made.ask(("SELECT", number), self._timeout_s)
        told: dict[str, str] = {}
        for section in ("server", "replication"):
            try:
                text = _text(made.ask(("INFO", section), self._timeout_s))
            except RespError as error:
                if not str(error).startswith(_DENIED):
                    raise
                # Without that right only a broken connection tells of another server.
                continue
            told |= {line.partition(":")[0]: line.partition(":")[2] for line in text.splitlines()}
        return " ".join(told[field] for field in FINGERPRINT if field in told)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._broken = True
        if connection is not None:
            connection.close()

    def _refused(self, error: RespError, doing: str) -> EdgeError:
        words = str(error)
        retryable = words.startswith((*PASSING, _OTHER_MASTER)) and not words.startswith(_DENIED)
        return EdgeError(f"Redis at {self.address} ({doing}): {words}", retryable=retryable)


class Connection:
    """One connection, on which one command at a time is asked. Raises `OSError` when it breaks."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._socket = socket.create_connection((host, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._source = TimedReader(self._socket)
        self._answers = io.BufferedReader(self._source)

    def ask(self, command: Sequence[Argument], timeout_s: float) -> Any:
        """Send a command and return its answer. Raises `RespError` when that is an error."""
        self._socket.settimeout(timeout_s)
        self._socket.sendall(encode(command))
        self._source.begin(timeout_s, timeout_s * PATIENCE)
        answer = Answer(cast("BinaryIO", self._answers)).read()
        if isinstance(answer, RespError):
            raise answer
        return answer

    def close(self) -> None:
        """Close it."""
        self._answers.close()
        self._socket.close()


class Answer:
    """One answer on its way. What passes a bound, or is no RESP2, raises `ConnectionError`."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._bytes_left = ANSWER_BYTES_MAX
        self._items_left = ANSWER_ITEMS_MAX

    def read(self, levels: int = DEPTH_MAX) -> Any:
        """Read it, or an item of it that may hold so many levels of arrays."""
        line = self._source.readline(LINE_BYTES_MAX)
        if not line.endswith(_END):
            raise _broken_off() if len(line) < LINE_BYTES_MAX else _refused("a line is too long")
        self._spend(len(line))
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b"-":
                return RespError(rest.decode(errors="replace"))
            case b":":
                return _number(rest)
            case b"$":
                return self._bulk(_number(rest))
            case b"*":
                return self._array(_number(rest), levels)
        raise _refused(f"a line begins with {line[:40]!r}")

    def _bulk(self, size: int) -> bytes | None:
        if size < 0:
            return None
        self._spend(size + len(_END))
        # In pieces: what was announced and never comes takes no memory.
        data = bytearray()
        while len(data) < size + len(_END):
            piece = self._source.read(min(_PIECE_BYTES, size + len(_END) - len(data)))
            if not piece:
                raise _broken_off()
            data += piece
        return bytes(memoryview(data)[:size])

    def _array(self, size: int, levels: int) -> list[Any] | None:
        if size < 0:
            return None
        self._items_left -= size
        if self._items_left < 0 or levels == 0:
            raise _refused("an answer holds too many items, or too many levels of them")
        return [self.read(levels - 1) for _ in range(size)]

    def _spend(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise _refused(f"an answer is larger than {ANSWER_BYTES_MAX} bytes")


def _number(text: bytes) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise _refused(f"{text[:40]!r} is no number")
    return int(text)


def _text(answer: object) -> str:
    if not isinstance(answer, bytes):
        raise _refused(f"INFO is answered with {type(answer).__name__}")
    return answer.decode(errors="replace")


def _broken_off() -> ConnectionError:
    return ConnectionError("the server has closed the connection")


def _refused(why: str) -> ConnectionError:
    return ConnectionError(f"the server does not speak RESP2: {why}")


def encode(command: Sequence[Argument]) -> bytes:
    """Return a command as it is sent: an array of bulk strings."""
    parts = [b"*%d" % len(command)]
    for argument in command:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts += (b"$%d" % len(data), data)
    return _END.join((*parts, b""))
