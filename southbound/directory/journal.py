"""The journal of one AZ: `sb.directory`, the truth about who lives where.

The rule: it only grows, and everything that is decided stands in it before it is used. What holds
for a key is judged by `verdict`; this module only reads and appends.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from southbound.directory.verdict import Held
from southbound.edge.append import Appender
from southbound.edge.bookmarks import NO_EPOCH, Bookmark
from southbound.edge.kafka import Message
from southbound.edge.tail import EndAsker, RangeReader
from southbound.errors import EdgeError, WireError
from southbound.partitioning.topology import DIRECTORY_TOPIC, Cluster
from southbound.settings import DirectorySettings
from southbound.wire.control import JournalEntry, decode_journal, encode_control

log = logging.getLogger(__name__)


class Written(NamedTuple):
    """One entry as read: its offset, its key text, and what it says."""

    offset: int
    text: str
    entry: JournalEntry


class Unreadable(NamedTuple):
    """A record of the journal that is no entry, and why."""

    offset: int
    problem: str


class JournalEnd(NamedTuple):
    """Where a journal ends, and in which Kafka cluster."""

    kafka_id: str
    offset: int


class Journal:
    """One AZ's journal. For one thread at a time; making it does no IO.

    All calls raise `EdgeError`, not retryable when the log was cut or the cluster is another.
    """

    def __init__(self, az: str, cluster: Cluster, settings: DirectorySettings) -> None:
        self.az = az
        self.cluster = cluster
        self._timeout_s = settings.journal_timeout_s
        client_id = f"{settings.client_id}-journal"
        self._asker = EndAsker(cluster, DIRECTORY_TOPIC, client_id)
        self._reader = RangeReader(cluster, DIRECTORY_TOPIC, client_id)
        self._appender = Appender(
            cluster, DIRECTORY_TOPIC, client_id, timeout_s=settings.journal_timeout_s
        )
        self._writer = uuid.uuid4().hex[:12]
        self._used_at = time.monotonic()
        self._quarantined = 0
        self._accepted_low = 0

    @property
    def quarantined(self) -> int:
        """How many records could not be read; one that was read twice counts twice."""
        return self._quarantined

    def end(self) -> JournalEnd:
        """Ask where the journal ends now."""
        self._used_at = time.monotonic()
        kafka_id = self._asker.kafka_id(self._timeout_s)
        return JournalEnd(kafka_id, self._asker.end(self._timeout_s))

    def bounds(self) -> tuple[int, int]:
        """Ask where the journal begins, which compaction never moves, and where it ends."""
        self._used_at = time.monotonic()
        return self._asker.bounds(self._timeout_s)

    def check_whole(self) -> None:
        """Raise `EdgeError` when the journal has lost its beginning, which compaction never takes.

        Unless that was accepted (`accept_loss`).
        """
        low, _ = self.bounds()
        if low > self._accepted_low:
            raise EdgeError(
                f"the journal of AZ {self.az} begins at offset {low}: what stood before it is gone, "
                "and nothing but Redis may know it",
                retryable=False,
            )

    def accept_loss(self) -> None:
        """Read from where the journal begins, whatever stood before: somebody has said so."""
        self._accepted_low = self.bounds()[0]

    def bookmark_at(self, offset: int) -> Bookmark:
        """Return the mark at an offset; it has an epoch where the last read began or ended there."""
        return self._reader.bookmark_at(offset)

    def read(
        self, start: int, end: int, *, leader_epoch: int = NO_EPOCH
    ) -> tuple[list[Written], list[Unreadable]]:
        """Return the entries from offset `start` up to below `end`, and what is none.

        `leader_epoch`: of the record directly before `start`, where an earlier process read that.
        """
        written: list[Written] = []
        unreadable: list[Unreadable] = []
        if start < self._accepted_low:
            start, leader_epoch = self._accepted_low, NO_EPOCH
        for message in self._messages(start, end, leader_epoch):
            if message.value() is None:
                continue
            try:
                written.append(_written(message))
            except WireError as error:
                unreadable.append(Unreadable(message.offset() or 0, str(error)))
        self._quarantined += len(unreadable)
        for bad in unreadable:
            log.error("journal of AZ %s, offset %d: %s", self.az, bad.offset, bad.problem)
        self._used_at = time.monotonic()
        return written, unreadable

    def _messages(self, start: int, end: int, leader_epoch: int) -> Iterable[Message]:
        if start >= end:
            return ()
        return self._reader.read(start, end, self._timeout_s, leader_epoch=leader_epoch)

    def append(self, entries: Iterable[tuple[str, Held]], *, mended: bool = False) -> Sequence[int]:
        """Append what is to hold for each key text; return the offsets, once acknowledged."""
        now_us = time.time_ns() // 1000
        records = [
            (
                text.encode(),
                encode_control(JournalEntry(held.epoch, held.row, self._writer, now_us, mended)),
            )
            for text, held in entries
        ]
        self._used_at = time.monotonic()
        return self._appender.append(records)

    def rest(self, idle_s: float = 0.0) -> None:
        """Let go of the clients when they have not been used for `idle_s`; later calls return."""
        if time.monotonic() - self._used_at >= idle_s:
            self._reader.close()
            self._asker.close()
            self._appender.close()


def _written(message: Message) -> Written:
    key, value = message.key(), message.value()
    if not isinstance(key, bytes) or not isinstance(value, bytes):
        raise WireError("an entry without a key")
    try:
        text = key.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"key is not UTF-8: {key[:80]!r}") from error
    return Written(message.offset() or 0, text, decode_journal(value))
