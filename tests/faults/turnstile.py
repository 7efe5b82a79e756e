"""A gate for ten thousand connections: it hands them on, or resets them, and writes down each try.

    python -m tests.faults.turnstile PORT LEADS_TO

The rule: one thread waits for all connections of a process, and takes those that have come before it
carries anything, so that the times that it notes are those of the clients. A try is known by the name
that its first request carries, which is read of those too that are then refused. A process may open
only so many files; so several of these listen on one port, and the kernel deals connections out.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time

import msgspec

from southbound.local.ports import LOOPBACK
from tests.faults.orderly import Orderly, asked
from tests.faults.tries import Try

_BACKLOG = 4_096
_TAKEN_MAX = 512
_CHUNK = 65_536
_HELD_MAX = 4 << 20
_HEADER = struct.Struct(">ihhih")
"""Of a request of Kafka's: size, key, version, number, and the length of the client's id."""


def name_of(request: bytes) -> str:
    """Return the client id that a request of Kafka's carries, "" when it is too short to tell."""
    if len(request) < _HEADER.size:
        return ""
    *_, length = _HEADER.unpack_from(request)
    return request[_HEADER.size :][: max(length, 0)].decode(errors="replace")


class _End:
    """One end of a connection. `to` is the end that it hands on to; `held` waits to leave by it."""

    __slots__ = ("began_s", "held", "is_new", "socket", "to")

    def __init__(self, connection: socket.socket, *, is_new: bool) -> None:
        self.socket = connection
        self.is_new = is_new
        self.began_s = time.monotonic()
        self.to: _End | None = None
        self.held = bytearray()


class Gate:
    """One process of a gate. `tries` are those since they were last asked for."""

    def __init__(self, port: int, leads_to: int) -> None:
        self.refuses = False
        self.tries: list[Try] = []
        self._leads_to = leads_to
        self._ends: dict[int, _End] = {}
        self._poll = select.epoll()
        self._listener = listening_on(port)
        self._listener.listen(_BACKLOG)
        for number in (self._listener.fileno(), sys.stdin.fileno()):
            self._poll.register(number, select.EPOLLIN)

    def serve(self) -> None:
        """Serve until the orders end."""
        # Unbuffered: what waits in a buffer wakes nobody.
        orders = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115  # a descriptor has no path, and stays open
        while True:
            ready = dict(self._poll.poll())
            if self._listener.fileno() in ready:
                self._take()
            if sys.stdin.fileno() in ready:
                line = orders.readline()
                if not line:
                    return
                (order,) = msgspec.json.decode(line, type=tuple[str])
                answer = msgspec.json.encode(self._obey(order)) + b"\n"
                sys.stdout.buffer.write(answer)
                sys.stdout.buffer.flush()
            for number, events in ready.items():
                if (end := self._ends.get(number)) is not None:
                    self._carry(end, events)

    def _obey(self, order: str) -> list[Try]:
        """Do what is ordered; `tell` returns, and forgets, the tries."""
        told: list[Try] = []
        match order:
            case "refuse":
                self.refuses = True
                for end in list(self._ends.values()):
                    self._reset(end)
            case "heal":
                self.refuses = False
            case "tell":
                told, self.tries = self.tries, []
            case _:
                raise AssertionError(order)
        return told

    def _take(self) -> None:
        """Take those that have come, up to so many that orders and answers have their turn."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_TAKEN_MAX):
                connection, _ = self._listener.accept()
                self._add(_End(connection, is_new=True))

    def _add(self, end: _End) -> None:
        end.socket.setblocking(False)
        end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ends[end.socket.fileno()] = end
        self._poll.register(end.socket, select.EPOLLIN)

    def _carry(self, end: _End, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._send(end)
            if events & ~select.EPOLLOUT:
                self._receive(end)
        except BlockingIOError:
            return
        except OSError:
            self._reset(end)

    def _receive(self, end: _End) -> None:
        data = end.socket.recv(_CHUNK)
        if end.is_new:
            end.is_new = False
            self.tries.append(Try(end.began_s, name_of(data), self.refuses))
            if data and not self.refuses:
                self._connect(end)
        if not data or end.to is None:
            self._reset(end)
            return
        end.to.held += data
        self._send(end.to)

    def _connect(self, client: _End) -> None:
        server = _End(socket.socket(socket.AF_INET, socket.SOCK_STREAM), is_new=False)
        self._add(server)
        server.to, client.to = client, server
        server.socket.connect_ex((LOOPBACK, self._leads_to))

    def _send(self, end: _End) -> None:
        """Send what leaves by an end; while much waits there, its other end is not read from."""
        with contextlib.suppress(BlockingIOError):
            while end.held:
                del end.held[: end.socket.send(end.held)]
        self._watch(end)
        if end.to is not None:
            self._watch(end.to)

    def _watch(self, end: _End) -> None:
        full = end.to is not None and len(end.to.held) > _HELD_MAX
        reads = 0 if full else select.EPOLLIN
        self._poll.modify(end.socket, reads | (select.EPOLLOUT if end.held else 0))

    def _reset(self, end: _End) -> None:
        """Break a connection, as by a reset from the other side."""
        for one in (end, end.to):
            if one is None or self._ends.pop(one.socket.fileno(), None) is None:
                continue
            self._poll.unregister(one.socket)
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.socket.close()


class Turnstile:
    """A handle of a whole gate, in as many processes as it needs for its connections."""

    def __init__(self, leads_to: int, connections: int) -> None:
        # It holds the port, and takes nothing: it does not listen.
        self._holds = listening_on(0)
        self.port: int = self._holds.getsockname()[1]
        count = 1 + connections * 2 // (os.sysconf("SC_OPEN_MAX") - 1_000)
        words = ("tests.faults.turnstile", str(self.port), str(leads_to))
        self._gates = [Orderly(*words) for _ in range(count)]
        # Whoever has answered listens.
        self.tries()

    @property
    def pids(self) -> list[int]:
        """The processes that it is made of."""
        return [one.pid for one in self._gates]

    def refuse(self) -> None:
        """Reset every connection, and whatever comes."""
        asked(self._gates, list[Try], "refuse")

    def heal(self) -> None:
        """Let everything through again."""
        asked(self._gates, list[Try], "heal")

    def tries(self) -> list[Try]:
        """Return the tries since this was last asked."""
        return [one for told in asked(self._gates, list[Try], "tell") for one in told]

    def close(self) -> None:
        """Break everything, and end."""
        for gate in self._gates:
            gate.end()
        self._holds.close()


def listening_on(port: int) -> socket.socket:
    """Return a socket on a port that several share; it does not listen yet."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setblocking(False)
    made.bind((LOOPBACK, port))
    return made


if __name__ == "__main__":
    Gate(int(sys.argv[1]), int(sys.argv[2])).serve()
