"""Everything that takes bytes from outside, each as one function of bytes.

The rule: whatever the bytes are, a target returns, or raises an error of `southbound.errors` that says
something; anything else, a wait, or memory without bound is a finding. What was taken must stand: read
again, it is the same. Property tests and the coverage-guided fuzzer run the same targets.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec

from southbound.cli.host_files import read_hosts
from southbound.directory.index import Index, parse_reservations
from southbound.directory.journal import _written
from southbound.directory.moves import MovesTail
from southbound.directory.rows import RowReader
from southbound.directory.topologies import decode_stored, encode_stored
from southbound.directory.verdict import Held, judge
from southbound.documents.reading import read_texts
from southbound.documents.topology import dump_topology, read_topology
from southbound.edge.bookmarks import Bookmark
from southbound.edge.redis import RedisLink
from southbound.edge.resp import Answer
from southbound.errors import ConfigError, SouthboundError, WireError
from southbound.janitor.facts import SlotFacts
from southbound.janitor.judging import judge as judge_slot
from southbound.janitor.judging import record_of
from southbound.nca.appliers.command import _input
from southbound.nca.appliers.tree import encode_document
from southbound.nca.health import Request
from southbound.nca.plan import Change, Plan
from southbound.nca.store import FILE, BrokenStore, Store
from southbound.partitioning.placement import (
    Placement,
    address_of,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.plan import decode_plan, encode_plan
from southbound.rebalance.copying import History, Record, copies
from southbound.rebalance.ledger import Ledger
from southbound.resources import Op, host_scope
from southbound.settings import DirectorySettings
from southbound.tracker.api import Api
from southbound.tracker.store import Presence, Read
from southbound.wire import control
from southbound.wire.envelope import decode, decode_spec, encode, with_flags
from southbound.wire.keys import decode_key, encode_key, scope_prefix
from southbound.wire.reports import (
    decode_presence,
    decode_report,
    encode_report,
    interest_key,
    parse_interest_key,
)
from tests.fuzz import command_line, importers, local_files, peers, samples
from tests.janitor.log import HERE, NOW_US, RULES
from tests.nca.records import port, value_of
from tests.nca.world import HOST, TOPOLOGY, World, address, host
from tests.tracker.desk import service

MESSAGE_CHARS_MAX = 50_000


class Target(NamedTuple):
    """A reader of bytes, and well-formed bytes to begin from."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]


class Message:
    """A record as Kafka's client hands it over."""

    def __init__(self, key: bytes | None, value: bytes | None, offset: int = 0) -> None:
        self._key, self._value, self._offset = key, value, offset

    def key(self) -> bytes | None:
        """Return its key."""
        return self._key

    def value(self) -> bytes | None:
        """Return its value."""
        return self._value

    def offset(self) -> int:
        """Return where it stands."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of its time, and the time in milliseconds."""
        return 1, 1_700_000_000_000


def feed(target: Target, data: bytes) -> bool:
    """Run a target; return whether the bytes were taken. What is no error of ours comes through."""
    try:
        target.run(data)
    except SouthboundError as error:
        words = str(error)
        assert words, "an error that says nothing"
        assert len(words) <= MESSAGE_CHARS_MAX, f"{len(words)} characters of message"
        return not _is_named(error)
    return True


def _is_named(error: SouthboundError) -> bool:
    """Tell that an error names the field and the value, where it is a caller's mistake."""
    named = not isinstance(error, ConfigError) or bool(error.faults)
    assert named, f"no field is named: {error}"
    return named


# Records.


def _envelope(data: bytes) -> None:
    envelope = decode(data)
    assert decode(encode(envelope)) == envelope
    again = decode(with_flags(data, epoch=envelope.epoch + 1, flags=1))
    assert (again.revision, again.spec, again.copied) == (envelope.revision, envelope.spec, True)
    spec = decode_spec(envelope.spec)
    key = decode_key(b"h\x1fh\x1fport\x1fp")
    change = Change(key, envelope.revision, Op.UPSERT, spec)
    with contextlib.suppress(TypeError, ValueError):  # what JSON cannot hold, as appliers expect
        encode_document(change)
    _input(Plan((change,)))


def _key(data: bytes) -> None:
    assert encode_key(decode_key(data)) == data


_CONTROLS: tuple[Callable[[bytes], Any], ...] = (
    control.decode_marker,
    control.decode_seal,
    control.decode_move,
    control.decode_journal,
)


def _control(data: bytes) -> None:
    errors = []
    for read in _CONTROLS:
        try:
            found = read(data)
        except WireError as error:
            errors.append(error)
            continue
        assert read(control.encode_control(found)) == found
    if len(errors) == len(_CONTROLS):
        raise errors[0]


