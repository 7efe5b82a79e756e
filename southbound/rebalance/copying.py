"""What must stand in a slot to which a scope's stream is copied. Pure.

The rule: of each resource the highest revision is carried, deletes too, and compaction keeps the
last record, so the last one must be the highest. Copied records are taken singly by whoever reads
them; hence records of a changeset that is young and not all there are left out: nobody has accepted
it, and its publisher, turned by the fence, sends it whole. What such a set has written directly
into the new slot is never marked as copied either.

A null tombstone behind a delete says nothing: it follows it after days. One behind an upsert landed
there late, from a clean-up that knew nothing of the re-creation: agents do not believe it, but
compaction would, so it counts as an inversion. A last record that cannot be read stops the copying: a
guess could lose what it says. One whose key is none is passed by: no reader takes it, now or later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from southbound.errors import WireError
from southbound.resources import Op, Scope
from southbound.wire.envelope import FLAG_COPIED, Envelope, decode, with_flags
from southbound.wire.keys import RESERVED, decode_key, scope_prefix, seal_key

YOUNG_US = 60_000_000
"""Age in microseconds from which an incomplete changeset is taken as it is: compaction may have thinned
it. Much less than the compaction lag, and by the brokers' clocks as that is: were a set taken for young
whose sender's clock is years ahead, what compaction has left of it would never be carried."""


class Record(NamedTuple):
    """One record of a slot. `value` is None for a null tombstone.

    `at_us`: when the log took it, in microseconds since 1970 by its broker's clock.
    """

    offset: int
    key: bytes
    value: bytes | None
    at_us: int


class Version(NamedTuple):
    """One revision of a resource, as its record's value. `changeset`: the open one it is of."""

    revision: int
    value: bytes
    changeset: str = ""


class _OpenSet:
    """A changeset of which not every index was seen yet."""

    __slots__ = ("at_us", "indexes", "versions")

    def __init__(self) -> None:
        self.indexes: set[int] = set()
        self.at_us = 0
        self.versions: list[tuple[bytes, Version]] = []


class History:
    """Everything of one scope in one slot, record by record in the order of the log.

    It holds one version of each resource, and those of incomplete changesets.
    """

    def __init__(self, scope: Scope) -> None:
        self._prefix = scope_prefix(scope)
        self._control = self._prefix + RESERVED.encode()
        self._scope = scope
        self._settled: dict[bytes, Version] = {}
        self._top: dict[bytes, Version] = {}
        self._last: dict[bytes, int] = {}
        self._open: dict[str, _OpenSet] = {}
        self._seals: set[bytes] = set()
        self._unreadable: dict[bytes, str] = {}

    def take(self, records: Iterable[Record]) -> None:
        """Take the next records; those of other scopes are passed by, undecoded."""
        for record in records:
            if not record.key.startswith(self._prefix):
                continue
            if record.value is None:
                self._note_null(record.key)
                continue
            if record.key.startswith(self._control):
                self._seals.add(record.key)
                continue
            try:
                envelope = decode(record.value)
            except WireError as error:
                if not _is_key(record.key):
                    continue
                self._unreadable[record.key] = (
                    f"{record.key[:80]!r} at offset {record.offset}: {error}"
                )
                continue
            self._unreadable.pop(record.key, None)
            self._note(record, record.value, envelope)

    def sealed(self, epoch: int) -> bool:
        """Tell whether the seal of that epoch was read."""
        return seal_key(self._scope, epoch) in self._seals

    def highest(self, now_us: int) -> dict[bytes, Version]:
        """Return each resource's highest revision, without young incomplete changesets.

        `now_us` is the time of the clocks that stamp the log (`edge.log_time`).
        Raises `WireError` when a resource's last record cannot be read.
        """
        self._check()
        found = dict(self._settled)
        for open_ in self._open.values():
            if not _is_young(open_, now_us):
                for key, version in open_.versions:
                    _raise(found, key, version)
        return found

    def inversions(self, now_us: int, epoch: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of what must be appended again, since a lower revision came last.

        A record of a young incomplete changeset is given as it was, so that it stays one of its
        set; any other is marked as copied under `epoch`. Raises as `highest`.
        """
        self._check()
        for key, last in self._last.items():
            top = self._top[key]
            if last < top.revision:
                open_ = self._open.get(top.changeset)
                if open_ is not None and _is_young(open_, now_us):
                    yield key, top.value
                else:
                    yield key, with_flags(top.value, epoch=epoch, flags=FLAG_COPIED)

    def _check(self) -> None:
        for problem in self._unreadable.values():
            raise WireError(
                f"{self._scope} cannot be copied, its record cannot be read: {problem}; "
                "publish a newer revision of that resource"
            )

    def _note_null(self, key: bytes) -> None:
        top = self._top.get(key)
        if top is not None and decode(top.value).op is Op.UPSERT:
            self._last[key] = 0

    def _note(self, record: Record, value: bytes, envelope: Envelope) -> None:
        key = record.key
        is_single = envelope.copied or envelope.count == 1
        version = Version(envelope.revision, value, "" if is_single else envelope.changeset)
        _raise(self._top, key, version)
        self._last[key] = envelope.revision
        if is_single:
            _raise(self._settled, key, version)
        else:
            self._hold(record, version, envelope)

    def _hold(self, record: Record, version: Version, envelope: Envelope) -> None:
        open_ = self._open.setdefault(envelope.changeset, _OpenSet())
        open_.indexes.add(envelope.index)
        open_.at_us = max(open_.at_us, record.at_us)
        open_.versions.append((record.key, version))
        if len(open_.indexes) >= envelope.count:
            del self._open[envelope.changeset]
            for held_key, held in open_.versions:
                _raise(self._settled, held_key, held)


def copies(
    source: Mapping[bytes, Version], there: Mapping[bytes, Version], epoch: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value), marked as copied under `epoch`, of what `source` has and `there` lacks.

    A resource is lacking when it is not there, or only at a lower revision.
    """
    for key, version in source.items():
        known = there.get(key)
        if known is None or known.revision < version.revision:
            yield key, with_flags(version.value, epoch=epoch, flags=FLAG_COPIED)


def _is_key(key: bytes) -> bool:
    try:
        decode_key(key)
    except WireError:
        return False
    return True


def _is_young(open_: _OpenSet, now_us: int) -> bool:
    return open_.at_us > now_us - YOUNG_US


def _raise(found: dict[bytes, Version], key: bytes, version: Version) -> None:
    """Keep the higher revision; among equals the first, as agents do."""
    known = found.get(key)
    if known is None or known.revision < version.revision:
        found[key] = version
