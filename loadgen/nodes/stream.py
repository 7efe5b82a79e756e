"""One scope's records on a compact node: what comes in, and what stands for it. Pure.

The rule: for the same records in the same order, what stands here is what stands on a node that
`southbound.nca.core.AgentCore` runs, if each record is a batch of its own; a property test compares
the two. The revision rule, whole changesets, snapshots, markers and seals, nulls, quarantine and
parking by references are all here. Left out is what changes nothing of what stands: reports, what is
written to disk, retries of an applier that fails, the inventory; and what no benchmark brings about:
a second reading of a snapshot that took longer than `snapshot_max_s`, a resync after days of
absence, and a position or a cluster that was lost.

A host's stream belongs to one node (`compact.CompactNode`). A VPC's is read once for all nodes that
follow it from the same start: its resources refer only to each other, so what stands of it does not
depend on who follows.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable
from typing import Protocol

from loadgen.nodes.digest import MASK, hash_of
from loadgen.nodes.entries import (
    ABSENT,
    DELETE,
    HASH,
    PARKED,
    REVISION_SHIFT,
    VPC_BITS,
    delete,
    upsert,
    vpc_in,
)
from loadgen.nodes.held import Arrival, Gather, Holding
from loadgen.nodes.kinds import Ref, facts_of, refs_of
from loadgen.nodes.tally import Tally
from southbound.errors import WireError
from southbound.partitioning.placement import Placement, parse_placement
from southbound.resources import ID_BYTES_MAX, Op, Scope, vpc_of_port
from southbound.wire.control import decode_marker, decode_seal
from southbound.wire.envelope import FLAG_COPIED, Envelope, decode, decode_spec
from southbound.wire.keys import HANDOVER, SEAL, SEPARATOR, decode_key

Landed = Iterable[tuple[bytes, int, str]]
"""What one step changed: the suffix (`kinds.py`), the entry (`entries.py`), the changeset."""


class Watch(Protocol):
    """Told of each step of a watched stream, and the time of it in microseconds since 1970."""

    def __call__(self, stream: Stream, landed: Landed | None, now_us: int) -> None:
        """Take note of what one step changed; None: the stream is followed no more."""


_CONTROL = ord("!")


class Outcome(enum.IntEnum):
    """What became of one record. `STANDS` also says that a delete was carried out."""

    STANDS = 0
    PARKED = 1
    HELD = 2
    GATHERED = 3
    OLD = 4
    CONTROL = 5
    NULL = 6
    QUARANTINED = 7
    FOREIGN = 8
    PASSED = 9


_STANDS, _WAITS, _HELD, _GATHERED = Outcome.STANDS, Outcome.PARKED, Outcome.HELD, Outcome.GATHERED
_OLD, _CONTROLLED, _NULL = Outcome.OLD, Outcome.CONTROL, Outcome.NULL
_QUARANTINED = Outcome.QUARANTINED


class Parked:
    """A resource that waits for another. `prior` is the entry that stands meanwhile (0: none)."""

    __slots__ = ("changeset", "prior", "refs", "sent_us")

    def __init__(self, refs: tuple[Ref, ...], prior: int, changeset: str, sent_us: int) -> None:
        self.refs = refs
        self.prior = prior
        self.changeset = changeset
        self.sent_us = sent_us


class Stream:
    """One scope's stream.

    `entries` maps `<kind>␟<id>` to `entries.py`'s numbers; `total` is the digest of what stands. `next` is the
    offset that it reads next while that is not its slot's; `base` and `own` count what it reads
    (`slots.py`).
    """

    __slots__ = (
        "base",
        "entries",
        "epoch",
        "gather",
        "holding",
        "next",
        "own",
        "parked",
        "prefix",
        "tally",
        "total",
        "waiting",
        "watch",
    )

    of_host = False

    def __init__(self, prefix: bytes, tally: Tally) -> None:
        self.prefix = prefix
        self.tally = tally
        self.epoch = 0
        self.next = 0
        self.base = 0
        self.own = 0
        self.total = 0
        self.entries: dict[bytes, int] = {}
        self.gather: Gather | None = None
        self.holding: Holding | None = None
        self.parked: dict[bytes, Parked] | None = None
        self.waiting: dict[bytes, set[bytes]] | None = None
        self.watch: Watch | None = None

    @property
    def scope(self) -> Scope:
        """The scope, read from the prefix."""
        return decode_key(self.prefix + b"k\x1fi").scope

    @property
    def is_gathering(self) -> bool:
        """Whether records are gathered for a snapshot."""
        return self.gather is not None and not self.gather.at_end

    @property
    def held(self) -> int:
        """How many records wait for the rest of their changesets."""
        return 0 if self.holding is None else len(self.holding)

    def revision(self, suffix: bytes) -> int:
        """Return the revision of `<kind>␟<id>` that stands applied; 0 when none does."""
        return self.standing(suffix) >> REVISION_SHIFT

    def standing(self, suffix: bytes) -> int:
        """Return the entry that stands applied; 0 when none does."""
        entry = self.entries.get(suffix, 0)
        if entry & PARKED:
            assert self.parked is not None
            entry = self.parked[suffix].prior
        return 0 if entry & DELETE else entry

    def digest(self) -> int:
        """Return the digest of what stands applied."""
        return self.total

    def waits(self) -> dict[bytes, int]:
        """Return the entries of what waits for others, by suffix."""
        return {suffix: self.entries[suffix] for suffix in self.parked or ()}

    def recount(self) -> int:
        """Return the digest, computed anew."""
        return sum(self.standing(suffix) & HASH for suffix in self.entries) & MASK

    # Where it is read.

    def enter(self, placement: Placement, high: int) -> None:
        """Read a placement from its start; what lies before `high` (-1: not known yet) is a snapshot."""
        self.epoch = placement.epoch
        self.next = placement.start
        self.gather = Gather(placement.epoch, -1)
        if high >= 0:
            self.mark(high)

    def mark(self, high: int) -> None:
        """Note the end of the snapshot."""
        assert self.gather is not None
        self.gather.high = high
        self.gather.trusted = self.next <= high
        if not self.gather.trusted:
            self.next = 0

    def reached(self, offset: int, now_us: int) -> None:
        """Note that everything before `offset` was read: a snapshot may be at its end."""
        gather = self.gather
        if gather is None or gather.at_end or not 0 <= gather.high <= offset:
            return
        gather.at_end = True
        touched = self._put_all(gather.drain(), now_us)
        self._complete_if_whole(gather, now_us)
        self._settle(touched, now_us)
        self._tell(now_us)

    def release_overdue(self, now_us: int) -> None:
        """Let go, singly, of changesets that nobody has completed in time."""
        if self.holding is None:
            return
        for late in self.holding.overdue(now_us):
            self.tally.released += bool(late)
            self._accept(late, now_us)
        self._close_holding()

    # Records.

    def take(self, key: bytes, value: bytes | None, now_us: int) -> Outcome:
        """Take a record of this scope, in the order of the log."""
        suffix = key[len(self.prefix) :]
        try:
            if suffix and suffix[0] == _CONTROL:
                return self._control(key, value, now_us)
            if value is None:
                return self._null(key, suffix)
            return self._resource(key, suffix, decode(value), now_us)
        except WireError:
            self.tally.quarantined += 1
            if self.gather is not None:
                # A broken record does not take down what the last good one of its key had put up.
                self.gather.see(suffix)
            return _QUARANTINED

    def _resource(self, key: bytes, suffix: bytes, envelope: Envelope, now_us: int) -> Outcome:
        held = self.entries.get(suffix, 0)
        if not held:
            _check(key, suffix)
        refs: tuple[Ref, ...] = ()
        if envelope.op is Op.DELETE:
            entry = delete(envelope.revision)
        else:
            data = envelope.spec
            spec = decode_spec(data)
            facts = facts_of(suffix)
            vpc = 0
            if facts.fields:
                refs = refs_of(facts, spec, of_host=self.of_host)
                vpc = self._number_of(vpc_of_port(spec)) if facts.port else 0
            entry = upsert(envelope.revision, hash_of(key, envelope.revision, data), vpc)
        copied = bool(envelope.flags & FLAG_COPIED)
        if self.gather is None and (copied or envelope.count == 1):
            if not self._is_newer(held, entry):
                return _OLD
            sent_us = 0 if copied else envelope.sent_us
            waiter = Parked(refs, 0, envelope.changeset, sent_us)
            self._replace(suffix, held, entry, waiter, now_us)
            return self._land(suffix, entry, waiter, now_us)
        arrival = Arrival(
            suffix,
            entry,
            refs,
            envelope.changeset,
            envelope.index,
            envelope.count,
            envelope.sent_us,
        )
        return self._one_of_many(arrival, now_us, copied=copied)

    def _one_of_many(self, arrival: Arrival, now_us: int, *, copied: bool) -> Outcome:
        """Take a record of a changeset of several, or of a stream that has a snapshot."""
        gather, limits = self.gather, self.tally.limits
        if gather is not None:
            gather.see(arrival.suffix)
        gathering = gather is not None and not gather.at_end
        if (
            copied
            or arrival.size == 1
            or (gathering and arrival.sent_us <= now_us - limits.hold_us)
        ):
            return self._accept([arrival], now_us)
        held = self.entries.get(arrival.suffix, 0)
        if self.holding is None:
            self.holding = Holding()
            self.tally.holders.add(self)
        news = not held or arrival.entry >> REVISION_SHIFT > held >> REVISION_SHIFT
        ready = self.holding.take(arrival, now_us + limits.hold_us, news=news)
        outcome = self._accept(ready, now_us) if ready else _HELD
        crowded = self.holding.crowded_out(limits.held_max)
        if crowded:
            self._accept(crowded, now_us)
        self._close_holding()
        return outcome

    def _accept(self, arrivals: list[Arrival], now_us: int) -> Outcome:
        """Take records in one step."""
        gather = self.gather
        if gather is not None and not gather.at_end:
            self.tally.older += sum(gather.take(arrival) for arrival in arrivals)
            return _GATHERED
        touched = self._put_all(arrivals, now_us)
        if not touched:
            return _OLD
        outcome = self._settle(touched, now_us)
        self._tell(now_us)
        return outcome

    def _put_all(self, arrivals: list[Arrival], now_us: int) -> dict[bytes, Parked]:
        """Put what is newer in its place; return it, not settled yet."""
        touched: dict[bytes, Parked] = {}
        for suffix, entry, refs, changeset, _index, _count, sent_us in arrivals:
            held = self.entries.get(suffix, 0)
            if self._is_newer(held, entry):
                waiter = Parked(refs, 0, changeset, sent_us)
                before = touched.get(suffix)
                self._replace(suffix, held, entry, waiter, now_us)
                if before is not None:
                    waiter.prior = before.prior
                touched[suffix] = waiter
        return touched

    def _null(self, key: bytes, suffix: bytes) -> Outcome:
        """Take a tombstone: it ends what is left of a delete, and nothing else."""
        held = self.entries.get(suffix, 0)
        if not held:
            _check(key, suffix)
        if self.gather is not None and not self.gather.at_end:
            self.gather.erase(suffix)
        elif held & DELETE:
            del self.entries[suffix]
        return _NULL

    def _is_newer(self, held: int, entry: int) -> bool:
        """The revision rule; what is not newer is counted."""
        if not held:
            return True
        before, now = held >> REVISION_SHIFT, entry >> REVISION_SHIFT
        if now > before:
            return True
        if now < before:
            self.tally.older += 1
        elif held & ~PARKED == entry:
            self.tally.equal += 1
        else:
            self.tally.conflicting += 1
        return False

    # What stands.

    def _replace(self, suffix: bytes, held: int, entry: int, waiter: Parked, now_us: int) -> None:
        """Put an entry in the place of another, and note in `waiter` what stands until it does."""
        if held & PARKED:
            assert self.parked is not None
            waiter.prior = self.parked.pop(suffix).prior
        elif not held & DELETE:
            waiter.prior = held
        self.entries[suffix] = entry
        if (held ^ entry) & VPC_BITS:
            self._note_port(vpc_in(held), vpc_in(entry), now_us)

    def _land(self, suffix: bytes, entry: int, waiter: Parked, now_us: int) -> Outcome:
        """Settle one resource by itself."""
        outcome = _STANDS
        if entry & DELETE:
            self._stand(suffix, entry, waiter, now_us)
        elif not self._place(suffix, entry, waiter, now_us):
            outcome = _WAITS
        elif self.waiting and suffix in self.waiting:
            self._settle(self._woken(suffix), now_us)
        self._tell(now_us)
        return outcome

    def _settle(self, touched: dict[bytes, Parked], now_us: int) -> Outcome:
        """Find, in rank order, what stands now and what has to wait."""
        queue: list[tuple[int, bytes]] = []
        for suffix, waiter in touched.items():
            entry = self.entries[suffix]
            if entry & DELETE:
                self._stand(suffix, entry, waiter, now_us)
            else:
                queue.append((facts_of(suffix).rank, suffix))
        heapq.heapify(queue)
        outcome = _STANDS
        placed: set[bytes] = set()
        while queue:
            _, suffix = heapq.heappop(queue)
            if suffix in placed:
                continue
            placed.add(suffix)
            if not self._place(suffix, self.entries[suffix], touched[suffix], now_us):
                outcome = _WAITS
            elif self.waiting and suffix in self.waiting:
                for woken, waiter in self._woken(suffix).items():
                    touched.setdefault(woken, waiter)
                    heapq.heappush(queue, (facts_of(woken).rank, woken))
        return outcome

    def _place(self, suffix: bytes, entry: int, waiter: Parked, now_us: int) -> bool:
        """Let a resource stand if all that it names is there; else park it."""
        missing: list[Ref] = []
        table, last = self.entries, ""
        for ref in waiter.refs:
            vpc, wanted = ref
            if vpc != last:
                table, last = self._table(vpc).entries if vpc else self.entries, vpc
            if table.get(wanted, DELETE) & ABSENT:
                missing.append(ref)
        if missing:
            self._park(suffix, entry, waiter, missing)
            return False
        self._stand(suffix, entry, waiter, now_us)
        return True

    def _park(self, suffix: bytes, entry: int, waiter: Parked, missing: list[Ref]) -> None:
        if not entry & PARKED:
            if self.parked is None:
                self.parked = {}
            self.entries[suffix] = entry | PARKED
            self.parked[suffix] = waiter
        if waiter.prior:
            self._doubt()
        for vpc, wanted in missing:
            if vpc:
                self._look_out(vpc, wanted)
            else:
                if self.waiting is None:
                    self.waiting = {}
                self.waiting.setdefault(wanted, set()).add(suffix)

    def _woken(self, suffix: bytes) -> dict[bytes, Parked]:
        """Return, and no longer expect, what waits for a resource of this scope."""
        assert self.waiting is not None
        waiters = self.waiting.pop(suffix, ())
        parked = self.parked or {}
        return {waiter: parked[waiter] for waiter in waiters if waiter in parked}

    def _stand(self, suffix: bytes, entry: int, waiter: Parked, now_us: int) -> None:
        """Let an entry stand applied, in the place of what stood before."""
        if entry & PARKED:
            assert self.parked is not None
            del self.parked[suffix]
            entry &= ~PARKED
            self.entries[suffix] = entry
        if entry & DELETE and waiter.prior and facts_of(suffix).named:
            self._doubt()
        self.total = (self.total - (waiter.prior & HASH) + (entry & HASH)) & MASK
        self.tally.applied += 1
        if waiter.sent_us:
            self._note_span(now_us - waiter.sent_us)
        if self.watch is not None:
            self.tally.step.append((suffix, entry, waiter.changeset))

    def _tell(self, now_us: int) -> None:
        """End a step."""
        if self.watch is not None and self.tally.step:
            step, self.tally.step = self.tally.step, []
            self.watch(self, step, now_us)

    # Control records and the ends of snapshots.

    def _control(self, key: bytes, value: bytes | None, now_us: int) -> Outcome:
        kind = decode_key(key).kind
        if kind == HANDOVER and value is not None:
            self._hand_over(value)
        elif kind == SEAL and value is not None and self.gather is not None:
            self.gather.seal(decode_seal(value).epoch)
            self._complete_if_whole(self.gather, now_us)
            self._tell(now_us)
        else:
            if kind == SEAL and value is not None:
                decode_seal(value)
            self.tally.ignored += 1
        return _CONTROLLED

    def _hand_over(self, value: bytes) -> None:
        """Go on where the marker points, with the state as it is; what is held is left behind."""
        marker = decode_marker(value)
        row = parse_placement(marker.row)
        if marker.epoch <= self.epoch:
            self.tally.ignored += 1
            return
        self.tally.handovers += 1
        if self.holding is not None:
            self.tally.abandoned += self.holding.abandon()
            self._close_holding()
        placement = Placement(row.pool, row.probe, marker.epoch, marker.start)
        if self.gather is not None:
            self.enter(placement, -1)
        self.epoch, self.next = marker.epoch, marker.start
        self.tally.moves.append((self, placement))

    def _complete_if_whole(self, gather: Gather, now_us: int) -> None:
        """Take away what a whole snapshot does not speak of."""
        if not gather.complete:
            return
        self.tally.snapshots += 1
        self.gather = None
        if gather.trusted:
            for suffix in [suffix for suffix in self.entries if gather.is_absent(suffix)]:
                self._remove(suffix, now_us)

    def _remove(self, suffix: bytes, now_us: int) -> None:
        held = self.entries[suffix]
        if not held & DELETE:
            waiter = Parked((), 0, "", 0)
            self._replace(suffix, held, delete(held >> REVISION_SHIFT), waiter, now_us)
            self._stand(suffix, self.entries[suffix], waiter, now_us)
            self.tally.removed += 1
        del self.entries[suffix]

    def _close_holding(self) -> None:
        if self.holding is not None and self.holding.is_empty:
            self.holding = None
            self.tally.holders.discard(self)

    # What differs between a host's stream and a VPC's.

    def _table(self, vpc: str) -> Stream:
        """Return the stream of a VPC that a resource of this one names."""
        raise AssertionError(f"a VPC's resource names {vpc}")

    def _look_out(self, vpc: str, wanted: bytes) -> None:
        """Be woken when a resource of a VPC stands."""

    def _number_of(self, vpc: str | None) -> int:
        """Return a VPC's number in entries; 0 for none."""
        return 0

    def _note_port(self, before: int, after: int, now_us: int) -> None:
        """Note that a port has left a VPC (its number; 0: none), and is now in another."""

    def _note_span(self, span_us: int) -> None:
        """Note how long a change was under way."""

    def _doubt(self) -> None:
        """Note that who reads the log anew may come to another conclusion of what stands."""


def _check(key: bytes, suffix: bytes) -> None:
    """Raise `WireError` when a key is not one; keys of plain ASCII are judged without taking apart."""
    if suffix.isascii():
        kind, _, id = suffix.decode().partition(SEPARATOR)
        if (kind + id).isprintable() and 0 < len(kind) <= ID_BYTES_MAX >= len(id) > 0:
            return
    decode_key(key)