def _report(data: bytes) -> None:
    report = decode_report(data)
    assert decode_report(encode_report(report)) == report
    for entry in report.entries:
        assert entry.resource is not None


def _interest(data: bytes) -> None:
    key, value = _split(data)
    assert interest_key(*parse_interest_key(key)) == key
    if value is not None:
        decode_presence(value)


# Readers of topics.


def _split(data: bytes) -> tuple[bytes, bytes | None]:
    key, separator, value = data.partition(b"\n")
    return key, value if separator else None


def _agent(data: bytes) -> None:
    """A record of this host between two good ones: both are taken, whatever it is."""
    world = World()
    world.start()
    world.publish(port(HOST, "before", 1))
    world.run()
    kind_and_id, value = _split(data)
    world.write(address(host(), world.rows[HOST]), scope_prefix(host()) + kind_and_id, value)
    is_marker = kind_and_id.startswith(b"!handover")
    world.run()
    world.publish(port(HOST, "after", 1))
    world.run()
    there = {key.id for key in world.node.resources}
    assert is_marker or {"before", "after"} <= there, there


def _janitor(data: bytes) -> None:
    key, value = _split(data)
    good = value_of(port("h1", "p", 3), "c")
    facts = SlotFacts(lambda _: HERE)
    facts.take(
        Record(offset, *record, NOW_US)
        for offset, record in enumerate(
            [(encode_key(port("h1", "p", 3).key), good), (key, value), (key, good)]
        )
    )
    for repair in judge_slot(facts, RULES, NOW_US).repairs:
        record_of(repair, good)


def _mover(data: bytes) -> None:
    key, value = _split(data)
    history = History(host_scope("h1"))
    history.take([Record(at, b"h\x1fh1\x1f" + key, one, 0) for at, one in enumerate((value, None))])
    list(copies(history.highest(NOW_US), {}, 2))
    list(history.inversions(NOW_US, 2))


def _moves(data: bytes) -> None:
    tail = MovesTail(TOPOLOGY.clusters[0], client_id="fuzz")
    key, value = _split(data)
    tail._take(Message(key, value))  # type: ignore[arg-type]  # what is asked of a message is there
    tail._take(Message(b"h\x1fgood", control.encode_control(control.MoveEntry(2, "p:0:2:0", 1))))  # type: ignore[arg-type]
    good = tail.entry(host_scope("good"))
    assert key == b"h\x1fgood" or (good is not None and good.epoch == 2)


def _journal(data: bytes) -> None:
    key, value = _split(data)
    written = _written(Message(key, value or b""))  # type: ignore[arg-type]  # as above
    rows = RowReader()
    rows.check(written.text, Held(written.entry.epoch, written.entry.row))
    judge({}, [(written.text, written.entry)])
    if written.text.startswith(("h", "v")):
        list(rows.slots(written.text, written.entry.row, TOPOLOGY))


def _ledger(data: bytes) -> None:
    ledger = Ledger(TOPOLOGY.clusters[0], client_id="fuzz", timeout_s=1)
    key, value = _split(data)
    ledger._take(Message(key, value))  # type: ignore[arg-type]  # as above
    ledger.plans()
    ledger.plan("p")


