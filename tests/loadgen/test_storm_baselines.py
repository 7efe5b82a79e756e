"""The baselines' server and nodes: every node gets its own, and who does not is found out."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from loadgen.storm.bulletin import Bulletin, Opened
from loadgen.storm.guests import Guests, _answer
from loadgen.workloads.fleet import FleetShape
from southbound.errors import EdgeError


def _shape(rules: int = 4, groups_max: int = 5) -> FleetShape:
    return FleetShape(hosts=30, vms_per_host=4, rules=rules, groups_max=groups_max)


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Return a server that hands out the fleet."""
    bulletin = Bulletin(_shape())
    try:
        yield bulletin.open()
    finally:
        bulletin.close()


def _guests(shape: FleetShape, timeout_s: float = 20.0) -> Guests:
    guests = Guests(shape)
    guests.begin(timeout_s)
    return guests


def test_all_nodes_are_served_both_ways(opened: Opened) -> None:
    """Each node of a broadcast receives the whole document; polling sends it its own, which is less."""
    guests = _guests(_shape())
    whole = guests.broadcast(opened.port, range(30))
    guests.judge()
    guests.begin(20.0)
    own = [*guests.poll(opened.port, range(10)), *guests.poll(opened.port, range(10, 30))]
    guests.judge()
    assert {visit.bytes - 8 for visit in whole} == {opened.whole_bytes}
    assert sum(visit.bytes for visit in own) < sum(visit.bytes for visit in whole) / 3
    for visits in (whole, own):
        times = [visit.done_s for visit in visits]
        assert len(times) == 30
        assert times[0] > 0
        assert times == sorted(times)


def test_who_has_the_latest_version_is_sent_nothing(opened: Opened) -> None:
    """Questions about an unchanged version are answered, many of them, with no body."""
    assert _guests(_shape()).ask_unchanged(opened.port, 0.1) > 10


@pytest.mark.parametrize("shape", [_shape(rules=5), _shape(groups_max=1)])
def test_a_node_that_expects_more_or_less_is_not_satisfied(
    opened: Opened, shape: FleetShape
) -> None:
    """Another number of resources than was published fails the run."""
    guests = _guests(shape)
    guests.poll(opened.port, range(30))
    with pytest.raises(EdgeError, match="resources of"):
        guests.judge()


def test_a_node_that_took_something_else_is_found_out(opened: Opened) -> None:
    """As many resources of another content do not pass: their digest differs."""
    guests = _guests(_shape())
    guests.poll(opened.port, range(3))
    (held,) = guests._judged.values()
    held[""][0] = msgspec.structs.replace(held[""][0], revision=2)
    with pytest.raises(EdgeError, match="something else"):
        guests.judge()


def test_a_server_that_goes_away_is_an_error() -> None:
    """An answer that ends early is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        client = socket.create_connection(server.getsockname())
        with client, server.accept()[0] as there:
            there.sendall((100).to_bytes(8) + b"not all of it")
            there.shutdown(socket.SHUT_WR)
            with pytest.raises(EdgeError, match="13 of 100"):
                _answer(client)


def test_time_that_is_over_ends_the_storm(opened: Opened) -> None:
    """A storm that takes longer than it may says how far it came."""
    with pytest.raises(EdgeError, match="0 nodes served"):
        _guests(_shape(), 0.0).poll(opened.port, range(30))
