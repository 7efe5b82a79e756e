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
        self._expected = Expected(self._fleet, REVISION)

    def broadcast(self, port: int, hosts: Sequence[int], timeout_s: float) -> list[Visit]:
        """Let each of these nodes fetch everything and take its part.

        Raises `EdgeError` when one did not get what it must hold, or the time is over.
        """
        return self._storm(port, hosts, timeout_s, everything=True)

    def poll(self, port: int, hosts: Sequence[int], timeout_s: float) -> list[Visit]:
        """Let each of these nodes ask for its own document; errors as above."""
        return self._storm(port, hosts, timeout_s, everything=False)

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

    def _storm(
        self, port: int, hosts: Sequence[int], timeout_s: float, *, everything: bool
    ) -> list[Visit]:
        visits: list[Visit] = []
        judged: dict[int, documents.Held] = {}
        counts: list[int] = []
        began_s = time.perf_counter()
        for number, i in enumerate(hosts):
            host = self._fleet.host(i)
            what = EVERYTHING if everything else host
            with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
                connection.sendall(f"{what} 0\n".encode())
                data = _answer(connection)
            held = documents.take_whole(data, host) if everything else documents.take_own(data)
            now_s = time.perf_counter() - began_s
            visits.append(Visit(now_s, len(data) + LENGTH_BYTES))
            counts.append(sum(map(len, held.values())))
            if number % _JUDGED_EVERY == 0:
                judged[i] = held
            if now_s > timeout_s:
                raise EdgeError(
                    f"{number + 1} of {len(hosts)} nodes served in {timeout_s:g} s", retryable=True
                )
        self._judge(hosts, counts, judged)
        return visits

    def _judge(
        self, hosts: Sequence[int], counts: Sequence[int], judged: dict[int, documents.Held]
    ) -> None:
        for i, count in zip(hosts, counts, strict=True):
            host, wanted = self._fleet.host(i), self._expected.resources(i)
            if count != wanted:
                raise EdgeError(f"{host} took {count} resources of {wanted}", retryable=False)
            if i in judged and digest_of_held(host, judged[i]) != self._expected.digest(i):
                raise EdgeError(f"{host} took something else than was published", retryable=False)


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
