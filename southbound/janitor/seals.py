"""Whether everything of a scope has been copied to where it is now.

The rule: the old slot's records are the only source of a move until it is sealed, so they stay until
then, whoever may have to take the move up again. A placement that was entered by copying is whole
once the seal of its epoch stands in its slot; one of epoch 1 was never copied into.

Seals are remembered for the slots that were asked about last; a slot is read on from there.
"""

from __future__ import annotations

from collections import OrderedDict

from southbound.directory.verdict import Held
from southbound.edge.kafka import Message
from southbound.edge.slots import Place
from southbound.errors import EdgeError
from southbound.janitor.clients import ClientPool
from southbound.janitor.pace import Pace
from southbound.janitor.standing import entered
from southbound.partitioning.placement import Address, address_of
from southbound.partitioning.topology import Topology
from southbound.resources import Scope
from southbound.settings import JanitorSettings
from southbound.wire.keys import SEAL, SEPARATOR, seal_key

_REMEMBERED_MAX = 1_024


class _Known:
    """The seals of one slot, as far as it was read."""

    def __init__(self) -> None:
        self.read_to = 0
        self.keys: set[bytes] = set()


class Seals:
    """Looks for seals in the slots of all clusters. For one thread; making it does no IO."""

    def __init__(self, clients: ClientPool, pace: Pace, settings: JanitorSettings) -> None:
        self._clients = clients
        self._pace = pace
        self._settings = settings
        self._slots: OrderedDict[Address, _Known] = OrderedDict()

    def are_set(self, scope: Scope, held: Held, topology: Topology) -> bool:
        """Tell whether every placement of a scope is whole. Raises `EdgeError`, `WireError`."""
        for placement in entered(scope, held):
            if topology.find_pool(placement.pool) is None:
                return False
            address = address_of(scope.cls.value, scope.id, placement, topology)
            if not self._has(address, seal_key(scope, placement.epoch), topology):
                return False
        return True

    def _has(self, address: Address, key: bytes, topology: Topology) -> bool:
        known = self._slots.get(address)
        if known is None:
            known = self._slots[address] = _Known()
            if len(self._slots) > _REMEMBERED_MAX:
                self._slots.popitem(last=False)
        self._slots.move_to_end(address)
        if key not in known.keys:
            self._read_on(address, known, topology)
        return key in known.keys

    def _read_on(self, address: Address, known: _Known, topology: Topology) -> None:
        clients = self._clients.of(topology.cluster(address.cluster))
        place = Place(address.topic, address.partition)
        end = clients.ends.ends([place], self._settings.timeout_s)[place]
        if end < known.read_to:
            raise EdgeError(f"{address} is shorter than it was", retryable=False)
        while known.read_to < end:
            until = min(known.read_to + self._settings.read_records, end)
            span = {place: (known.read_to, until)}
            found = clients.reader.read(span, self._settings.timeout_s)[place]
            self._pace.spend(len(found))
            known.keys.update(map(_key, filter(_is_seal, found)))
            known.read_to = until


def _key(message: Message) -> bytes:
    key = message.key()
    return key if isinstance(key, bytes) else b""


def _is_seal(message: Message) -> bool:
    parts = _key(message).split(SEPARATOR.encode())
    return len(parts) == 4 and parts[2] == SEAL.encode() and message.value() is not None
