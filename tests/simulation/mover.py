"""Executors of moves, and the ledger in which they keep their records.

The rule: what is to be done is decided by `southbound.partitioning.handover`; what must be copied by
`southbound.rebalance.copying`. An executor claims a move, performs its next action, stores what came
of it, and may die or be overtaken anywhere; the ledger may fall back to any record it held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from southbound.directory.verdict import Held
from southbound.errors import EdgeError, PlanError, SouthboundError
from southbound.partitioning import steps
from southbound.partitioning.handover import (
    Move,
    abandon,
    advance,
    claim,
    follows,
    next_action,
    plan_move,
)
from southbound.partitioning.move import Kind, Part, Standing, Step
from southbound.partitioning.placement import Placement, parse_placement, parse_vpc_placement
from southbound.rebalance import executor
from southbound.rebalance.copying import Record, copies
from southbound.rebalance.sources import stale_keys
from southbound.resources import PORT, Op, Scope, ScopeClass, vpc_of_port, vpc_scope
from southbound.wire.control import Marker, Seal, encode_control
from southbound.wire.envelope import decode, decode_spec
from southbound.wire.keys import (
    RESERVED,
    decode_key,
    handover_key,
    scope_prefix,
    scope_text,
    seal_key,
)
from tests.simulation.announcer import Announcer
from tests.simulation.directory import Directory
from tests.simulation.fleet import TOPOLOGY, address, cluster_of, replica_in
from tests.simulation.loop import S, Steps
from tests.simulation.ports import Ports
from tests.simulation.rehomer import Rehomer
from tests.simulation.seeder import Seeder
from tests.simulation.stream import Stream
from tests.simulation.traps import Died

if TYPE_CHECKING:
    from tests.simulation.world import World

_UNDECIDED = frozenset({Step.PLANNED, Step.RESERVED, Step.PRECOPIED})
STORED = executor._STORED
"""After these a record is stored in any case; after others perhaps."""


class Wish:
    """What somebody wants moved: a host, or a VPC's home, to a pool."""

    def __init__(self, id: str, scope: Scope, pool: str) -> None:
        self.id = id
        self.scope = scope
        self.pool = pool


class Homecoming(NamedTuple):
    """A VPC that is to have its home in another cluster than before; it has no record."""

    vpc: str
    cluster: str
    before: str


class Ledger:
    """The records of moves, each with all that it was before; and the homes that are to be moved."""

    def __init__(self) -> None:
        self.records: dict[str, list[Move]] = {}
        self.homes: dict[str, Homecoming] = {}

    def read(self, id: str) -> Move | None:
        """Return a move's record."""
        found = self.records.get(id)
        return found[-1] if found else None

    def store(self, move: Move) -> Move:
        """Store a record if it follows the one that is there; return the one that is there then."""
        stored = self.read(move.id)
        if follows(stored, move):
            self.records.setdefault(move.id, []).append(move)
            return move
        assert stored is not None
        return stored

    def fall_back(self, id: str, records: int) -> None:
        """Lose the latest records of a move, but for the first."""
        kept = self.records.get(id)
        if kept is not None:
            del kept[max(1, len(kept) - records) :]

    @property
    def unfinished(self) -> list[str]:
        """The moves that are not at an end."""
        return [*(id for id, kept in self.records.items() if not kept[-1].is_final), *self.homes]


class Overtaken(Exception):
    """Somebody else works on the move now."""


