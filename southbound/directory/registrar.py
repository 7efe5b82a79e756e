"""Giving hosts, VPCs and public resources their places.

The rule, in this order: Redis knows the journal to its end; a slot is reserved there (which no
reader of rows sees); the placement is appended to the journal; the journal is read back from that
end to the own entry; what holds then is written to Redis, whoever wrote it. A crash before the
append leaves a reservation, which the next registrar of the same id takes over; a crash after it
leaves an entry, which whoever rolls Redis forward next takes over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from southbound.directory.forward import Forward, Interrupted
from southbound.directory.index import Basis, Candidate, Index, Refusal, Status, Wish
from southbound.directory.journal import Journal
from southbound.directory.keys import HOST, TOPOLOGY_TEXT, VPC, parts_of, public_pool, text_of
from southbound.directory.rows import RowReader
from southbound.directory.verdict import Held
from southbound.errors import CapacityError, StaleMap
from southbound.partitioning.allocation import FIRST_PROBES, by_load, share_out, slot_indexes
from southbound.partitioning.hashing import PROBES_MAX
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Pool, Topology

_CLASSES = {HOST: "host", VPC: "vpc"}


class Newcomers(NamedTuple):
    """Ids of one class that all want a slot in one of the same pools.

    `where` names those pools in the error when they are full, such as `AZ az-a`.
    """

    letter: str
    fields: Sequence[str]
    pools: Sequence[Pool]
    where: str


class Registrar:
    """Writes placements. Thread-safe; all calls raise `EdgeError`, and are safe to repeat.

    Each takes the topology by which its caller decided (which AZ, which pools) and raises
    `TopologyChanged` when that is not the newest one.
    """

    def __init__(self, index: Index, forward: Forward, rows: RowReader) -> None:
        self._index = index
        self._forward = forward
        self._rows = rows

    def place(self, az: str, newcomers: Sequence[Newcomers], topology: Topology) -> dict[str, Held]:
        """Give newcomers their places through an AZ's journal; return what holds, by key text.

        Raises `CapacityError` once those that found room are placed.
        """

        def turn(journal: Journal, basis: Basis, status: Status) -> dict[str, Held]:
            return self._placed(journal, basis, status, newcomers)

        return self._forward.turns(az, topology, turn)

    def _placed(
        self, journal: Journal, basis: Basis, status: Status, newcomers: Sequence[Newcomers]
    ) -> dict[str, Held]:
        held: dict[str, Held] = {}
        chosen: dict[str, Held] = {}
        full: list[tuple[Newcomers, str]] = []
        for group in newcomers:
            answers = self._reserve(basis, status.totals, group)
            for field, answer in zip(group.fields, answers, strict=True):
                text = text_of(group.letter, field)
                if answer.startswith("="):
                    held[text] = self._rows.held(text, answer[1:])
                elif answer.startswith("+"):
                    chosen[text] = Held(1, _new_row(group.letter, answer[1:]))
                else:
                    full.append((group, field))
        held.update(self._write(journal, basis, chosen))
        if full:
            raise _no_room(full)
        return held

    def _reserve(self, basis: Basis, totals: Mapping[str, int], group: Newcomers) -> list[str]:
        """Reserve by two probes in the least loaded pool; where that is full, anywhere else."""
        shares = share_out(group.pools, totals, len(group.fields))
        wishes = [
            _wish(group.letter, field, [pool], FIRST_PROBES)
            for field, pool in zip(group.fields, shares, strict=False)
        ]
        answers = self._answers(basis, wishes) if shares else ["!"] * len(group.fields)
        full = [place for place, answer in enumerate(answers) if answer == "!"] if shares else []
        if full:
            others = [
                _wish(group.letter, group.fields[place], _after(shares[place], group, totals))
                for place in full
            ]
            for place, answer in zip(full, self._answers(basis, others), strict=True):
                answers[place] = answer
        return answers

    def _answers(self, basis: Basis, wishes: Sequence[Wish]) -> list[str]:
        answers = self._index.reserve(basis, wishes, int(time.time()))
        if isinstance(answers, Refusal):
            raise Interrupted(answers)
        return answers

    def _write(self, journal: Journal, basis: Basis, chosen: Mapping[str, Held]) -> dict[str, Held]:
        """Append what was chosen and read back what holds."""
        return self._forward.write(journal, basis, chosen)

    def publics(
        self, az: str, kind: str, texts: Sequence[str], topology: Topology
    ) -> dict[str, Held]:
        """Give public resources of one kind their partitions through an AZ's journal."""

        def turn(journal: Journal, basis: Basis, _status: Status) -> dict[str, Held]:
            partitions = topology.public_kind(kind).partitions
            answers = self._index.reserve_publics(
                basis, public_pool(kind), partitions, texts, int(time.time())
            )
            if isinstance(answers, Refusal):
                raise Interrupted(answers)
            found = dict(zip(texts, answers, strict=True))
            held = {text: Held(1, answer[1:]) for text, answer in found.items()}
            chosen = {text: held[text] for text in texts if found[text].startswith("+")}
            held.update(self._write(journal, basis, chosen))
            return held

        return self._forward.turns(az, topology, turn)

    def raise_vpc(
        self, az: str, vpc: str, wanted: VpcPlacement, topology: Topology
    ) -> VpcPlacement:
        """Write a VPC's next row, if nobody else has. Raises `StaleMap` with the row that is there.

        Repeating a call that succeeded succeeds.
        """
        text = text_of(VPC, vpc)

        def turn(journal: Journal, basis: Basis, _status: Status) -> VpcPlacement:
            row = self._index.rows([text]).rows[0]
            now = self._rows.vpc(row) if row else None
            if now == wanted:
                return wanted
            if now is not None and now.epoch == wanted.epoch - 1:
                held = self._write(journal, basis, {text: Held(wanted.epoch, wanted.row())})
                now = self._rows.vpc(held[text].row)
            if now != wanted:
                raise StaleMap(f"VPC {vpc!r} is at epoch {now.epoch if now else 0} already", now)
            return wanted

        return self._forward.turns(az, topology, turn)

    def write_topology(self, az: str, wanted: Held, topology: Topology) -> Held:
        """Append a topology's document to an AZ's journal; return the one that holds."""

        def turn(journal: Journal, basis: Basis, _status: Status) -> Held:
            return self._write(journal, basis, {TOPOLOGY_TEXT: wanted})[TOPOLOGY_TEXT]

        return self._forward.turns(az, topology, turn)

    def reserve(
        self, az: str, text: str, epoch: int, cluster: str, topology: Topology
    ) -> Placement:
        """Reserve a slot of a cluster for a key's placement at `epoch`; again: the same slot.

        Raises `StaleMap` when the key has reached that epoch, `CapacityError` when pools are full.
        """
        letter, field = parts_of(text)
        pools = topology.pools_in(_CLASSES[letter], cluster=cluster)

        def turn(_journal: Journal, basis: Basis, status: Status) -> Placement:
            wish = _wish(letter, field, by_load(pools, status.totals), epoch=epoch)
            answer = self._answers(basis, [wish])[0]
            if answer.startswith("="):
                raise StaleMap(
                    f"{_CLASSES[letter]} {field!r} has reached epoch {epoch} already",
                    self._rows.vpc(answer[1:]) if letter == VPC else self._rows.host(answer[1:]),
                )
            if answer == "!":
                raise CapacityError(f"no slot of cluster {cluster!r} has room for {field!r}")
            pool, _, probe = answer[1:].rpartition(":")
            return Placement(pool, int(probe), epoch)

        return self._forward.turns(az, topology, turn)


def _wish(
    letter: str, field: str, pools: Iterable[Pool], probes: int = PROBES_MAX, *, epoch: int = 1
) -> Wish:
    cls = _CLASSES[letter]
    candidates = [
        Candidate(pool.id, pool.max_per_slot, slot_indexes(cls, field, pool, probes))
        for pool in pools
    ]
    return Wish(text_of(letter, field), epoch, candidates)


def _after(first: Pool, group: Newcomers, totals: Mapping[str, int]) -> list[Pool]:
    """Return the pool that was tried, for its other probes, then the others by load."""
    return [first, *(pool for pool in by_load(group.pools, totals) if pool is not first)]


def _new_row(letter: str, answer: str) -> str:
    """Return the row at epoch 1 for an answer `pool:probe`."""
    return f"{answer}:1:0" if letter == HOST else f"1|{answer}:1:0"


def _no_room(full: Sequence[tuple[Newcomers, str]]) -> CapacityError:
    group, field = full[0]
    more = f" and {len(full) - 1} more" if len(full) > 1 else ""
    return CapacityError(
        f"no slot of {group.where} has room for {_CLASSES[group.letter]} {field!r}{more}: "
        "add a pool, or raise max_per_slot"
    )
