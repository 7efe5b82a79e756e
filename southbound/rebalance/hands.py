"""Performing the actions of moves, of many moves at once.

The rule: `partitioning.handover` decides, this performs: one go for all moves that stand at the same
step, and an outcome only for what is acknowledged. Every action may be performed again, by anybody.
What goes wrong with one move alone (a record that cannot be read, a slot that is full) is that
move's outcome; what goes wrong with a cluster or Redis is an `EdgeError` of the whole go.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from southbound.directory.directory import Directory
from southbound.errors import EdgeError, SouthboundError, WireError
from southbound.partitioning import steps
from southbound.partitioning.handover import Kind, Move
from southbound.partitioning.move import Part, Standing
from southbound.partitioning.placement import Address
from southbound.rebalance.announcing import Announcer, Row
from southbound.rebalance.copying import History, copies
from southbound.rebalance.ports import Ports
from southbound.rebalance.residents import Residents
from southbound.rebalance.seeding import Seeder
from southbound.rebalance.slots import Slots, Written
from southbound.rebalance.sources import Reach, Sources, prefix_of, stale_keys
from southbound.resources import PORT, Op, Scope, ScopeClass, vpc_of_port, vpc_scope
from southbound.wire.control import Marker, Seal, encode_control
from southbound.wire.envelope import decode, decode_spec
from southbound.wire.keys import RESERVED, decode_key, handover_key, scope_prefix, seal_key

log = logging.getLogger(__name__)

Task = tuple[Move, steps.Action]
Outcomes = dict[str, steps.Outcome | SouthboundError]
"""By the move's id."""

_Action = TypeVar("_Action", bound=steps.Action)
_Copying = tuple[Move, steps.Precopy] | tuple[Move, steps.Delta]
_MENDINGS_MAX = 50
_CONTROL = RESERVED.encode()


