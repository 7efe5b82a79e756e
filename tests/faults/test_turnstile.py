from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from southbound.edge.kafka import new_consumer, one_of_many
from southbound.local.ports import LOOPBACK
from southbound.partitioning.topology import Cluster
from tests.faults.tries import Try, intervals_s, quantile
from tests.faults.turnstile import Turnstile, name_of

pytestmark = pytest.mark.subset

REQUEST = struct.pack(">ihhih", 11, 18, 3, 1, 3) + b"bob"


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says what it hears; yields its port."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                # The gate may reset it.
                with client, contextlib.suppress(ConnectionResetError):
                    while data := client.recv(1 << 16):
                        client.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture
def gate(echo: int) -> Iterator[Turnstile]:
    """A gate that leads to it."""
    made = Turnstile(echo, 10)
    yield made
    made.close()


def test_it_hands_on_and_refuses(gate: Turnstile) -> None:
    """What goes through comes out whole; a refusal resets what is there and what comes."""
    much = REQUEST + bytes(3 << 20)
    with socket.create_connection((LOOPBACK, gate.port), 5) as client:
        threading.Thread(target=client.sendall, args=(much,), daemon=True).start()
        back = bytearray()
        while len(back) < len(much):
            back += client.recv(1 << 16)
        assert back == much
        gate.refuse()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with socket.create_connection((LOOPBACK, gate.port), 5) as client:
        client.sendall(REQUEST)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    told = gate.tries()
    assert [(one.name, one.refused) for one in told] == [("bob", False), ("bob", True)]
    assert told[0].at_s <= told[1].at_s <= time.monotonic()
    assert gate.tries() == []


def test_a_request_tells_who_it_is_from() -> None:
    """One that is cut off in its head does not."""
    assert name_of(REQUEST) == "bob"
    assert name_of(REQUEST[:9]) == ""


def test_many_try_at_times_of_their_own(gate: Turnstile) -> None:
    """Cut off together, they do not try together, nor all the time."""
    gate.refuse()
    cluster = Cluster(id="c1", az="az", bootstrap=(f"{LOOPBACK}:{gate.port}",))
    clients = [new_consumer(cluster, f"client-{n}", one_of_many()) for n in range(12)]
    tries: list[Try] = []
    end_s = time.monotonic() + 4.0
    try:
        while time.monotonic() < end_s:
            for client in clients:
                client.poll(0.01)
        tries = gate.tries()
    finally:
        for client in clients:
            client.close()
    assert 12 < len(tries) < 12 * 4 * 5
    # The first tries go together; from then on each has a wait of its own.
    waits = intervals_s(tries)
    assert quantile(waits, 0.5) > 0.2
    assert quantile(waits, 0.9) - quantile(waits, 0.1) > 0.1
