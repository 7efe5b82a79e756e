"""Whoever asks the tracker service, and whether its answers are true.

The rule: an answer is judged by what the nodes have done, and by the answers before it: what was once told of a
host or a changeset is never taken back, whatever dies or is read again. In the end the tracker's picture of
each host is the host's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from southbound.nca.state import Status
from southbound.resources import Op, ResourceKey, Scope, ScopeClass, references
from southbound.tracker.standing import GateOutcome
from southbound.tracker.summary import Summary
from tests.simulation.invariants import Violation
from tests.simulation.loop import DAY, HOUR, MINUTE, S, Steps

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

_TIMES_US = (0, S, 5 * S, 30 * S, 10 * MINUTE)
_NAMES = 100


class Asker:
    """Asks for changesets, and for what a launch waits for. `told`: who was last said to be done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._accepted: dict[str, int] = {}
        self._done: dict[str, frozenset[str]] = {}
        self._settled: set[str] = set()

    def follow(self, id: str) -> None:
        """Ask for a changeset some times, now that the tracker was told of its acceptance."""
        if id not in self._accepted:
            self._accepted[id] = self._world.loop.now_us
            self._world.loop.spawn(f"asker of {id}", self._ask(id))

    def _ask(self, id: str) -> Steps[None]:
        for wait_us in _TIMES_US:
            yield int(self._world.chance.uniform(0, 1) * wait_us)
            self.look(id)

    def look(self, id: str) -> None:
        """Ask for a changeset, and for what it has brought to hosts; judge the answers."""
        questions = self._world.tracker.questions()
        if questions is None:
            return
        summary = questions.changeset(id, _NAMES, 0)
        if summary is None and self._world.loop.now_us > self._accepted[id] + 2 * DAY:
            # It may have been forgotten by now.
            return
        if summary is None:
            raise Violation("what is told of stands", f"{id} is not known to the tracker")
        self._judge(id, summary)
        for (scope, changeset), part in self._world.truth.parts.items():
            if changeset != id or scope.cls is not ScopeClass.HOST:
                continue
            for key, revision in part.members.items():
                if self._world.truth.sent[key][revision].op is Op.UPSERT:
                    gate = questions.gate(scope.id, key, revision, 0)
                    if gate.outcome is GateOutcome.READY:
                        self._judge_gate(scope.id, key, revision)

    def _judge(self, id: str, summary: Summary) -> None:
        tracker = self._world.tracker
        done = frozenset({*summary.applied, *summary.superseded})
        for host in summary.applied:
            self._judge_applied(id, host)
        if tracker.service is None or tracker.service.unexpected(id) or not summary.accepted_us:
            return
        undone = {*summary.failed, *summary.pending, *summary.silent}
        lost = self._done.get(id, frozenset()) & undone
        if lost:
            raise Violation("no answer is taken back", f"{id}: {sorted(lost)} had applied it")
        if id in self._settled and not summary.settled:
            raise Violation("no answer is taken back", f"{id} was settled")
        self._done[id] = done
        if summary.settled:
            self._settled.add(id)
            self._judge_settled(id, summary)

    def _judge_applied(self, id: str, host: str) -> None:
        """Who is told to have applied it has, of what reaches the host alone."""
        for (scope, changeset), part in self._world.truth.parts.items():
            if changeset != id or scope != Scope(ScopeClass.HOST, host):
                continue
            for key, revision in part.members.items():
                is_upsert = self._world.truth.sent[key][revision].op is Op.UPSERT
                if is_upsert and not self._has_had(host, key, revision):
                    raise Violation("told is done", f"{id}: {host}: {key} {revision}")

    def _judge_settled(self, id: str, summary: Summary) -> None:
        """Where it is settled, every host whose own part it was stands somewhere."""
        named = {*summary.applied, *summary.superseded, *summary.failed, *summary.pending}
        for scope, changeset in self._world.truth.parts:
            if changeset == id and scope.cls is ScopeClass.HOST and scope.id not in named:
                raise Violation("settled is heard of all", f"{id}: {scope.id} is not named")

    def _judge_gate(self, host: str, key: ResourceKey, revision: int) -> None:
        truth = self._world.truth
        if not self._has_had(host, key, revision):
            raise Violation("a gate opens for what is there", f"{host}: {key} {revision}")
        for ref in references(key, truth.sent[key][revision].spec):
            if not self._has_had(host, ref, 1):
                raise Violation("a gate opens for what is there", f"{host}: {key} without {ref}")

    def _has_had(self, host: str, key: ResourceKey, revision: int) -> bool:
        known = self._world.invariants.applied_of(host, key)
        return any(one >= revision for one in known)

    # In the end.

    def check(self) -> None:
        """Let every host tell everything once more; then the tracker must know it as it is."""
        world = self._world
        deadline_us = world.loop.now_us + DAY + HOUR
        while world.loop.now_us < deadline_us:
            world.loop.run(min(world.loop.now_us + 6 * HOUR, deadline_us))
        for _ in range(20):
            if not world.tracker.is_behind():
                break
            world.loop.run(world.loop.now_us + MINUTE)
        else:
            raise Violation("the tracker catches up", "it has not")
        for node in world.nodes.values():
            self._check_host(node)

    def check_changesets(self) -> None:
        """Whatever was told of as accepted is settled, as the nodes are."""
        for id in sorted(self._accepted):
            self.look(id)
            self._check_settled(id)

    def _check_host(self, node: Node) -> None:
        questions = self._world.tracker.questions()
        assert questions is not None
        found = questions.host(node.host)
        if found is None:
            raise Violation("the tracker knows every host", node.host)
        assert self._world.tracker.service is not None
        reader = self._world.tracker.service.store.reader()
        told = {one.resource: one for one in reader.standings(node.host)}
        for key, (revision, _) in node.applier.resources.items():
            stands = told.get(key)
            if stands is None or stands.deleted or stands.revision != revision:
                what = f"{node.host}: {key} {revision}: {stands}"
                raise Violation("the tracker knows what stands", what)
        for key, one in told.items():
            if one.revision and not one.deleted and key not in node.applier.resources:
                what = f"{node.host}: {key} {one.revision} is not there"
                raise Violation("the tracker knows what stands", what)
            if one.is_open:
                entry = node.core._desired.get(key)
                if entry is None or entry.status not in {Status.PARKED, Status.FAILED}:
                    what = f"{node.host}: {key} {one.open_revision} is not open: {one}"
                    raise Violation("the tracker knows what stands", what)

    def _check_settled(self, id: str) -> None:
        """Whoever was told of as accepted has settled: nobody who still follows keeps silent."""
        questions = self._world.tracker.questions()
        assert questions is not None
        summary = questions.changeset(id, _NAMES, 0)
        if summary is None:
            return
        # After the retention of changesets it is known by what hosts named alone.
        for host in summary.silent if summary.accepted_us else ():
            node = self._world.nodes.get(host)
            follows = node is not None and all(
                self._world.invariants.still_follows(host, scope)
                for scope, changeset in self._world.truth.parts
                if changeset == id
            )
            if node is None or follows:
                raise Violation("receipts are settled", f"the tracker: {id}: {host} keeps silent")
