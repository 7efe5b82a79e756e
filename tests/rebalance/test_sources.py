"""Histories of a round: each slot is read once, each scope from its own beginning."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from southbound.partitioning.placement import Address
from southbound.rebalance.copying import Record
from southbound.rebalance.sources import Reach, Sources, stale_keys
from southbound.resources import Op, ResourceKey, host_scope
from southbound.wire.envelope import FLAG_COPIED, Envelope, encode, with_flags
from southbound.wire.keys import encode_key, scope_prefix, seal_key

SLOT = Address("c1", "sb.h1.000", 0)
A, B = host_scope("a"), host_scope("b")


class Log:
    """One slot in memory; it notes what was read of it."""

    def __init__(self, *records: tuple[bytes, bytes | None]) -> None:
        self.records = [
            Record(offset, *one, time.time_ns() // 1000) for offset, one in enumerate(records)
        ]
        self.read_parts: list[tuple[int, int]] = []

    def read(self, ranges: Mapping[Address, tuple[int, int]]) -> dict[Address, list[Record]]:
        """Return parts of it."""
        self.read_parts += ranges.values()
        return {at: self.records[first:end] for at, (first, end) in ranges.items()}


def put(scope: Any, id: str, revision: int, index: int = 0, count: int = 1) -> tuple[bytes, bytes]:
    """Return a record of changeset `set`, sent now."""
    now_us = time.time_ns() // 1000
    value = Envelope(revision, Op.UPSERT, 1, "set", index, count, now_us, 0, b"\x80")
    return encode_key(ResourceKey(scope, "gateway", id)), encode(value)


def revisions(sources: Sources, *reaches: Reach) -> dict[Any, dict[str, int]]:
    """Return what each scope's history holds, by the resource's id."""
    now_us = time.time_ns() // 1000
    return {
        scope: {
            key.decode().rpartition("\x1f")[2]: version.revision
            for key, version in history.highest(now_us).items()
        }
        for scope, history in sources.read(reaches).items()
    }


def test_a_changeset_is_whole_across_two_readings() -> None:
    """Its first record lies before the first end, its last behind it."""
    log = Log(put(A, "x", 1), put(A, "y", 7, 0, 2), put(A, "z", 8, 1, 2))
    sources = Sources(log)  # type: ignore[arg-type]
    assert revisions(sources, Reach(SLOT, A, 0, 2)) == {A: {"x": 1}}
    assert revisions(sources, Reach(SLOT, A, 0, 3)) == {A: {"x": 1, "y": 7, "z": 8}}
    assert log.read_parts == [(0, 2), (2, 3)]


def test_scopes_of_a_slot_share_its_reading() -> None:
    """Each begins at its own start, and ends at its own end."""
    log = Log(put(A, "x", 1), put(B, "x", 2), put(A, "x", 3), put(B, "y", 4))
    sources = Sources(log)  # type: ignore[arg-type]
    found = revisions(sources, Reach(SLOT, A, 2, 4), Reach(SLOT, B, 0, 3))
    assert found == {A: {"x": 3}, B: {"x": 2}}
    assert log.read_parts == [(0, 4)]


def test_another_beginning_is_another_stay() -> None:
    """A stream whose start was decided otherwise is read anew."""
    log = Log(put(A, "x", 9), put(A, "x", 3))
    sources = Sources(log)  # type: ignore[arg-type]
    assert revisions(sources, Reach(SLOT, A, 0, 2)) == {A: {"x": 9}}
    assert revisions(sources, Reach(SLOT, A, 1, 2)) == {A: {"x": 3}}


def test_what_an_earlier_stay_left_is_found() -> None:
    """Records whose key ends with no null yet; neither others' nor control records."""
    key, value = put(A, "x", 1)
    gone, _ = put(A, "y", 1)
    records = [
        Record(0, key, value, 0),
        Record(1, gone, value, 0),
        Record(2, gone, None, 0),
        Record(3, put(B, "x", 1)[0], value, 0),
        Record(4, seal_key(A, 2), b"seal", 0),
    ]
    assert stale_keys(records, {scope_prefix(A): 2}, b"!") == [key]


def test_what_is_of_the_coming_stay_is_not_stale() -> None:
    """A null behind what somebody else has copied for it, or was turned to, would outlive the move."""
    (key, value), (other, later) = put(A, "x", 1), put(A, "y", 1)
    records = [
        Record(0, key, with_flags(value, epoch=3, flags=FLAG_COPIED), 0),
        Record(1, other, with_flags(later, epoch=2, flags=FLAG_COPIED), 0),
    ]
    assert stale_keys(records, {scope_prefix(A): 3}, b"!") == [other]
    assert stale_keys(records, {scope_prefix(A): 4}, b"!") == [key, other]


def test_what_cannot_be_read_is_stale() -> None:
    """Nobody can copy it, and a delta would stop at it."""
    key, _ = put(A, "x", 1)
    assert stale_keys([Record(0, key, b"?", 0)], {scope_prefix(A): 2}, b"!") == [key]
