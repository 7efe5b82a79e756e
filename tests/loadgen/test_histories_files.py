"""Histories on disk: what is written is read, a cut file says so, a full one too."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import pytest

from loadgen.histories.events import (
    Accepted,
    Applied,
    Effect,
    Event,
    Joined,
    Left,
    Published,
    Read,
    Truncated,
    published,
)
from loadgen.histories.files import Histories, History, HistoryWriter
from loadgen.histories.recorder import Recorder
from loadgen.nodes.hall import Counts, Reads
from southbound.errors import WireError
from southbound.resources import Changeset, Op, Resource, host_scope, vpc_scope


def _events(count: int) -> list[Event]:
    port = Resource(host_scope("h1"), "port", "p1", 3, {"vpc_id": "v1", "security_groups": ["g"]})
    gone = Resource(vpc_scope("v1"), "subnet", "s1", 4, {}, Op.DELETE)
    events: list[Event] = []
    for number in range(count):
        events += [
            published(Changeset(f"c{number}", (port, gone)), number),
            Accepted(f"c{number}", number),
            Joined("h1", number),
            Applied("h1", number, (Effect(b"k", 1, deleted=False, hash=1 << 63, changeset="c"),)),
            Left("h1", number, b"v\x1fv1\x1f"),
            Read(number, 10, 1, 5, 2),
        ]
    return events


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """All kinds of events, over many frames, as often as wanted, from several files."""
    events = _events(9_000)
    for name, part in (("a", events[:30_000]), ("b", events[30_000:])):
        writer = HistoryWriter(tmp_path / name)
        writer.open()
        for event in part:
            writer.add(event)
        writer.close()
    histories = Histories([tmp_path / "b", tmp_path / "a"])
    assert list(histories) == events
    assert sum(1 for _ in histories) == len(events)
    assert (tmp_path / "a").stat().st_size < 1_000_000


def test_what_a_line_tells(tmp_path: Path) -> None:
    """Its key, what it refers to, the VPC that a port names; a delete has no content."""
    event = _events(1)[0]
    assert event == published(
        Changeset(
            "c0",
            (
                Resource(
                    host_scope("h1"), "port", "p1", 3, {"vpc_id": "v1", "security_groups": ["g"]}
                ),
                Resource(vpc_scope("v1"), "subnet", "s1", 4, {}, Op.DELETE),
            ),
        ),
        0,
    )
    assert isinstance(event, Published)
    port, gone = event.lines
    assert port.vpc == "v1"
    assert port.needs == (b"v\x1fv1\x1fvpc\x1fv1", b"v\x1fv1\x1fsecurity_group\x1fg")
    assert (gone.deleted, gone.hash, gone.needs) == (True, 0, ())


def test_a_file_that_was_cut_says_so(tmp_path: Path) -> None:
    """Everything up to the last whole frame, then the reason."""
    path = tmp_path / "h"
    writer = HistoryWriter(path)
    writer.open()
    events = _events(10)
    for event in events:
        writer.add(event)
    writer.flush()
    writer.add(Joined("lost", 1))
    found = list(History(path))
    assert found[:-1] == events
    assert found[-1] == Truncated(9, "h was not closed")
    path.write_bytes(path.read_bytes()[:-3])
    assert list(History(path)) == [Truncated(0, "h was not closed")]
    writer.close()


def test_a_full_file_takes_no_more(tmp_path: Path) -> None:
    """The rest is dropped, counted and told."""
    path = tmp_path / "h"
    writer = HistoryWriter(path, bytes_max=10)
    writer.open()
    for event in _events(3):
        writer.add(event)
        writer.flush()
    writer.close()
    assert writer.dropped == 18
    assert list(History(path)) == [Truncated(2, "full: 18 events dropped")]


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    """Other bytes in a frame's place."""
    path = tmp_path / "h"
    path.write_bytes(b"\0\0\0\x04abcd")
    with pytest.raises(WireError, match="is no history"):
        list(History(path))


def test_a_recorder_writes_counts(tmp_path: Path) -> None:
    """What a hall has read becomes an event."""
    recorder = Recorder(HistoryWriter(tmp_path / "h"))
    recorder.open()
    recorder.read(Counts(host=Reads(10, 1), vpc=Reads(5, 2)), 7)
    recorder.close()
    assert list(History(tmp_path / "h")) == [Read(7, 10, 1, 5, 2)]


@pytest.mark.parametrize(
    "data",
    [
        (5).to_bytes(4) + b"abcde",
        b"\0\0\0\x01x",
        b"".join((len(one).to_bytes(4) + one) for one in [zlib.compress(b"\xff")]),
        b"".join((len(one).to_bytes(4) + one) for one in [zlib.compress(b"\xdd\xff\xff\xff\xff")]),
        b"".join((len(one).to_bytes(4) + one) for one in [zlib.compress(b"\x91" * 9_000)]),
    ],
    ids=["text", "byte", "no array", "announcing", "deep"],
)
def test_a_file_of_other_things_is_no_history(tmp_path: Path, data: bytes) -> None:
    """An error of ours names it."""
    (tmp_path / "h").write_bytes(data)
    with pytest.raises(WireError, match="no history"):
        list(History(tmp_path / "h"))


def test_what_a_frame_announces_or_unfolds_to_takes_bounded_memory(tmp_path: Path) -> None:
    """Four gigabytes announced, and one gigabyte packed into a megabyte."""
    packed = zlib.compress(bytes(1 << 28), 9)
    tracemalloc.start()
    (tmp_path / "h").write_bytes(b"\xff\xff\xff\xff" + b"a" * 100)
    assert [type(one) for one in History(tmp_path / "h")] == [Truncated]
    (tmp_path / "h").write_bytes(len(packed).to_bytes(4) + packed)
    with pytest.raises(WireError, match="no history"):
        list(History(tmp_path / "h"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20
