"""The service over HTTP, asked by its own client: a tracker without clusters, fed by hand."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from southbound.errors import ConfigError, EdgeError
from southbound.nca.health import HealthServer
from southbound.resources import Changeset, Resource, host_scope, vpc_scope
from southbound.tracker.client import TrackerClient
from southbound.tracker.process import ListenSettings, serve
from southbound.tracker.service import TrackerService
from southbound.tracker.store import Presence
from southbound.tracker.summary import Summary
from tests.tracker.desk import FAILED, PENDING, inventory, line, of_vpc, port, read, report, service

RULE = of_vpc("v", "security_group_rule", "r")


_ZERO = (
    b'{"changesets": [{"id": "c", "sent_us": 1, "parts":'
    b' [{"class": "host", "scope": "h", "resources": [["port", "p", 0]]}]}]}'
)


class Desk:
    """A tracker, its server, and a client that asks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        """Start it on what the folder holds."""
        self.service: TrackerService = service(self.folder)
        self.server: HealthServer = serve(self.service, ListenSettings())
        self.url = "http://{}:{}".format(*self.server.address)
        self.client = TrackerClient(self.url)

    def stop(self) -> None:
        """Stop it in order."""
        self.service.bells.close()
        self.server.close()
        self.service.close()

    def status_of(self, path: str, method: str = "GET", body: bytes | None = None) -> int:
        """Return the status of one request."""
        connection = http.client.HTTPConnection(*self.server.address, timeout=10)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Return a running desk."""
    made = Desk(tmp_path)
    yield made
    made.stop()


def _port(host: str, revision: int = 1) -> Resource:
    return Resource(host_scope(host), "port", "p", revision, {"vpc_id": "v"})


def _rule(revision: int = 1) -> Resource:
    return Resource(vpc_scope("v"), "security_group_rule", "r", revision, {})


def test_a_host_tells_what_stands_on_it(desk: Desk) -> None:
    """Revision, since when, by which changeset; what failed, and why; what was never heard of: None."""
    assert desk.client.host("h/1") is None
    desk.service.taken(read(report("h/1", line(port("h/1"), 3, at_us=10, changeset="a"))))
    fails = line(port("h/1"), 4, FAILED, at_us=20, changeset="b", detail="no room")
    desk.service.taken(read(report("h/1", fails)))
    found = desk.client.host("h/1")
    assert found is not None
    assert found.inventory_us == 0
    (one,) = found.resources
    assert (one.scope, one.kind, one.id) == ("host:h/1", "port", "p")
    assert (one.state, one.revision, one.since_us, one.changeset) == ("failed", 3, 10, "a")
    assert (one.open_revision, one.open_changeset, one.why) == (4, "b", "no room")
    desk.service.taken(read(inventory("h/1", 30)))
    emptied = desk.client.host("h/1")
    assert emptied is not None
    assert (emptied.resources, emptied.inventory_us) == ((), 30)


def test_a_gate_opens_as_soon_as_it_may(desk: Desk) -> None:
    """A long wait ends with the report, not with its time; parked is not enough."""
    waits = line(port("h"), 2, PENDING, detail="waits for vpc:v/vpc/v")
    desk.service.taken(read(report("h", waits)))
    shut = desk.client.gate("h", "port", "p", timeout_s=0)
    assert (shut.outcome, shut.ready) == ("pending", False)
    assert "vpc:v/vpc/v" in shut.why
    later = threading.Timer(
        0.1,
        lambda: desk.service.taken(read(report("h", line(port("h"), 2, at_us=9, changeset="c")))),
    )
    later.start()
    begun_s = time.monotonic()
    gate = desk.client.gate("h", "port", "p", revision=2, timeout_s=30)
    assert gate.ready
    assert gate.changeset == "c"
    assert time.monotonic() - begun_s < 10
    later.join()
    assert desk.client.gate("h", "port", "p", revision=3, timeout_s=0.01).outcome == "older"
    assert desk.client.gate("nobody", "port", "p", timeout_s=0).outcome == "unknown"
    assert desk.status_of("/v1/hosts/h/gate?kind=port&id=p") == 200
    assert desk.status_of("/v1/hosts/h/gate?kind=port&id=p&revision=9") == 504


def test_an_announced_changeset_is_resolved(desk: Desk) -> None:
    """Who follows the VPC when it is accepted is expected, and named until it has answered."""
    here = [Presence("v", "a", is_here=True), Presence("v", "b", is_here=True)]
    desk.service.taken(read(presences=here))
    desk.client.announce([Changeset("rule", (_rule(),)), Changeset("launch", (_port("a"),))])
    assert desk.client.settle(["rule", "launch", "stranger"], {}) == ("stranger",)
    found = desk.client.changeset("launch")
    assert found is not None
    assert (found.standing, found.settled, found.silent) == ("accepted", False, ("a",))
    desk.service.taken(read(report("a", line(RULE, 1, at_us=9), line(port("a"), 1, at_us=9))))
    launch = desk.client.changeset("launch", timeout_s=20)
    assert launch is not None
    assert launch.complete
    rule = _expected(desk, "rule", "b")
    assert rule.applied == ("a",)
    desk.service.taken(read(report("b", line(RULE, 1, FAILED, at_us=9, detail="full"))))
    settled = desk.client.changeset("rule", timeout_s=20)
    assert settled is not None
    assert settled.settled
    assert "full" in settled.failed["b"]


def test_a_restart_keeps_every_answer(desk: Desk) -> None:
    """Hosts, settled and open changesets; and what comes after goes on."""
    desk.service.taken(read(presences=[Presence("v", "a", is_here=True)]))
    desk.client.announce([Changeset("rule", (_rule(),)), Changeset("launch", (_port("a"),))])
    desk.client.settle(["rule", "launch"], {})
    desk.service.taken(read(report("a", line(port("a"), 1, at_us=9, changeset="launch"))))
    wanted = [desk.client.host("a"), desk.client.changeset("launch"), _expected(desk, "rule", "a")]
    desk.stop()
    desk.start()
    found = [desk.client.host("a"), desk.client.changeset("launch"), desk.client.changeset("rule")]
    assert found == wanted
    desk.service.taken(read(report("a", line(RULE, 1, at_us=9))))
    rule = desk.client.changeset("rule", timeout_s=20)
    assert rule is not None
    assert rule.complete


def _expected(desk: Desk, id: str, silent: str) -> Summary:
    """Return a changeset once it is known who must apply it, and one of them has said nothing."""
    end_s = time.monotonic() + 20
    while True:
        found = desk.client.changeset(id)
        assert found is not None
        if found.silent == (silent,):
            return found
        assert time.monotonic() < end_s, found


def test_what_settled_before_it_was_said_to_be_accepted(desk: Desk) -> None:
    """Agents are quick; the acceptance is written all the same."""
    desk.client.announce([Changeset("launch", (_port("a"),))])
    desk.service.taken(read(report("a", line(port("a"), 1, at_us=9))))
    assert desk.client.settle(["launch"], {}) == ()
    found = desk.client.changeset("launch")
    assert found is not None
    assert (found.standing, found.complete) == ("accepted", True)


def test_one_that_was_refused_says_why_at_once(desk: Desk) -> None:
    """Nobody waits for it."""
    desk.client.announce([Changeset("launch", (_port("a"),))])
    assert desk.client.settle([], {"launch": "unknown host"}) == ()
    found = desk.client.changeset("launch", timeout_s=30)
    assert found is not None
    assert (found.standing, found.why, found.complete) == ("refused", "unknown host", False)


def test_a_changeset_that_nobody_announced_is_put_together(desk: Desk) -> None:
    """From what stands: who has it, who follows the VPC and has said nothing."""
    here = [Presence("v", "a", is_here=True), Presence("v", "b", is_here=True)]
    told = [
        report("a", line(RULE, 4, at_us=2_000_000, changeset="x")),
        report("c", line(port("c"), 1, PENDING, at_us=3_000_000, changeset="x", detail="waits")),
    ]
    desk.service.taken(read(*told, presences=here))
    found = desk.client.changeset("x", timeout_s=30)
    assert found is not None
    assert found.standing == "heard"
    assert (found.applied, found.silent) == (("a",), ("b",))
    assert list(found.pending) == ["c"]
    assert found.convergence is not None
    assert found.convergence.of == "first report"
    assert desk.client.changeset("nothing") is None


def test_the_list_shows_the_latest_and_what_is_unfinished(desk: Desk) -> None:
    """Announced ones, and those that reports named."""
    desk.client.announce([Changeset("open", (_port("a"),)), Changeset("done", (_port("b"),))])
    told = report("b", line(port("b"), 1, at_us=9, changeset="done"))
    other = report("c", line(port("c"), 1, FAILED, at_us=9, changeset="alien", detail="why"))
    desk.service.taken(read(told, other))
    listed = {one.changeset: one for one in desk.client.changesets()}
    assert listed["done"].settled
    assert listed["done"].applied == 1
    assert not listed["open"].settled
    unfinished = {one.changeset for one in desk.client.changesets(only_open=True)}
    assert unfinished == {"open", "alien"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/hosts/h/gate?kind=port", 400),
        ("/v1/hosts/h/gate?kind=elb&id=e", 400),
        ("/v1/hosts/h/gate?kind=vpc&id=v", 400),
        ("/v1/hosts/h/gate?id=p&revision=new", 400),
        ("/v1/hosts/h/gate?id=p&timeout_s=soon", 400),
        ("/v1/changesets?limit=many", 400),
        ("/v1/hosts/h", 404),
        ("/v1/nothing", 404),
        ("/livez", 200),
        ("/readyz", 200),
    ],
)
def test_a_mistake_is_told_from_what_is_not_there(desk: Desk, path: str, status: int) -> None:
    """400 names the field, 404 has nothing to say."""
    assert desk.status_of(path) == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"changesets": [{"id": "c", "sent_us": 1, "parts": []}]}', 400),
        (_ZERO, 400),
        (b'{"changesets": []}', 202),
        (b"x" * (17 << 20), 413),
    ],
    ids=["no json", "no parts", "no revision", "nothing", "too much"],
)  # fmt: skip
def test_a_bad_announcement_is_refused(desk: Desk, body: bytes, status: int) -> None:
    """Nothing of it is followed."""
    try:
        assert desk.status_of("/v1/changesets", "POST", body) == status
    except (BrokenPipeError, ConnectionResetError):
        assert status == 413
    assert desk.service.gauges().changesets_open == 0


def test_metrics_tell_what_it_does_and_name_nobody(desk: Desk) -> None:
    """Counters by outcome and code; no host's id anywhere."""
    desk.service.taken(read(report("somebody", line(port("somebody"), 1, at_us=9))))
    desk.client.gate("somebody", "port", "p", timeout_s=0)
    with urlopen(f"{desk.url}/metrics", timeout=10) as response:
        text = response.read().decode()
    assert "southbound_tracker_reports_total 1.0" in text
    assert 'southbound_tracker_entries_total{outcome="applied"} 1.0' in text
    assert 'southbound_tracker_gates_total{outcome="ready"} 1.0' in text
    assert 'southbound_tracker_requests_total{code="200"} 1.0' in text
    assert "southbound_tracker_lag_seconds_count 1.0" in text
    assert "somebody" not in text


