"""The janitor: it goes through the slots and through `sb.moves`, and appends what is missing.

The rule: what must be appended is decided by `southbound.janitor.judging` and `entries`; the order is
that of `southbound.janitor.sweeping`: ends, journal, records, judgement, journal once more, repairs,
and again until nothing is left. It may be interrupted between any two, and two may be at work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from southbound.directory.verdict import Held, judge
from southbound.errors import EdgeError
from southbound.janitor.entries import Entry, WrittenMove, judge_moves
from southbound.janitor.judging import NEVER_US, REPEATS, Judgement, Repair, Rules, Why, record_of
from southbound.janitor.standing import UNKNOWN, Standing, entered, standing_of
from southbound.janitor.work import SlotWork
from southbound.partitioning.placement import Address
from southbound.rebalance.copying import Record
from southbound.resources import PUBLIC_SCOPE, Scope
from southbound.settings import JanitorSettings
from southbound.wire.control import (
    NULL_BELIEVED_US,
    JournalEntry,
    MoveEntry,
    decode_journal,
    decode_move,
    encode_control,
)
from southbound.wire.keys import decode_key, scope_text, seal_key
from tests.simulation.fleet import (
    CLUSTERS,
    JOURNALS,
    TOPOLOGY,
    address,
    moves_of,
    public_slots,
    slots,
)
from tests.simulation.log import Stored
from tests.simulation.loop import DAY, MINUTE, S, Steps, Task, Wait
from tests.simulation.network import Item

if TYPE_CHECKING:
    from tests.simulation.world import World

_SETTINGS = JanitorSettings()
RULES = Rules(
    retention_us=int(_SETTINGS.delete_retention_s * S),
    hold_us=int(_SETTINGS.changeset_hold_s * S),
    grace_us=int(_SETTINGS.cleanup_after_s * S),
    lag_us=int(_SETTINGS.compaction_lag_s * S),
)
_ROUNDS = 5


class Janitor:
    """One janitor. `rules`: by which it judges."""

    PRUNE_US = max(int(_SETTINGS.moves_retention_s * S), NULL_BELIEVED_US)

    def __init__(self, world: World, name: str, rules: Rules = RULES) -> None:
        self.world = world
        self.name = name
        self.rules = rules
        self.held: dict[str, Held] = {}
        self.moves: dict[str, dict[str, Entry]] = {cluster: {} for cluster in CLUSTERS}
        self.swept: dict[Address, int] = {}
        self._due: dict[Address, int] = {}
        self.due_us = 0
        self._read_to: dict[Address, int] = {}
        self._me: Task | None = None

    def start(self) -> None:
        """Begin to sweep, each time some minutes after something was written."""
        self._me = self.world.loop.spawn(f"{self.name} sweeps", self._live())
        for where in self.slots:
            partition = self.world.clusters[where.cluster].at(where)
            partition.watchers[self.name] = self._noticed

    def die(self) -> None:
        """End where it is; what it remembers is lost with it."""
        if self._me is not None:
            self.world.loop.kill(self._me)
        self.held.clear()
        self.swept.clear()
        self._due.clear()
        self._read_to.clear()
        self.moves = {cluster: {} for cluster in CLUSTERS}

    def _noticed(self) -> None:
        if self._me is not None:
            self.world.loop.wake(self._me, 5 * MINUTE)

    def _live(self) -> Steps[None]:
        while True:
            yield int(self.world.chance.uniform(0.5, 5) * MINUTE)
            try:
                is_content = yield from self.sweep()
                yield from self.prune()
            except EdgeError:
                is_content = False
            wait_us = DAY
            if self.due_us:
                wait_us = min(DAY, max(self.due_us - self.world.loop.now_us, MINUTE))
            slept_us = self.world.loop.now_us
            yield Wait(wait_us if is_content else 5 * MINUTE)
            if self.world.loop.now_us - slept_us >= DAY:
                # Each slot is looked at as a whole once a day, whatever it has gained.
                self.swept.clear()

    def sweep(self) -> Steps[bool]:
        """Go through everything once; tell whether nothing is left to do. Raises `EdgeError`."""
        is_content = True
        for cluster in CLUSTERS:
            yield from self.take_over_moves(cluster)
        for where in self.slots:
            high = self.world.clusters[where.cluster].at(where).high
            if self.swept.get(where) == high and self.now_us < self._due.get(where, NEVER_US):
                continue
            try:
                is_content &= yield from self.look(where)
            except EdgeError:
                is_content = False
            yield self.world.pause_us()
        self.due_us = min(self._due.values(), default=0)
        return is_content

    # One slot.

    def look(self, where: Address) -> Steps[bool]:
        """Look at a slot until it is in order; tell whether it is. Raises `EdgeError`."""
        for _ in range(_ROUNDS):
            end = yield from self.world.network.end(self.name, where)
            if end == 0:
                return True
            yield from self.sync()
            work = SlotWork(where, None, end)
            work.begin(self.standing_of, whole=True)
            records = yield from self._read(where, 0, end)
            work.take([Record(*one) for one in records], end)
            judgement = work.judge(self.rules, self.now_us)
            self._note_due(where, judgement, end)
            if not judgement.repairs:
                return True
            yield self.world.pause_us()
            yield from self.sync()
            if not work.is_current(self.standing_of):
                continue
            repairs = yield from self.permitted(judgement.repairs)
            if not repairs:
                return not judgement.repairs
            yield from self._append(where, repairs)
        return False

    @property
    def slots(self) -> tuple[Address, ...]:
        """What it goes through."""
        return (
            *slots(crowded=bool(self.world.schedule.newcomers)),
            *public_slots(self.world.topic.partitions),
        )

    @property
    def now_us(self) -> int:
        """Its clock."""
        return self.world.loop.now_us

    def _note_due(self, where: Address, judgement: Judgement, end: int) -> None:
        self.swept.pop(where, None)
        self._due.pop(where, None)
        if judgement.due_us < NEVER_US:
            self._due[where] = judgement.due_us
        if not judgement.repairs and not judgement.strays:
            self.swept[where] = end

    def standing_of(self, scope: Scope, where: Address) -> Standing:
        """Return where a scope stands, by what was read of the journal."""
        held = self.held.get(scope_text(scope))
        if held is None and scope != PUBLIC_SCOPE:
            return UNKNOWN
        return standing_of(scope, held, where, TOPOLOGY)

    def permitted(self, repairs: list[Repair]) -> Steps[list[Repair]]:
        """Leave out what must not be cleaned yet."""
        found = []
        for repair in repairs:
            if repair.why is Why.CLEAN and not (yield from self.is_whole(repair.scope)):
                continue
            found.append(repair)
        return found

    def is_whole(self, scope: Scope) -> Steps[bool]:
        """Tell whether everything of a scope has been copied to where it is now."""
        held = self.held.get(scope_text(scope))
        if held is None:
            return False
        for placement in entered(scope, held):
            where = address(scope, placement)
            end = yield from self.world.network.end(self.name, where)
            records = yield from self._read(where, 0, end)
            wanted = seal_key(scope, placement.epoch)
            if not any(one.key == wanted and one.value is not None for one in records):
                return False
        return True

    def _append(self, where: Address, repairs: list[Repair]) -> Steps[None]:
        items: list[Item] = []
        for repair in repairs:
            if repair.why not in REPEATS:
                items.append(record_of(repair, None))
                continue
            records = yield from self._read(where, repair.source, repair.source + 1)
            if records and records[0].value is not None:
                items.append(record_of(repair, records[0].value))
        for repair in repairs:
            self.world.note(self.name, f"{repair.why} {repair.key!r} in {where.topic}")
            self.world.counts[f"janitor {repair.why.value}"] += 1
        nulls = [one for one in repairs if one.why is Why.TOMBSTONE]
        if nulls and self.world.may_recreate() and self.world.traps.overtakes_null():
            # Somebody wants it back at the very moment.
            self.world.recreate(decode_key(nulls[0].key))
            yield 3 * S
        yield from self.world.network.produce(self.name, where, items)

    def _read(self, where: Address, start: int, end: int) -> Steps[list[Stored]]:
        partition = self.world.clusters[where.cluster].at(where)
        act: Callable[[], list[Stored]] = lambda: partition.read(start, end)  # noqa: E731
        return (yield from self.world.network.call(self.name, where.cluster, act))

    # The journal and `sb.moves`.

    def sync(self) -> Steps[None]:
        """Take over the journals to their ends. Raises `EdgeError`."""
        for where in JOURNALS.values():
            yield from self._sync(where)

    def _sync(self, where: Address) -> Steps[None]:
        end = yield from self.world.network.end(self.name, where)
        start = self._read_to.get(where, 0)
        if end <= start:
            return
        records = yield from self._read(where, start, end)
        entries = [
            (one.key.decode(), decode_journal(one.value))
            for one in records
            if one.value is not None
        ]
        verdict = judge(self.held, entries)
        if verdict.mend:
            yield from self.world.network.produce(
                self.name, where, self._journal_items(verdict.mend)
            )
        self.held.update(verdict.held)
        self._read_to[where] = end

    def _journal_items(self, mend: Mapping[str, Held]) -> list[Item]:
        return [
            (
                text.encode(),
                encode_control(
                    JournalEntry(one.epoch, one.row, self.name, self.now_us, mended=True)
                ),
            )
            for text, one in mend.items()
        ]

    def take_over_moves(self, cluster: str) -> Steps[None]:
        """Take over a cluster's `sb.moves`; append again what a lower epoch came behind."""
        where = moves_of(cluster)
        end = yield from self.world.network.end(self.name, where)
        start = self._read_to.get(where, 0)
        if end <= start:
            return
        records = yield from self._read(where, start, end)
        written = [
            WrittenMove(
                one.key.decode(), None if one.value is None else decode_move(one.value), one.at_us
            )
            for one in records
        ]
        after, again = judge_moves(self.moves[cluster], written)
        if again:
            items = [
                (text.encode(), encode_control(MoveEntry(one.epoch, one.row, self.now_us)))
                for text, one in again.items()
            ]
            yield from self.world.network.produce(self.name, where, items)
        for text, entry in after.items():
            if entry is None:
                self.moves[cluster].pop(text, None)
            else:
                self.moves[cluster][text] = entry
        self._read_to[where] = end

    def prune(self) -> Steps[None]:
        """Let go of entries that are older than any placement that is still remembered."""
        yield from self.sync()
        before_us = self.now_us - self.PRUNE_US
        for cluster in CLUSTERS:
            old = [
                text
                for text, entry in self.moves[cluster].items()
                if entry.written_us < before_us and self.held[text].epoch >= entry.epoch
            ]
            if old:
                yield from self.world.network.produce(
                    self.name, moves_of(cluster), [(text.encode(), None) for text in old]
                )
