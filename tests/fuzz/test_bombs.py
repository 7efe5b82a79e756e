"""Inputs made to exhaust: small bytes that announce, unfold to, or nest into very much.

Each is judged by what came of it, by the memory that it took at its peak, and by the time.
"""

from __future__ import annotations

import json
import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from southbound.errors import ConfigError, Fault, InvalidResource, SouthboundError, WireError
from southbound.partitioning.placement import parse_placement, parse_vpc_placement
from southbound.resources import Op
from southbound.tracker.standing import GateOutcome, Standing, judge_gate
from southbound.wire.control import decode_journal, decode_marker, decode_move, decode_seal
from southbound.wire.envelope import (
    RECORD_BYTES_MAX,
    SPEC_DEPTH_MAX,
    Envelope,
    decode,
    decode_spec,
    encode,
    encode_spec,
    with_flags,
)
from southbound.wire.keys import decode_key
from southbound.wire.reports import (
    Outcome,
    Report,
    ReportEntry,
    decode_presence,
    decode_report,
    encode_report,
    parse_interest_key,
)
from tests.fuzz import samples
from tests.fuzz.targets import BY_NAME, TARGETS, feed, quiet

MIB = 1 << 20
PEAK_BYTES_MAX = 32 * MIB
SECONDS_MAX = 10.0
"""Of computing time: others may use the machine."""