def _row(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    errors = []
    for read in (parse_placement, parse_vpc_placement, RowReader().public, parse_reservations):
        try:
            found = read(text)
        except WireError as error:
            errors.append(error)
            continue
        if isinstance(found, Placement):
            assert parse_placement(found.row()) == found
            known = TOPOLOGY.pools[0].id
            address_of("host", "h", msgspec.structs.replace(found, pool=known), TOPOLOGY)
    if len(errors) == 4:
        raise errors[0]


# Documents.


def _documents(data: bytes) -> None:
    importers.sent(read_texts([("fuzz", data)], importers.OPTIONS, importers.SMALL))


def _topology(data: bytes) -> None:
    topology = read_topology(data)
    assert read_topology(dump_topology(topology)) == topology


def _stored(data: bytes) -> None:
    stored = decode_stored(data.decode(errors="surrogateescape"))
    assert decode_stored(encode_stored(stored)) == stored


def _plan(data: bytes) -> None:
    plan = decode_plan(data)
    assert decode_plan(encode_plan(plan)).id == plan.id


@cache
def _folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="southbound-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _hosts(data: bytes) -> None:
    for suffix in (".csv", ".yaml"):
        file = _folder() / f"hosts{suffix}"
        file.write_bytes(data)
        read_hosts([], "az", file)


# Redis.


def _resp(data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # what a broken connection is, too
        Answer(io.BytesIO(data)).read()


class _Link(RedisLink):
    """A Redis that answers everything with one thing."""

    def __init__(self, answer: object) -> None:
        super().__init__("redis://nowhere", timeout_s=1, client_name="fuzz")
        self.answer = answer

    def call(self, *command: object, timeout_s: float | None = None) -> Any:
        """Answer."""
        return self.answer

    def run(self, script: object, key: str, argument: object) -> Any:
        """Answer."""
        return self.answer


def _asked(index: Index) -> Iterator[Callable[[], object]]:
    yield lambda: index.rows(["h\x1fa", "h\x1fb"])
    yield index.status
    yield lambda: next(index.scan("h"), None)
    yield lambda: index.occupied("p", 4)
    yield lambda: list(index.reservations())
    yield index.topology_document
    yield lambda: index.changes("0-0", 0)
    yield index.last_change


def _index(data: bytes) -> None:
    parts = data.split(b"\n")
    answers: list[object] = [data, None, 7, parts, [parts, parts], [[b"s", [[b"1-1", parts]]]]]
    for answer in answers:
        for ask in _asked(Index(_Link(answer), DirectorySettings())):
            with contextlib.suppress(SouthboundError):
                ask()


# The disk.


@cache
def _good_store() -> bytes:
    folder = _folder() / "store"
    store = Store(folder, "h")
    store.open()
    store._connection.execute("PRAGMA journal_mode = DELETE")  # type: ignore[union-attr]  # it is open
    store.close()
    return (folder / FILE).read_bytes()


_TABLES = ("resources", "streams", "owed", "facts", "clusters")


def _store(data: bytes) -> None:
    """Values that an agent cannot have written: the store is broken, or holds them."""
    folder = _folder() / "hostile"
    folder.mkdir(exist_ok=True)
    file = folder / FILE
    number = int.from_bytes(data[:8] or b"\1", signed=True)
    for table in _TABLES:
        file.write_bytes(_good_store())
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            types = [row[2] for row in connection.execute(f"PRAGMA table_info({table})")]
            for text in (data, data.decode(errors="replace"), "topology"):
                row: list[object] = [number if kind == "INTEGER" else data for kind in types]
                row[0] = row[0] if types[0] == "INTEGER" else text
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)
        _opened(folder)


def _store_file(data: bytes) -> None:
    """A file with other bytes in it, whose place the first four name."""
    folder = _folder() / "bytes"
    folder.mkdir(exist_ok=True)
    good = _good_store()
    at = int.from_bytes(data[:4]) % len(good)
    (folder / FILE).write_bytes(good[:at] + data[4:] + good[at + len(data) - 4 :])
    _opened(folder)


def _opened(folder: Path) -> None:
    store = Store(folder, "h")
    try:
        store.open()
    except BrokenStore:
        store.move_aside()
        store.open()
    except SouthboundError:
        return
    finally:
        store.close()


# The tracker.


@cache
def _tracker() -> Any:
    made = service(_folder() / "tracker", wait_max_s=0)
    made.bells.close()
    return SimpleNamespace(service=made, api=Api(made))


def _status(data: bytes) -> None:
    """What agents tell, into the tracker's store and out of its answers."""
    tracker = _tracker().service
    report = decode_report(data)
    presence = Presence("v", report.host, is_here=bool(len(data) % 2))
    tracker.taken(Read("c1", "k", [report], [presence], {("sb.status", 0): Bookmark(1)}, 1_000_000))
    for entry in report.entries[:3]:
        _answered(Request("GET", ("v1", "hosts", report.host), {}))
        _answered(Request("GET", ("v1", "changesets", entry.changeset), {}))
        query = {"kind": entry.resource.kind, "id": entry.resource.id, "vpc": "v"}
        _answered(Request("GET", ("v1", "hosts", report.host, "gate"), query))


def _http(data: bytes) -> None:
    """A request: its target in the first line, its body behind."""
    line, _, body = data.partition(b"\n")
    path, _, query = line.decode("latin-1").partition("?")
    parts = tuple(unquote(part) for part in path.strip("/").split("/"))
    fields = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    _answered(Request("POST" if body else "GET", parts, fields, body))


def _connection(data: bytes) -> None:
    """A connection: to the server of a tracker, which is the agents' with more behind it."""
    peers.requests(_tracker().api.answer)(data)


def _answered(request: Request) -> None:
    began_s = time.thread_time()
    reply = _tracker().api.answer(request)
    assert reply is None or reply.status < 500 or reply.status == 504, reply
    assert reply is None or msgspec.json.decode(reply.body) is not None
    assert time.thread_time() - began_s < 5


_BODY = (
    b'v1/changesets\n{"changesets":[{"id":"c","sent_us":1,"parts":'
    b'[{"class":"host","scope":"h","resources":[["port","p",1]]}]}]}'
)


def _records() -> Iterable[bytes]:
    keys = [b"port\x1fp", b"dhcp\x1fd", b"!handover\x1f2", b"!seal\x1f1"]
    values = samples.golden("envelope", "marker", "seal")
    return [key + b"\n" + value for key in keys for value in values] + [b"port\x1fp"]


def _whole_records() -> Iterable[bytes]:
    return [b"h\x1fh1\x1f" + record for record in _records()]


def _entries() -> Iterable[bytes]:
    keys = [b"h\x1fhost-1", b"v\x1fvpc-1", b"p\x1felb\x1fe", b"t\x1ftopology"]
    return [key + b"\n" + value for key in keys for value in samples.golden("move", "journal")]


_ANSWER = b'{"n": 0, "ok": true}\n{"n": 1, "ok": false, "error": "no"}\n'


def _files() -> Iterable[bytes]:
    """Return a file of each sort that the command line takes."""
    return [*samples.topologies(), samples.plan_file(), *samples.goalstates(), b"host,az\nh1,a\n"]


def _once(make: Callable[[Path], Callable[[bytes], None]]) -> Callable[[bytes], None]:
    """Return a target that is made at its first use, in a folder of its own."""
    made: list[Callable[[bytes], None]] = []

    def run(data: bytes) -> None:
        if not made:
            made.append(make(_folder() / make.__name__))
        made[0](data)

    return run


TARGETS = (
    Target("envelope", _envelope, lambda: samples.golden("envelope")),
    Target("key", _key, lambda: samples.golden("key")),
    Target("control", _control, lambda: samples.golden("marker", "seal", "move", "journal")),
    Target("report", _report, lambda: samples.golden("report")),
    Target(
        "interest",
        _interest,
        lambda: [b"vpc\x1fhost\n" + one for one in samples.golden("presence")],
    ),
    Target("row", _row, lambda: [b"p:0:1:0", b"3|p:0:1:0|q:1:2:77", b"12", b"1:p:0:5:99"]),
    Target("agent", _agent, _records),
    Target("janitor", _janitor, _whole_records),
    Target("mover", _mover, _records),
    Target("moves", _moves, _entries),
    Target("journal", _journal, _entries),
    Target("ledger", _ledger, samples.ledger_records),
    Target("documents", _documents, samples.documents),
    Target("topology", _topology, samples.topologies),
    Target("stored topology", _stored, lambda: [samples.stored_topology()]),
    Target("plan", _plan, lambda: [samples.plan_file()]),
    Target("hosts", _hosts, lambda: [b"host,az\nh1,az-a\n", b"{h1: az-a}", b"[{host: h, az: a}]"]),
    Target(
        "resp", _resp, lambda: [b"*2\r\n$1\r\na\r\n:7\r\n", b"-ERR no\r\n", b"$-1\r\n", b"+OK\r\n"]
    ),
    Target(
        "index", _index, lambda: [msgspec.msgpack.encode(("b", 1, 1, ["p:0:1:0", ""])), b"a\nb"]
    ),
    Target("store", _store, lambda: [b"h\x1fh\x1fport\x1fp", samples.stored_topology()]),
    Target("store file", _store_file, lambda: [b"\0\0\0\x10abc", b"\0\0\x10\0" + b"\xff" * 64]),
    Target("status", _status, lambda: samples.golden("report")),
    Target("tracker", _http, lambda: [b"v1/hosts/h", b"v1/hosts/h/gate?id=p&revision=3", _BODY]),
    Target("neutron", importers.read_neutron, samples.neutron),
    Target("goalstate", importers.read_goalstate, samples.goalstates),
    Target("command line", command_line.run_command, lambda: command_line.seeds(_files())),
    Target(
        "http",
        _connection,
        lambda: peers.REQUESTS,
    ),
    Target("tracker answer", peers.read_tracker_answer, peers.tracker_answers),
    Target("command answer", peers.read_command_answer, lambda: [_ANSWER, b""]),
    Target("signs", peers.read_signs, peers.signs),
    Target("messages", peers.read_messages, peers.messages),
    Target("fleet", _once(local_files.fleet), local_files.fleets),
    Target("tree", _once(local_files.tree), local_files.trees),
    Target(
        "measurements", _once(local_files.measurements), lambda: local_files.measured(_folder())
    ),
    Target("words", _once(local_files.words), lambda: local_files.WORDS),
)

BY_NAME = {target.name: target for target in TARGETS}


def quiet() -> None:
    """Have nothing said of each bad record."""
    logging.disable(logging.CRITICAL)