@pytest.mark.parametrize("url", ["redis://h:1", "http://", "http://h:1/path", "http://h:x", "h:1"])
def test_an_address_that_is_none_is_the_callers_mistake(url: str) -> None:
    """It names what was given."""
    with pytest.raises(ConfigError, match="tracker"):
        TrackerClient(url)


def test_a_tracker_that_is_away_is_an_edge_error() -> None:
    """And may be asked again."""
    with pytest.raises(EdgeError, match="does not answer") as caught:
        TrackerClient("http://127.0.0.1:1").host("h")
    assert caught.value.retryable


def test_answers_are_json_with_their_names(desk: Desk) -> None:
    """For programs in other languages: the fields of docs/operations.md."""
    desk.service.taken(read(report("h", line(port("h"), 1, at_us=9, changeset="c"))))
    with urlopen(f"{desk.url}/v1/hosts/h/gate?kind=port&id=p", timeout=10) as response:
        gate = json.load(response)
    assert gate["ready"] is True
    assert gate["outcome"] == "ready"
    assert gate["resource"] == "host:h/port/p"
    with urlopen(f"{desk.url}/v1/changesets/c", timeout=10) as response:
        changeset = json.load(response)
    assert changeset["counts"]["applied"] == 1
    assert changeset["complete"] is True


