from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry, Counter

from southbound.errors import ConfigError
from southbound.nca.health import THREADS_MAX, HealthServer, Reply, Request, ServerSettings


@dataclass
class Status:
    """How the tests' agent stands."""

    live: bool = True
    ready: bool = True
    reasons: tuple[str, ...] = ()


@pytest.fixture
def status() -> Status:
    """Return a status that a test may change."""
    return Status()


@pytest.fixture
def server(status: Status) -> Iterator[HealthServer]:
    """Return a server that listens."""
    registry = CollectorRegistry()
    Counter("things", "things counted", registry=registry).inc(3)
    server = HealthServer(lambda: status, registry)
    server.start()
    yield server
    server.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and text of an answer."""
    host, port = server.address
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_free_port_on_the_loopback_address(server: HealthServer) -> None:
    """Port 0 finds one, and nobody outside this machine can ask."""
    host, port = server.address
    assert host == "127.0.0.1"
    assert port > 0


def test_what_works_is_live_and_ready(server: HealthServer) -> None:
    """Both answer 200."""
    assert get(server, "/livez") == (200, "ok\n")
    assert get(server, "/readyz?verbose") == (200, "ok\n")


def test_what_is_not_ready_says_why(server: HealthServer, status: Status) -> None:
    """Each reason has a line; being live is another question."""
    status.ready = False
    status.reasons = ("kafka: no broker can be reached", "not caught up with the log")
    text = "kafka: no broker can be reached\nnot caught up with the log\n"
    assert get(server, "/readyz") == (503, "not ok\n" + text)
    assert get(server, "/livez") == (200, "ok\n" + text)


def test_what_has_ended_is_neither(server: HealthServer, status: Status) -> None:
    """A dead agent is not ready, whatever it was before."""
    status.live = False
    assert get(server, "/livez")[0] == 503
    assert get(server, "/readyz")[0] == 503


def test_metrics_are_those_of_the_registry(server: HealthServer) -> None:
    """Prometheus reads what was registered."""
    code, text = get(server, "/metrics")
    assert code == 200
    assert "things_total 3.0" in text


def test_other_paths_are_unknown(server: HealthServer) -> None:
    """An answer names the paths there are."""
    code, text = get(server, "/")
    assert code == 404
    assert "/readyz" in text


def test_head_answers_without_text(server: HealthServer) -> None:
    """A probe may ask for the status alone."""
    assert get(server, "/livez", method="HEAD") == (200, "")


def test_a_taken_port_is_the_callers_mistake(server: HealthServer) -> None:
    """The address is named."""
    settings = ServerSettings(port=server.address[1])
    second = HealthServer(Status, CollectorRegistry(), settings)
    with pytest.raises(ConfigError, match=r"health address: cannot be listened on"):
        second.start()


def test_silent_clients_do_not_pile_up(server: HealthServer) -> None:
    """With all threads taken, the next one hears so at once; when one is free, it is served."""
    silent = [socket.create_connection(server.address) for _ in range(THREADS_MAX)]
    try:
        wait_for_threads(THREADS_MAX)
        code, text = get(server, "/livez")
        assert (code, text) == (503, "busy\n")
    finally:
        for connection in silent:
            connection.close()
    wait_for_threads(0)
    assert get(server, "/livez")[0] == 200


def wait_for_threads(count: int) -> None:
    """Return when so many requests are being served; fail when that does not come about."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        serving = [thread for thread in threading.enumerate() if "process_request" in thread.name]
        if len(serving) == count:
            return
        time.sleep(0.01)
    pytest.fail(f"not {count} requests in time")


def test_closing_ends_all_threads(status: Status) -> None:
    """Nothing is left, and closing again does no harm."""
    server = HealthServer(lambda: status, CollectorRegistry())
    server.start()
    host, port = server.address
    assert get(server, "/livez")[0] == 200
    server.close()
    server.close()
    assert "southbound-health" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=5)


def _ask(server: HealthServer, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    connection = HTTPConnection(*server.address, timeout=10)
    try:
        connection.putrequest(method, path)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_more_paths_are_answered_by_whoever_was_handed_in(status: Status) -> None:
    """Decoded, with the query and a bounded body; what he does not know is unknown."""
    seen: list[Request] = []

    def answer(request: Request) -> Reply | None:
        seen.append(request)
        return None if request.path[0] == "no" else Reply(HTTPStatus.ACCEPTED, b"{}")

    settings = ServerSettings(body_bytes_max=3)
    server = HealthServer(lambda: status, CollectorRegistry(), settings, answer=answer)
    server.start()
    try:
        assert _ask(server, "GET", "/v1/a%2Fb?x=1&x=2", {}, b"") == 202
        assert _ask(server, "POST", "/v1", {"Content-Length": "3"}, b"abc") == 202
        assert _ask(server, "GET", "/no", {}, b"") == 404
        assert _ask(server, "POST", "/v1", {"Content-Length": "4"}, b"") == 413
        assert _ask(server, "POST", "/v1", {}, b"") == 411
        assert _ask(server, "GET", "/livez", {}, b"") == 200
    finally:
        server.close()
    assert seen[:2] == [
        Request("GET", ("v1", "a/b"), {"x": "2"}),
        Request("POST", ("v1",), {}, b"abc"),
    ]
    assert len(seen) == 3


def test_an_agent_takes_nothing_in(server: HealthServer) -> None:
    """A POST of anything is too large where nobody wants any."""
    assert _ask(server, "POST", "/v1", {"Content-Length": "1"}, b"") == 413
    assert _ask(server, "POST", "/v1", {"Content-Length": "0"}, b"") == 404
