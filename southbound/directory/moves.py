"""`sb.moves`: who has left a slot of a cluster, and which replicas the VPCs homed there have.

The rule: deliver, then look. Whoever has delivered to a slot asks the same cluster for the end of
`sb.moves` and reads up to it; only then does "no entry of a higher epoch" mean that the change is
where its reader will find it (docs/design.md §4). Entries are written after the journal has decided,
so those of one epoch say the same. An entry that cannot be read counts as one: who looks at its key
gets an error, and nothing is accepted on a guess. A record whose key names no scope concerns nobody: it
is counted and passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from southbound.edge.append import Appender
from southbound.edge.kafka import Message
from southbound.edge.log_time import LogTime
from southbound.edge.tail import PartitionTail
from southbound.errors import WireError
from southbound.partitioning.topology import MOVES_TOPIC, Cluster
from southbound.resources import Scope
from southbound.wire.control import NULL_BELIEVED_US, MoveEntry, decode_move, encode_control
from southbound.wire.keys import parse_scope_text, scope_text

log = logging.getLogger(__name__)


class MovesLog:
    """Appends to a cluster's `sb.moves`. Thread-safe; making it does no IO.

    Entries say since when they stand by `log_time`, which is told the stamps of what is acknowledged.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        client_id: str = "moves",
        timeout_s: float = 15.0,
        log_time: LogTime | None = None,
    ) -> None:
        self._log_time = log_time or LogTime()
        self._appender = Appender(
            cluster, MOVES_TOPIC, client_id, timeout_s=timeout_s, log_time=self._log_time
        )

    def append(self, scope: Scope, epoch: int, row: str) -> int:
        """Write where a scope is since `epoch`; return the entry's offset once it is acknowledged.

        `row` is a placement's row for a host, a VPC's whole row for a VPC. Raises `EdgeError`; the
        same call may be repeated without harm.
        """
        return self.append_all([(scope, epoch, row)])[0]

    def append_all(self, rows: Iterable[tuple[Scope, int, str]]) -> list[int]:
        """Do the same for several scopes, each with its epoch and row, at once."""
        now_us = self._log_time.now_us()
        return self._appender.append(
            [
                (scope_text(scope).encode(), encode_control(MoveEntry(epoch, row, now_us)))
                for scope, epoch, row in rows
            ]
        )

    def close(self) -> None:
        """Let go of the client."""
        self._appender.close()


class MovesTail:
    """Follows a cluster's `sb.moves`, all of which fits in memory: it holds only what moved."""

    def __init__(self, cluster: Cluster, *, client_id: str) -> None:
        self._cluster = cluster
        self._entries: dict[str, MoveEntry | WireError] = {}
        self._quarantined = 0
        self._tail = PartitionTail(cluster, MOVES_TOPIC, f"{client_id}-moves", self._take)

    def start(self) -> None:
        """Start following; it connects in the background."""
        self._tail.start()

    def close(self) -> None:
        """Stop following. Whoever waits in `look` gets `Closed`."""
        self._tail.close()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def quarantined(self) -> int:
        """How many records could not be read."""
        return self._quarantined

    def look(self, timeout_s: float) -> None:
        """Return when every entry that is in the log now has been read. For any number of threads.

        Raises `EdgeError`: retryable when the cluster did not answer in time, not retryable when it
        is another Kafka cluster than before or its log was cut. Raises `Closed`.
        """
        self._tail.look(timeout_s)

    def entry(self, scope: Scope) -> MoveEntry | None:
        """Return the scope's entry of the highest epoch, or None. Raises `WireError`."""
        found = self._entries.get(scope_text(scope))
        if isinstance(found, WireError):
            raise WireError(str(found)) from found
        return found

    def _take(self, message: Message) -> None:
        key, value = message.key(), message.value()
        try:
            text = scope_text(parse_scope_text(_key_text(key)))
        except WireError as error:
            self._quarantine(message, error)
            return
        if not isinstance(value, bytes):
            self._erase(text, message.timestamp()[1] * 1000)
            return
        try:
            entry = decode_move(value)
        except WireError as error:
            self._quarantine(message, error)
            self._entries[text] = WireError(
                f"the entry of {text!r} in sb.moves of cluster {self._cluster.id} at offset "
                f"{message.offset()} cannot be read: {error}"
            )
            return
        there = self._entries.get(text)
        # A readable entry that follows an unreadable one may be older than it: the doubt stays
        # until the entry is pruned or the process starts with a software that reads it.
        if there is None or (isinstance(there, MoveEntry) and entry.epoch >= there.epoch):
            self._entries[text] = entry

    def _quarantine(self, message: Message, error: WireError) -> None:
        self._quarantined += 1
        log.error("sb.moves of %s, offset %s: %s", self._cluster.id, message.offset(), error)

    def _erase(self, text: str, at_us: int) -> None:
        """Take a null: an old entry was pruned. One that landed behind a new entry says nothing."""
        there = self._entries.get(text)
        if not isinstance(there, MoveEntry) or there.written_us + NULL_BELIEVED_US <= at_us:
            self._entries.pop(text, None)


def _key_text(key: object) -> str:
    if not isinstance(key, bytes):
        raise WireError("a record without a key")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"key is not UTF-8: {key[:80]!r}") from error
