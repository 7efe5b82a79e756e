"""A primary and its asynchronous replica, behind doors that a test can cut and turn.

The rule: nobody speaks to a server directly. Clients come through a door that leads to what they
take for the one Redis, the replica follows its primary through another; a cut door is a partition:
both servers run on, and what one of them acknowledges the other never hears of. (A stopped process
would get everything that was buffered for it when it is continued.)
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from southbound.directory.keys import PREFIX, bucket_of, parts_of
from southbound.local.ports import LOOPBACK, free_ports
from southbound.local.redis import RedisServer, RedisSettings, find_redis
from tests.live.directory_kit import eventually

_CHUNK = 65_536
_NOWHERE = 0


class Door:
    """Hands connections on to a port of this machine; to nobody while it is cut."""

    def __init__(self, leads_to: int) -> None:
        self._leads_to = leads_to
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address that clients are told."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def lead_to(self, port: int) -> None:
        """Break what goes through it, and lead whoever comes to another port from now on."""
        with self._lock:
            self._leads_to = port
            broken, self._open = self._open, set()
        for one in broken:
            # `shutdown` wakes the thread that reads from it, which closes it.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break what goes through it; whoever comes is turned away."""
        self.lead_to(_NOWHERE)

    def close(self) -> None:
        """Break everything, and listen no more."""
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                coming, _ = self._listener.accept()
            except OSError:
                return
            going = self._pair(coming)
            if going is not None:
                for ends in ((coming, going), (going, coming)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pair(self, coming: socket.socket) -> socket.socket | None:
        """Return a connection to where the door leads now, noted so that a cut finds both."""
        with self._lock:
            try:
                if self._leads_to == _NOWHERE:
                    raise ConnectionRefusedError
                going = socket.create_connection((LOOPBACK, self._leads_to), 5.0)
            except OSError:
                coming.close()
                return None
            for one in (coming, going):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {coming, going}
        return going

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                sink.sendall(data)
        except OSError:
            data = b""
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


class RedisPair:
    """`primary` is written to; `replica` follows it through `link`. Clients come through `front`."""

    def __init__(self, primary: RedisServer, replica: RedisServer, link: Door, front: Door) -> None:
        self.primary = primary
        self.replica = replica
        self.link = link
        self.front = front

    def wait_level(self) -> None:
        """Wait until the replica has everything that the primary has acknowledged."""
        with _client(self.primary) as primary, _client(self.replica) as replica:

            def is_level() -> bool:
                there, here = primary.info("replication"), replica.info("replication")
                return bool(
                    here.get("master_link_status") == "up"
                    and here["slave_repl_offset"] >= there["master_repl_offset"]
                )

            eventually(is_level, saying=lambda: replica.info("replication"))

    def promote(self) -> None:
        """Make the replica, cut off by now, a primary of its own with what it has."""
        self.link.cut()
        self._follow(self.replica, None)
        self.primary, self.replica = self.replica, self.primary

    def take_over(self) -> None:
        """Lead the clients to who is the primary now."""
        self.front.lead_to(self.primary.port)

    def rejoin(self) -> None:
        """Let who was the primary forget what it has, and follow who is."""
        self.link.lead_to(self.primary.port)
        self._follow(self.replica, self.link.port)
        self.wait_level()

    def _follow(self, server: RedisServer, port: int | None) -> None:
        whom = ("NO", "ONE") if port is None else (LOOPBACK, port)
        with _client(server) as client:
            client.execute_command("REPLICAOF", *whom)  # type: ignore[no-untyped-call]

    def row(self, server: RedisServer, text: str) -> str | None:
        """Return a row of the directory as one of the servers has it."""
        with _client(server) as client:
            found = client.hget(PREFIX + bucket_of(text), parts_of(text)[1])
        assert found is None or isinstance(found, str)
        return found


@contextmanager
def _client(server: RedisServer) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(server.url, decode_responses=True)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def redis_pair(folder: Path) -> Iterator[RedisPair]:
    """Start a primary and its replica; end both."""
    program = find_redis(os.environ)
    with ExitStack() as stack:
        primary = _started(stack, program, folder / "primary", {})
        link = Door(primary.port)
        stack.callback(link.close)
        front = Door(primary.port)
        stack.callback(front.close)
        follows = {"replicaof": f"{LOOPBACK} {link.port}"}
        replica = _started(stack, program, folder / "replica", follows)
        pair = RedisPair(primary, replica, link, front)
        pair.wait_level()
        yield pair


def _started(
    stack: ExitStack, program: Path, folder: Path, overrides: dict[str, str]
) -> RedisServer:
    # What they hold need not outlive them, and a replica shall not wait for others to come.
    settings = RedisSettings(
        overrides={"appendonly": "no", "repl-diskless-sync-delay": "0", **overrides}
    )
    (port,) = free_ports(1)
    server = RedisServer(name=folder.name, directory=folder, port=port, settings=settings)
    server.start(program)
    stack.callback(server.daemon.stop, settings.stop_timeout_s)
    server.wait_ready()
    return server
