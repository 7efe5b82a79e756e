"""Rolling Redis forward: bringing it up to the end of an AZ's journal, and never back.

The rule: what was read of a journal is judged over the rows that Redis holds, what needs mending is
appended to the journal, and only then are rows and position written, in one step each. So a crash
anywhere leaves a Redis from which the next one goes on, and no conflict is passed over unmended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from southbound import failpoints
from southbound.directory.index import Basis, Change, Index, Passage, Refusal, Status
from southbound.directory.journal import Journal, JournalEnd, Written
from southbound.directory.keys import TOPOLOGY_TEXT
from southbound.directory.rows import RowReader
from southbound.directory.topologies import CurrentTopology, decode_stored, encode_stored
from southbound.directory.verdict import Held, judge
from southbound.errors import EdgeError, WireError
from southbound.partitioning.topology import Topology
from southbound.settings import DirectorySettings
from southbound.wire.control import JournalEntry

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""


class Interrupted(Exception):
    """Redis is not where it was: begin this turn again from where it stands now."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(f"{refusal.why}: {refusal.found}")


class TopologyChanged(Exception):
    """The caller decided by a topology that is no longer the newest: decide again."""


class Lane:
    """One AZ's journal, and the lock under which one thread at a time works with it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.lock = threading.RLock()


class Forward:
    """Rolls Redis forward, an AZ at a time. Thread-safe; making it does no IO."""

    def __init__(
        self, index: Index, current: CurrentTopology, rows: RowReader, settings: DirectorySettings
    ) -> None:
        self._index = index
        self._current = current
        self._rows = rows
        self._settings = settings
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}

    @contextmanager
    def lane(self, az: str) -> Iterator[Journal]:
        """Hold an AZ's journal for this thread. Raises `PlanError` for an AZ that is not there."""
        lane = self._lane(az)
        with lane.lock:
            yield lane.journal

    def _lane(self, az: str) -> Lane:
        cluster = self._current.topology.cluster(self._current.topology.az(az).journal)
        with self._lock:
            lane = self._lanes.get(az)
            if lane is None or lane.journal.cluster != cluster:
                # A topology may give a cluster other addresses.
                lane = self._lanes[az] = Lane(Journal(az, cluster, self._settings))
            return lane

    def accept_losses(self) -> None:
        """Read every AZ's journal from where it begins, from now on. Raises `EdgeError`."""
        for az in self._current.topology.azs:
            with self.lane(az.id) as journal:
                journal.accept_loss()

    def rest(self, idle_s: float = 0.0) -> None:
        """Let go of journals' clients that have not been used for `idle_s` and are not in use."""
        with self._lock:
            lanes = list(self._lanes.values())
        for lane in lanes:
            if lane.lock.acquire(blocking=False):
                try:
                    lane.journal.rest(idle_s)
                finally:
                    lane.lock.release()

    def turns(
        self, az: str, topology: Topology, turn: Callable[[Journal, Basis, Status], _Result]
    ) -> _Result:
        """Run a turn that rests on the whole journal of an AZ, again while others interfere.

        `turn` holds the journal, gets what Redis then knows, and may raise `Interrupted`. Raises
        `TopologyChanged` when the newest topology is another than the caller's.
        """
        refusal = Refusal("behind", az)
        for _ in range(self._settings.attempts_max):
            try:
                with self.lane(az) as journal:
                    basis, status = self._to_end(journal, None)
                    if self._current.topology.version != topology.version:
                        raise TopologyChanged
                    _check_whole(basis, status)
                    return turn(journal, basis, status)
            except Interrupted as error:
                refusal = error.refusal
            # Not under the lock: another AZ's may be needed.
            self._catch_up(refusal, az)
        raise EdgeError(
            f"Redis and the journal of AZ {az} do not come together "
            f"({refusal.why}: {refusal.found})",
            retryable=True,
        )

    def _catch_up(self, refusal: Refusal, az: str) -> None:
        """Do what a refusal asks for before the next turn."""
        if refusal.why == "kafka":
            raise _other_cluster(az, refusal.found, "another")
        if refusal.why == "behind" and refusal.found != az:
            self.to_end(refusal.found)
        elif refusal.why == "topology":
            self.load_topology()

    def load_topology(self) -> None:
        """Take the topology that Redis holds, when it is newer."""
        found = self._index.topology_document()
        if found is not None:
            self._current.adopt(decode_stored(found[1]))

    def to_end(self, az: str, progress: Progress | None = None) -> tuple[Basis, Status]:
        """Bring Redis up to the end of an AZ's journal; return what it then rests on.

        Raises `EdgeError`: not retryable when the journal is shorter than what Redis took from it
        or lies in another Kafka cluster.
        """
        for _ in range(self._settings.attempts_max):
            try:
                with self.lane(az) as journal:
                    return self._to_end(journal, progress)
            except Interrupted as error:
                if error.refusal.why != "behind" or error.refusal.found != az:
                    self._catch_up(error.refusal, az)
        raise EdgeError(
            f"Redis keeps forgetting what it is told of the journal of AZ {az}", retryable=True
        )

    def _to_end(self, journal: Journal, progress: Progress | None) -> tuple[Basis, Status]:
        az = journal.az
        # In this order: what Redis knows now cannot lie behind an end that is asked for later.
        status = self._index.status()
        end = journal.end()
        self._match_topology(status)
        position = status.positions.get(az)
        if position is not None and position.kafka_id != end.kafka_id:
            raise _other_cluster(az, position.kafka_id, end.kafka_id)
        start = position.offset if position is not None else 0
        if position is None:
            journal.check_whole()
        if start > end.offset:
            raise EdgeError(
                f"the journal of AZ {az} ends at {end.offset}, and {start} entries were read from "
                "it: it was truncated, or made anew",
                retryable=False,
            )
        if start < end.offset or position is None or not position.whole:
            self._roll(journal, start, end, progress)
            status = self._index.status()
        elif progress is not None:
            # Somebody else has rolled it forward meanwhile.
            progress(end.offset, end.offset)
        topology = self._current.topology
        azs = tuple(known.id for known in topology.azs)
        return Basis(az, end.kafka_id, end.offset, azs, topology.version), status

    def _roll(
        self, journal: Journal, start: int, end: JournalEnd, progress: Progress | None
    ) -> None:
        at = start
        while True:
            until = min(at + self._settings.round, end.offset)
            self.through(journal, end.kafka_id, at, until, whole=until == end.offset)
            at = until
            if progress is not None:
                progress(at, end.offset)
            if at >= end.offset:
                return

    def through(
        self, journal: Journal, kafka_id: str, start: int, end: int, *, whole: bool = False
    ) -> dict[str, Held]:
        """Take over the part of a journal from `start` up to `end`; return what holds after it.

        Raises `Interrupted` when Redis is not where it was.
        """
        written, _ = journal.read(start, end)
        entries = [(one.text, one.entry) for one in written if self._readable(journal, one)]
        taken = self._take_topology(journal, entries)
        places = [(text, entry) for text, entry in entries if text != TOPOLOGY_TEXT]
        texts = list(dict.fromkeys(text for text, _ in places))
        before = self._held(texts)
        mended: dict[str, Held] = {}
        for _ in range(self._settings.attempts_max):
            verdict = judge(before, places)
            mend = {text: held for text, held in verdict.mend.items() if mended.get(text) != held}
            if mend:
                log.warning("mending %d entries in the journal of AZ %s", len(mend), journal.az)
                journal.append(mend.items(), mended=True)
                mended.update(mend)
            passage = Passage(
                journal.az, kafka_id, start, end, whole, self._current.topology.version
            )
            if failpoints.armed:
                failpoints.armed.reach("directory.apply.before")
            again = self._index.apply(passage, self._changes(texts, before, verdict.held))
            if isinstance(again, Refusal):
                raise Interrupted(again)
            if not again:
                if failpoints.armed:
                    failpoints.armed.reach("directory.apply.after")
                return {**verdict.held, **taken}
            before.update(self._held(texts))
        raise Interrupted(Refusal("behind", journal.az))

    def write(self, journal: Journal, basis: Basis, chosen: Mapping[str, Held]) -> dict[str, Held]:
        """Append what a turn has chosen and read back what holds, whoever wrote it."""
        if not chosen:
            return {}
        if failpoints.armed:
            failpoints.armed.reach("directory.append.before")
        offsets = journal.append(chosen.items())
        if failpoints.armed:
            failpoints.armed.reach("directory.append.after")
        held = self.through(journal, basis.kafka_id, basis.offset, max(offsets) + 1)
        return {text: held[text] for text in chosen}

    def _readable(self, journal: Journal, one: Written) -> bool:
        """Leave out what no row can be made from, saying so: one bad entry must not stop all."""
        try:
            self._rows.check(one.text, Held(one.entry.epoch, one.entry.row))
        except WireError as error:
            log.error(  # noqa: TRY400  # no bug: no traceback
                "journal of AZ %s, offset %d: %s", journal.az, one.offset, error
            )
            return False
        return True

    def _held(self, texts: Sequence[str]) -> dict[str, Held]:
        rows = self._index.rows(texts).rows
        return {
            text: self._rows.held(text, row) for text, row in zip(texts, rows, strict=True) if row
        }

    def _changes(
        self, texts: Sequence[str], before: Mapping[str, Held], after: Mapping[str, Held]
    ) -> list[Change]:
        topology = self._current.topology
        changes = []
        for text in texts:
            was, held = before.get(text), after[text]
            if was == held:
                continue
            counts: list[str | int] = []
            if was is not None:
                for pool, index in self._rows.slots(text, was.row, topology):
                    counts += (pool, index, -1)
            for pool, index in self._rows.slots(text, held.row, topology):
                counts += (pool, index, 1)
            expected = "" if was is None else was.row
            changes.append(Change(text, expected, held.row, held.epoch, counts))
        return changes

    # The topology's own entries.

    def _take_topology(
        self, journal: Journal, entries: Sequence[tuple[str, JournalEntry]]
    ) -> dict[str, Held]:
        mine = [(text, entry) for text, entry in entries if text == TOPOLOGY_TEXT]
        if not mine:
            return {}
        found = self._index.topology_document()
        before = {} if found is None else {TOPOLOGY_TEXT: Held(*found)}
        verdict = judge(before, mine)
        if verdict.mend:
            journal.append(verdict.mend.items(), mended=True)
        held = verdict.held[TOPOLOGY_TEXT]
        if held != before.get(TOPOLOGY_TEXT):
            version = 0 if found is None else found[0]
            if self._index.store_topology(version, held.epoch, held.row) != held.epoch:
                raise Interrupted(Refusal("topology", ""))
        self._current.adopt(decode_stored(held.row))
        return verdict.held

    def _match_topology(self, status: Status) -> None:
        """Make Redis and this process hold the same topology: the newer of the two."""
        mine = self._current.topology.version if self._current.known else 0
        theirs = status.standing.topology
        if theirs > mine:
            self.load_topology()
        elif theirs < mine:
            self._index.store_topology(theirs, mine, encode_stored(self._current.stored))


def _check_whole(basis: Basis, status: Status) -> None:
    """Make sure that Redis has once known every journal: a key may stand in another AZ's."""
    for az in basis.azs:
        if az not in status.positions or not status.positions[az].whole:
            raise Interrupted(Refusal("behind", az))


def _other_cluster(az: str, was: str, found: str) -> EdgeError:
    return EdgeError(
        f"the journal of AZ {az} lies in another Kafka cluster than before "
        f"(it was {was}, now it is {found})",
        retryable=False,
    )
