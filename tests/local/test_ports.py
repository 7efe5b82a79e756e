import random
import socket

from southbound.local import ports


def test_free_ports_are_different_and_free() -> None:
    """As many as asked for, no two alike, and a server could listen on each."""
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert all(ports.is_free(port) for port in found)


def test_free_ports_are_outside_the_range_of_outgoing_connections() -> None:
    """The system would hand such a port to a client while its server is down."""
    with socket.socket() as listener, socket.socket() as client:
        listener.bind((ports.LOOPBACK, 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        outgoing = client.getsockname()[1]
    assert max(ports.free_ports(50)) < 32_768 <= outgoing


def test_who_shares_a_seed_shares_no_ports() -> None:
    """Processes that begin alike ask at the same time, and each binds its ports only later."""
    found = set()
    for _ in range(5):
        random.seed(7)
        found.update(ports.free_ports(1))
    assert len(found) > 1


def test_no_ports_asked_for_are_no_ports() -> None:
    """A fleet that does not grow needs none."""
    assert ports.free_ports(0) == []


def test_a_listener_makes_its_port_taken_and_answering() -> None:
    """And its end makes it free and silent again."""
    (port,) = ports.free_ports(1)
    assert not ports.answers(port)
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, port))
        listener.listen(1)
        assert not ports.is_free(port)
        assert ports.answers(port)
    assert ports.is_free(port)
