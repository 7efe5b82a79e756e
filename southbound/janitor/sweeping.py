"""Going through the slots of one cluster: glance, look, repair, look again.

The rule: the ends are asked before the journals are taken over, so every record that is read is of a
scope whose placement is known. Just before anything is appended the journals are taken over once
more, and a slot in which a scope stands otherwise by then is looked at anew. What was appended is
read again, to its end, and the journals are taken over after that, before the slot counts as being in
order: what it landed behind is seen, and a scope that has come back by then, too.

Repeating a record needs no certainty, only a null does: while a journal does not answer, nothing is
erased.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from southbound import failpoints
from southbound.edge.slots import Outgoing, Place
from southbound.errors import EdgeError, SouthboundError, WireError
from southbound.janitor.books import Books, SlotState
from southbound.janitor.clients import ClientPool, SlotClients
from southbound.janitor.clock import SweepClock
from southbound.janitor.judging import REPEATS, Judgement, Repair, Rules, Why, record_of
from southbound.janitor.ledgers import Ledgers
from southbound.janitor.notes import Notes
from southbound.janitor.pace import Pace
from southbound.janitor.seals import Seals
from southbound.janitor.standing import UNKNOWN, Standing, standing_of
from southbound.janitor.tally import Tally
from southbound.janitor.work import SlotWork, batches
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import Cluster, Topology
from southbound.rebalance.slots import record_in
from southbound.resources import PUBLIC_SCOPE, Scope
from southbound.settings import JanitorSettings
from southbound.wire.keys import scope_text

log = logging.getLogger(__name__)


class Tools(NamedTuple):
    """What a sweep works with."""

    books: Books
    ledgers: Ledgers
    clients: ClientPool
    seals: Seals
    pace: Pace
    settings: JanitorSettings
    tally: Tally
    notes: Notes
    clock: SweepClock


class Sweep:
    """One going through the slots of one cluster. `thorough`: every slot is looked at as a whole."""

    def __init__(
        self, tools: Tools, cluster: Cluster, topology: Topology, *, thorough: bool
    ) -> None:
        self._tools = tools
        self._settings = tools.settings
        self._cluster = cluster
        self._topology = topology
        self._thorough = thorough
        self._clients: SlotClients = tools.clients.of(cluster)
        self._rules = rules_of(tools.settings)
        self.errors: list[SouthboundError] = []
        """What kept it from erasing."""

    def run(self, addresses: Sequence[Address]) -> None:
        """Go through slots of the cluster. Raises `EdgeError`, `Closed`."""
        ends = self._ends(addresses)
        self.errors = self._tools.ledgers.sync(self._topology)
        waiting = [
            work
            for address in addresses
            if (work := self._work(address, ends[_place(address)])) is not None
        ]
        for batch in batches(waiting, self._settings.batch_records, self._settings.batch_slots):
            self._go_through(batch)

    def _work(self, address: Address, end: int) -> SlotWork | None:
        """Return the work there is at a slot, if any."""
        state = self._tools.books.slot(address)
        if state is not None and state.position > end:
            log.warning("%s is shorter than it was: it is read anew", address)
            state = None
        work = SlotWork(address, state, end)
        whole = state is None or self._thorough or self._is_due(state)
        if end == 0 or (not whole and work.read_to == end):
            return None
        work.begin(self._standing_of, whole=whole)
        return work

    def _is_due(self, state: SlotState) -> bool:
        now_us = self._tools.clock.now_us()
        aged_us = state.looked_us + _us(self._settings.look_every_s)
        due_us = max(state.due_us, state.looked_us + _us(self._settings.due_every_s))
        return now_us >= min(aged_us, due_us)

    # A batch.

    def _go_through(self, batch: Sequence[SlotWork]) -> None:
        done: dict[Address, SlotState] = {}
        looks = [work for work in batch if work.whole]
        glances = [work for work in batch if not work.whole]
        self._read(batch)
        for work in glances:
            judgement = work.judge(self._rules, self._tools.clock.now_us())
            if work.is_doubtful(judgement):
                work.begin(self._standing_of, whole=True)
                looks.append(work)
            else:
                self._finish(work, judgement, done)
                self._tools.tally.slots_glanced += 1
        self._look(looks, done)
        if failpoints.armed:
            failpoints.armed.reach("janitor.books.before")
        self._tools.books.put_slots(done)
        if failpoints.armed:
            failpoints.armed.reach("janitor.books.after")

    def _look(self, looks: Sequence[SlotWork], done: dict[Address, SlotState]) -> None:
        """Look at slots as a whole until they are in order."""
        rest = list(looks)
        for _ in range(self._settings.rounds_max):
            if not rest:
                break
            ends = self._ends(work.address for work in rest)
            for work in rest:
                work.end = ends[_place(work.address)]
            self._read(rest)
            rest = self._judge_and_mend(rest, done)
        self._tools.tally.slots_looked += len(looks)
        self._tools.tally.slots_unfinished += len(rest)
        for work in rest:
            log.warning("%s is not in order yet; it is looked at again", work.address)

    def _judge_and_mend(
        self, looks: Sequence[SlotWork], done: dict[Address, SlotState]
    ) -> list[SlotWork]:
        """Append what is missing; return the slots that must be looked at again."""
        now_us = self._tools.clock.now_us()
        wanting: list[tuple[SlotWork, Judgement]] = []
        for work in looks:
            judgement = work.judge(self._rules, now_us)
            if judgement.repairs or work.is_mended:
                wanting.append((work, judgement))
            else:
                self._finish(work, judgement, done)
        if not wanting:
            return []
        self.errors = self._tools.ledgers.sync(self._topology)
        again: list[SlotWork] = []
        outgoing: list[Outgoing] = []
        for work, judgement in wanting:
            if not work.is_current(self._standing_of):
                work.begin(self._standing_of, whole=True)
                again.append(work)
                continue
            repairs = self._permitted(judgement.repairs)
            if repairs and not self._settings.dry_run:
                outgoing += self._records(work, repairs)
                work.is_mended = True
                again.append(work)
            else:
                # What is not permitted is due again; what would be done is told once.
                due_us = now_us if judgement.repairs else judgement.due_us
                self._finish(work, judgement._replace(due_us=due_us), done)
            self._note(work, repairs)
        self._tools.pace.spend(len(outgoing))
        if outgoing:
            self._append(outgoing)
        return again

    def _append(self, outgoing: Sequence[Outgoing]) -> None:
        if failpoints.armed:
            failpoints.armed.reach("janitor.slots.before")
        self._clients.writer.append(outgoing)
        if failpoints.armed:
            failpoints.armed.reach("janitor.slots.after")

    def _finish(self, work: SlotWork, judgement: Judgement, done: dict[Address, SlotState]) -> None:
        """Count what a slot in order holds, and note what is to be remembered of it.

        While a journal does not answer, a scope may be here of which it is not known yet: what such
        a slot has gained is read again.
        """
        if self.errors and not work.is_all_here:
            return
        for one in work.abandoned(judgement):
            self._tools.tally.abandoned[one.scope.cls] += 1
            log.warning(
                "changeset %s of %s is abandoned: %d of %d records came (%s)",
                one.changeset, one.scope, one.seen, one.wanted, _name(work.address),
            )  # fmt: skip
        done[work.address] = work.state_after(judgement, self._rules, self._tools.clock.now_us())

    # Repairs.

    def _permitted(self, repairs: Sequence[Repair]) -> list[Repair]:
        """Leave out nulls that cannot be justified now."""
        whole: dict[Scope, bool] = {}
        found = []
        for repair in repairs:
            if repair.why not in REPEATS and self.errors:
                continue
            if repair.why is Why.CLEAN:
                if repair.scope not in whole:
                    whole[repair.scope] = self._is_whole(repair.scope)
                if not whole[repair.scope]:
                    continue
            found.append(repair)
        return found

    def _is_whole(self, scope: Scope) -> bool:
        held = self._tools.books.held(scope_text(scope))
        try:
            return held is not None and self._tools.seals.are_set(scope, held, self._topology)
        except (EdgeError, WireError) as error:
            log.warning("whether %s is whole where it is now: %s", scope, error)
            return False

    def _records(self, work: SlotWork, repairs: Sequence[Repair]) -> list[Outgoing]:
        place = _place(work.address)
        wanted = [repair.source for repair in repairs if repair.why in REPEATS]
        values = self._values(place, sorted(wanted))
        records: list[Outgoing] = []
        for repair in repairs:
            if repair.why not in REPEATS:
                records.append(Outgoing(place, *record_of(repair, None)))
            elif (value := values.get(repair.source)) is not None:
                records.append(Outgoing(place, *record_of(repair, value)))
            else:
                self._tools.tally.lost += 1
                log.error("%r is gone from %s before it was repeated", repair.key, work.address)
        return records

    def _values(self, place: Place, offsets: Sequence[int]) -> dict[int, bytes]:
        """Read the records at some offsets once more; those that are gone are missing."""
        found: dict[int, bytes] = {}
        at = 0
        while at < len(offsets):
            until = at
            while (
                until < len(offsets) and offsets[until] - offsets[at] < self._settings.read_records
            ):
                until += 1
            wanted = set(offsets[at:until])
            span = {place: (offsets[at], offsets[until - 1] + 1)}
            for message in self._clients.reader.read(span, self._settings.timeout_s)[place]:
                value = message.value()
                if message.offset() in wanted and isinstance(value, bytes):
                    found[message.offset() or 0] = value
            at = until
        return found

    def _note(self, work: SlotWork, repairs: Sequence[Repair]) -> None:
        for repair in repairs:
            self._tools.tally.repairs[repair.why] += 1
            self._tools.notes.add(work.address, repair)
        if repairs:
            whys = sorted({repair.why.value for repair in repairs})
            verb = "needs" if self._settings.dry_run else "gets"
            log.info("%s %s %d (%s)", _name(work.address), verb, len(repairs), ", ".join(whys))

    # Kafka and the books.

    def _ends(self, addresses: Iterable[Address]) -> dict[Place, int]:
        return self._clients.ends.ends(map(_place, addresses), self._settings.timeout_s)

    def _read(self, batch: Sequence[SlotWork]) -> None:
        """Read slots up to their ends, piece by piece."""
        while True:
            share = self._settings.read_records // max(len(batch), 1)
            spans = {
                _place(work.address): span
                for work in batch
                if (span := work.span(share)) is not None
            }
            if not spans:
                return
            found = self._clients.reader.read(spans, self._settings.timeout_s)
            for work in batch:
                span = spans.get(_place(work.address))
                if span is not None:
                    records = [record_in(message) for message in found[_place(work.address)]]
                    work.take(records, span[1])
                    self._tools.tally.records_read += len(records)
                    self._tools.pace.spend(len(records))

    def _standing_of(self, scope: Scope, address: Address) -> Standing:
        held = None if scope == PUBLIC_SCOPE else self._tools.books.held(scope_text(scope))
        try:
            return standing_of(scope, held, address, self._topology)
        except WireError as error:
            log.warning("%s: %s", scope, error)
            return UNKNOWN


def rules_of(settings: JanitorSettings) -> Rules:
    """Return the rules that settings mean."""
    return Rules(
        retention_us=_us(settings.delete_retention_s),
        hold_us=_us(settings.changeset_hold_s),
        grace_us=_us(settings.cleanup_after_s),
        lag_us=_us(settings.compaction_lag_s),
    )


def _place(address: Address) -> Place:
    return Place(address.topic, address.partition)


def _name(address: Address) -> str:
    return f"{address.cluster} {address.topic}/{address.partition}"


def _us(seconds: float) -> int:
    return int(seconds * 1e6)
