"""What an agent or a worker tells over HTTP: `/metrics`, `/livez`, `/readyz`.

The rule: whoever asks costs the node next to nothing, however often or slowly. Requests are served
by a bounded number of threads, none of which waits long for a silent client; who comes when all are
busy is told so and sent away. It listens on the loopback address unless told otherwise, and tells no configuration.

    /livez    200: it works, or waits for what comes back by itself. 503: restart it.
    /readyz   200: the node has what the log held when last caught up. 503: and why not, line by line.
    /metrics  what the registry holds, as Prometheus reads it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any, Protocol
from urllib.parse import urlsplit

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from southbound.errors import ConfigError, Fault

log = logging.getLogger(__name__)

THREADS_MAX = 4
REQUEST_TIMEOUT_S = 5.0
_TEXT = "text/plain; charset=utf-8"
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n"
_POLL_S = 0.1


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


class HealthServer:
    """Serves one process. `port` 0 takes a free one; `address` tells it after `start`."""

    def __init__(
        self,
        status: Callable[[], Standing],
        registry: CollectorRegistry,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._status = status
        self._registry = registry
        self._wanted = (host, port)
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
        host, port = self._wanted
        try:
            self._server = _Server((host, port), self._status, self._registry)
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
    request_queue_size = 16

    def __init__(
        self,
        address: tuple[str, int],
        status: Callable[[], Standing],
        registry: CollectorRegistry,
    ) -> None:
        self.status = status
        self.registry = registry
        self._free = threading.BoundedSemaphore(THREADS_MAX)
        super().__init__(address, _Handler)

    def drain(self, timeout_s: float) -> None:
        """Wait until no request is being served any more, at most so long."""
        deadline_s = time.monotonic() + timeout_s
        for _ in range(THREADS_MAX):
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


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S
    server_version = "southbound"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the three paths."""
        match urlsplit(self.path).path:
            case "/livez":
                status = self.server.status()
                self._tell(status.live, status)
            case "/readyz":
                status = self.server.status()
                self._tell(status.live and status.ready, status)
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, content_type, encode(self.server.registry))
            case _:
                text = b"there are /metrics, /livez and /readyz\n"
                self._answer(HTTPStatus.NOT_FOUND, _TEXT, text)

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
