"""One scope's stream in one slot, as a copier reads and writes it.

The rule: reading goes from the stream's start to an end that was asked for, in bounded pieces, and
goes on from there the next time; what is appended is acknowledged when the call returns, so the next
reading finds it. Appended copies may be there twice, or in another order: whoever copies mends.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from southbound.edge.append import Appender
from southbound.edge.tail import EndAsker, RangeReader
from southbound.partitioning.placement import Address, Placement, address_of
from southbound.partitioning.topology import Topology
from southbound.pieces import in_pieces
from southbound.rebalance.copying import History
from southbound.rebalance.slots import record_in
from southbound.resources import Scope

_PIECE = 10_000
_BATCH = 5_000


class Stream:
    """A scope's records in the slot of a placement. For one thread; making it does no IO.

    `timeout_s` bounds each request: an end, a piece of reading, a batch of acknowledgements.
    """

    def __init__(
        self,
        topology: Topology,
        scope: Scope,
        placement: Placement,
        client_id: str,
        timeout_s: float,
    ) -> None:
        self.address: Address = address_of(scope.cls.value, scope.id, placement, topology)
        self.history = History(scope)
        self._position = placement.start
        self._timeout_s = timeout_s
        cluster, topic = topology.cluster(self.address.cluster), self.address.topic
        partition = self.address.partition
        self._asker = EndAsker(cluster, topic, client_id, partition=partition)
        self._reader = RangeReader(cluster, topic, client_id, partition=partition)
        self._appender = Appender(
            cluster, topic, client_id, timeout_s=timeout_s, partition=partition
        )

    def begin_at_end(self) -> int:
        """Begin where the slot ends now, instead of the placement's start; return that offset."""
        self._position = self._asker.end(self._timeout_s)
        return self._position

    def catch_up(self) -> None:
        """Take into `history` everything that is in the slot now. Raises `EdgeError`."""
        end = self._asker.end(self._timeout_s)
        while self._position < end:
            piece = min(end, self._position + _PIECE)
            found = self._reader.read(self._position, piece, self._timeout_s)
            self.history.take(map(record_in, found))
            self._position = piece

    def append(self, records: Iterable[tuple[bytes, bytes]]) -> int:
        """Append (key, value) records; return how many, once all are acknowledged.

        Raises `EdgeError`: some of them may be there then.
        """
        count = 0
        for batch in in_pieces(records, _BATCH):
            self._appender.append(batch)
            count += len(batch)
        return count

    def close(self) -> None:
        """Let go of the clients."""
        self._reader.close()
        self._asker.close()
        self._appender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
