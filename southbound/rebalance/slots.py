"""All slots that moves work on, whichever cluster they are in.

The rule: one go for each cluster and purpose, however many slots it touches, through clients that
stay open from round to round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from southbound.edge.kafka import Message
from southbound.edge.log_time import LogTime
from southbound.edge.slots import Outgoing, Place, SlotEnds, SlotReader, SlotWriter
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Topology
from southbound.rebalance.copying import Record

_Item = TypeVar("_Item")


class Written(NamedTuple):
    """A record to append to a slot; a value of None is a null tombstone."""

    address: Address
    key: bytes
    value: bytes | None


class Slots:
    """Ends, reading and appending over clusters. For one thread; making it does no IO.

    `timeout_s` bounds each go. `log_time` is told the stamps of what is appended. All calls raise
    `EdgeError`.
    """

    def __init__(
        self,
        topology: Callable[[], Topology],
        *,
        client_id: str,
        timeout_s: float,
        log_time: LogTime | None = None,
    ) -> None:
        self.log_time = log_time or LogTime()
        self._topology = topology
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._askers: dict[str, SlotEnds] = {}
        self._readers: dict[str, SlotReader] = {}
        self._writers: dict[str, SlotWriter] = {}

    def ends(self, addresses: Iterable[Address]) -> dict[Address, int]:
        """Return the offset that the next record of each slot will get."""
        return self._asked(addresses, SlotEnds.ends)

    def begins(self, addresses: Iterable[Address]) -> dict[Address, int]:
        """Return the first offset of each slot that can be read."""
        return self._asked(addresses, SlotEnds.begins)

    def _asked(
        self,
        addresses: Iterable[Address],
        question: Callable[[SlotEnds, Iterable[Place], float], dict[Place, int]],
    ) -> dict[Address, int]:
        found: dict[Address, int] = {}
        for cluster, there in _by_cluster(addresses, lambda address: address.cluster):
            told = question(self._asker(cluster), map(_place, there), self._timeout_s)
            found.update((address, told[_place(address)]) for address in there)
        return found

    def read(self, ranges: Mapping[Address, tuple[int, int]]) -> dict[Address, list[Record]]:
        """Return the records of each slot from its first offset to before its second."""
        return {
            address: [record_in(message) for message in messages]
            for address, messages in self.messages(ranges).items()
        }

    def messages(self, ranges: Mapping[Address, tuple[int, int]]) -> dict[Address, list[Message]]:
        """Do the same, with everything that the log says of each record."""
        found: dict[Address, list[Message]] = {}
        for cluster, there in _by_cluster(ranges, lambda address: address.cluster):
            asked = {_place(address): ranges[address] for address in there}
            read = self._reader(cluster).read(asked, self._timeout_s)
            found.update((address, read[_place(address)]) for address in there)
        return found

    def append(self, records: Sequence[Written]) -> int:
        """Append records, of each slot in order; return how many, once all are acknowledged."""
        for cluster, there in _by_cluster(records, lambda record: record.address.cluster):
            self._writer(cluster).append(
                [Outgoing(_place(one.address), one.key, one.value) for one in there]
            )
        return len(records)

    def close(self) -> None:
        """Let go of all clients; later calls make new ones."""
        for asker in self._askers.values():
            asker.close()
        for reader in self._readers.values():
            reader.close()
        for writer in self._writers.values():
            writer.close()

    def _asker(self, cluster: str) -> SlotEnds:
        if cluster not in self._askers:
            self._askers[cluster] = SlotEnds(self._topology().cluster(cluster), self._client_id)
        return self._askers[cluster]

    def _reader(self, cluster: str) -> SlotReader:
        if cluster not in self._readers:
            self._readers[cluster] = SlotReader(self._topology().cluster(cluster), self._client_id)
        return self._readers[cluster]

    def _writer(self, cluster: str) -> SlotWriter:
        if cluster not in self._writers:
            self._writers[cluster] = SlotWriter(
                self._topology().cluster(cluster),
                self._client_id,
                timeout_s=self._timeout_s,
                log_time=self.log_time,
            )
        return self._writers[cluster]


def _place(address: Address) -> Place:
    return Place(address.topic, address.partition)


def _by_cluster(
    items: Iterable[_Item], cluster_of: Callable[[_Item], str]
) -> Iterator[tuple[str, list[_Item]]]:
    found: dict[str, list[_Item]] = {}
    for item in items:
        found.setdefault(cluster_of(item), []).append(item)
    return iter(found.items())


def record_in(message: Message) -> Record:
    """Return a message as a record of its slot; no key is an empty one."""
    key, value = message.key(), message.value()
    return Record(
        message.offset() or 0,
        key if isinstance(key, bytes) else b"",
        value if isinstance(value, bytes) else None,
        taken_us(message),
    )


def taken_us(message: Message) -> int:
    """Return when the log took a message, in microseconds since 1970."""
    return message.timestamp()[1] * 1000
