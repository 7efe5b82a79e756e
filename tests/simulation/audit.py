"""What the logs may never say, judged at the moment when a leader takes a record, and at any time.

The rules, each exact in every interleaving, since nothing is taken from what a part believes:

* what is told of a scope's whereabouts (`sb.moves`, markers) the journal has decided before;
* a seal tells the truth: behind the placement's start stands everything that was accepted by then;
* nobody copies a part of a changeset that is young and of which a part was never delivered;
* at any time a whole placement of the row that holds lets a fresh agent see what was accepted, or what
  supersedes it, and nothing that was deleted since.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from southbound.directory.verdict import Held, better
from southbound.partitioning.move import same_slot
from southbound.partitioning.placement import (
    Address,
    Placement,
    parse_placement,
)
from southbound.partitioning.topology import MOVES_TOPIC
from southbound.resources import Op, ResourceKey, Scope
from southbound.wire.control import decode_journal, decode_marker, decode_move, decode_seal
from southbound.wire.envelope import Envelope, decode
from southbound.wire.keys import (
    HANDOVER,
    SEAL,
    decode_key,
    is_control,
    parse_scope_text,
    scope_prefix,
    scope_text,
    seal_key,
)
from tests.simulation.fleet import JOURNALS, address, placements, slots
from tests.simulation.invariants import Violation
from tests.simulation.log import Stored
from tests.simulation.loop import S

if TYPE_CHECKING:
    from tests.simulation.world import World

_YOUNG_US = 15 * S
"""Younger than everybody's patience with an incomplete changeset."""


class Audit:
    """Watches one world's logs. `held`: what the journals decide of each key."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._slots = frozenset(slots(crowded=True))
        self.held: dict[str, Held] = {}
        self._rows: defaultdict[str, dict[int, str]] = defaultdict(dict)
        self._read_to = dict.fromkeys(JOURNALS.values(), 0)
        self._sets: defaultdict[tuple[Scope, str], set[int]] = defaultdict(set)

    def rows(self, text: str) -> list[str]:
        """Return the rows of a scope that ever held, the earliest first."""
        return list(self._rows[text].values())

    def start(self) -> None:
        """Begin to follow the journals."""
        for where in self._read_to:
            self._world.clusters[where.cluster].at(where).watchers["audit"] = self._follow
        self._follow()

    def _follow(self) -> None:
        for where in self._read_to:
            partition = self._world.clusters[where.cluster].at(where)
            for stored in partition.read(self._read_to[where], partition.high):
                if stored.value is not None:
                    text, entry = stored.key.decode(), decode_journal(stored.value)
                    after = better(self.held.get(text), entry)
                    if after != self.held.get(text):
                        self.held[text] = after
                        self._rows[text][after.epoch] = after.row
            self._read_to[where] = partition.high

    # What a leader takes.

    def taken(self, where: Address, stored: Stored) -> None:
        """Judge a record that a leader is about to take."""
        if stored.value is None:
            return
        if where.topic == MOVES_TOPIC:
            entry = decode_move(stored.value)
            text = stored.key.decode()
            if self._rows[text].get(entry.epoch) != entry.row:
                raise Violation("nothing is told undecided", f"{text} {entry.epoch} {entry.row}")
        elif where in self._slots:
            self._taken_by_slot(where, stored.key, stored.value)

    def _taken_by_slot(self, where: Address, wire_key: bytes, value: bytes) -> None:
        key = decode_key(wire_key)
        if key.kind == HANDOVER:
            self._judge_marker(key.scope, value)
        elif key.kind == SEAL:
            self._judge_seal(where, key.scope, decode_seal(value).epoch)
        else:
            envelope = decode(value)
            if not envelope.copied:
                self._sets[key.scope, envelope.changeset].add(envelope.index)
            elif self._is_premature(key.scope, envelope):
                raise Violation("no young part is copied", f"{key} of {envelope.changeset}")

    def _judge_marker(self, scope: Scope, value: bytes) -> None:
        marker = decode_marker(value)
        wanted = parse_placement(marker.row)
        for row in self._rows[scope_text(scope)].values():
            if any(
                (same_slot(one, wanted), one.epoch, one.start) == (True, wanted.epoch, marker.start)
                for one in placements(scope, row)
            ):
                return
        raise Violation("nothing is told undecided", f"{scope}: a marker to {marker.row}")

    def _is_premature(self, scope: Scope, envelope: Envelope) -> bool:
        """A part of a set that somebody may still complete, and nobody has."""
        is_young = envelope.sent_us > self._world.loop.now_us - _YOUNG_US
        return is_young and len(self._sets[scope, envelope.changeset]) < envelope.count

    def _judge_seal(self, where: Address, scope: Scope, epoch: int) -> None:
        held = self.held.get(scope_text(scope))
        if held is None or scope in self._world.truth.disasters:
            return
        for placement in placements(scope, held.row):
            if address(scope, placement) == where and placement.epoch == epoch:
                self._judge_view(scope, placement, "a seal tells the truth")

    # What a fresh agent would see.

    def look(self) -> None:
        """Judge every scope's whole placements as a fresh agent would read them now."""
        truth = self._world.truth
        for text, held in self.held.items():
            if text.startswith("p"):
                continue
            scope = parse_scope_text(text)
            if scope in truth.disasters:
                continue
            for placement in placements(scope, held.row):
                if placement.epoch == 1 or self._is_sealed(scope, placement):
                    self._judge_view(scope, placement, "the log alone tells it")

    def _is_sealed(self, scope: Scope, placement: Placement) -> bool:
        wanted = seal_key(scope, placement.epoch)
        return any(
            one.key == wanted and one.value is not None for one in self._stream(scope, placement)
        )

    def _stream(self, scope: Scope, placement: Placement) -> Iterable[Stored]:
        where = address(scope, placement)
        partition = self._world.clusters[where.cluster].at(where)
        prefix = scope_prefix(scope)
        return (
            one
            for one in partition.read(placement.start, partition.high)
            if one.key.startswith(prefix)
        )

    def _judge_view(self, scope: Scope, placement: Placement, promise: str) -> None:
        seen: dict[ResourceKey, tuple[int, Op]] = {}
        for one in self._stream(scope, placement):
            key = decode_key(one.key)
            if is_control(key):
                continue
            before = seen.get(key)
            if one.value is None:
                if before is not None and before[1] is Op.DELETE:
                    del seen[key]
                continue
            envelope = decode(one.value)
            if before is None or before[0] < envelope.revision:
                seen[key] = envelope.revision, envelope.op
        truth = self._world.truth
        for key, accepted in truth.accepted.items():
            if key.scope != scope:
                continue
            found = seen.get(key)
            if found is None:
                later = (one.op for at, one in truth.sent[key].items() if at >= accepted)
                if Op.DELETE not in later:
                    raise Violation(promise, f"{key} {accepted} is not in {placement.row()}")
            elif found[0] < accepted:
                raise Violation(promise, f"{key} {found[0]} < {accepted} in {placement.row()}")