class Hands:
    """Performs. For one thread; making it does no IO. `copied` counts the records copied so far."""

    def __init__(
        self, directory: Directory, seeder: Seeder, announcer: Announcer, slots: Slots
    ) -> None:
        self._directory = directory
        self._seeder = seeder
        self._announcer = announcer
        self._slots = slots
        self._sources = Sources(slots)
        self._residents = Residents(slots)
        self._ports = Ports(lambda: directory.topology, slots)
        self.copied = 0

    def forget(self) -> None:
        """Let go of what was read for the moves of a round that is over."""
        self._sources.forget()

    def perform(self, tasks: Sequence[Task]) -> Outcomes:
        """Perform actions of one kind, of several moves; return what came of each.

        Raises `EdgeError`: then some of it may have been done.
        """
        kind = type(tasks[0][1])
        assert all(type(action) is kind for _, action in tasks)
        performers: Mapping[type[steps.Action], Callable[[Sequence[Task]], Outcomes]] = {
            steps.Reserve: self._reserve,
            steps.Precopy: self._precopy,
            steps.AppendJournal: self._decide,
            steps.AnnounceMoves: self._announce,
            steps.Flip: self._flip,
            steps.Mark: self._mark,
            steps.Delta: self._delta,
            steps.Mend: self._mend,
            steps.Seal: self._seal,
            steps.Release: self._release,
        }
        return performers[kind](tasks)

    # Before the decision.

    def _reserve(self, tasks: Sequence[Task]) -> Outcomes:
        pairs = _typed(tasks, steps.Reserve)
        wanted = {
            _scope(part): part.new
            for _, action in pairs
            for part in action.parts
            if part.new is not None
        }
        answers = self._directory.reserve_moves(wanted)
        outcomes: Outcomes = {}
        ready: list[tuple[Move, steps.Reserve]] = []
        for move, action in pairs:
            mine = {part.id: answers[_scope(part)] for part in action.parts}
            rows = {id: one.row for id, one in mine.items() if one.row}
            errors = [one.error for one in mine.values() if one.error is not None]
            if errors:
                outcomes[move.id] = errors[0]
            elif rows:
                outcomes[move.id] = steps.Decided(rows)
            else:
                ready.append((move, action))
        unfilled = self._clear_earlier_stays(ready)
        outcomes.update(unfilled)
        ready = [pair for pair in ready if pair[0].id not in unfilled]
        ends = self._slots.ends(
            address for _, action in ready for address in (action.new, action.old)
        )
        for move, action in ready:
            outcomes[move.id] = steps.Reserved(s0=ends[action.new], p1=ends[action.old])
        return outcomes

    def _clear_earlier_stays(
        self, pairs: Sequence[tuple[Move, steps.Reserve]]
    ) -> dict[str, EdgeError]:
        """Finish the clean-up of streams that were in their new slots before, or nearly were.

        A tombstone that came later would bury the records of the new stay. Where a stream is not
        whole yet in the slot that it is to leave, what it left behind is what that is filled from:
        nothing is cleared then, and the move's error returned.
        """
        entering: defaultdict[Address, dict[bytes, int]] = defaultdict(dict)
        for _, action in pairs:
            for part in action.parts:
                entering[action.new][scope_prefix(_scope(part))] = part.epoch + 1
        found = self._residents.stays({at: scopes.keys() for at, scopes in entering.items()})
        stale: defaultdict[tuple[Address, bytes], list[Written]] = defaultdict(list)
        for address, records in found.items():
            for key in stale_keys(records, entering[address], _CONTROL):
                stale[address, prefix_of(key)].append(Written(address, key, None))
        back = [
            (move, part)
            for move, action in pairs
            for part in action.parts
            if (action.new, scope_prefix(_scope(part))) in stale
        ]
        unfilled = self._unfilled(back)
        self._slots.append(
            [
                one
                for move, part in back
                if move.id not in unfilled and move.new is not None
                for one in stale[move.new, scope_prefix(_scope(part))]
            ]
        )
        return unfilled

    def _precopy(self, tasks: Sequence[Task]) -> Outcomes:
        pairs = _typed(tasks, steps.Precopy)
        # A slot that is still being filled itself gets its seal behind the noted end.
        old = self._read_old(pairs, self._slots.ends(action.old for _, action in pairs))
        outcomes: Outcomes = {move.id: steps.Precopied() for move, _ in pairs}
        outcomes.update(self._copy(pairs, old, {}))
        outcomes.update(self._bring_vpcs(pairs, old))
        return outcomes

    def _read_old(
        self, pairs: Sequence[_Copying], ends: Mapping[Address, int]
    ) -> dict[Scope, History]:
        """Read the old slots to the spans' ends, and on to `ends`, each stream from its start."""
        reaches = []
        for move, action in pairs:
            starts = {part.id: part.old.start for part in move.parts}
            reaches += [
                Reach(action.old, _scope(span), starts[span.id], max(span.end, ends[action.old]))
                for span in action.spans
            ]
        return self._sources.read(reaches)

    def _copy(
        self,
        pairs: Sequence[_Copying],
        old: Mapping[Scope, History],
        there: Mapping[Scope, History],
    ) -> dict[str, SouthboundError]:
        """Write what the new slots lack, for all moves at once; return the moves that cannot."""
        failed: dict[str, SouthboundError] = {}
        records: list[Written] = []
        for move, action in pairs:
            try:
                records += _lacking(action, old, there, self._slots.log_time.now_us())
            except SouthboundError as error:
                failed[move.id] = error
        self.copied += self._slots.append(records)
        return failed

    def _bring_vpcs(
        self, pairs: Sequence[_Copying], histories: Mapping[Scope, History]
    ) -> dict[str, SouthboundError]:
        """Make the VPCs of moving hosts' ports present in the clusters that these come into.

        After the copies: who drops a replica there meanwhile has told `sb.moves` first, and looks
        for ports after that.
        """
        wanted: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for move, action in pairs:
            for span in action.spans if action.old.cluster != action.new.cluster else ():
                if span.cls == "host":
                    for vpc in _vpcs(histories[_scope(span)], self._slots.log_time.now_us()):
                        wanted[vpc, action.new.cluster].append(move.id)
        self._learn(wanted)
        failed: dict[str, SouthboundError] = {}
        for pair, result in (self._seeder.ensure_many(list(wanted)) if wanted else {}).items():
            if isinstance(result, EdgeError) and result.retryable:
                raise result
            if isinstance(result, SouthboundError):
                failed.update(dict.fromkeys(wanted[pair], result))
        return failed

    def _learn(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Take over what clusters tell of VPCs that are, or were, in them."""
        vpcs: defaultdict[str, list[Scope]] = defaultdict(list)
        for vpc, cluster in wanted:
            vpcs[cluster].append(vpc_scope(vpc))
        for cluster, scopes in vpcs.items():
            told = self._announcer.told(scopes, self._directory.topology.cluster(cluster))
            for scope, row in told.items():
                self._directory.adopt(scope, row)

    # The decision, and what makes it known.

    def _decide(self, tasks: Sequence[Task]) -> Outcomes:
        pairs = _typed(tasks, steps.AppendJournal)
        # An entry that says "stays" would take the place of the one that brought the host there; and
        # who resumes that move from a record that lags would leave the slot unfilled.
        outcomes: Outcomes = dict(
            self._unfilled(
                (move, part)
                for move, _ in pairs
                if move.abandoning
                for part in move.of(Standing.OPEN)
                if part.cls == "host"
            )
        )
        outcomes.update(self._doubtful([move for move, _ in pairs]))
        pairs = [(move, action) for move, action in pairs if move.id not in outcomes]
        rows = self._directory.decide_rows(
            {_scope(one): one.row for _, action in pairs for one in action.proposals}
        )
        for move, action in pairs:
            outcomes[move.id] = steps.Decided(
                {one.id: rows[_scope(one)] for one in action.proposals}
            )
        return outcomes

    def _doubtful(self, moves: Sequence[Move]) -> dict[str, SouthboundError]:
        """Return which of these could be decided, but not be told to their fences after that."""
        fences: defaultdict[str, dict[Scope, str]] = defaultdict(dict)
        for move in moves:
            for part in move.of(Standing.OPEN):
                fences[part.fence][_scope(part)] = move.id
        failed: dict[str, SouthboundError] = {}
        for cluster, scopes in fences.items():
            doubts = self._announcer.doubts(scopes, self._directory.topology.cluster(cluster))
            failed.update((scopes[scope], error) for scope, error in doubts.items())
        return failed

    def _unfilled(self, parts: Iterable[tuple[Move, Part]]) -> dict[str, EdgeError]:
        """Return which moves must wait, since the slot that a part is to leave is still being filled."""
        entered = [(move, part) for move, part in parts if part.old.epoch > 1]
        ends = self._slots.ends(move.old for move, _ in entered)
        histories = self._sources.read(
            Reach(move.old, _scope(part), part.old.start, ends[move.old]) for move, part in entered
        )
        failed: dict[str, EdgeError] = {}
        for move, part in entered:
            try:
                _check_sealed(histories[_scope(part)], part.cls, part.id, part.old.epoch)
            except EdgeError as error:
                failed[move.id] = error
        return failed

    def _announce(self, tasks: Sequence[Task]) -> Outcomes:
        pairs = _typed(tasks, steps.AnnounceMoves)
        rows: defaultdict[str, dict[Scope, Row]] = defaultdict(dict)
        for _, action in pairs:
            for entry in action.entries:
                rows[entry.cluster][_scope(entry)] = Row(entry.epoch, entry.row)
        for cluster, there in rows.items():
            self._announcer.tell(there, self._directory.topology.cluster(cluster))
        return {move.id: steps.Announced() for move, _ in pairs}

    def _flip(self, tasks: Sequence[Task]) -> Outcomes:
        """Redis was told with the decision; a Redis that has forgotten is told again."""
        pairs = _typed(tasks, steps.Flip)
        wanted = {_scope(one): one.row for _, action in pairs for one in action.proposals}
        there = self._directory.rows(wanted)
        if any(scope not in there for scope in wanted):
            self._directory.decide_rows(wanted)
        return {move.id: steps.Flipped() for move, _ in pairs}

    def _mark(self, tasks: Sequence[Task]) -> Outcomes:
        pairs = _typed(tasks, steps.Mark)
        self._slots.append(
            [
                Written(
                    action.address,
                    handover_key(_scope(sign), sign.epoch),
                    encode_control(Marker(sign.epoch, sign.row, sign.start)),
                )
                for _, action in pairs
                for sign in action.markers
            ]
        )
        ends = self._slots.ends(action.address for _, action in pairs)
        return {move.id: steps.Marked(m=ends[action.address]) for move, action in pairs}

    # Behind the marker.

    def _delta(self, tasks: Sequence[Task]) -> Outcomes:
        pairs = _typed(tasks, steps.Delta)
        # Behind the noted end nothing was accepted. But of a move that is resumed late, compaction
        # may have dropped an accepted revision for one that stands there.
        old = self._read_old(pairs, self._slots.ends(action.old for _, action in pairs))
        there = self._read_new((action.new, action.spans) for _, action in pairs)
        outcomes: Outcomes = {move.id: steps.Copied() for move, _ in pairs}
        outcomes.update(self._copy(pairs, old, there))
        outcomes.update(self._bring_vpcs(pairs, old))
        return outcomes

    def _read_new(
        self, spans: Iterable[tuple[Address, Iterable[steps.Span]]]
    ) -> dict[Scope, History]:
        """Read the new slots to their ends, each stream from its beginning there."""
        wanted = [(address, span) for address, those in spans for span in those]
        ends = self._slots.ends(address for address, _ in wanted)
        return self._sources.read(
            Reach(address, _scope(span), span.into.start, ends[address]) for address, span in wanted
        )

    def _mend(self, tasks: Sequence[Task]) -> Outcomes:
        outcomes: Outcomes = {}
        pairs = _typed(tasks, steps.Mend)
        for _ in range(_MENDINGS_MAX):
            histories = self._read_new((action.address, action.spans) for _, action in pairs)
            inverted: list[Written] = []
            again = []
            for move, action in pairs:
                found = self._inversions(action, histories)
                if isinstance(found, SouthboundError):
                    outcomes[move.id] = found
                elif found:
                    inverted += found
                    again.append((move, action))
                else:
                    outcomes[move.id] = steps.Mended()
            if not again:
                return outcomes
            self._slots.append(inverted)
            pairs = again
        for move, _ in pairs:
            words = f"batch {move.id}: revisions keep coming in falling order"
            outcomes[move.id] = EdgeError(words, retryable=True)
        return outcomes

    def _inversions(
        self, action: steps.Mend, histories: Mapping[Scope, History]
    ) -> list[Written] | SouthboundError:
        now_us = self._slots.log_time.now_us()
        try:
            return [
                Written(action.address, key, value)
                for span in action.spans
                for key, value in histories[_scope(span)].inversions(now_us, span.into.epoch)
            ]
        except SouthboundError as error:
            return error

    def _seal(self, tasks: Sequence[Task]) -> Outcomes:
        pairs = _typed(tasks, steps.Seal)
        signs = [
            (address, sign)
            for _, action in pairs
            for address, those in ((action.new, action.entered), (action.old, action.stayed))
            if address is not None
            for sign in those
        ]
        self._slots.append(
            [
                Written(
                    address, seal_key(_scope(sign), sign.epoch), encode_control(Seal(sign.epoch))
                )
                for address, sign in signs
            ]
        )
        return {move.id: steps.Sealed() for move, _ in pairs}

    # Replicas that go.

    def needed(self, replicas: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those (VPC and cluster) of which a host of the cluster has a port now."""
        found: set[tuple[str, str]] = set()
        vpcs: defaultdict[str, set[str]] = defaultdict(set)
        for vpc, cluster in replicas:
            vpcs[cluster].add(vpc)
        for cluster, those in vpcs.items():
            book = self._ports.look(cluster)
            found.update((vpc, cluster) for vpc in those if book.has(vpc))
        return found

    def _release(self, tasks: Sequence[Task]) -> Outcomes:
        """Look once more whether a replica that went is needed after all: then it is seeded anew.

        Occupancy is no business of anybody here: the script that wrote the rows gave back what they,
        and reservations before, had counted.
        """
        outcomes: Outcomes = {move.id: steps.Released() for move, _ in tasks}
        went: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for move, action in _typed(tasks, steps.Release):
            for part in action.left if move.kind is Kind.REMOVE else ():
                went[part.id, action.old.cluster].append(move.id)
        needed = self.needed(went)
        for pair, result in (self._seeder.ensure_many(sorted(needed)) if needed else {}).items():
            if isinstance(result, EdgeError) and result.retryable:
                raise result
            if isinstance(result, SouthboundError):
                outcomes.update(dict.fromkeys(went[pair], result))
        return outcomes


def _typed(tasks: Sequence[Task], kind: type[_Action]) -> list[tuple[Move, _Action]]:
    typed: list[tuple[Move, _Action]] = []
    for move, action in tasks:
        assert isinstance(action, kind)
        typed.append((move, action))
    return typed


def _lacking(
    action: steps.Precopy | steps.Delta,
    old: Mapping[Scope, History],
    there: Mapping[Scope, History],
    now_us: int,
) -> list[Written]:
    """Return what one move's new slot lacks. Raises `EdgeError`, `WireError`."""
    records: list[Written] = []
    for span in action.spans:
        scope = _scope(span)
        _check_sealed(old[scope], span.cls, span.id, span.source_epoch)
        known = there[scope].highest(now_us) if scope in there else {}
        found = copies(old[scope].highest(now_us), known, span.into.epoch)
        records += [Written(action.new, key, value) for key, value in found]
    return records


def _scope(
    of: Part | steps.Span | steps.Proposal | steps.Announcement | steps.Sign,
) -> Scope:
    return Scope(ScopeClass(of.cls), of.id)


def _check_sealed(history: History, cls: str, id: str, epoch: int) -> None:
    """A slot that was entered by a move is whole only with the seal of that move."""
    if epoch > 1 and not history.sealed(epoch):
        raise EdgeError(
            f"{cls} {id!r} is still being moved to where it should go from: its seal of epoch "
            f"{epoch} is not there yet",
            retryable=True,
        )


def _vpcs(history: History, now_us: int) -> set[str]:
    """Return the VPCs that a host's ports name; of what cannot be read another says so."""
    vpcs = set()
    try:
        found = history.highest(now_us)
    except WireError:
        return set()
    for key, version in found.items():
        try:
            if decode_key(key).kind == PORT:
                envelope = decode(version.value)
                if envelope.op is Op.UPSERT:
                    vpcs.add(vpc_of_port(decode_spec(envelope.spec)))
        except WireError as error:
            # No agent takes it either.
            log.warning("%r is copied as it is: %s", key[:80], error)
    return {vpc for vpc in vpcs if vpc is not None}
