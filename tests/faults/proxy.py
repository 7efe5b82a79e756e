"""A TCP proxy whose link can be slow, narrow, cut one way, or reset.

The rule: what it takes from one side it hands on in order or not at all; a direction that is cut
swallows nothing, it stands still, as a network does that drops every packet of it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Literal, Self

from southbound.local.ports import LOOPBACK

Way = Literal["up", "down"]
_CHUNK = 16_384
_LOOK_S = 0.02


class Proxy:
    """Hands connections on to a port of this machine. `up` leads to the server, `down` to clients.

    `delay_s` holds each piece back, `bytes_per_s` bounds each connection's ways (0: unbounded),
    `cut` names the ways that stand still, and while `refuses` no connection is taken.
    """

    def __init__(self, leads_to: int) -> None:
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.cut: frozenset[Way] = frozenset()
        self.refuses = False
        self._leads_to = leads_to
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        self._thread.join(5)

    def heal(self) -> None:
        """Let everything through again."""
        self.delay_s, self.bytes_per_s = 0.0, 0
        self.cut, self.refuses = frozenset(), False

    def reset(self) -> None:
        """Break every connection, as by a reset from the other side."""
        with self._lock:
            connections, self._open = self._open, set()
        for one in connections:
            _reset(one)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                _reset(client)
                continue
            try:
                server = socket.create_connection((LOOPBACK, self._leads_to), timeout=2)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            ways: tuple[tuple[socket.socket, socket.socket, Way], ...] = (
                (client, server, "up"),
                (server, client, "down"),
            )
            for way in ways:
                threading.Thread(target=self._hand_on, args=way, daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        try:
            # Either side may have gone: then both do.
            with contextlib.suppress(OSError):
                self._pump(source, sink, way)
        finally:
            with self._lock:
                self._open -= {source, sink}
            for one in (source, sink):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _pump(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        while data := source.recv(_CHUNK):
            if self.delay_s:
                time.sleep(self.delay_s)
            if self.bytes_per_s:
                time.sleep(len(data) / self.bytes_per_s)
            while way in self.cut and not self._closing.is_set():
                time.sleep(_LOOK_S)
            sink.sendall(data)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
