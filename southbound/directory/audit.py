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
from southbound.errors import EdgeError, WireError
from southbound.settings import DirectorySettings
from southbound.wire.control import JournalEntry

RESERVATION_AGE_S = 600
_LOOKS = 3
_LETTERS = (HOST, VPC, PUBLIC)


class Difference(NamedTuple):
    """One thing in which Redis and the journals differ.

    `kind`: `row`, `count`, `total`, `topology`, `reservation` (older than ten minutes), `mend`
    (the journal's last entry of a key is not the one that holds), `entry` (unreadable), `journal` (it
    has lost entries), `alone` (a row that stands in Redis alone: the journals have lost it).
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


class Alone(NamedTuple):
    """What nothing but Redis knows.

    `rows`: by key text. `topology`: the stored one, and `lacking` the AZs whose journals do not have it.
    `faults`: what journals have lost.
    """

    rows: dict[str, Held]
    topology: Held | None
    lacking: list[str]
    faults: list[str]


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

    def blame(self, az: str, words: str) -> None:
        """Note that a journal has lost something; the first word on it is enough."""
        if not any(one.kind == "journal" and one.place == az for one in self.faults):
            self.faults.append(Difference("journal", az, "", words))

    def held(self, text: str) -> Held | None:
        """Return what holds for a key."""
        found = [journal[text] for journal in self._held.values() if text in journal]
        return max(found, key=lambda held: held.epoch, default=None)

    def lacks(self, az: str, text: str, epoch: int) -> bool:
        """Tell whether one journal knows nothing of a key at an epoch, nor later."""
        held = self._held.get(az, {}).get(text)
        return held is None or held.epoch < epoch

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

    def alone(self) -> Alone:
        """Return what nothing but Redis knows: a rebuild would lose it. Rolls nothing forward."""
        truth = _Truth()
        self._read_all(truth)
        suspects = self._suspects(truth)
        # What was written meanwhile stands in the journals before it stands in Redis.
        self._read_all(truth)
        rows = {
            text: held
            for text, row in zip(suspects, self._index.rows(suspects).rows, strict=True)
            if row and (held := self._only_here(text, row, truth.held(text))) is not None
        }
        found = self._index.topology_document()
        topology = None if found is None else Held(*found)
        lacking = [
            az.id
            for az in self._current.topology.azs
            if topology is not None and truth.lacks(az.id, TOPOLOGY_TEXT, topology.epoch)
        ]
        faults = [f"{one.place}: {one.journal}" for one in truth.faults if one.kind == "journal"]
        return Alone(rows, topology, lacking, faults)

    def _read_all(self, truth: _Truth) -> None:
        for az in self._current.topology.azs:
            self._read_one(truth, az.id, None)

    def _only_here(self, text: str, row: str, held: Held | None) -> Held | None:
        """Return what a row says, if the journals say nothing of its key, or only what came before."""
        try:
            mine = self._rows.held(text, row)
        except WireError:
            return None
        return mine if held is None or held.epoch < mine.epoch else None

    def _read(self, truth: _Truth, progress: Progress | None) -> None:
        """Roll Redis forward, and read the journals on from where they were read to."""
        for az in self._current.topology.azs:
            try:
                self._forward.to_end(az.id)
            except EdgeError as error:
                if error.retryable:
                    raise
                truth.blame(az.id, str(error))
            self._read_one(truth, az.id, progress)

    def _read_one(self, truth: _Truth, az: str, progress: Progress | None) -> None:
        with self._forward.lane(az) as journal:
            low, end = journal.bounds()
        if low > 0:
            truth.blame(az, f"it begins at offset {low}: what stood before it is gone")
        at = truth.read_to.get(az, low)
        while at < end:
            until = min(at + self._settings.round, end)
            with self._forward.lane(az) as journal:
                written, unreadable = journal.read(at, until)
            truth.faults += [
                Difference("entry", f"{az}/{bad.offset}", "", bad.problem) for bad in unreadable
            ]
            for one in written:
                self._take(truth, az, one)
            truth.read_to[az] = at = until
            if progress is not None:
                progress(at, end)

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
                alone = row and self._only_here(text, row, held) is not None
                yield Difference("alone" if alone else "row", text, row, said)

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
