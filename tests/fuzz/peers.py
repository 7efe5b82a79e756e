"""What other programs say to ours: HTTP requests, a tracker's answers, a command's, signs in Redis.

The rule: none of them can end a process of ours, nor have it say what it did not hear.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from loadgen.checker.histogram import Histogram
from loadgen.coordination.messages import Answer, Beat, Card, Order, pack, unpack
from southbound.cli.session import Output, Session
from southbound.cli.tracked import check_gate, moment, show_changeset, show_host
from southbound.directory.rollcall import RollCall, Sign
from southbound.edge.redis import RedisLink
from southbound.errors import SouthboundError, WireError
from southbound.nca.appliers.command import _Ended, _outcomes
from southbound.nca.health import Request, ServerSettings, _Handler
from southbound.nca.plan import Change, Plan
from southbound.resources import Op, ResourceKey, host_scope
from southbound.tracker.client import TrackerClient
from southbound.tracker.messages import EffectiveHost, EffectiveResource, ListedChangeset
from southbound.tracker.standing import Gate, GateOutcome
from southbound.tracker.summary import Convergence, Summary

# Requests.


class _Socket(io.BytesIO):
    """A connection whose other side has said everything already; `answered` is what it is told."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.answered = bytearray()

    def settimeout(self, seconds: float | None) -> None:
        """Take a timeout, which never comes to anything."""

    def makefile(self, *_: object) -> io.BytesIO:
        """Return a file, which the handler replaces by one that has a deadline."""
        return io.BytesIO()

    def recv_into(self, buffer: Any) -> int:
        """Give what there is, in pieces."""
        return self.readinto(memoryview(buffer)[:1_000])

    def sendall(self, data: bytes) -> None:
        """Take an answer."""
        self.answered += data


def _status() -> Any:
    return SimpleNamespace(live=True, ready=False, reasons=("a reason",))


def requests(answer: Callable[[Request], Any]) -> Callable[[bytes], None]:
    """Return a target: bytes as a connection's, to a server that also asks `answer`."""
    server = SimpleNamespace(
        status=_status,
        registry=CollectorRegistry(),
        settings=ServerSettings(body_bytes_max=1 << 16),
        answer=answer,
    )

    def served(data: bytes) -> None:
        connection = _Socket(data)
        with contextlib.suppress(OSError):  # what the server notes, and goes on
            _Handler(connection, ("127.0.0.1", 1), server)  # type: ignore[arg-type]  # what is asked of them is there
        said = bytes(connection.answered)
        assert len(said) < 1 << 20
        if not said.startswith(b"HTTP/"):
            raise WireError("no request, or one of HTTP 0.9")
        status = int(said.split(b" ", 2)[1])
        assert status < 500 or status in {501, 503, 504, 505}, said[:200]
        if status >= 400:
            raise WireError(f"refused with {status}")

    return served


REQUESTS = (
    b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD /readyz HTTP/1.0\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n",
    b"GET /v1/hosts/h/gate?kind=port&id=p&revision=3&timeout_s=0 HTTP/1.1\r\n\r\n",
    b'POST /v1/acceptances HTTP/1.1\r\nContent-Length: 17\r\n\r\n{"accepted":["c"]}',
)


# A tracker's answers.


