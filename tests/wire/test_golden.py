"""The wire format's golden bytes: they must match for ever, in any language (docs/wire.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from southbound.resources import Op, ResourceKey, Scope, ScopeClass
from southbound.wire import control, envelope, keys, reports

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden" / "records.json").read_text()
)


def _key(fields: dict[str, Any]) -> bytes:
    scope = Scope(ScopeClass(fields["class"]), fields["scope"])
    return keys.encode_key(ResourceKey(scope, fields["kind"], fields["id"]))


def _envelope(fields: dict[str, Any]) -> bytes:
    spec = envelope.encode_spec(fields["spec"])
    return envelope.encode(envelope.Envelope(**{**fields, "op": Op(fields["op"]), "spec": spec}))


def _report(fields: dict[str, Any]) -> bytes:
    inventory = fields.get("inventory")
    entries = tuple(
        reports.ReportEntry(
            **{
                **entry,
                "key": bytes.fromhex(entry["key"]),
                "outcome": reports.Outcome(entry["outcome"]),
                "needs": tuple(map(bytes.fromhex, entry.get("needs", ()))),
            }
        )
        for entry in fields["entries"]
    )
    part = None if inventory is None else reports.Inventory(**inventory)
    return reports.encode_report(reports.Report(fields["host"], fields["sent_us"], entries, part))


WRITE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "key": _key,
    "envelope": _envelope,
    "marker": lambda fields: control.encode_control(control.Marker(**fields)),
    "seal": lambda fields: control.encode_control(control.Seal(**fields)),
    "move": lambda fields: control.encode_control(control.MoveEntry(**fields)),
    "journal": lambda fields: control.encode_control(control.JournalEntry(**fields)),
    "report": _report,
    "interest": lambda fields: reports.interest_key(fields["vpc"], fields["host"]),
    "presence": lambda fields: reports.encode_presence(reports.Presence(**fields)),
}

READ: dict[str, Callable[[bytes], object]] = {
    "key": keys.decode_key,
    "envelope": envelope.decode,
    "marker": control.decode_marker,
    "seal": control.decode_seal,
    "move": control.decode_move,
    "journal": control.decode_journal,
    "report": reports.decode_report,
    "interest": reports.parse_interest_key,
    "presence": reports.decode_presence,
}


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: str(row["name"]))
def test_writes_the_golden_bytes(row: dict[str, Any]) -> None:
    """The fields of a row encode to its bytes, to the last bit."""
    assert WRITE[row["kind"]](row["fields"]).hex() == row["hex"]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: str(row["name"]))
def test_reads_what_it_writes(row: dict[str, Any]) -> None:
    """Reading golden bytes and writing the same fields again gives the same bytes."""
    read = READ[row["kind"]](bytes.fromhex(row["hex"]))
    if isinstance(read, envelope.Envelope):
        assert envelope.decode_spec(read.spec) == row["fields"]["spec"]
        assert envelope.encode(read).hex() == row["hex"]
    elif isinstance(read, ResourceKey):
        assert keys.encode_key(read).hex() == row["hex"]
    elif isinstance(read, reports.Report):
        assert reports.encode_report(read).hex() == row["hex"]
    elif isinstance(read, tuple):
        assert reports.interest_key(*read).hex() == row["hex"]
    else:
        assert bytes([1]) + msgspec.msgpack.encode(read) == bytes.fromhex(row["hex"])


@pytest.mark.parametrize(
    "row",
    [row for row in GOLDEN if row["kind"] not in {"key", "interest"}],
    ids=lambda row: str(row["name"]),
)
def test_ignores_what_a_newer_writer_appends(row: dict[str, Any]) -> None:
    """A value with more fields than this reader knows reads as if they were not there."""
    data = bytes.fromhex(row["hex"])
    known = msgspec.msgpack.decode(data[1:])
    if row["kind"] == "report" and len(known) == 3:
        known.append(None)  # a report that is no inventory ends before that field
    longer = [*known, "later", {"x": 1}]
    newer = data[:1] + msgspec.msgpack.encode(longer)
    assert READ[row["kind"]](newer) == READ[row["kind"]](data)
