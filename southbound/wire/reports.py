"""What agents tell: reports on the status topic, and presence on the interest topic (docs/wire.md).

The rule: a report names what was published (changeset, resource, revision) and what became of it
on one host, so a sender can settle its receipt from it alone. Reports are small, batched, and
behind the same version byte as every other value. Fields that say nothing are left off at the end of
an array, so what older readers know keeps its bytes.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Annotated

import msgspec

from southbound.errors import WireError
from southbound.resources import ID_BYTES_MAX, ResourceKey
from southbound.wire.keys import SEPARATOR, decode_key, encode_key, id_problem
from southbound.wire.versioned import VERSION_BYTE, Count, Micros, Revision, opened

# Nearly all keys are of printable ASCII; what is not is looked at as a key of records is.
_PLAIN_KEY = re.compile(rb"(?:[hv]\x1f[ -~]{1,255}|p)\x1f[ -~]{1,255}\x1f[ -~]{1,255}")

_ChangesetId = Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)]


class Outcome(enum.IntEnum):
    """What became of one revision of one resource on one host."""

    APPLIED = 0
    FAILED = 1
    PENDING = 2
    SUPERSEDED = 3


class ReportEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One resource's outcome.

    `key` is the record key; `detail` says why it failed or what it waits for; `at_us` is when, in
    microseconds since 1970. `deleted`: the revision is a delete. `needs`: the record keys that it
    refers to; empty for a delete, and for kinds that nobody waits for.
    """

    changeset: _ChangesetId
    key: bytes
    revision: Revision
    outcome: Outcome
    at_us: Micros
    detail: str = ""
    deleted: bool = False
    needs: tuple[bytes, ...] = ()

    @property
    def resource(self) -> ResourceKey:
        """Identity of the resource. Raises `WireError` for a malformed key."""
        return decode_key(self.key)


class Inventory(msgspec.Struct, frozen=True, array_like=True):
    """Says that the entries beside it are part `index` of `count` of all that the host has.

    `taken_us`: when it was taken; the same in all parts. What no part names is not on the host.
    """

    taken_us: Micros
    index: Count
    count: Count


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What one host tells in one record of the status topic; its key is the host's id.

    `inventory`: the entries are not news, but a part of everything that stands.
    """

    host: str
    sent_us: Micros
    entries: tuple[ReportEntry, ...]
    inventory: Inventory | None = None


class Presence(msgspec.Struct, frozen=True, array_like=True):
    """Value on the interest topic: the host follows the VPC since then."""

    since_us: Micros


_encoder = msgspec.msgpack.Encoder()
_report_decoder = msgspec.msgpack.Decoder(Report)
_presence_decoder = msgspec.msgpack.Decoder(Presence)


def report_entry(
    changeset: str, key: ResourceKey, revision: int, outcome: Outcome, at_us: int, detail: str = ""
) -> ReportEntry:
    """Make an entry from a resource's identity."""
    return ReportEntry(changeset, encode_key(key), revision, outcome, at_us, detail)


def encode_report(report: Report) -> bytes:
    """Return a status record's value."""
    fields: tuple[object, ...] = (report.host, report.sent_us, [*map(_spoken, report.entries)])
    if report.inventory is not None:
        fields += (report.inventory,)
    return VERSION_BYTE + _encoder.encode(fields)


def _spoken(entry: ReportEntry) -> tuple[object, ...]:
    """Return the fields of an entry without those at the end that say nothing."""
    fields = msgspec.structs.astuple(entry)
    if entry.needs:
        return fields
    return fields[:7] if entry.deleted else fields[:6]


def decode_report(data: bytes) -> Report:
    """Read a status record's value. Raises `WireError`."""
    report = opened(data, _report_decoder, "report")
    part = report.inventory
    if part is not None and not 0 <= part.index < part.count:
        raise WireError(f"inventory part {part.index} is not below {part.count}")
    problem = id_problem(report.host)
    if problem is not None:
        raise WireError(f"malformed report: its host: {problem}")
    for entry in report.entries:
        _check_keys((entry.key, *entry.needs))
    return report


def _check_keys(keys: Iterable[bytes]) -> None:
    for key in keys:
        if _PLAIN_KEY.fullmatch(key) is None:
            decode_key(key)


def interest_key(vpc: str, host: str) -> bytes:
    """Key on the interest topic: `<vpc>␟<host>`; a null value says that the host has left."""
    return f"{vpc}{SEPARATOR}{host}".encode()


def parse_interest_key(data: bytes) -> tuple[str, str]:
    """Return (vpc, host). Raises `WireError`."""
    try:
        vpc, separator, host = data.decode().partition(SEPARATOR)
    except UnicodeDecodeError as error:
        raise WireError(f"key is not UTF-8: {data[:80]!r}") from error
    if not separator or id_problem(vpc) is not None or id_problem(host) is not None:
        raise WireError(f"not an interest key: {data[:80]!r}")
    return vpc, host


def encode_presence(presence: Presence) -> bytes:
    """Return the value of an interest record."""
    return VERSION_BYTE + _encoder.encode(presence)


def decode_presence(data: bytes) -> Presence:
    """Read an interest record's value. Raises `WireError`."""
    return opened(data, _presence_decoder, "presence")
