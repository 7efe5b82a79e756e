"""The server of the baselines: hands out the document with everything, and each node its own.

The rule: what a control plane would have done before the storm is done before the clock starts. Parts
are encoded, the document with everything lies ready; a node's own document is put together from
finished parts when it is asked for. One thread with asyncio: no node waits for another's thread.

A request is a line `<what> <version>`, with `*` or a host's id; the answer is a length (8 bytes, big
endian) and so many bytes: none when that version is still the latest. Payload is counted, headers of
TCP and IP are not.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple

from loadgen.storm import documents
from loadgen.storm.formulas import REVISION
from loadgen.workloads.fleet import Fleet, FleetShape

EVERYTHING = "*"
LENGTH_BYTES = 8
_START_S = 60.0


class Opened(NamedTuple):
    """Where the server listens, and its document with everything: bytes, and seconds to encode it."""

    port: int
    whole_bytes: int
    encode_s: float


class Bulletin:
    """A hand of a `Crew`: one server."""

    def __init__(self, shape: FleetShape) -> None:
        self._fleet = Fleet(shape)
        self._hosts: documents.Parts = {}
        self._vpcs: documents.Parts = {}
        self._vpcs_of: dict[str, list[str]] = {}
        self._whole = b""
        self._port: Future[int] = Future()
        self._stop: Callable[[], object] | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def open(self) -> Opened:
        """Encode everything and begin to serve on a free port of the loopback."""
        fleet = self._fleet
        self._hosts = documents.raw(
            {
                fleet.host(i): documents.part(documents.of_host(fleet, i, REVISION))
                for i in range(fleet.hosts)
            }
        )
        self._vpcs = documents.raw(
            {
                fleet.vpc(j): documents.part(documents.of_vpc(fleet, j, REVISION))
                for j in range(fleet.vpcs)
            }
        )
        self._vpcs_of = {host: documents.vpcs_of(part) for host, part in self._hosts.items()}
        began_s = time.perf_counter()
        self._whole = documents.write_whole(REVISION, self._hosts, self._vpcs)
        encode_s = time.perf_counter() - began_s
        self._thread.start()
        return Opened(self._port.result(_START_S), len(self._whole), encode_s)

    def close(self) -> None:
        """Stop serving."""
        if self._stop is not None:
            self._stop()
            self._thread.join()

    async def _main(self) -> None:
        """Serve until told to stop; whoever is still connected then is cut off."""
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(over.set)
        # Every node may ask in the same moment.
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4_096)
        async with server:
            self._port.set_result(server.sockets[0].getsockname()[1])
            await over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                what, version = line.decode().split()
                body = b"" if int(version) == REVISION else self._document(what)
                writer.write(len(body).to_bytes(LENGTH_BYTES))
                writer.write(body)
                await writer.drain()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _document(self, what: str) -> bytes:
        if what == EVERYTHING:
            return self._whole
        vpcs = {vpc: self._vpcs[vpc] for vpc in self._vpcs_of[what]}
        return documents.write_own(REVISION, self._hosts[what], vpcs)