class _Tracker(TrackerClient):
    """A client whose tracker says one thing, whatever it is asked."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__("http://127.0.0.1:1")
        self._said = (status, answer)

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        return self._said


def _asked(client: TrackerClient) -> Iterator[Callable[[Session], object]]:
    yield lambda session: _shown(show_host, session, client.host("h"))
    yield lambda session: check_gate(session, client.gate("h", "port", "p", timeout_s=0))
    yield lambda session: _shown(show_changeset, session, client.changeset("c"))
    yield lambda _: [moment(one.at_us) for one in client.changesets()]
    yield lambda _: client.settle(["c"], {})


def _shown(show: Callable[[Session, Any], None], session: Session, found: object) -> None:
    if found is not None:
        show(session, found)


def read_tracker_answer(data: bytes) -> None:
    """Ask everything of a tracker that answers with this, and show what it says."""
    errors = []
    for status in (200, 404, 500, 504):
        for ask in _asked(_Tracker(status, data)):
            for output in Output:
                try:
                    with _unseen():
                        ask(Session(output=output))
                except SouthboundError as error:
                    errors.append(error)
    if len(errors) >= 4 * 5 * 2 - 6:
        raise WireError(str(errors[0]))


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def tracker_answers() -> Iterable[bytes]:
    """Return answers of each sort."""
    resource = EffectiveResource("host:h", "port", "p", "applied", 3, 1, "c")
    summary = Summary(
        "c", "accepted", sent_us=1, counts={"failed": 1}, failed={"h": "why"}, silent=("i",),
        convergence=Convergence("sent", 2, 0.1, 0.2, 0.3, 0.3, (("h", 0.3),)),
    )  # fmt: skip
    listed = ListedChangeset("c", "accepted", 1, True, 1, 0)
    gate = Gate("h", "port p", GateOutcome.PENDING, "why", 3, "c", 1)
    found = (EffectiveHost("h", "c1", 1, 1, (resource,)), summary, gate, {"changesets": [listed]})
    return [*map(msgspec.json.encode, found), b'{"error": "why"}', b'{"unknown": ["c"]}']


# A command's answers.

_PLAN = Plan(
    tuple(
        Change(ResourceKey(host_scope("h"), "port", id), 3, Op.UPSERT, {"a": 1}, "c")
        for id in ("p", "q")
    )
)


def read_command_answer(data: bytes) -> None:
    """Judge a plan by what a command wrote; every change is done or has a reason that can be told."""
    said = False
    for errors, failure in ((b"", ""), (data, "ended with status 1")):
        failed = _outcomes(_PLAN, _Ended(data, errors, failure))
        assert failed.keys() <= {change.key for change in _PLAN.changes}
        assert all(why and len(why) < 20_000 for why in failed.values())
        said = said or not failed
    if not said:
        raise WireError("no change was done")


# What lies in Redis besides the directory.


class _Link(RedisLink):
    """A Redis that answers with one thing after another, the last one for ever."""

    def __init__(self, *answers: object) -> None:
        super().__init__("redis://nowhere", timeout_s=1, client_name="fuzz")
        self._answers = list(answers)

    def call(self, *command: object, timeout_s: float | None = None) -> Any:
        """Answer."""
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def read_signs(data: bytes) -> None:
    """Look who has signed in, in a Redis where anybody may have written."""
    parts = data.split(b"\n")
    found = RollCall(_Link([b"0", [b"a"]], [data, None, *parts])).signs()
    for link in (_Link(data), _Link(parts), _Link([b"0", [b"a"]], data), _Link([data, []])):
        with contextlib.suppress(SouthboundError):
            RollCall(link).signs()
    if not found:
        raise WireError("no sign")


def signs() -> Iterable[bytes]:
    """Return signs of life."""
    return [msgspec.json.encode(Sign(service="janitor", where="m-1", saying="well", at_us=1))]


def read_messages(data: bytes) -> None:
    """Read what workers of the load generator tell each other."""
    errors = []
    for kind in (Card, Beat, Order, Answer):
        try:
            assert unpack(pack(unpack(data, kind)), kind) is not None
        except WireError as error:
            errors.append(error)
    try:
        found = Histogram.decode(data)
        assert Histogram.decode(found.encode()).count == found.count
    except WireError as error:
        errors.append(error)
    if len(errors) == 5:
        raise errors[0]


def messages() -> Iterable[bytes]:
    """Return a message of each kind."""
    histogram = Histogram()
    histogram.add_all([1, 5, 9_000])
    found = (
        Card(worker="w", machine="m", pid=1, cores=2, version="0"),
        Beat("r", "fills"),
        Order("r", 1, "fill", ("a", 1, {"b": [1]})),
        Answer(1, "w", {"a": 1}),
    )
    return [*(pack(one) for one in found), histogram.encode(), b"{}"]
