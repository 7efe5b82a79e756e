"""Reports: what is left off, what is refused, and what an older reader makes of a newer report."""

from __future__ import annotations

import msgspec
import pytest

from southbound.errors import WireError
from southbound.wire.reports import (
    Inventory,
    Outcome,
    Report,
    ReportEntry,
    decode_report,
    encode_report,
)

_PLAIN = ReportEntry("c", b"h\x1fh\x1fport\x1fp", 1, Outcome.APPLIED, 5)


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        (_PLAIN, 6),
        (msgspec.structs.replace(_PLAIN, deleted=True), 7),
        (msgspec.structs.replace(_PLAIN, needs=(b"v\x1fv\x1fvpc\x1fv",)), 8),
    ],
    ids=["plain", "delete", "needs"],
)
def test_fields_that_say_nothing_are_left_off(entry: ReportEntry, fields: int) -> None:
    """So what older readers know keeps its bytes; and everything comes back."""
    report = Report("h", 9, (entry,))
    data = encode_report(report)
    document = msgspec.msgpack.decode(data[1:])
    assert len(document) == 3
    assert len(document[2][0]) == fields
    assert decode_report(data) == report


def test_an_inventory_comes_back_and_an_older_reader_takes_its_lines() -> None:
    """The first three fields of a report are what they were."""

    class OldReport(msgspec.Struct, array_like=True):
        host: str
        sent_us: int
        entries: list[tuple[str, bytes, int, int, int, str]]

    report = Report("h", 9, (_PLAIN,), Inventory(7, 1, 2))
    data = encode_report(report)
    assert decode_report(data) == report
    assert msgspec.msgpack.decode(data[1:], type=OldReport).entries[0][2] == 1


@pytest.mark.parametrize("part", [(7, 2, 2), (7, -1, 2), (7, 0, 0)])
def test_a_part_that_cannot_be_is_refused(part: tuple[int, int, int]) -> None:
    """It would never make a whole."""
    with pytest.raises(WireError, match=r"inventory|report"):
        decode_report(encode_report(Report("h", 9, (), Inventory(*part))))
