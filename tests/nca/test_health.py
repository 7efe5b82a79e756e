from __future__ import annotations

import contextlib
import re
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
from southbound.nca import health
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


def _spoken(server: HealthServer, data: bytes) -> bytes:
    """Say something raw to a server, and return what it answers until it hangs up."""
    with socket.create_connection(server.address, 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


RAW = {
    "no request": b"\0\xff\r\n\r\n",
    "an unknown verb": b"BREW / HTTP/1.1\r\n\r\n",
    "a version that is none": b"GET / HTTP/9\xb2\r\n\r\n",
    "a path that is no address": b"GET //[ HTTP/1.1\r\n\r\n",
    "a posted path that is no address": b"POST //[ HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "a length of another alphabet": b"POST /x HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n",
    "a length of many digits": b"POST /x HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "a negative length": b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a body that ends too early": b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
    "a long line": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "an odd Accept": b"GET /metrics HTTP/1.1\r\nAccept: \xff;version=;q=x,,;\r\n\r\n",
    "percents": b"GET /%00/%ff/%zz?%=%&&&a=%ff HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", RAW)
def test_whoever_speaks_nonsense_is_answered(status: Status, name: str) -> None:
    """Not with silence: a status says whose mistake it is, and the next one is served."""
    settings = ServerSettings(body_bytes_max=100)
    server = HealthServer(lambda: status, CollectorRegistry(), settings, answer=lambda _: None)
    server.start()
    try:
        answer = _spoken(server, RAW[name])
        assert re.match(rb"HTTP/1\.0 (200|4\d\d|501|505) |<!DOCTYPE", answer), answer
        assert get(server, "/livez") == (200, "ok\n")
    finally:
        server.close()


def test_who_speaks_byte_by_byte_is_left_in_the_end(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then renews no patience: a thread is free again after the whole time."""
    monkeypatch.setattr(health, "REQUEST_WHOLE_S", 0.3)
    server = HealthServer(lambda: status, CollectorRegistry(), ServerSettings(threads_max=1))
    server.start()
    try:
        with socket.create_connection(server.address, 10) as slow:
            until_s = time.monotonic() + 10
            with contextlib.suppress(OSError):
                while time.monotonic() < until_s:
                    slow.sendall(b"G")
                    time.sleep(0.02)
            assert time.monotonic() < until_s, "it was listened to for ever"
        assert get(server, "/livez") == (200, "ok\n")
    finally:
        server.close()


@pytest.mark.parametrize(
    "accepted",
    ["application/openmetrics-text; version=x", "text/plain; version=1.0.*", ";;;=,", "\xff"],
)
def test_metrics_are_told_whatever_is_accepted(server: HealthServer, accepted: str) -> None:
    """A header that makes no sense is none."""
    connection = HTTPConnection(*server.address, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": accepted})
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"things" in answer.read()
    connection.close()
