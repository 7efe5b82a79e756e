"""Nodes of the baselines: each connects, asks, and takes its part of the answer.

The rule: nothing is shared between nodes and nothing is written down; each has a connection of its
own and parses what it received. Nodes of a process come one after the other, which is the quickest way
for a machine with few cores. What a node took is judged by its count, and for a sample by its digest,
after the clock has stopped.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from loadgen.storm import documents
from loadgen.storm.bulletin import EVERYTHING, LENGTH_BYTES
from loadgen.storm.expected import Expected, digest_of_held
from loadgen.storm.formulas import REVISION
from loadgen.workloads.fleet import Fleet, FleetShape
from southbound.errors import EdgeError

_JUDGED_EVERY = 50


class Visit(NamedTuple):
    """One node's storm: seconds from its begin until it held everything, and bytes it received."""

    done_s: float
    bytes: int


class Guests:
    """A hand of a `Crew`: some nodes of the baselines."""

    def __init__(self, shape: FleetShape) -> None:
        self._fleet = Fleet(shape)
        self._began_s = self._until_s = 0.0
        self._counts: dict[int, int] = {}
        self._judged: dict[int, documents.Held] = {}

    def begin(self, timeout_s: float) -> None:
        """Start the clock of a storm that may take so long; nobody holds anything."""
        self._counts.clear()
        self._judged.clear()
        self._began_s = time.perf_counter()
        self._until_s = self._began_s + timeout_s

    def broadcast(self, port: int, hosts: Sequence[int]) -> list[Visit]:
        """Let each of these nodes fetch everything and take its part.

        Raises `EdgeError` when the server goes away, or the storm's time is over.
        """
        return [self._visit(port, i, everything=True) for i in hosts]

    def poll(self, port: int, hosts: Sequence[int]) -> list[Visit]:
        """Let each of these nodes ask for its own document; errors as above."""
        return [self._visit(port, i, everything=False) for i in hosts]

    def judge(self) -> None:
        """Compare what the storm's nodes took with what was published, after the clock was read.

        Raises `EdgeError` when it is something else.
        """
        expected = Expected(self._fleet, REVISION)
        for i, count in self._counts.items():
            host, wanted = self._fleet.host(i), expected.resources(i)
            if count != wanted:
                raise EdgeError(f"{host} took {count} resources of {wanted}", retryable=False)
        for i, held in self._judged.items():
            host = self._fleet.host(i)
            if digest_of_held(host, held) != expected.digest(i):
                raise EdgeError(f"{host} took something else than was published", retryable=False)

    def ask_unchanged(self, port: int, seconds: float) -> int:
        """Ask, on one connection, whether anything has changed, over and over; return how often."""
        host, asked = self._fleet.host(0), 0
        line = f"{host} {REVISION}\n".encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            until_s = time.perf_counter() + seconds
            while time.perf_counter() < until_s:
                connection.sendall(line)
                assert not _answer(connection), "the version has not changed"
                asked += 1
        return asked

    def close(self) -> None:
        """Nothing stays open."""

    def _visit(self, port: int, i: int, *, everything: bool) -> Visit:
        host = self._fleet.host(i)
        what = EVERYTHING if everything else host
        left_s = self._until_s - time.perf_counter()
        if left_s <= 0:
            served = len(self._counts)
            raise EdgeError(f"the time was over with {served} nodes served", retryable=True)
        with socket.create_connection(("127.0.0.1", port), timeout=left_s) as connection:
            connection.sendall(f"{what} 0\n".encode())
            data = _answer(connection)
        held = documents.take_whole(data, host) if everything else documents.take_own(data)
        visit = Visit(time.perf_counter() - self._began_s, len(data) + LENGTH_BYTES)
        if len(self._counts) % _JUDGED_EVERY == 0:
            self._judged[i] = held
        self._counts[i] = sum(map(len, held.values()))
        return visit


def _answer(connection: socket.socket) -> bytes:
    return _exactly(connection, int.from_bytes(_exactly(connection, LENGTH_BYTES)))


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        got = connection.recv_into(view[at:])
        if got == 0:
            raise EdgeError(f"the server closed after {at} of {count} bytes", retryable=True)
        at += got
    return bytes(data)
