"""The journals and `sb.moves`, taken over into the books, and mended where compaction could err.

The rule: compaction keeps the last entry of a key, so the last must be the one that holds. Where a
part of a log says otherwise, what holds is appended again before the part counts as taken over; a
crash in between leaves it to be found again. What was appended is in the next part that is read, so
whatever overtook it is seen.

Memory: one part of a log (`round` entries). The books hold the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from southbound import failpoints
from southbound.directory.directory import Directory
from southbound.directory.journal import Journal, Written
from southbound.directory.keys import TOPOLOGY_TEXT
from southbound.directory.moves import MovesLog
from southbound.directory.rows import RowReader
from southbound.directory.topologies import decode_stored
from southbound.directory.verdict import Held, judge
from southbound.edge.append import Appender
from southbound.edge.bookmarks import Bookmark
from southbound.edge.kafka import Message
from southbound.edge.tail import EndAsker, RangeReader
from southbound.errors import EdgeError, SouthboundError, WireError
from southbound.janitor.books import Books, Position
from southbound.janitor.entries import Entry, WrittenMove, judge_moves
from southbound.janitor.tally import MENDED_JOURNAL, MENDED_MOVES, PRUNED_MOVES, Tally
from southbound.partitioning.topology import MOVES_TOPIC, Cluster, Topology
from southbound.resources import ScopeClass
from southbound.settings import DirectorySettings
from southbound.wire.control import decode_move
from southbound.wire.keys import parse_scope_text

log = logging.getLogger(__name__)

_PRUNED_MAX = 1_000


class Manner(NamedTuple):
    """How a janitor works with logs: nothing is written in a `dry_run`."""

    settings: DirectorySettings
    dry_run: bool


class Ledgers:
    """All journals and the `sb.moves` of all clusters. For one thread; making it does no IO."""

    def __init__(self, books: Books, tally: Tally, manner: Manner) -> None:
        self._books = books
        self._tally = tally
        self._manner = manner
        self._rows = RowReader()
        self._journals: dict[str, Journal] = {}
        self._moves: dict[str, MovesLedger] = {}

    def topology(self, known: Topology) -> Topology:
        """Return the newest topology of which the journals tell, or the known one."""
        held = self._books.held(TOPOLOGY_TEXT)
        if held is not None and held.epoch > known.version:
            return decode_stored(held.row).topology
        return known

    def sync(self, topology: Topology) -> list[SouthboundError]:
        """Take over all journals up to their ends; return what kept it from that."""
        errors: list[SouthboundError] = []
        for az in topology.azs:
            cluster = topology.cluster(az.journal)
            journal = self._journals.get(az.id)
            if journal is None or journal.cluster != cluster:
                journal = self._journals[az.id] = Journal(az.id, cluster, self._manner.settings)
            try:
                self._take_over(journal)
            except EdgeError as error:
                errors.append(error)
        return errors

    def moves(self, cluster: Cluster) -> MovesLedger:
        """Return the `sb.moves` of a cluster."""
        ledger = self._moves.get(cluster.id)
        if ledger is None or ledger.cluster != cluster:
            ledger = MovesLedger(cluster, self._books, self._tally, self._manner)
            self._moves[cluster.id] = ledger
        return ledger

    def close(self) -> None:
        """Let go of all clients."""
        for journal in self._journals.values():
            journal.rest()
        for moves in self._moves.values():
            moves.close()

    def _take_over(self, journal: Journal) -> None:
        name = f"journal:{journal.az}"
        end = journal.end()
        at = _begin(self._books.position(name), Position(end.kafka_id, end.offset), name)
        while at.next < end.offset:
            until = min(at.next + self._manner.settings.round, end.offset)
            written, unreadable = journal.read(at.next, until, leader_epoch=at.leader_epoch)
            self._tally.quarantined += len(unreadable)
            entries = [(one.text, one.entry) for one in written if self._is_readable(journal, one)]
            texts = list(dict.fromkeys(text for text, _ in entries))
            verdict = judge(self._books.held_in(name, texts), entries)
            self._mend(journal, verdict.mend)
            at = journal.bookmark_at(until)
            self._books.take_journal(name, verdict.held, Position(end.kafka_id, *at))

    def _mend(self, journal: Journal, mend: dict[str, Held]) -> None:
        if not mend:
            return
        log.warning("%d entries in the journal of AZ %s need mending", len(mend), journal.az)
        if not self._manner.dry_run:
            if failpoints.armed:
                failpoints.armed.reach("janitor.journal.before")
            journal.append(mend.items(), mended=True)
            if failpoints.armed:
                failpoints.armed.reach("janitor.journal.after")
        self._tally.entries[MENDED_JOURNAL] += len(mend)

    def _is_readable(self, journal: Journal, one: Written) -> bool:
        try:
            self._rows.check(one.text, Held(one.entry.epoch, one.entry.row))
        except WireError as error:
            self._tally.quarantined += 1
            log.warning("journal of AZ %s, offset %d: %s", journal.az, one.offset, error)
            return False
        return True


class MovesLedger:
    """The `sb.moves` of one cluster. For one thread; making it does no IO. Raises `EdgeError`."""

    def __init__(self, cluster: Cluster, books: Books, tally: Tally, manner: Manner) -> None:
        self.cluster = cluster
        self._name = f"moves:{cluster.id}"
        self._books = books
        self._tally = tally
        self._dry_run = manner.dry_run
        self._round = manner.settings.round
        self._timeout_s = manner.settings.journal_timeout_s
        client_id = f"{manner.settings.client_id}-moves"
        self._asker = EndAsker(cluster, MOVES_TOPIC, client_id)
        self._reader = RangeReader(cluster, MOVES_TOPIC, client_id)
        self._log = MovesLog(cluster, client_id=client_id, timeout_s=self._timeout_s)
        self._nulls = Appender(cluster, MOVES_TOPIC, client_id, timeout_s=self._timeout_s)

    def take_over(self) -> None:
        """Take it over up to its end; append again what a lower epoch or a null came behind."""
        kafka_id = self._asker.kafka_id(self._timeout_s)
        end = self._asker.end(self._timeout_s)
        at = _begin(self._books.position(self._name), Position(kafka_id, end), self._name)
        while at.next < end:
            until = min(at.next + self._round, end)
            found = self._reader.read(at.next, until, self._timeout_s, leader_epoch=at.leader_epoch)
            written = [one for message in found if (one := self._written(message)) is not None]
            texts = list(dict.fromkeys(one.text for one in written))
            after, again = judge_moves(self._books.moves(self.cluster.id, texts), written)
            self._repeat(again)
            at = self._reader.bookmark_at(until)
            place = Position(kafka_id, *at)
            self._books.take_moves(self.cluster.id, self._name, after, place)

    def prune(self, directory: Directory, before_us: int) -> None:
        """Let go of entries written before a time of which Redis says what the journal says."""
        old = self._books.old_moves(self.cluster.id, before_us, _PRUNED_MAX)
        texts = self._agreed(directory, old)
        if not texts:
            return
        if not self._dry_run:
            if failpoints.armed:
                failpoints.armed.reach("janitor.prune.before")
            self._nulls.append([(text.encode(), None) for text in texts])
            if failpoints.armed:
                failpoints.armed.reach("janitor.prune.after")
        self._tally.entries[PRUNED_MOVES] += len(texts)
        # A null may have landed behind a newer entry: look again at once.
        self.take_over()

    def close(self) -> None:
        """Let go of the clients."""
        self._asker.close()
        self._reader.close()
        self._log.close()
        self._nulls.close()

    def _agreed(self, directory: Directory, entries: Mapping[str, Entry]) -> list[str]:
        """Return the texts of which journal and Redis hold one row, as new as the entry at least."""
        scopes = {text: parse_scope_text(text) for text in entries}
        hosts = directory.hosts([one.id for one in scopes.values() if one.cls is ScopeClass.HOST])
        vpcs = directory.vpcs([one.id for one in scopes.values() if one.cls is ScopeClass.VPC])
        agreed = []
        for text, scope in scopes.items():
            found = (vpcs if scope.cls is ScopeClass.VPC else hosts).get(scope.id)
            held = self._books.held(text)
            if found is not None and held == Held(found.epoch, found.row()):
                agreed.append(text)
        return [text for text in agreed if self._is_passed(text, entries[text])]

    def _is_passed(self, text: str, entry: Entry) -> bool:
        held = self._books.held(text)
        return held is not None and held.epoch >= entry.epoch

    def _repeat(self, again: dict[str, Entry]) -> None:
        if not again:
            return
        log.warning("%d entries in %s need mending", len(again), self._name)
        if not self._dry_run:
            rows = [(parse_scope_text(text), one.epoch, one.row) for text, one in again.items()]
            if failpoints.armed:
                failpoints.armed.reach("janitor.moves.before")
            self._log.append_all(rows)
            if failpoints.armed:
                failpoints.armed.reach("janitor.moves.after")
        self._tally.entries[MENDED_MOVES] += len(again)

    def _written(self, message: Message) -> WrittenMove | None:
        key, value = message.key(), message.value()
        try:
            text = key.decode() if isinstance(key, bytes) else ""
            parse_scope_text(text)
            entry = decode_move(value) if isinstance(value, bytes) else None
        except (WireError, UnicodeDecodeError) as error:
            self._tally.quarantined += 1
            log.warning("%s, offset %s: %s", self._name, message.offset(), error)
            return None
        return WrittenMove(text, entry, message.timestamp()[1] * 1000)


def _begin(known: Position | None, end: Position, name: str) -> Bookmark:
    """Return where to go on. Raises `EdgeError` when the log is not the one it was."""
    if known is None:
        return Bookmark(0)
    if known.kafka_id != end.kafka_id:
        raise EdgeError(
            f"{name} lies in another Kafka cluster than before "
            f"(it was {known.kafka_id}, now it is {end.kafka_id})",
            retryable=False,
        )
    if known.offset > end.offset:
        raise EdgeError(
            f"{name} ends at {end.offset}, and was read up to {known.offset}: it was truncated, or "
            "made anew",
            retryable=False,
        )
    return Bookmark(known.offset, known.leader_epoch)
