"""A slot's log in memory, as tests of the janitor write, compact and read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from southbound.janitor.facts import SlotFacts
from southbound.janitor.judging import REPEATS, Judgement, Repair, Rules, judge, record_of
from southbound.janitor.standing import Standing, Whereabouts
from southbound.rebalance.copying import Record
from southbound.resources import Op, ResourceKey, Scope, vpc_scope
from southbound.wire.control import Marker, Seal, encode_control
from southbound.wire.envelope import EMPTY_SPEC, FLAG_COPIED, Envelope, decode, encode
from southbound.wire.keys import decode_key as decoded
from southbound.wire.keys import encode_key, handover_key, is_control, seal_key

DAY_US = 86_400_000_000
RULES = Rules(
    retention_us=7 * DAY_US, hold_us=60_000_000, grace_us=3_600_000_000, lag_us=3_600_000_000
)
NOW_US = 100 * DAY_US
BLUE = vpc_scope("blue")
HERE = Standing(Whereabouts.HERE, 1, 0)
AWAY = Standing(Whereabouts.AWAY, 2)


def key(id: str, scope: Scope = BLUE) -> bytes:
    """Return the key of a neighbour."""
    return encode_key(ResourceKey(scope, "neighbor", id))


class Log:
    """Records in their order, and where scopes stand seen from here."""

    def __init__(self, standings: Mapping[Scope, Standing] | None = None) -> None:
        self.records: list[Record] = []
        self.standings: dict[Scope, Standing] = dict(standings or {BLUE: HERE})
        self.now_us = NOW_US
        self.end = 0

    def append(self, key: bytes, value: bytes | None, age_us: int = 0) -> int:
        """Append one record; return its offset."""
        self.records.append(Record(self.end, key, value, self.now_us - age_us))
        self.end += 1
        return self.end - 1

    def put(
        self,
        id: str,
        revision: int,
        op: Op = Op.UPSERT,
        *,
        scope: Scope = BLUE,
        age_us: int = 0,
        part: tuple[str, int, int] = ("", 0, 1),
        copied_at: int = 0,
    ) -> int:
        """Append a revision; `part`: changeset, index, count; `copied_at`: the epoch of a copy."""
        flags = FLAG_COPIED if copied_at else 0
        sent_us = self.now_us - age_us
        envelope = Envelope(revision, op, copied_at or 1, *part, sent_us, flags, EMPTY_SPEC)
        return self.append(key(id, scope), encode(envelope), age_us)

    def null(self, id: str, scope: Scope = BLUE) -> int:
        """Append a null."""
        return self.append(key(id, scope), None)

    def mark(self, epoch: int, scope: Scope = BLUE, age_us: int = 0) -> int:
        """Append a marker."""
        value = encode_control(Marker(epoch, f"pool:0:{epoch}:0", 0))
        return self.append(handover_key(scope, epoch), value, age_us)

    def seal(self, epoch: int, scope: Scope = BLUE, age_us: int = 0) -> int:
        """Append a seal."""
        return self.append(seal_key(scope, epoch), encode_control(Seal(epoch)), age_us)

    def facts(self, start: int = 0) -> SlotFacts:
        """Return what is noted of it."""
        made = SlotFacts(self.standings.__getitem__)
        made.take(record for record in self.records if record.offset >= start)
        return made

    def judge(self, start: int = 0) -> Judgement:
        """Look at it as a whole, or from an offset on."""
        return judge(self.facts(start), RULES, self.now_us)

    def repair(self, repairs: list[Repair]) -> None:
        """Append what a judgement wants; what compaction took meanwhile is not repeated."""
        values = {record.offset: record.value for record in self.records}
        for repair in repairs:
            value = values.get(repair.source)
            if repair.why not in REPEATS or value is not None:
                self.append(*record_of(repair, value))

    def mend(self, rounds_max: int = 5) -> int:
        """Repair until nothing is to be repaired; return how many rounds that took."""
        for number in range(rounds_max):
            repairs = self.judge().repairs
            if not repairs:
                return number
            self.repair(repairs)
        raise AssertionError(f"not in order after {rounds_max} rounds: {self.judge().repairs}")

    def compact(self, drops: Callable[[int], bool]) -> None:
        """Drop records that another one of their key came behind, where `drops` says so.

        A null goes once nothing else of its key is there.
        """
        last = {record.key: record.offset for record in self.records}
        self.records = [
            record
            for record in self.records
            if last[record.key] == record.offset or not drops(record.offset)
        ]
        there = [record.key for record in self.records]
        self.records = [
            record
            for record in self.records
            if record.value is not None or there.count(record.key) > 1 or not drops(record.offset)
        ]

    def state(self, start: int = 0) -> dict[str, tuple[int, Op]]:
        """Return what a fresh reader ends with: each key's highest revision, deletes too."""
        found: dict[str, tuple[int, Op]] = {}
        for record in self.records:
            name = decoded(record.key)
            if record.offset < start or is_control(name):
                continue
            if record.value is None:
                if name.id in found and found[name.id][1] is Op.DELETE:
                    del found[name.id]
                continue
            envelope = decode(record.value)
            if name.id not in found or found[name.id][0] < envelope.revision:
                found[name.id] = (envelope.revision, envelope.op)
        return found

    def upserts(self, start: int = 0) -> dict[str, int]:
        """Return the revisions of what a fresh reader ends with having."""
        return {id: one[0] for id, one in self.state(start).items() if one[1] is Op.UPSERT}

    def values(self, id: str, scope: Scope = BLUE) -> list[Envelope | None]:
        """Return the records of a key."""
        return [
            None if record.value is None else decode(record.value)
            for record in self.records
            if record.key == key(id, scope)
        ]

    def revisions(self, id: str, scope: Scope = BLUE) -> list[int | None]:
        """Return the revisions of a key in their order; None for a null."""
        return [None if one is None else one.revision for one in self.values(id, scope)]
