"""What a slot says of each key, record by record in the order of the log. Pure.

The rule: readers take the highest revision of a key, and compaction keeps its last record. So of
each key just these two are noted, with the offset at which the highest stands; values are dropped
as soon as they were looked at, so that a slot costs some two hundred bytes a key. Nothing is noted
of what lies before the `start` of a stream that is here: it is an earlier stay's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from southbound.errors import WireError
from southbound.janitor.standing import Standing, Whereabouts
from southbound.rebalance.copying import Record
from southbound.resources import PUBLIC_SCOPE, Op, Scope, ScopeClass
from southbound.wire.envelope import Envelope, decode
from southbound.wire.keys import HANDOVER, SEAL, parse_scope_text

NULL = -1
"""Stands for a revision where the last record of a key is a null."""

_PUBLIC_PREFIX = b"p\x1f"
_SEPARATOR = 0x1F
_EPOCH_DIGITS_MAX = 19


class KeyFacts:
    """What the records of one key amount to.

    `revision` is the highest (0: only nulls were seen), `op` and `offset` are those of its first
    record, `age_us` is when the log took any of its records last, `changeset` names the set it
    is of, if any. `last` is the last record's revision or `NULL`, `last_op` its op. `copied_epoch`:
    the highest epoch under which it was copied. `has_others`: records of another revision are there
    too. `unreadable`: a record could not be read, so nothing can be concluded.
    """

    __slots__ = (
        "age_us",
        "changeset",
        "copied_epoch",
        "has_others",
        "last",
        "last_op",
        "offset",
        "op",
        "revision",
        "unreadable",
    )

    def __init__(self) -> None:
        self.revision = 0
        self.op = Op.UPSERT
        self.offset = 0
        self.age_us = 0
        self.changeset = ""
        self.last = NULL
        self.last_op = Op.UPSERT
        self.copied_epoch = 0
        self.has_others = False
        self.unreadable = False


class ControlFacts(NamedTuple):
    """The last record of a control key."""

    epoch: int
    offset: int
    at_us: int


class OpenSet:
    """A changeset of which not every index was seen. `first` is its first record's offset.

    `at_us` and `latest_us`: when the log took its first record, and its last.
    """

    __slots__ = ("at_us", "count", "first", "indexes", "latest_us")

    def __init__(self, first: int, at_us: int, count: int) -> None:
        self.first = first
        self.at_us = at_us
        self.count = count
        self.latest_us = at_us
        self.indexes: set[int] = set()


class ScopeFacts:
    """Everything noted of one scope in one slot.

    `youngest_us`: when the log took its last record that is no null. `copied_epoch`: the highest
    epoch under which records were copied in.
    """

    def __init__(self, scope: Scope, standing: Standing) -> None:
        self.scope = scope
        self.standing = standing
        self.keys: dict[bytes, KeyFacts] = {}
        self.markers: dict[bytes, ControlFacts] = {}
        self.seals: dict[bytes, ControlFacts] = {}
        self.open: dict[str, OpenSet] = {}
        self.youngest_us = 0
        self.copied_epoch = 0


class SlotFacts:
    """Everything noted of one slot. `standing_of` is asked once for each scope that is met."""

    def __init__(self, standing_of: Callable[[Scope], Standing]) -> None:
        self._standing_of = standing_of
        self._scopes: dict[bytes, ScopeFacts | None] = {}

    def scopes(self) -> Iterator[ScopeFacts]:
        """Yield the scopes that were met."""
        return (facts for facts in self._scopes.values() if facts is not None)

    @property
    def foreign(self) -> int:
        """How many scopes' worth of keys were none of the wire format."""
        return sum(facts is None for facts in self._scopes.values())

    def take(self, records: Iterable[Record]) -> None:
        """Take the next records; their offsets rise."""
        for record in records:
            prefix = _prefix(record.key)
            if prefix in self._scopes:
                facts = self._scopes[prefix]
            else:
                facts = self._scopes[prefix] = self._meet(prefix)
            if facts is not None:
                _note(facts, prefix, record)

    def _meet(self, prefix: bytes) -> ScopeFacts | None:
        scope = _scope(prefix)
        return None if scope is None else ScopeFacts(scope, self._standing_of(scope))


def _prefix(key: bytes) -> bytes:
    if key.startswith(_PUBLIC_PREFIX):
        return _PUBLIC_PREFIX
    end = key.find(_SEPARATOR, 2)
    return key[: end + 1]


def _scope(prefix: bytes) -> Scope | None:
    if prefix == _PUBLIC_PREFIX:
        return PUBLIC_SCOPE
    try:
        return parse_scope_text(prefix[:-1].decode())
    except (WireError, UnicodeDecodeError):
        return None


def _note(facts: ScopeFacts, prefix: bytes, record: Record) -> None:
    if record.key.startswith(b"!", len(prefix)):
        _note_control(facts, len(prefix), record)
        return
    standing = facts.standing
    if standing.whereabouts is Whereabouts.HERE and record.offset < standing.start:
        return
    known = facts.keys.get(record.key)
    if known is None:
        known = facts.keys[record.key] = KeyFacts()
    if record.value is None:
        known.last = NULL
        return
    facts.youngest_us = max(facts.youngest_us, record.at_us)
    try:
        envelope = decode(record.value)
    except WireError:
        known.unreadable = True
        return
    if envelope.copied:
        known.copied_epoch = max(known.copied_epoch, envelope.epoch)
        facts.copied_epoch = max(facts.copied_epoch, envelope.epoch)
    _note_revision(known, envelope, record)
    if envelope.count > 1 and not envelope.copied and facts.scope.cls is not ScopeClass.PUBLIC:
        _note_part(facts, envelope, record)


def _note_revision(known: KeyFacts, envelope: Envelope, record: Record) -> None:
    known.last, known.last_op = envelope.revision, envelope.op
    known.has_others |= known.revision not in {0, envelope.revision}
    if envelope.revision > known.revision:
        known.revision, known.op, known.offset = envelope.revision, envelope.op, record.offset
        known.age_us = record.at_us
        known.changeset = "" if envelope.copied or envelope.count == 1 else envelope.changeset
    elif envelope.revision == known.revision:
        known.age_us = max(known.age_us, record.at_us)
        if envelope.copied:
            known.changeset = ""


def _note_part(facts: ScopeFacts, envelope: Envelope, record: Record) -> None:
    open_ = facts.open.get(envelope.changeset)
    if open_ is None:
        open_ = OpenSet(record.offset, record.at_us, envelope.count)
        facts.open[envelope.changeset] = open_
    open_.indexes.add(envelope.index)
    open_.latest_us = max(open_.latest_us, record.at_us)
    if len(open_.indexes) >= envelope.count:
        del facts.open[envelope.changeset]


def _note_control(facts: ScopeFacts, at: int, record: Record) -> None:
    kind, _, id = record.key[at:].decode(errors="replace").partition("\x1f")
    noted = {HANDOVER: facts.markers, SEAL: facts.seals}.get(kind)
    is_epoch = id.isascii() and id.isdigit() and len(id) <= _EPOCH_DIGITS_MAX
    if noted is None or not is_epoch:
        return
    if record.value is None:
        noted.pop(record.key, None)
    else:
        noted[record.key] = ControlFacts(int(id), record.offset, record.at_us)