class Mover:
    """One executor."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.directory = Directory(world, name)
        self.announcer = Announcer(world, name)
        self.seeder = Seeder(world, name, self.directory)
        self.rehomer = Rehomer(world, name, self.directory, self.seeder, self.announcer)
        self.ports = Ports(world, name)
        self.abandons: set[str] = set()

    def move(self, wish: Wish) -> Steps[None]:
        """Plan a move, unless somebody has, and carry it to its end, however often it takes."""
        while True:
            try:
                if self.world.ledger.read(wish.id) is None and not (yield from self._plan(wish)):
                    return
                yield from self.carry(wish.id)
                return
            except Overtaken:
                self.world.note(self.name, f"{wish.id} was overtaken")
                return
            except Died as died:
                self.world.bury_mover(self.name, died.away_us)
                return
            except SouthboundError as error:
                self.world.note(self.name, f"{wish.id}: {error}")
                yield int(self.world.chance.uniform(1, 5) * S)

    def drop(self, id: str, vpc: str, cluster: str) -> Steps[None]:
        """Drop a VPC's replica in a cluster, unless a host there has a port, or it is the home."""
        scope = vpc_scope(vpc)
        while True:
            try:
                held = yield from self.directory.look_up(scope)
                book = yield from self.ports.look(cluster)
            except EdgeError:
                yield 5 * S
                continue
            break
        row = None if held is None else parse_vpc_placement(held.row)
        replica = None if row is None else replica_in(row, cluster)
        if row is None or replica is None or replica == row.home or book.has(vpc):
            return
        part = Part(
            cls="vpc",
            id=vpc,
            epoch=row.epoch,
            old=replica,
            fence=cluster_of(row.home),
            replicas=row.replicas,
        )
        slots = (address(scope, replica), None)
        if self.world.ledger.read(id) is None:
            self.world.ledger.store(plan_move("plan", id, Kind.REMOVE, slots, [part]))
        yield from self.move(Wish(id, scope, ""))

    def rehome(self, id: str, wanted: Homecoming | None) -> Steps[None]:
        """Give a VPC another home, however often it takes; None: one that is on its way."""
        homes = self.world.ledger.homes
        while True:
            try:
                if wanted is not None and id not in homes:
                    held = yield from self.directory.look_up(vpc_scope(wanted.vpc))
                    if held is None:
                        return
                    before = cluster_of(parse_vpc_placement(held.row).home)
                    homes[id] = wanted._replace(before=before)
                if id in homes:
                    yield from self.rehomer.rehome(*homes[id])
                    homes.pop(id, None)
                return
            except SouthboundError as error:
                self.world.note(self.name, f"{id}: {error}")
                yield int(self.world.chance.uniform(1, 5) * S)

    def _plan(self, wish: Wish) -> Steps[bool]:
        """Write the move's first record; tell whether there is anything to move."""
        held = yield from self.directory.look_up(wish.scope)
        if held is None:
            return False
        part = part_of(wish, held)
        if part is None:
            return False
        assert part.new is not None
        slots = (address(wish.scope, part.old), address(wish.scope, part.new))
        self.world.ledger.store(plan_move("plan", wish.id, Kind.MOVE, slots, [part]))
        return True

    def carry(self, id: str) -> Steps[None]:
        """Carry a planned move to its end. Raises `Overtaken`, `SouthboundError`."""
        record = self.world.ledger.read(id)
        assert record is not None
        if record.is_final:
            return
        move = yield from self._store(claim(record, self.name))
        if id in self.abandons and move.step in _UNDECIDED and not move.has_left:
            move = yield from self._store(abandon(move))
        while not move.is_final:
            action = next_action(move)
            self.world.note(self.name, f"{id}: {type(action).__name__}")
            outcome = yield from self.perform(move, action)
            if outcome is None:
                raise EdgeError("not now", retryable=True)
            self.world.traps.behind(self.name, type(action).__name__)
            move = advance(move, outcome)
            if move.step in STORED or self.world.chance.random() < self.world.stores_often:
                move = yield from self._store(move)
            yield self.world.pause_us()

    def _store(self, move: Move) -> Steps[Move]:
        """Store a record, at once. Raises `Overtaken`.

        What an executor has advanced without storing is stored as one step.
        """
        ledger = self.world.ledger
        yield self.world.network.delay_us()
        stored = ledger.read(move.id)
        if stored is not None and (stored.token, stored.owner) == (move.token, move.owner):
            import msgspec

            move = msgspec.structs.replace(move, serial=stored.serial + 1)
        if ledger.store(move) is not move:
            raise Overtaken
        return move

    # Actions.

    def perform(self, move: Move, action: steps.Action) -> Steps[steps.Outcome | None]:
        """Perform an action; return its outcome. Raises `SouthboundError`."""
        performers: Mapping[type, Callable[[Move, object], Steps[steps.Outcome | None]]] = {
            steps.Reserve: self.reserve,
            steps.Precopy: self.precopy,
            steps.AppendJournal: self.decide,
            steps.AnnounceMoves: self.announce,
            steps.Flip: self.flip,
            steps.Mark: self.mark,
            steps.Delta: self.delta,
            steps.Mend: self.mend,
            steps.Seal: self.seal,
            steps.Release: self.release,
        }
        return (yield from performers[type(action)](move, action))

    def reserve(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Reserve, finish the clean-up of earlier stays, and note both ends."""
        assert isinstance(action, steps.Reserve)
        rows = {}
        for part in action.parts:
            assert part.new is not None
            try:
                held = yield from self.directory.reserve(scope_of(part), part.epoch + 1, part.new)
            except PlanError:
                # Another plan goes first; this one gives up, and so the journal lets it stay.
                self.abandons.add(move.id)
                raise
            if held is not None:
                rows[part.id] = held.row
        if rows:
            return steps.Decided(rows)
        yield from self.clear_earlier_stays(action)
        s0 = yield from self.world.network.end(self.name, action.new)
        p1 = yield from self.world.network.end(self.name, action.old)
        return steps.Reserved(s0=s0, p1=p1)

    def clear_earlier_stays(self, action: steps.Reserve) -> Steps[None]:
        """Write the nulls that an earlier stay in the new slot still lacks, unless it is a source still."""
        coming = {scope_prefix(scope_of(part)): part.epoch + 1 for part in action.parts}
        end = yield from self.world.network.end(self.name, action.new)
        partition = self.world.clusters[action.new.cluster].at(action.new)
        found = yield from self.world.network.call(
            self.name, action.new.cluster, lambda: partition.read(0, end)
        )
        records = [Record(*one) for one in found]
        stale = stale_keys(records, coming, RESERVED.encode())
        if stale:
            for part in action.parts:
                yield from self.check_filled(part)
            yield from self.world.network.produce(
                self.name, action.new, [(key, None) for key in stale]
            )

    def precopy(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Copy what is there; of a slot that is still being filled, once it is sealed."""
        assert isinstance(action, steps.Precopy)
        for span in action.spans:
            old = yield from self.source(move, span)
            yield from old.catch_up()
            yield from self.bring_vpcs(action.new.cluster, span, old)
            yield from self._copy(span, old, None, action.new)
        return steps.Precopied()

    def delta(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Copy what the old slot has, to its present end, and the new one has not."""
        assert isinstance(action, steps.Delta)
        for span in action.spans:
            old = yield from self.source(move, span)
            yield from old.catch_up()
            there = Stream(self.world, self.name, scope_of(span), span.into)
            yield from there.catch_up()
            yield from self._copy(span, old, there, action.new)
            yield from self.bring_vpcs(action.new.cluster, span, old)
        return steps.Copied()

    def source(self, move: Move, span: steps.Span) -> Steps[Stream]:
        """Return a scope's stream in the old slot, from its beginning there."""
        yield 0
        old = next(part.old for part in move.parts if part.id == span.id)
        return Stream(self.world, self.name, scope_of(span), old)

    def is_whole(self, old: Stream, span: steps.Span) -> bool:
        """Tell whether a slot that was entered by a move has been filled."""
        return span.source_epoch <= 1 or old.history.sealed(span.source_epoch)

    def _copy(
        self, span: steps.Span, old: Stream, there: Stream | None, new: object
    ) -> Steps[None]:
        if not self.is_whole(old, span):
            raise EdgeError("the source is still being filled", retryable=True)
        now_us = self.world.loop.now_us
        known = {} if there is None else there.history.highest(now_us)
        found = list(copies(old.history.highest(now_us), known, span.into.epoch))
        yield self.world.pause_us()
        if found:
            target = address(scope_of(span), span.into)
            yield from self.world.network.produce(self.name, target, found)

    def bring_vpcs(self, cluster: str, span: steps.Span, old: Stream) -> Steps[None]:
        """Make the VPCs of a moving host's ports present where it goes."""
        if span.cls != "host":
            return
        vpcs = set()
        for key, version in old.history.highest(self.world.loop.now_us).items():
            if decode_key(key).kind != PORT:
                continue
            envelope = decode(version.value)
            vpc = vpc_of_port(decode_spec(envelope.spec)) if envelope.op is Op.UPSERT else None
            if vpc is not None:
                vpcs.add(vpc)
        # Who drops a replica has told this cluster before it looked for ports.
        told = yield from self.announcer.told(cluster, map(vpc_scope, sorted(vpcs)))
        for scope, held in told.items():
            self.directory.adopt(scope, held)
        for vpc in sorted(vpcs):
            yield from self.seeder.ensure(vpc, cluster)

    def decide(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Let the journal decide; a host "stays" only in a slot that has been filled."""
        assert isinstance(action, steps.AppendJournal)
        for part in move.of(Standing.OPEN) if move.abandoning else ():
            if part.cls == "host":
                yield from self.check_filled(part)
        held = yield from self.directory.decide(
            {scope_text(scope_of(one)): Held(one.epoch, one.row) for one in action.proposals}
        )
        for one in action.proposals:
            self.directory.adopt(scope_of(one), held[scope_text(scope_of(one))])
        return steps.Decided(
            {one.id: held[scope_text(scope_of(one))].row for one in action.proposals}
        )

    def check_filled(self, part: Part) -> Steps[None]:
        """Raise `EdgeError` while the slot that a part is to leave is still being filled itself."""
        if part.old.epoch > 1:
            old = Stream(self.world, self.name, scope_of(part), part.old)
            yield from old.catch_up()
            if not old.history.sealed(part.old.epoch):
                raise EdgeError("the source is still being filled", retryable=True)

    def announce(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Tell the fences."""
        assert isinstance(action, steps.AnnounceMoves)
        for one in action.entries:
            yield from self.announcer.tell(one.cluster, {scope_of(one): Held(one.epoch, one.row)})
        return steps.Announced()

    def flip(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Redis was told with the decision; one that has forgotten is told again."""
        assert isinstance(action, steps.Flip)
        yield from self.directory.decide(
            {scope_text(scope_of(one)): Held(one.epoch, one.row) for one in action.proposals}
        )
        return steps.Flipped()

    def mark(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Write the markers, then note the old slot's end."""
        assert isinstance(action, steps.Mark)
        signs = [
            (
                handover_key(scope_of(one), one.epoch),
                encode_control(Marker(one.epoch, one.row, one.start)),
            )
            for one in action.markers
        ]
        yield from self.world.network.produce(self.name, action.address, signs)
        return steps.Marked(m=(yield from self.world.network.end(self.name, action.address)))

    def mend(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Append again what a lower revision came behind, until nothing is."""
        assert isinstance(action, steps.Mend)
        for span in action.spans:
            there = Stream(self.world, self.name, scope_of(span), span.into)
            while True:
                yield from there.catch_up()
                found = list(there.history.inversions(self.world.loop.now_us, span.into.epoch))
                if not found:
                    break
                yield from self.world.network.produce(self.name, action.address, found)
        return steps.Mended()

    def seal(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Write the seals."""
        assert isinstance(action, steps.Seal)
        for where, signs in ((action.new, action.entered), (action.old, action.stayed)):
            if where is not None and signs:
                seals = [
                    (seal_key(scope_of(one), one.epoch), encode_control(Seal(one.epoch)))
                    for one in signs
                ]
                yield from self.world.network.produce(self.name, where, seals)
        return steps.Sealed()

    def release(self, move: Move, action: object) -> Steps[steps.Outcome | None]:
        """Of a replica that went, look once more whether it is needed: then it is seeded anew."""
        assert isinstance(action, steps.Release)
        yield 0
        if move.kind is Kind.REMOVE:
            for part in action.left:
                book = yield from self.ports.look(action.old.cluster)
                if book.has(part.id):
                    yield from self.seeder.ensure(part.id, action.old.cluster)
        return steps.Released()


def scope_of(one: Part | steps.Span | steps.Proposal | steps.Announcement | steps.Sign) -> Scope:
    """Return the scope of a part of an action."""
    return Scope(ScopeClass(one.cls), one.id)


def part_of(wish: Wish, held: Held) -> Part | None:
    """Return what a wish means for a row; None when it is there already."""
    if wish.scope.cls is ScopeClass.HOST:
        now = parse_placement(held.row)
        if now.pool == wish.pool:
            return None
        return Part(
            cls="host",
            id=wish.scope.id,
            epoch=now.epoch,
            old=now,
            fence=cluster_of(now),
            new=Placement(wish.pool, 0),
        )
    row = parse_vpc_placement(held.row)
    if row.home.pool == wish.pool or TOPOLOGY.pool(wish.pool).cluster != cluster_of(row.home):
        return None
    return Part(
        cls="vpc",
        id=wish.scope.id,
        epoch=row.epoch,
        old=row.home,
        fence=cluster_of(row.home),
        new=Placement(wish.pool, 0),
        replicas=row.replicas,
    )
