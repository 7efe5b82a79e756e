"""A world in memory around one agent's core: logs, a disk, a node, a directory and a clock.

It performs effects exactly as `effects.py` states their order, keeps on its disk only what was
persisted, and can stop the agent between any two effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from southbound.nca import effects as ef
from southbound.nca import events as ev
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.core import AgentCore
from southbound.nca.counters import Counters
from southbound.nca.plan import Plan
from southbound.nca.state import State, Transaction
from southbound.partitioning.placement import Address, Placement, VpcPlacement, address_of
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import Scope, ScopeClass, host_scope
from southbound.settings import AgentSettings
from southbound.wire.control import Marker, Seal, encode_control
from southbound.wire.envelope import FLAG_COPIED
from southbound.wire.keys import encode_key, handover_key, seal_key
from southbound.wire.reports import Inventory, Outcome, ReportEntry
from tests.nca.records import Place, Put, value_of

HOST = "h1"
START_US = 1_700_000_000_000_000

TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="az", journal="c1"),),
    clusters=(
        Cluster(id="c1", az="az", bootstrap=("c1:9092",)),
        Cluster(id="c2", az="az", bootstrap=("c2:9092",)),
    ),
    pools=tuple(
        Pool(id=f"{cls}-{name}", cluster=cluster, cls=cls, topics=1, partitions=1, max_per_slot=9)
        for cluster, name in (("c1", "a"), ("c1", "b"), ("c2", "c"))
        for cls in ("host", "vpc")
    ),
    version=1,
)


_K = TypeVar("_K")
_V = TypeVar("_V")


class Stopped(Exception):
    """The process was killed between two effects."""


def address(scope: Scope, placement: Placement) -> Address:
    """Return the partition that a placement means."""
    return address_of(scope.cls.value, scope.id, placement, TOPOLOGY)


class World:
    """One host's agent and everything around it. Records go where `rows` and `vpcs` say."""

    def __init__(self, settings: AgentSettings | None = None) -> None:
        self.settings = settings or AgentSettings()
        self.counters = Counters()
        self.node = MemoryApplier()
        self.node.open()
        self.disk = State()
        self.logs: dict[Address, list[tuple[bytes, bytes | None]]] = {}
        self.lows: dict[Address, int] = {}
        self._leaders: dict[Address, list[int]] = {}
        self._gone: set[Address] = set()
        self.rows: dict[str, Placement] = {HOST: Placement("host-a", 0)}
        self.vpcs: dict[str, VpcPlacement] = {}
        self.topology: Topology = TOPOLOGY
        self.directory_is_up = True
        self.told: list[ReportEntry] = []
        self.inventories: list[ef.Send] = []
        self.words: list[tuple[str, str, bool]] = []
        self.asked: list[tuple[str, ...]] = []
        self.unsettled: list[int] = []
        self.transactions = 0
        self.on_plan: Callable[[Plan], None] = lambda _plan: None
        self.trouble = ""
        self.raises = False
        self.effects_left: int | None = None
        self._s = 1_000.0
        self._sets = 0
        self._open: tuple[str, ...] | None = None
        self._reading: dict[Address, int] = {}
        self._assign = False
        self.core = self._new_core()

    # The clock and the logs.

    @property
    def now(self) -> ev.Now:
        """The time."""
        return ev.Now(self._s, START_US + int((self._s - 1_000.0) * 1e6))

    def see(self, topics: Mapping[str, str]) -> None:
        """Let the host's cluster answer, with the ids of its topics."""
        self.feed(ev.ClusterSeen(self.now, "c1", "id", topics))

    def write(self, where: Address, key: bytes, value: bytes | None) -> int:
        """Append a record; return its offset."""
        log = self.logs.setdefault(where, [])
        log.append((key, value))
        return len(log) - 1

    def cut(self, where: Address, length: int) -> None:
        """Let a log lose all but its first records, as when its only copy loses power.

        Who leads it from then on is of a new epoch.
        """
        del self.logs[where][length:]
        starts = [min(start, length) for start in self._leaders.get(where, [0])]
        self._leaders[where] = [*starts, length]

    def leader_epoch(self, where: Address, offset: int) -> int:
        """Return the epoch of the leader that took a record: the last that began at or before it."""
        starts = self._leaders.get(where, [0])
        return max(epoch for epoch, start in enumerate(starts) if start <= offset)

    def places(self, scope: Scope) -> list[Address]:
        """Return where a scope is written to."""
        if scope.cls is ScopeClass.HOST:
            return [address(scope, self.rows[scope.id])]
        return [address(scope, replica) for replica in self.vpcs[scope.id].replicas]

    def publish(self, *puts: Put, changeset: str | None = None, age_s: float = 0.0) -> str:
        """Append puts as one changeset, as a publisher does; return its id."""
        self._sets += 1
        id = changeset or f"cs{self._sets}"
        for index, put in enumerate(puts):
            self.publish_part(put, id, index, len(puts), age_s=age_s)
        return id

    def publish_part(
        self, put: Put, changeset: str, index: int, count: int, *, age_s: float = 0.0
    ) -> None:
        """Append one record of a changeset."""
        sent_us = self.now.us - int(age_s * 1e6)
        value = value_of(put, changeset, Place(index, count, 0, sent_us))
        for where in self.places(put.scope):
            self.write(where, encode_key(put.key), value)

    def copy(self, put: Put, changeset: str, where: Address) -> None:
        """Append a copy of a record, as a mover does."""
        place = Place(0, 1, FLAG_COPIED, self.now.us)
        self.write(where, encode_key(put.key), value_of(put, changeset, place))

    def mark(self, scope: Scope, old: Placement, new: Placement) -> None:
        """Append the marker that a stream goes on at `new`."""
        marker = encode_control(Marker(new.epoch, new.row(), new.start))
        self.write(address(scope, old), handover_key(scope, new.epoch), marker)

    def seal(self, scope: Scope, placement: Placement, epoch: int | None = None) -> None:
        """Append the seal of an epoch, the placement's own if not told otherwise."""
        sealed = placement.epoch if epoch is None else epoch
        self.write(address(scope, placement), seal_key(scope, sealed), encode_control(Seal(sealed)))

    # The agent's life.

    def start(self) -> None:
        """Start the agent from what is on the disk."""
        self.core = self._new_core()
        self._reading.clear()
        self._open, self._assign = None, False
        self.unsettled.clear()
        self._feed(ev.Started(self.now))
        self._look_around()

    def run(self, rounds: int = 20, *, batch: int = 1_000) -> None:
        """Let the agent read, ask and be answered until nothing is left to do."""
        for _ in range(rounds):
            self._look_around()
            if not self.read(batch):
                break
            self.settle()
        self._look_around()
        self.settle()

    def read(self, batch: int = 1_000) -> bool:
        """Deliver up to `batch` records from each partition; return whether there were any."""
        records = []
        for where, position in list(self._reading.items()):
            log = self.logs.get(where, [])
            if position > len(log) or where in self._gone:
                del self._reading[where]
                self._feed(ev.PositionLost(self.now, where))
                return True
            for offset in range(position, min(position + batch, len(log))):
                key, value = log[offset]
                if key:
                    epoch = self.leader_epoch(where, offset)
                    records.append(ev.Record(where, offset, key, value, epoch))
                self._reading[where] = offset + 1
        if records:
            self._feed(ev.Batch(self.now, tuple(records), dict(self._reading)))
        return bool(records)

    def wait(self, seconds: float) -> None:
        """Let time pass; the agent gets its ticks."""
        end_s = self._s + seconds
        while True:
            deadline_s = self.core.deadline()
            if deadline_s is None or deadline_s > end_s:
                break
            self._s = max(self._s, deadline_s)
            self._feed(ev.Tick(self.now))
            self._look_around()
        self._s = end_s
        self._feed(ev.Tick(self.now))
        self._look_around()

    def settle(self) -> None:
        """Let Kafka acknowledge everything that was sent."""
        seqs, self.unsettled = tuple(self.unsettled), []
        if seqs:
            self._feed(ev.Settled(self.now, seqs))

    def lose(self) -> None:
        """Let Kafka acknowledge nothing of what was sent."""
        seqs, self.unsettled = tuple(self.unsettled), []
        self._feed(ev.Settled(self.now, (), seqs))

    def stop(self) -> None:
        """Stop the agent in an orderly way."""
        self._feed(ev.Stopping(self.now))

    def feed(self, event: ev.Event) -> None:
        """Feed an event, and let the agent look around."""
        self._feed(event)
        self._look_around()

    def outcomes(self, changeset: str) -> list[Outcome]:
        """Return what was told of a changeset, in order."""
        return [entry.outcome for entry in self.told if entry.changeset == changeset]

    # Performing effects.

    def _new_core(self) -> AgentCore:
        return AgentCore(HOST, self.settings, self.disk, self.counters)

    def _feed(self, event: ev.Event) -> None:
        for effect in self.core.step(event):
            if self.effects_left is not None:
                if self.effects_left == 0:
                    raise Stopped
                self.effects_left -= 1
            self._perform(effect)

    def _perform(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Persist():
                self.transactions += 1
                self.disk = after(self.disk, effect.transaction)
            case ef.Apply():
                self._feed(self._apply(effect.plan))
            case ef.Send(inventory=Inventory()):
                self.inventories.append(effect)
                self.unsettled.append(effect.seq)
            case ef.Send():
                self.told.extend(effect.entries)
                self.unsettled.append(effect.seq)
            case ef.Announce():
                self.words.append((effect.cluster, effect.vpc, effect.present))
                self.unsettled.append(effect.seq)
            case ef.Assign():
                self._assign = True
            case ef.Resolve():
                self.asked.append(effect.vpcs)
                self._open = tuple({*(self._open or ()), *effect.vpcs})

    def _apply(self, plan: Plan) -> ev.Applied:
        if self.trouble:
            failures = {change.key: self.trouble for change in plan.changes}
            return ev.Applied(self.now, failures, raised=self.raises)
        failures = dict(self.node.apply(plan))
        self.on_plan(plan)
        return ev.Applied(self.now, failures)

    def _look_around(self) -> None:
        """Answer what was asked, and assign what is wanted."""
        while self._assign or (self._open is not None and self.directory_is_up):
            if self._open is not None and self.directory_is_up:
                vpcs, self._open = self._open, None
                answers = {vpc: self.vpcs.get(vpc) for vpc in vpcs}
                host = self.rows.get(HOST)
                self._feed(ev.Located(self.now, self.topology, host, answers))
            if self._assign:
                self._assign = False
                self._do_assign()

    def _do_assign(self) -> None:
        marks = {
            where: ev.Mark(self.lows.get(where, 0), len(self.logs.get(where, [])))
            for where in self.core.assignment().marks
        }
        if marks:
            self._feed(ev.Marked(self.now, marks))
        wanted = self.core.assignment()
        self._reading = dict(wanted.positions)
        # A broker tells where the records of an epoch end: behind a position, or it was cut.
        self._gone = {
            where
            for where, epoch in wanted.leader_epochs.items()
            if self._end_of(where, epoch) < wanted.positions[where]
        }

    def _end_of(self, where: Address, epoch: int) -> int:
        later = self._leaders.get(where, [0])[epoch + 1 :]
        return later[0] if later else len(self.logs.get(where, []))


def after(disk: State, transaction: Transaction) -> State:
    """Return what is on the disk after a transaction, apart from what it was before."""
    entries = _changed(disk.entries, transaction.entries)
    streams = _changed(disk.streams, transaction.streams)
    owed = {**disk.owed, **transaction.owed}
    for seq in transaction.settled:
        owed.pop(seq, None)
    return msgspec.structs.replace(
        disk,
        topology=transaction.topology or disk.topology,
        progress_us=transaction.progress_us or disk.progress_us,
        kafka_ids={**disk.kafka_ids, **transaction.kafka_ids},
        entries=entries,
        streams=streams,
        owed=owed,
        alone=disk.alone or transaction.alone,
    )


def _changed(before: Mapping[_K, _V], changes: Mapping[_K, _V | None]) -> dict[_K, _V]:
    changed = dict(before)
    for key, value in changes.items():
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value
    return changed


def host() -> Scope:
    """Return the host's scope."""
    return host_scope(HOST)