DEEP = b"\x91" * 300_000 + b"\xc0"
MANY = b"\xdd\xff\xff\xff\xff"
PAIRS = b"\xdf\xff\xff\xff\xff"
TEXT = b"\xdb\xff\xff\xff\xff"
UNTIL_THE_STACK_ENDS = b"\x91" * 900 + b"\xc0"
GOOD = encode(Envelope(3, Op.UPSERT, 1, "c", 0, 1, 5, 0, b"\x80"))
GROWN = b"\x01\x9a" + GOOD[2:]
"""An envelope with one field more than is known, which is still to be appended."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    quiet()
    yield
    logging.disable(logging.NOTSET)


def peak_of(work: Callable[[], object]) -> int:
    """Return how many bytes were taken at the most while something was done, and check the time."""
    began_s = time.thread_time()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert time.thread_time() - began_s < SECONDS_MAX


BOMBS = {
    "deep": DEEP,
    "array of 2**32": b"\x01" + MANY,
    "map of 2**32": b"\x01" + PAIRS,
    "text of 2**32": b"\x01\x91" + TEXT,
    "arrays of 2**32, many": b"\x01" + MANY * 10_000,
    "JSON lists": b"[" * 300_000,
    "JSON objects": b'{"a":' * 300_000,
    "JSON of digits": b'{"kind": ' + b"9" * 300_000 + b"}",
    "JSON exponent": b'{"kind": "port", "revision": 1e5000}',
    "YAML lists": b"- " * 100_000,
    "YAML flow": b"{a: " * 100_000,
    "YAML laughs": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9)) for n in range(97, 107)
    ),
    "YAML merges": b"a: &a {k: v}\n" + b"".join(b"b%d: {<<: *a}\n" % n for n in range(1_000)),
    "YAML itself": b"&a [*a]",
    "YAML tag": b"!!python/object/apply:os.system ['true']",
    "YAML int": b"azs: " + b"9" * 100_000,
    "RESP array": b"*2000000000\r\n",
    "RESP arrays": b"*1000\r\n" * 1_000,
    "RESP bulk": b"$536870912\r\n",
    "RESP bulks": b"*1000000\r\n" + b"$60000000\r\nabc" * 3,
    "RESP line": b"+" + b"a" * 300_000,
    "RESP digits": b":" + b"1" * 60_000 + b"\r\n",
    "separators": b"\x1f" * 300_000,
    "line ends": b"\n" * 300_000,
    "colons": b":" * 300_000,
    "bars": b"1" + b"|p:0:1:0" * 30_000,
    "digits": b"p:0:" + b"1" * 300_000 + b":0",
    "NULs": b"\0" * 300_000,
    "no UTF-8": b"\xff" * 300_000,
    "percents": b"v1/hosts/" + b"%00" * 100_000,
    "fields": b"v1/hosts/h?" + b"a=1&" * 60_000,
}


@pytest.mark.parametrize("target", TARGETS, ids=[one.name for one in TARGETS])
def test_no_bomb_goes_off_in_any_reader(target: object) -> None:
    """Every bomb into every reader: an answer in our words, in bounded memory, at once."""
    reader = BY_NAME[target.name]  # type: ignore[attr-defined]  # a target
    for seed in reader.seeds():
        feed(reader, seed)
    for name, bomb in BOMBS.items():
        peak = peak_of(lambda bomb=bomb: feed(reader, bomb))  # type: ignore[misc]  # bound at once
        assert peak < PEAK_BYTES_MAX, f"{name}: {peak / MIB:.0f} MiB"


@pytest.mark.parametrize(
    ("read", "head"),
    [
        (decode_marker, b"\x01\x94\x02\xa1r\x01"),
        (decode_seal, b"\x01\x92\x02"),
        (decode_move, b"\x01\x94\x02\xa1r\x01"),
        (decode_journal, b"\x01\x96\x02\xa1r\xa1w\x01\xc2"),
        (decode_report, b"\x01\x95\xa1h\x01\x90\xc0"),
        (decode_presence, b"\x01\x92\x01"),
        (decode, GROWN),
    ],
)
def test_what_is_appended_may_be_anything_and_is_never_more_than_malformed(
    read: Callable[[bytes], object], head: bytes
) -> None:
    """A field that comes later is skipped; one that no stack can follow is a malformed record."""
    assert read(head + b"\xa3new") is not None
    for tail in (DEEP, MANY, TEXT, b""):
        with pytest.raises(WireError):
            read(head + tail)


@pytest.mark.parametrize(
    "tail",
    [b"\xa1\xff", b"\xd7\xff" + b"\xff" * 8, b"\x81\x80\x01", b"\x81\x91\x80\x01", b"\xd4\x05a"],
    ids=["text", "time", "map as key", "list as key", "extension"],
)
def test_a_copy_keeps_what_it_does_not_know(tail: bytes) -> None:
    """A mover carries what a newer writer appended, whatever is in it, byte for byte."""
    copied = with_flags(GROWN + tail, epoch=9, flags=1)
    assert copied.endswith(tail)
    assert (decode(copied).epoch, decode(copied).copied) == (9, True)


@pytest.mark.parametrize(
    ("at", "number"),
    [(0, 2**63), (0, 0), (2, 2**64 - 1), (2, -1), (5, 2**64 - 1), (6, 2**63), (7, 2**64 - 1)],
)
def test_a_number_that_no_database_holds_is_malformed(at: int, number: int) -> None:
    """Revisions, epochs, counts, times and flags are of 64 bits with a sign: SQLite keeps them."""
    fields: list[object] = [3, 0, 1, "c", 0, 1, 5, 0, b"\x80"]
    fields[at] = number
    import msgspec

    with pytest.raises(WireError):
        decode(b"\x01" + msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("wrong", [1.0, True, "3", None, float("nan"), [3], b"3"])
def test_a_revision_is_a_whole_number_and_nothing_else(wrong: object) -> None:
    """No float, no boolean, no text that looks like one."""
    import msgspec

    with pytest.raises(WireError):
        decode(b"\x01" + msgspec.msgpack.encode([wrong, 0, 1, "c", 0, 1, 5, 0, b"\x80"]))


def test_a_spec_is_as_deep_on_every_stack() -> None:
    """Deeper than the bound is refused by whoever writes it and by whoever reads it."""
    spec: dict[str, object] = {"a": 1}
    for _ in range(SPEC_DEPTH_MAX - 1):
        spec = {"a": spec}
    assert decode_spec(encode_spec(spec)) == spec
    with pytest.raises(InvalidResource, match=r"spec: .*nested"):
        encode_spec({"a": spec})
    with pytest.raises(WireError, match="nested"):
        decode_spec(b"\x81\xa1a" + encode_spec(spec))
    with pytest.raises(WireError, match="nested"):
        decode_spec(b"\x81\xa1a" + UNTIL_THE_STACK_ENDS)
    with pytest.raises(WireError):
        decode_spec(b"\x81\xa1a" + b"\x81\x91" * 100 + b"\x01" * 101)


def test_a_wide_spec_is_no_deep_one() -> None:
    """Many lists side by side are welcome."""
    spec = {"rules": [{"ports": [1, 2], "name": "é" * 99} for _ in range(1_000)]}
    assert decode_spec(encode_spec(spec)) == spec


def test_the_worst_spec_costs_a_bounded_multiple_of_its_bytes() -> None:
    """Empty maps are the worst that a spec can hold: 72 bytes of memory for each byte."""
    size = RECORD_BYTES_MAX // 8
    spec = b"\x81\xa1a\xdd" + size.to_bytes(4) + b"\x80" * size
    value = encode(Envelope(3, Op.UPSERT, 1, "c", 0, 1, 5, 0, spec))
    assert peak_of(lambda: decode_spec(decode(value).spec)) < 100 * size


@pytest.mark.parametrize(
    "row", ["p:16:1:0", "p:4294967296:1:0", "p:0:0:0", "p:0:1:-1", f"p:0:1:{'9' * 5_000}", ":0:1:0"]
)
def test_a_row_that_leads_nowhere_is_no_row(row: str) -> None:
    """A probe that the hash does not take, a number that Python will not read: both are refused."""
    with pytest.raises(WireError):
        parse_placement(row)
    with pytest.raises(WireError):
        parse_vpc_placement(f"3|{row}")


@pytest.mark.parametrize(
    "id", [b"", b"a" * 256, b"a\0b", b"a\x1fb", b"\xc2\x85", b"\xff", b"\xed\xa0\x80"]
)
def test_an_id_that_is_none_is_none_everywhere(id: bytes) -> None:  # what it is
    """In keys of records, in reports and their hosts, on the interest topic."""
    for key in (
        b"h\x1f" + id + b"\x1fport\x1fp",
        b"v\x1fv\x1fsubnet\x1f" + id,
        b"p\x1felb\x1f" + id,
    ):
        with pytest.raises(WireError):
            decode_key(key)
        with pytest.raises(WireError):
            decode_report(encode_report(Report("h", 1, (_line(key),))))
        with pytest.raises(WireError):
            decode_report(encode_report(Report("h", 1, (_line(b"p\x1fk\x1fi", needs=(key,)),))))
    with pytest.raises(WireError):
        parse_interest_key(b"v\x1f" + id)
    with pytest.raises(WireError):
        parse_interest_key(id + b"\x1fh")


def _line(key: bytes, needs: tuple[bytes, ...] = ()) -> ReportEntry:
    return ReportEntry("c", key, 3, Outcome.APPLIED, 1, "", False, needs)


@pytest.mark.parametrize("revision", [0, -1, 2**63, 2**64 - 1])
def test_a_report_of_an_impossible_revision_is_none(revision: int) -> None:
    """It would stop the tracker's store."""
    entry = ReportEntry("c", b"p\x1felb\x1fe", revision, Outcome.APPLIED, 1)
    with pytest.raises(WireError):
        decode_report(encode_report(Report("h", 1, (entry,))))


