"""Comparing Redis with the journals.

The rule: the journals are the truth, rows follow from them, and counts follow from the rows; each
difference is named with both sides. What changes while it is being compared is looked at twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from southbound.directory.forward import Forward, Progress
from southbound.directory.index import Index, parse_reservations
from southbound.directory.journal import Written
from southbound.directory.keys import HOST, PUBLIC, TOPOLOGY_TEXT, VPC, text_of
from southbound.directory.rows import RowReader
from southbound.directory.topologies import CurrentTopology, pool_slots
from southbound.directory.verdict import Held, better
from southbound.errors import WireError
from southbound.settings import DirectorySettings
from southbound.wire.control import JournalEntry

RESERVATION_AGE_S = 600
_LOOKS = 3
_LETTERS = (HOST, VPC, PUBLIC)


class Difference(NamedTuple):
    """One thing in which Redis and the journals differ.

    `kind`: `row`, `count`, `total`, `topology`, `reservation` (older than ten minutes), `mend`
    (the journal's last entry of a key is not the one that holds), `entry` (unreadable).
    `place` names the key or slot; `redis` and `journal` are what each says, empty for nothing.
    """

    kind: str
    place: str
    redis: str
    journal: str

    def __str__(self) -> str:
        place = self.place.replace("\x1f", ":")
        redis, journal = self.redis or "nothing", self.journal or "nothing"
        return f"{self.kind} {place}: Redis has {redis}, by the journal it is {journal}"


class _Truth:
    """What the journals say, as far as they were read.

    A key stands in one journal, unless an AZ that was added took it over: then the higher epoch
    holds, wherever it stands.
    """

    def __init__(self) -> None:
        self.faults: list[Difference] = []
        self.read_to: dict[str, int] = {}
        self._held: dict[str, dict[str, Held]] = {}
        self._last: dict[str, dict[str, Held]] = {}
        self._shared: dict[Held, Held] = {}

    def take(self, az: str, text: str, entry: JournalEntry) -> None:
        """Judge one more entry. Equal ones are kept once: of a million, nearly all are equal."""
        journal = self._held.setdefault(az, {})
        held = better(journal.get(text), entry)
        journal[text] = self._shared.setdefault(held, held)
        final = Held(entry.epoch, entry.row)
        self._last.setdefault(az, {})[text] = self._shared.setdefault(final, final)

    def held(self, text: str) -> Held | None:
        """Return what holds for a key."""
        found = [journal[text] for journal in self._held.values() if text in journal]
        return max(found, key=lambda held: held.epoch, default=None)

    def texts(self) -> set[str]:
        """Return every key but the topology's."""
        return set().union(*self._held.values()) - {TOPOLOGY_TEXT}

    def mends(self) -> Iterator[Difference]:
        """Yield the keys whose last entry in a journal is not the one that holds there."""
        for az, last in self._last.items():
            for text, final in last.items():
                held = self._held[az][text]
                if final != held:
                    words = f"{final.row} stands last in {az}, {held.row} holds"
                    yield Difference("mend", text, "", words)


class Audit:
    """Compares; changes nothing but what rolling forward changes. Raises `EdgeError`."""

    def __init__(
        self,
        index: Index,
        forward: Forward,
        current: CurrentTopology,
        rows: RowReader,
        settings: DirectorySettings,
    ) -> None:
        self._index = index
        self._forward = forward
        self._current = current
        self._rows = rows
        self._settings = settings

    def differences(self, progress: Progress | None = None) -> list[Difference]:
        """Return every difference; empty when Redis says what the journals say."""
        truth = _Truth()
        self._read(truth, progress)
        suspects = self._suspects(truth)
        # Once more, with what was written on either side meanwhile.
        self._read(truth, None)
        return [
            *truth.faults,
            *truth.mends(),
            *self._topology_difference(truth),
            *self._row_differences(suspects, truth),
            *self._count_differences(),
            *self._old_reservations(),
        ]

    def _read(self, truth: _Truth, progress: Progress | None) -> None:
        """Read the journals on from where they were read to."""
        for az in self._current.topology.azs:
            basis, _ = self._forward.to_end(az.id)
            at = truth.read_to.get(az.id, 0)
            while at < basis.offset:
                until = min(at + self._settings.round, basis.offset)
                with self._forward.lane(az.id) as journal:
                    written, unreadable = journal.read(at, until)
                truth.faults += [
                    Difference("entry", f"{az.id}/{bad.offset}", "", bad.problem)
                    for bad in unreadable
                ]
                for one in written:
                    self._take(truth, az.id, one)
                truth.read_to[az.id] = at = until
                if progress is not None:
                    progress(at, basis.offset)

    def _take(self, truth: _Truth, az: str, one: Written) -> None:
        try:
            if one.text != TOPOLOGY_TEXT:
                self._rows.check(one.text, Held(one.entry.epoch, one.entry.row))
        except WireError as error:
            truth.faults.append(Difference("entry", f"{az}/{one.offset}", "", str(error)))
        else:
            truth.take(az, one.text, one.entry)

    def _topology_difference(self, truth: _Truth) -> Iterator[Difference]:
        held = truth.held(TOPOLOGY_TEXT)
        found = self._index.topology_document()
        if held is not None and (found is None or Held(*found) != held):
            said = "" if found is None else f"version {found[0]}"
            yield Difference("topology", TOPOLOGY_TEXT, said, f"version {held.epoch}")

    def _suspects(self, truth: _Truth) -> list[str]:
        """Return the keys whose rows differ at first sight."""
        unseen = truth.texts()
        suspects = []
        for letter in _LETTERS:
            for field, row in self._index.scan(letter):
                text = text_of(letter, field)
                unseen.discard(text)
                held = truth.held(text)
                if held is None or held.row != row:
                    suspects.append(text)
        return suspects + sorted(unseen)

    def _row_differences(self, suspects: list[str], truth: _Truth) -> Iterator[Difference]:
        for text, row in zip(suspects, self._index.rows(suspects).rows, strict=True):
            held = truth.held(text)
            said = "" if held is None else held.row
            if row != said:
                yield Difference("row", text, row, said)

    def _count_differences(self) -> list[Difference]:
        """Return the counts that are not those of rows and reservations, seen so three times."""
        found = self._counted()
        for _ in range(_LOOKS - 1):
            if not found:
                break
            again = set(self._counted())
            found = [difference for difference in found if difference in again]
        return found

    def _counted(self) -> list[Difference]:
        topology = self._current.topology
        wanted: Counter[tuple[str, int]] = Counter()
        for letter in _LETTERS:
            for field, row in self._index.scan(letter):
                wanted.update(self._slots(text_of(letter, field), row))
        for _, reservations in self._index.reservations():
            for one in parse_reservations(reservations):
                wanted[one.pool, one.slot] += 1
        totals = self._index.status().totals
        found = []
        for pool, slots in pool_slots(topology).items():
            counts = self._index.occupied(pool, slots)
            for index, count in enumerate(counts):
                if count != wanted[pool, index]:
                    rows = f"{wanted[pool, index]} rows"
                    found.append(Difference("count", f"{pool}/{index}", str(count), rows))
            if totals.get(pool, 0) != sum(counts):
                total = f"{sum(counts)} counted"
                found.append(Difference("total", pool, str(totals.get(pool, 0)), total))
        return found

    def _slots(self, text: str, row: str) -> list[tuple[str, int]]:
        try:
            return list(self._rows.slots(text, row, self._current.topology))
        except WireError:
            # A row that is none is a difference of its own.
            return []

    def _old_reservations(self) -> Iterator[Difference]:
        oldest_s = time.time() - RESERVATION_AGE_S
        for text, reservations in self._index.reservations():
            for one in parse_reservations(reservations):
                if one.at_s < oldest_s:
                    where = f"{one.pool}/{one.slot} for epoch {one.epoch}"
                    yield Difference("reservation", text, where, "")