@pytest.mark.parametrize(
    "path",
    [
        "/v1/hosts/h/gate?id=p&timeout_s=nan",
        "/v1/hosts/h/gate?id=p&timeout_s=inf",
        "/v1/hosts/h/gate?id=p&timeout_s=1e5000",
        "/v1/hosts/h/gate?id=p&revision=" + "9" * 5_000,
        "/v1/hosts/h/gate?id=p&revision=-1",
        "/v1/hosts/h/gate?id=p&revision=%C2%B2",
        "/v1/hosts/h/gate?id=" + "p" * 300,
        "/v1/hosts/h%1F/gate?id=p",
        "/v1/changesets?limit=-1",
        "/v1/changesets/c?names=1.5",
    ],
)
def test_a_question_with_a_bad_field_names_it(desk: Desk, path: str) -> None:
    """400, and the field: never a broken connection, and never a wait."""
    connection = http.client.HTTPConnection(*desk.server.address, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    said = json.loads(answer.read())["error"]
    connection.close()
    assert answer.status == 400
    assert any(field in said for field in ("timeout_s", "revision", "id", "host", "limit", "names"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"changesets": ' * 5_000,
        b"\xff",
        b'{"changesets": [{"id": "c\\ud800", "sent_us": 1, "parts": []}]}',
        b'{"changesets": [{"id": "c", "sent_us": 1e5000, "parts": []}]}',
        _ZERO.replace(b"0]", b"9223372036854775808]"),
        _ZERO.replace(b"0]", b"1180591620717411303424]"),
        _ZERO.replace(b"0]", b"true]"),
        _ZERO.replace(b"0]", b"1.0]"),
        _ZERO.replace(b"0]", b"1]").replace(b'"sent_us": 1', b'"sent_us": 1180591620717411303424'),
        _ZERO.replace(b"0]", b"1]").replace(b'"c"', b'"' + b"c" * 300 + b'"'),
        _ZERO.replace(b"0]", b"1]").replace(b'"h"', b'"h\\u001f"'),
    ],
)
def test_a_body_that_is_none_is_the_askers_mistake(desk: Desk, body: bytes) -> None:
    """400, whatever it is; the tracker stays well."""
    assert desk.status_of("/v1/changesets", "POST", body) == 400
    assert desk.status_of("/livez") == 200


@pytest.mark.parametrize(
    "answer", [b"", b"null", b"[" * 100_000, b"\xff", b'{"host": 1}', b"<html>"]
)
def test_what_is_no_tracker_is_an_edge_error(answer: bytes) -> None:
    """Whatever answers at the address that was named."""
    import socketserver

    class Stranger(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                continue
            head = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer)
            self.wfile.write(head + answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            host, port = server.server_address[:2]
            with pytest.raises(EdgeError):
                TrackerClient(f"http://{host!s}:{port}").host("h")
        finally:
            server.shutdown()
            thread.join()