def test_a_gate_looks_at_what_a_host_says_in_the_time_that_it_takes_to_read() -> None:
    """A line that names fifty thousand needs is answered at once, not in hours."""
    needs = tuple(b"v\x1fv\x1fsubnet\x1f%d" % number for number in range(50_000))
    own = Standing(b"h\x1fh\x1fport\x1fp", 3, needs=needs)
    troubled = [Standing(key, 0, open_revision=1, needs=needs[:2]) for key in needs[:100]]
    found = {own.key: own, **{key: Standing(key, 1, needs=needs) for key in needs[:20]}}
    began_s = time.thread_time()
    gate = judge_gate("h", own.key, None, found.get, troubled)
    assert gate.outcome is GateOutcome.PENDING
    assert time.thread_time() - began_s < SECONDS_MAX


DOCUMENTS = {
    "a number of 400 digits": b'{"kind": "port", "host": "h", "id": "p", "revision": 1'
    + b"0" * 400
    + b"}",
    "a float": b'{"kind": "port", "host": "h", "id": "p", "revision": 3.0}',
    "a boolean": b'{"kind": "port", "host": "h", "id": "p", "revision": true}',
    "NaN": b'{"kind": "port", "host": "h", "id": "p", "revision": NaN}',
    "zero": b'{"kind": "port", "host": "h", "id": "p", "revision": 0}',
    "a negative": b'{"kind": "port", "host": "h", "id": "p", "revision": -3}',
    "2**70": json.dumps({"kind": "port", "host": "h", "id": "p", "revision": 2**70}).encode(),
    "a key twice": b'{"kind": "port", "host": "h", "id": "p", "id": "q", "revision": 1}',
    "a key twice, in YAML": b"kind: port\nhost: h\nid: p\nid: q\nrevision: 1\n",
    "a separator": b'{"kind": "port", "host": "h\\u001fx", "id": "p", "revision": 1}',
    "a NUL": b'{"kind": "port", "host": "h\\u0000", "id": "p", "revision": 1}',
    "half a character": b'{"kind": "port", "host": "h\\ud800", "id": "p", "revision": 1}',
    "a long id": b'{"kind": "port", "host": "h", "id": "' + b"x" * 300 + b'", "revision": 1}',
    "a list of ids": b'{"kind": "port", "host": "h", "id": ["p"], "revision": 1}',
    "no UTF-8": b'{"kind": "port", "host": "\xff", "id": "p", "revision": 1}',
    "an unknown field": b'{"kind": "port", "host": "h", "id": "p", "revision": 1, "hots": "x"}',
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_wrong_document_names_its_place_and_what_stands_there(name: str) -> None:
    """Whoever wrote it can find it."""
    with pytest.raises(ConfigError) as caught:
        BY_NAME["documents"].run(DOCUMENTS[name])
    (fault, *_) = caught.value.faults
    assert fault.place
    assert len(str(fault)) < 500


_LAUGHS = BOMBS["YAML laughs"]
OF_DOCUMENTS = {
    "deep JSON": b'{"a":' * 65 + b"1" + b"}" * 65,
    "very deep JSON": b"[" * 100_000,
    "deep YAML": b"a: " + b"[" * 65 + b"]" * 65,
    "very deep YAML": b"- " * 100_000,
    "laughs": _LAUGHS,
    "merges": BOMBS["YAML merges"],
    "itself": BOMBS["YAML itself"],
    "tag": BOMBS["YAML tag"],
    "huge integer": b'{"a": 1' + b"0" * 30 + b"}",
    "integer of 300,000 digits": BOMBS["JSON of digits"],
    "huge exponent": b'{"a": 1e5000}',
    "no UTF-8": b'{"a": "\xff"}',
    "half a character": b'{"a": "\\ud800"}',
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice, in YAML": b"a: 1\na: 2\n",
    "a key twice, deep": b'{"a": [{"b": 1, "b": 2}]}',
}


def _hosts_of_yaml(data: bytes) -> object:
    from southbound.cli import host_files

    return list(host_files._yaml_entries(data, "hosts.yaml"))


_READERS = {
    **{name: BY_NAME[name].run for name in ("documents", "neutron", "goalstate", "topology")},
    "hosts": _hosts_of_yaml,
}


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize("name", OF_DOCUMENTS)
def test_whoever_takes_a_persons_document_refuses_what_none_should_hold(
    reader: str, name: str
) -> None:
    """By its place, in bounded memory: nesting, bombs, huge integers, no UTF-8, keys that stand twice."""

    def refused() -> None:
        with pytest.raises(ConfigError) as caught:
            _READERS[reader](OF_DOCUMENTS[name])
        assert caught.value.faults
        assert len(str(caught.value)) < 50_000

    assert peak_of(refused) < PEAK_BYTES_MAX


WRITTEN_BY_MACHINES = ("plan", "stored topology", "measurements")


@pytest.mark.parametrize("reader", WRITTEN_BY_MACHINES)
@pytest.mark.parametrize("name", [name for name in OF_DOCUMENTS if "twice" not in name])
def test_whoever_takes_a_machines_document_refuses_them_too(reader: str, name: str) -> None:
    """Of a key that stands twice the last counts there: nobody writes these by hand."""
    assert peak_of(lambda: _refused(reader, OF_DOCUMENTS[name])) < PEAK_BYTES_MAX


def _refused(reader: str, data: bytes) -> None:
    with pytest.raises(SouthboundError):
        BY_NAME[reader].run(data)


def test_golden_bytes_pass_unchanged() -> None:
    """The bounds refuse nothing that stands in the golden file."""
    taken = 0
    for kind, name in (("envelope", "envelope"), ("report", "report"), ("key", "key")):
        for value in samples.golden(kind):
            assert feed(BY_NAME[name], value)
            taken += 1
    assert taken > 5


def test_every_error_is_of_the_tree() -> None:
    """What `feed` lets pass is an error of ours, and nothing else."""
    with pytest.raises(SouthboundError):
        BY_NAME["envelope"].run(b"")
    assert not feed(BY_NAME["envelope"], b"")


@pytest.mark.parametrize(
    "value",
    [10**5_000, [10**5_000], "x" * 10**6, [[[[["deep"]]]]] * 1_000],
    ids=["digits", "digits in a list", "text", "lists"],
)
def test_a_fault_shows_any_value_in_few_words(value: object) -> None:
    """A caller's mistake must not become another one while it is told."""
    assert len(str(Fault("place", value, "is wrong"))) < 200
    assert "place" in str(ConfigError("no", [Fault("place", value, "is wrong")]))


def test_a_message_of_many_faults_is_bounded_and_says_so() -> None:
    """All of them are in `faults`."""
    error = ConfigError("no", [Fault(f"line {number}", 1, "is wrong") for number in range(10_000)])
    assert len(error.faults) == 10_000
    assert len(str(error).splitlines()) < 300
    assert "more" in str(error).splitlines()[-1]
