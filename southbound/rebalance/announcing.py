"""Telling the fences of a cluster who has left it, and which replicas a VPC homed there has.

The rule: an entry is in `sb.moves` before the end of the slot that is left (of a VPC's home) is
noted, and the last entry of a scope is the one of its highest epoch. Two that announce at once could append the older row behind
the newer one, and compaction keeps the last: so whoever has appended looks again, and appends what
is higher once more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from southbound.directory.moves import MovesLog, MovesTail
from southbound.edge.log_time import LogTime
from southbound.errors import Closed, StaleMap, WireError
from southbound.partitioning.placement import VpcPlacement, parse_vpc_placement
from southbound.partitioning.topology import Cluster
from southbound.resources import Scope
from southbound.wire.control import MoveEntry


class Row(NamedTuple):
    """A row's text and its epoch: a host's placement, or a VPC's set."""

    epoch: int
    text: str


class _Moves(NamedTuple):
    log: MovesLog
    tail: MovesTail


class Announcer:
    """Writes rows into `sb.moves` of clusters. Thread-safe; no IO to make.

    It follows `sb.moves` of each cluster that it has announced in, until it is closed. `log_time` is
    told the stamps of what it writes, and has been told one when `announce` returns.
    """

    def __init__(
        self, client_id: str, timeout_s: float, *, log_time: LogTime | None = None
    ) -> None:
        self.log_time = log_time or LogTime()
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._moves: dict[str, _Moves] = {}
        self._closed = False

    def announce(self, scope: Scope, placement: VpcPlacement, home: Cluster) -> None:
        """Return once `sb.moves` of the home's cluster tells this row; may be repeated.

        Raises `StaleMap`, with the newer row in `current`, when it tells one of a higher epoch;
        `EdgeError`; `WireError` when the VPC's entry cannot be read.
        """
        moves = self._open(home)
        moves.tail.look(self._timeout_s)
        there = moves.tail.entry(scope)
        row = Row(placement.epoch, placement.row())
        if not self.log_time.is_told:
            # It says since when it stands by a clock that nobody vouches for; the next one will not.
            if there is not None and there.epoch > row.epoch:
                row = Row(there.epoch, there.row)
            found = self._append(moves, {scope: row})[scope]
            there, row = None, Row(found.epoch, found.row)
        if there is None or there.epoch < placement.epoch:
            there = self._append(moves, {scope: row})[scope]
        if there.epoch > placement.epoch:
            current = parse_vpc_placement(there.row)
            raise StaleMap(f"{scope} is at epoch {there.epoch} already", current)

    def tell(self, rows: Mapping[Scope, Row], cluster: Cluster) -> None:
        """Return once `sb.moves` of a cluster tells these rows, or those of higher epochs, last.

        For many scopes, whose entries are there seldom before. Raises `EdgeError`, `WireError`.
        """
        moves = self._open(cluster)
        missing = {}
        for scope, row in rows.items():
            there = moves.tail.entry(scope)
            if there is None or there.epoch < row.epoch:
                missing[scope] = row
        self._append(moves, missing)

    def doubts(self, scopes: Iterable[Scope], cluster: Cluster) -> dict[Scope, WireError]:
        """Return of which scopes `sb.moves` of a cluster holds an entry that cannot be read, and why.

        As far as it has been read. Raises `EdgeError`.
        """
        tail = self._open(cluster).tail
        found: dict[Scope, WireError] = {}
        for scope in scopes:
            try:
                tail.entry(scope)
            except WireError as error:
                found[scope] = error
        return found

    def told(self, scopes: Iterable[Scope], cluster: Cluster) -> dict[Scope, str]:
        """Return the rows that `sb.moves` of a cluster tells now of those that it tells of.

        Raises `EdgeError`, `WireError`.
        """
        moves = self._open(cluster)
        moves.tail.look(self._timeout_s)
        found = {scope: moves.tail.entry(scope) for scope in scopes}
        return {scope: entry.row for scope, entry in found.items() if entry is not None}

    def _append(self, moves: _Moves, rows: Mapping[Scope, Row]) -> dict[Scope, MoveEntry]:
        """Append rows, then what is higher than the entry appended last, until nothing is.

        Returns what `sb.moves` then tells of each.
        """
        last = dict(rows)
        pending = dict(rows)
        found: dict[Scope, MoveEntry] = {}
        while pending:
            moves.log.append_all((scope, row.epoch, row.text) for scope, row in pending.items())
            moves.tail.look(self._timeout_s)
            pending = {}
            for scope in rows:
                there = moves.tail.entry(scope)
                assert there is not None, "what was acknowledged is read up to the end"
                found[scope] = there
                if there.epoch > last[scope].epoch:
                    last[scope] = pending[scope] = Row(there.epoch, there.row)
        return found

    def _open(self, cluster: Cluster) -> _Moves:
        with self._lock:
            if self._closed:
                raise Closed("the announcer is closed")
            found = self._moves.get(cluster.id)
            if found is None:
                found = self._moves[cluster.id] = _Moves(
                    MovesLog(
                        cluster,
                        client_id=self._client_id,
                        timeout_s=self._timeout_s,
                        log_time=self.log_time,
                    ),
                    MovesTail(cluster, client_id=self._client_id),
                )
                found.tail.start()
            return found

    def close(self) -> None:
        """Stop following. Whoever announces gets `Closed`."""
        with self._lock:
            self._closed = True
            moves, self._moves = self._moves, {}
        for one in moves.values():
            one.tail.close()
            one.log.close()
