"""What an agent or a worker tells over HTTP: `/metrics`, `/livez`, `/readyz`.

The rule: whoever asks costs the node next to nothing, however often or slowly. Requests are served
by a bounded number of threads, none of which waits long for a silent client, nor for one that
speaks too slowly; who comes when all are busy is told so and sent away. It listens on the loopback address unless told otherwise, and tells no configuration.

    /livez    200: it works, or waits for what comes back by itself. 503: restart it.
    /readyz   200: the node has what the log held when last caught up. 503: and why not, line by line.
    /metrics  what the registry holds, as Prometheus reads it.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any, NamedTuple, Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from southbound.edge.timed import TimedReader
from southbound.errors import ConfigError, Fault

log = logging.getLogger(__name__)

THREADS_MAX = 4
REQUEST_TIMEOUT_S = 5.0
REQUEST_WHOLE_S = 30.0
_LENGTH_DIGITS_MAX = 12
_TEXT = "text/plain; charset=utf-8"
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n"
_POLL_S = 0.1
_QUEUE_MIN = 16


class Standing(Protocol):
    """How an agent or a worker stands; `reasons` are what there is against it."""

    @property
    def live(self) -> bool:
        """Whether it works, or waits for what comes back by itself."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the node has everything that it should have."""
        ...

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is amiss, in words."""
        ...


class Request(NamedTuple):
    """What was asked: the path's parts and the query's fields, decoded; `body` of a POST."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes = b""


class Reply(NamedTuple):
    """An answer in JSON."""

    status: HTTPStatus
    body: bytes


Answer = Callable[[Request], Reply | None]
"""Answers what lies beside the three paths; None: there is nothing of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen, and within what bounds. `port` 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    threads_max: int = THREADS_MAX
    body_bytes_max: int = 0


class HealthServer:
    """Serves one process; `address` tells where after `start`. `answer` may answer more paths."""

    def __init__(
        self,
        status: Callable[[], Standing],
        registry: CollectorRegistry,
        settings: ServerSettings | None = None,
        *,
        answer: Answer | None = None,
    ) -> None:
        self._status = status
        self._registry = registry
        self._settings = settings or ServerSettings()
        self._answer = answer
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The address that is listened on: host and port."""
        assert self._server is not None, "not started"
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Listen, and serve in threads of its own. Raises `ConfigError` when it cannot listen."""
        assert self._server is None, "a health server starts once"
        host, port = self._settings.host, self._settings.port
        try:
            self._server = _Server(self._settings, self._status, self._registry, self._answer)
        except (OSError, OverflowError) as error:
            fault = Fault("health address", f"{host}:{port}", f"cannot be listened on: {error}")
            raise ConfigError("no health server", [fault]) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(_POLL_S,),
            name="southbound-health",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and wait a bounded time for requests that are being served."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.drain(REQUEST_TIMEOUT_S)
        self._server = self._thread = None


class _Server(ThreadingHTTPServer):
    """Accepts in one thread, and serves each request in one of a bounded number."""

    daemon_threads = True  # a client that never ends its request cannot hold the process up
    allow_reuse_address = True

    def __init__(
        self,
        settings: ServerSettings,
        status: Callable[[], Standing],
        registry: CollectorRegistry,
        answer: Answer | None,
    ) -> None:
        self.status = status
        self.registry = registry
        self.settings = settings
        self.answer = answer
        self.request_queue_size = max(_QUEUE_MIN, settings.threads_max)
        self._free = threading.BoundedSemaphore(settings.threads_max)
        super().__init__((settings.host, settings.port), _Handler)

    def drain(self, timeout_s: float) -> None:
        """Wait until no request is being served any more, at most so long."""
        deadline_s = time.monotonic() + timeout_s
        for _ in range(self.settings.threads_max):
            self._free.acquire(timeout=max(deadline_s - time.monotonic(), 0.0))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread of its own, or say that all are busy."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self._send_away(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note a request that broke off; it concerns nobody else."""
        log.debug("a health request from %s broke off: %s", client_address, sys.exception())

    def _send_away(self, request: socket) -> None:
        try:
            request.settimeout(_POLL_S)
            request.sendall(_BUSY)
        except OSError as error:
            log.debug("a health request was turned away unheard: %s", error)
        finally:
            self.shutdown_request(request)


def _encoder(accepted: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return how metrics are written for who accepts this; a header that makes no sense is none."""
    try:
        return choose_encoder(accepted)
    except (TypeError, ValueError):
        return choose_encoder("")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S
    server_version = "southbound"
    sys_version = ""

    def setup(self) -> None:
        """Have a request's reading end, however slowly it comes."""
        super().setup()
        source = TimedReader(self.connection)
        source.begin(REQUEST_TIMEOUT_S, REQUEST_WHOLE_S)
        self.rfile = io.BufferedReader(source)

    def do_GET(self) -> None:
        """Answer one of the three paths."""
        parts = self._parts()
        if parts is None:
            return
        match parts.path:
            case "/livez":
                status = self.server.status()
                self._tell(status.live, status)
            case "/readyz":
                status = self.server.status()
                self._tell(status.live and status.ready, status)
            case "/metrics":
                encode, content_type = _encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, content_type, encode(self.server.registry))
            case _:
                self._answer_more()

    def do_POST(self) -> None:
        """Take what is handed in, where anybody takes it."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= _LENGTH_DIGITS_MAX):
            self._answer(HTTPStatus.LENGTH_REQUIRED, _TEXT, b"Content-Length is missing\n")
        elif int(length) > self.server.settings.body_bytes_max:
            text = f"at most {self.server.settings.body_bytes_max} bytes\n".encode()
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TEXT, text)
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self._answer(HTTPStatus.BAD_REQUEST, _TEXT, b"the body ended too early\n")
            else:
                self._answer_more(body)

    def _parts(self) -> SplitResult | None:
        """Return the parts of what is asked for; None where it has been answered that it is none."""
        try:
            return urlsplit(self.path)
        except ValueError as error:
            self._answer(HTTPStatus.BAD_REQUEST, _TEXT, f"{error}\n".encode())
            return None

    def _answer_more(self, body: bytes = b"") -> None:
        parts = self._parts()
        if parts is None:
            return
        path = tuple(unquote(part) for part in parts.path.strip("/").split("/"))
        query = {
            name: values[-1]
            for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        answer = self.server.answer
        reply = None if answer is None else answer(Request(self.command, path, query, body))
        if reply is None:
            text = b"there are /metrics, /livez and /readyz\n"
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, text)
        else:
            self._answer(reply.status, "application/json", reply.body)

    def do_HEAD(self) -> None:
        """Answer like GET, without the text."""
        self.do_GET()

    def _tell(self, is_well: bool, status: Standing) -> None:  # noqa: FBT001  # its one caller names it
        lines = ["ok" if is_well else "not ok", *status.reasons]
        code = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(code, _TEXT, "".join(f"{line}\n" for line in lines).encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the base's name
        """Write requests to the log only for who looks for them."""
        log.debug(format, *arguments)
